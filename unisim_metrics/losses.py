"""The differentiable path: UniSim scores as a loss on pixels."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from unisim_metrics.columns import as_lists
from unisim_metrics.maths.ranking import check_choices, hinge_loss
from unisim_metrics.metrics.backbone import Backbone
from unisim_metrics.models import PerceptualModel
from unisim_metrics.models.answering import SCORED_ALONE, check_answers
from unisim_metrics.models.comparing import check_groups, compare, score_pairs
from unisim_metrics.models.kept import ModelLike
from unisim_metrics.prompts import PromptsLike, check_prompts
from unisim_metrics.tasks import Method, Task, check_method, check_task


class UniSimLoss(nn.Module):
    """One minus the UniSim score, with gradients to float images that require them.

    Takes what `UniSimScore` takes. For `task="odd-one-out"` it takes triplets of images and the position of
    the odd one, and returns the hinge loss of the paper (Eq. 1) on the three scores.

    Inside `torch.autocast` the model keeps its own precision, as in the metrics, so that the loss is one minus the
    score that they give: to save memory load the model with `dtype=torch.bfloat16`, which the weights' hash tells.

    The model's weights get no gradient and are not part of `parameters()` or `state_dict()`; the model
    follows the device of the images.

    Args:
        model_name_or_path: What `load_model` takes: a name, a directory, a Hub id, a model, an `nn.Module`.
        task: The task; inferred if None.
        method: How quality and attributes are scored, `"naive"` or `"clip-iqa"`.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        margin: The hinge's margin for `odd-one-out`.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: If an argument is out of its range, a model cannot be found, or it does not score the task.

    Examples:
        >>> import torch
        >>> from unisim_metrics import UniSimLoss
        >>> image = torch.rand(1, 3, 128, 128, requires_grad=True)
        >>> UniSimLoss()(image, "a cat on a sofa").backward()
        >>> image.grad.shape
        torch.Size([1, 3, 128, 128])
    """

    def __init__(
        self,
        model_name_or_path: ModelLike = "unisim-mini",
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        margin: float = 0.05,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"Argument `reduction` must be one of ('mean', 'sum', 'none'), but got {reduction!r}."
            )
        self.task = check_task(task)
        self.method = check_method(method)
        self.prompts = check_prompts(prompts)
        self.margin = margin
        self.reduction = reduction
        self._backbone = Backbone(model_name_or_path)
        if self.task is not None:
            check_answers(self.model, self.task, SCORED_ALONE)

    @property
    def model(self) -> PerceptualModel:
        """The model that scores."""
        return self._backbone.model

    def extra_repr(self) -> str:
        """The model and the task."""
        task = "inferred" if self.task is None else repr(self.task)
        return f"model={self._backbone.name!r}, task={task}"

    def forward(self, preds: Any, target: Any = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            preds: N images or texts; for odd-one-out `[N, 3, C, H, W]` or N triplets.
            target: N images or texts, or one text, as a plain `str`, for all; None for quality and attributes;
                for odd-one-out the position of the odd image, integers `[N]`.

        Returns:
            A scalar; with `reduction="none"` `[N]` (odd-one-out: `[N, 2]`).

        Raises:
            ValueError: If the inputs do not fit together.
            TypeError: If something is neither image nor text.
        """
        preds, target = as_lists(preds), as_lists(target)
        device = next((x.device for x in (preds, target) if isinstance(x, Tensor) and x.ndim > 2), None)
        if device is not None and device != self.model.device:
            self.model.to(device)
        if self.task == "odd-one-out":
            _, sizes = check_groups(preds, None, self.task, names=("preds", "target"))
            odd = check_choices(target, torch.tensor(sizes, device=self.model.device), name="target")
            return hinge_loss(compare(self.model, None, preds, self.task), odd, self.margin, self.reduction)
        losses = 1 - score_pairs(self.model, preds, target, self.task, self.method, self.prompts)
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()
