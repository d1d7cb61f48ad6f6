"""Whether weights are exactly a model's: none missing, none left over, all finite."""

from __future__ import annotations

from typing import Any

from unisim_metrics.errors import CheckpointError


def check_keys(source: str, missing: Any, extra: Any) -> None:
    """Raise a `CheckpointError` if weights are missing or left over."""
    if missing or extra:
        raise CheckpointError(
            f"The weights in {source} must be exactly the model's, but"
            f" {describe_keys(missing=missing, extra=extra)}."
        )


def check_finite(source: str, model: Any) -> None:
    """Raise a `CheckpointError` if a weight is not finite: every score would be NaN, or wrong."""
    broken = [
        name
        for name, weight in model.state_dict().items()
        if weight.is_floating_point() and not weight.is_meta and not bool(weight.isfinite().all())
    ]
    if broken:
        raise CheckpointError(
            f"The weights in {source} must be finite, but {describe_keys(not_finite=broken)}."
        )


def describe_keys(limit: int = 5, **groups: Any) -> str:
    """Name the keys of each group: ``"2 are missing (a, b) and 1 is extra (c)"``."""
    parts = []
    for kind, keys in groups.items():
        names = sorted(keys)
        if names:
            shown = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
            parts.append(
                f"{len(names)} {'is' if len(names) == 1 else 'are'} {kind.replace('_', ' ')} ({shown})"
            )
    return " and ".join(parts)
