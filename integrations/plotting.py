"""Where the plots of the integrations are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics.utilities.plot import _AX_TYPE

from unisim_metrics.installation import install_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure_and_axes(ax: _AX_TYPE | None) -> tuple[Figure | None, Axes]:
    """What `plot` draws on and returns, as the plots of torchmetrics do.

    Args:
        ax: Matplotlib axes to draw on; None makes a figure.

    Returns:
        The figure, None where the axes came from outside, and the axes.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    try:
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"`plot` needs matplotlib: {install_extra('plot')}.") from error
    return plt.subplots() if ax is None else (None, ax)
