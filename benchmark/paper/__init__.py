"""The paper's own figures, as it prints them."""

from __future__ import annotations

from .tables import PAPER_MODELS, PAPER_TABLES, Column, PaperModel, PaperTable, find_model

__all__ = ["PAPER_MODELS", "PAPER_TABLES", "Column", "PaperModel", "PaperTable", "find_model"]
