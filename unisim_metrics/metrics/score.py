"""UniSimScore: perceptual similarity as a torchmetric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from unisim_metrics.metrics.base import BUNDLED, FIXED_POINT, UniSimMetric
from unisim_metrics.models.answering import SCORED_ALONE, Way
from unisim_metrics.models.comparing import Embedder, score_pairs
from unisim_metrics.models.kept import ModelLike
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task


class UniSimScore(UniSimMetric):
    """Mean perceptual similarity of predictions to their targets (Section 3 of arXiv 2412.10594).

    What `update` gets decides the task: images and images (`image-image`), images and texts (`image-text`),
    texts and images (`caption`), images alone (`quality`). The score is the cosine similarity of embeddings
    in [−1, 1]; for quality and attributes with `method="clip-iqa"` a probability in [0, 1]. Higher is closer.

    As input to `update` (and `forward`) the metric takes

    - `preds`: N images or texts.
    - `target`: N images or texts, or one text, as a plain `str`, for all; absent for quality and attributes.

    Images are PIL images, `pathlib.Path`s, uint8 (0–255) or float (0–1) tensors `[C, H, W]` or arrays
    `[H, W, C]`; one, a batch (`[N, C, H, W]`, `[N, H, W, C]`), or a list of any sizes; texts are strings. A pandas
    `Series`, a NumPy array of strings and a column of `datasets` are as good as a list.

    Inside `torch.autocast` the model keeps its own precision, so that equal signatures mean equal scores.

    As output of `compute` (and `forward`) it returns a float32 scalar, the mean over all samples, or with
    `reduction="none"` the scores `[N]`, in the order of the updates (across processes: by rank).

    Args:
        model_name_or_path: What `load_model` takes: a name, a directory, a Hub id, a model, an `nn.Module`.
        task: The task; inferred if None. `brightness`, `colorfulness`, `contrast` and `sharpness` have to be
            named.
        method: How quality and attributes are scored: `"naive"` (similarity to one prompt) or `"clip-iqa"`
            (softmax over an antonym pair).
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        reduction: `"mean"`, or `"none"` for one score a sample (these are kept in memory).
        kwargs: What every torchmetrics `Metric` takes.

    Raises:
        ValueError: If an argument is out of its range, a model cannot be found, or it does not score the task.

    Examples:
        >>> import torch
        >>> from unisim_metrics import UniSimScore
        >>> metric = UniSimScore()
        >>> images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
        >>> metric.update(images, images)
        >>> round(metric.compute().item(), 4)
        1.0
    """

    plot_lower_bound: float = -1.0
    plot_upper_bound: float = 1.0
    ways: ClassVar[tuple[Way, ...]] = SCORED_ALONE

    total: Tensor
    count: Tensor
    scores: list[Tensor]

    def __init__(
        self,
        model_name_or_path: ModelLike = BUNDLED,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        reduction: Literal["mean", "none"] = "mean",
        **kwargs: Any,
    ) -> None:
        if reduction not in ("mean", "none"):
            raise ValueError(f"Argument `reduction` must be one of ('mean', 'none'), but got {reduction!r}.")
        if task == "odd-one-out":
            raise ValueError(
                "Argument `task` must not be 'odd-one-out' for `UniSimScore`: use `UniSimRanking`."
            )
        super().__init__(model_name_or_path, task, method, prompts, **kwargs)
        self.reduction = reduction
        if reduction == "mean":
            self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")
            self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")
        else:
            self.add_state("scores", default=[], dist_reduce_fx="cat")

    @torch.no_grad()
    def update(self, preds: Any, target: Any = None) -> None:
        """Score a batch and add it.

        Args:
            preds: N images or texts.
            target: N images or texts, one text for all, or None for quality and attributes.

        Raises:
            ValueError: If the inputs do not fit together, or mean another task than those before.
            TypeError: If something is neither image nor text.
        """
        task = self._resolve(preds, target)
        embedder = cast(Embedder, self._embedder())
        scores = score_pairs(embedder, preds, target, task, self.method, self.prompts)
        scores = self._prepare(scores, len(scores))
        self._mark(task)
        if self.reduction == "none":
            self.scores.append(scores)
        else:
            self.total = self.total + (scores * FIXED_POINT).round().long().sum()
            self.count = self.count + len(scores)

    def compute(self) -> Tensor:
        """Return the mean score, or all scores; NaN, or an empty tensor, before the first update."""
        if self.reduction == "none":
            empty = torch.empty(0, dtype=self.dtype, device=self.device)
            return dim_zero_cat(self.scores) if len(self.scores) else empty
        return self.total.to(self.dtype) / self.count / FIXED_POINT

    def plot(
        self, val: Tensor | Sequence[Tensor] | None = None, ax: _AX_TYPE | None = None
    ) -> _PLOT_OUT_TYPE:
        """Plot the current value, or the values of several steps.

        Args:
            val: A result of `compute` or `forward`, or several; None computes.
            ax: Matplotlib axes to draw on; None makes a figure.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)
