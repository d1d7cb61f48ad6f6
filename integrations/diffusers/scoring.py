"""Scores of the image as it emerges: UniSim of the preview of every chosen step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE
from torchvision.transforms.functional import to_pil_image

from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task

from ..plotting import figure_and_axes
from .callback import UniSimCallback, pastes_back, predicted
from .previews import Step
from .targets import Target, visible

Verdict = Literal["settled", "hopeless"]


@dataclass(frozen=True)
class EarlyExit:
    """When sampling may end before the last step: once every image of the batch has settled or is hopeless.

    Attributes:
        settled: An image has settled when its score moved by no more than this between the scored steps...
        patience: ... so many times in a row.
        hopeless: An image is hopeless when its score lies below this...
        after: ... past this share of the steps.
    """

    settled: float | None = None
    patience: int = 2
    hopeless: float | None = None
    after: float = 0.5

    def __post_init__(self) -> None:
        if self.settled is None and self.hopeless is None:
            raise ValueError("Arguments `settled` and `hopeless` must not both be None.")
        if self.settled is not None and self.settled < 0:
            raise ValueError(f"Argument `settled` must be at least 0, but got {self.settled}.")
        if self.patience < 1:
            raise ValueError(f"Argument `patience` must be at least 1, but got {self.patience}.")
        if not 0 <= self.after <= 1:
            raise ValueError(f"Argument `after` must be between 0 and 1, but got {self.after}.")

    def judge(self, scores: Tensor, progress: float) -> list[Verdict | None]:
        """Judge each image.

        Args:
            scores: Of the steps so far, `[S, B]`.
            progress: The share of the steps that is done.

        Returns:
            For each image why it needs no further step, or None if it does.
        """
        verdicts: list[Verdict | None] = [None] * scores.shape[1]
        if self.hopeless is not None and progress >= self.after:
            verdicts = ["hopeless" if score < self.hopeless else None for score in scores[-1].tolist()]
        if self.settled is not None and len(scores) > self.patience:
            moved = scores[-self.patience - 1 :].diff(dim=0).abs().amax(dim=0)
            settled = (moved <= self.settled).tolist()
            verdicts = [
                "settled" if rest and verdict is None else verdict
                for rest, verdict in zip(settled, verdicts, strict=True)
            ]
        return verdicts


class UniSimScoreCallback(UniSimCallback):
    """Score the predicted image of a running pipeline after each step.

    diffusers hands a callback neither the predicted image nor what it follows from: the callback listens to the
    scheduler for as long as it is entered, and leaves no trace behind.

    What is scored is `target`: texts (the prompts), images, or nothing for quality and attributes, as with
    `UniSimScore`. The images themselves stay what they are, to the bit.

    Args:
        pipe: The pipeline that will be called.
        target: Texts or images, one for all images of the batch or one for each prompt; None for quality and
            attributes.
        model_name_or_path: What `load_model` takes: a model that scores single pictures, such as an encoder.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        steps: The steps after which to score, negative ones from the end; all if None.
        keep_previews: Whether the previews are kept as pictures.
        vae: Another autoencoder for the previews, such as an `AutoencoderTiny`; the pipeline's own if None.
        early_exit: When to end sampling before the last step; never if None.

    Attributes:
        steps: The steps that were scored.
        timesteps: Their timesteps.
        previews: For each of them the pictures of the batch, if they are kept.
        verdicts: Why each image needed no further step, or None.
        stopped_at: The step after which sampling ended early, or None.

    Raises:
        TypeError: If `pipe` is no pipeline of diffusers.
        ValueError: If the pipeline or the model cannot serve, with the way out.

    Examples:
        ```python
        from diffusers import DiffusionPipeline
        from unisim_metrics.integrations.diffusers import UniSimScoreCallback

        pipe = DiffusionPipeline.from_pretrained("stabilityai/stable-diffusion-xl-base-1.0")
        prompt = "a red fox in the snow"
        with UniSimScoreCallback(pipe, prompt) as callback:
            images = pipe(prompt, callback_on_step_end=callback).images
        callback.scores  # [steps, images]
        ```
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        target: Any = None,
        *,
        model_name_or_path: ModelLike = "unisim-mini",
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        steps: Sequence[int] | None = None,
        keep_previews: bool = False,
        vae: Any = None,
        early_exit: EarlyExit | None = None,
    ) -> None:
        super().__init__(pipe, vae)
        if early_exit is not None:
            _check_exit(pipe)
        self.model = as_model(model_name_or_path)
        # A block of a modular pipeline has made it before, for all its runs.
        made = isinstance(target, Target)
        self.target = target if made else Target(self.model, target, task, method, prompts)
        self.early_exit = early_exit
        self.keep_previews = keep_previews
        self._chosen = None if steps is None else frozenset(steps)
        self.reset()

    @property
    def scores(self) -> Tensor:
        """Scores `[S, B]` of the scored steps, float32 on the CPU."""
        return torch.stack(self._scores) if self._scores else torch.empty(0, 0)

    @property
    def signature(self) -> str:
        """What makes the scores: model and weights, task, prompts, preprocessing, version."""
        return self.target.signature

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self.stopped_at is not None:
            self.pipe._interrupt = False
        super().__exit__(kind, *exception)

    def reset(self) -> None:
        """Forget the sampling run before."""
        self.steps: list[int] = []
        self.timesteps: list[float] = []
        self.previews: list[list[Image.Image]] = []
        self.verdicts: list[Verdict | None] = []
        self.stopped_at: int | None = None
        self._scores: list[Tensor] = []

    def check_batch(self, batch: int) -> None:
        """Check, before the first step, that a batch of so many images can be scored."""
        self.target.check(batch)

    @torch.no_grad()
    def after_step(self, index: int, step: Step, latents: Tensor, made: Tensor) -> Tensor | None:
        """Score the preview; return it in the place of the latents if sampling may end."""
        count = self.steps_in_run
        if self._chosen is not None and not {index, index - count} & self._chosen:
            return None
        x0 = predicted(step, made, last=index == count - 1)
        pictures = self.decoder.preview(step, x0)
        self._scores.append(self.target.scores(visible(self.model, pictures)).cpu())
        self.steps.append(index)
        self.timesteps.append(step.timestep)
        if self.keep_previews:
            self.previews.append([to_pil_image(picture) for picture in pictures.clamp(0, 1).cpu()])
        if self.early_exit is None or index == count - 1:
            return None
        self.verdicts = self.early_exit.judge(self.scores, (index + 1) / count)
        if None in self.verdicts:
            return None
        self.stopped_at = index
        self.pipe._interrupt = True
        return x0.to(latents)

    def plot(self, ax: _AX_TYPE | None = None) -> _PLOT_OUT_TYPE:
        """Plot score against step, a line an image.

        Args:
            ax: Matplotlib axes to draw on; None makes a figure.

        Returns:
            Figure and axes.

        Raises:
            ModuleNotFoundError: If matplotlib is missing.
        """
        figure, axes = figure_and_axes(ax)
        axes.plot(self.steps, self.scores.numpy(), marker="o", markersize=3)
        axes.set_xlabel("step")
        axes.set_ylabel(f"UniSim, {self.target.task}")
        axes.grid(alpha=0.3)
        return figure, axes


def _check_exit(pipe: DiffusionPipeline) -> None:
    name = type(pipe).__name__
    if not hasattr(type(pipe), "interrupt"):
        raise ValueError(f"Argument `early_exit` must be None for {name}, which cannot be interrupted.")
    if pastes_back(pipe):
        raise ValueError(
            f"Argument `early_exit` must be None for {name} with this model: it pastes the kept part of the image"
            " back after every step, and would skip the last of them."
        )
