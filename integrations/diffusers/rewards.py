"""UniSim scores as one differentiable reward of pictures: alignment, similarity and quality, weighted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unisim_metrics.errors import GradientError
from unisim_metrics.images import Images
from unisim_metrics.metrics.wrappers import EmbedOnce
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method

from .targets import Target, visible


class UniSimReward:
    """Weighted sum of UniSim scores of pictures, with gradients to their pixels.

    Prompts and references are embedded once, pictures once a call. Terms without an input, or with a weight of
    zero, are left out. The reward of a picture does not depend on its neighbours in the batch.

    Args:
        prompt: Texts that the pictures should match, one for all or one for each prompt of the pipeline.
        reference: Images that they should be like, likewise.
        alignment: The weight of the match with the prompt (`image-text`).
        similarity: The weight of the likeness to the reference (`image-image`).
        quality: The weight of the quality.
        model_name_or_path: What `load_model` takes.
        method: How quality is scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

    Raises:
        ValueError: If no term is left, or the model does not score one.
        GradientError: If gradients do not reach the pixels through the model; a `ValueError` too.

    Examples:
        >>> import torch
        >>> from unisim_metrics.integrations.diffusers import UniSimReward
        >>> pictures = torch.rand(2, 3, 64, 64, requires_grad=True)
        >>> UniSimReward("a cat on a sofa", quality=0.5)(pictures).shape
        torch.Size([2])
    """

    def __init__(
        self,
        prompt: str | Sequence[str] | None = None,
        reference: Images | None = None,
        *,
        alignment: float = 1.0,
        similarity: float = 1.0,
        quality: float = 0.0,
        model_name_or_path: ModelLike = "unisim-mini",
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> None:
        self.model = as_model(model_name_or_path)
        self.weights: dict[str, float] = {}
        self._targets: dict[str, Target] = {}
        if prompt is not None and alignment:
            self._add("alignment", alignment, Target(self.model, prompt, "image-text"))
        if reference is not None and similarity:
            self._add("similarity", similarity, Target(self.model, reference, "image-image"))
        if quality:
            self._add("quality", quality, Target(self.model, None, "quality", method, prompts))
        if not self.weights:
            raise ValueError(
                "Arguments `prompt`, `reference` and `quality` must give at least one term of a weight other than 0."
            )

    @property
    def signatures(self) -> dict[str, str]:
        """What makes each term: model and weights, task, prompts, preprocessing, version."""
        return {name: target.signature for name, target in self._targets.items()}

    def check(self, batch: int) -> None:
        """Check that a batch of so many pictures can be scored.

        Raises:
            ValueError: If it is no multiple of the prompts or of the references.
        """
        for target in self._targets.values():
            target.check(batch)

    def terms(self, pictures: Tensor) -> dict[str, Tensor]:
        """The score of each term by its name, not weighted, each `[B]`.

        Args:
            pictures: `[B, 3, H, W]`, black at 0 and white at 1. Values beyond count as black or white, with the
                gradient that they would have without the clip.
        """
        pictures = visible(self.model, pictures)
        embedder = EmbedOnce(self.model)
        return {name: target.scores(pictures, embedder) for name, target in self._targets.items()}

    def __call__(self, pictures: Tensor) -> Tensor:
        """The reward `[B]` of pictures; see `terms`."""
        scores = self.terms(pictures)
        return torch.stack([weight * scores[name] for name, weight in self.weights.items()]).sum(0)

    def _add(self, name: str, weight: float, target: Target) -> None:
        try:
            target.check_gradient()
        except GradientError as error:
            raise GradientError(
                "Argument `model_name_or_path` must be a differentiable model such as 'unisim-mini', but"
                f' {self.model.name!r} has no gradient to the pixels: load it with `resample="bicubic"` if it was'
                " loaded otherwise, or take the best of several images with `best_of_n` instead."
            ) from error
        self.weights[name] = weight
        self._targets[name] = target
