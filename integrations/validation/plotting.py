"""The curve of a validation as a figure."""

from __future__ import annotations

from collections.abc import Mapping

from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from unisim_metrics.statistics.intervals import Estimate

from ..plotting import figure_and_axes


def plot_curve(
    means: Mapping[int, Estimate], best: int | None, name: str, ax: _AX_TYPE | None = None
) -> _PLOT_OUT_TYPE:
    """Plot means with their intervals against the step.

    Args:
        means: The mean of each step.
        best: The step to mark, if there is one.
        name: What the means are of.
        ax: Matplotlib axes to draw on; None makes a figure.

    Returns:
        Figure and axes.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    figure, axes = figure_and_axes(ax)
    steps, estimates = list(means), list(means.values())
    axes.plot(steps, [estimate.value for estimate in estimates], marker="o", markersize=3)
    ends = [estimate.low for estimate in estimates], [estimate.high for estimate in estimates]
    axes.fill_between(steps, *ends, alpha=0.2)
    if best is not None:
        axes.axvline(best, linestyle="--", linewidth=1, color="grey", label=f"best: {best}")
        axes.legend()
    axes.set_xlabel("step")
    # Not as mathematics: `$` stands for itself.
    axes.set_ylabel(name, parse_math=False)
    axes.grid(alpha=0.3)
    return figure, axes
