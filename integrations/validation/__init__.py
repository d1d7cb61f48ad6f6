"""Validation of a generator while it is fine-tuned: fixed prompts and seeds, judges, paired intervals, trackers.

May live here: what a validation renders, how it is judged and compared, and how it stands in training loops. It knows
rewards and images; trainers and trackers are imported by the file that is for them, when it is used.
"""

from __future__ import annotations

from .plan import Plan, Sample
from .results import Figures, Flatness, Picture, ValidationResult
from .validation import UniSimValidation

__all__ = [
    "Figures",
    "Flatness",
    "Picture",
    "Plan",
    "Sample",
    "UniSimValidation",
    "ValidationResult",
]
