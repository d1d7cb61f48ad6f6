"""The extra that this room needs."""

from __future__ import annotations

from importlib.util import find_spec


def require_evaluate() -> None:
    """Check that Hugging Face `evaluate` is there.

    Raises:
        ModuleNotFoundError: If it is not; the message tells how to install it.
    """
    if find_spec("evaluate") is None:
        raise ModuleNotFoundError(
            "The `evaluate` module needs Hugging Face evaluate: pip install 'unisim-metrics[evaluate]'."
        )
