"""The paper's own figures, as it prints them."""

from __future__ import annotations

from .models import PAPER_MODELS, PaperModel, find_model
from .tables import PAPER_TABLES, Column, PaperTable

__all__ = ["PAPER_MODELS", "PAPER_TABLES", "Column", "PaperModel", "PaperTable", "find_model"]
