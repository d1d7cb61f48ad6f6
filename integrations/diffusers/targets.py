"""What pictures are scored against: texts, pictures or an attribute, embedded once for a whole sampling run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unisim_metrics.functional import cosine_similarity, score_pairs
from unisim_metrics.models import PerceptualModel
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike, check_prompts, resolve_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Task, check_method, check_task, modalities, resolve_task


class Target:
    """A fixed target, for pictures that are embedded by the caller.

    Args:
        model: An encoder.
        target: M texts or images, or None for quality and attributes.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

    Raises:
        ValueError: If the target does not fit the task, or pictures are not what the task scores.
        TypeError: If the target is neither image nor text.
    """

    def __init__(
        self,
        model: PerceptualModel,
        target: Any = None,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> None:
        picture = torch.zeros(1, 3, 1, 1)  # stands for what will be scored
        self.task = resolve_task(check_task(task), picture, target, names=("images", "target"))
        if self.task == "odd-one-out":
            raise ValueError("Argument `task` must not be 'odd-one-out', which takes three images a sample.")
        self.method = check_method(method)
        self.prompts = check_prompts(prompts)
        self.signature = signature(model, self.task, self.method, self.prompts)
        attribute = resolve_prompts(self.task, self.prompts)
        with torch.inference_mode(False), torch.no_grad():
            if attribute is not None:
                texts = attribute.texts(self.method)
                self._texts = dict(zip(texts, model.embed_texts(texts), strict=True))
            elif modalities(self.task)[1] == "text":
                self._embeddings = model.embed_texts(target)
            else:
                self._embeddings = model.embed_images(target)
        self._is_attribute = attribute is not None

    def check(self, batch: int) -> None:
        """Check that a batch can be scored: one entry of the target for all, for each, or for each group.

        Raises:
            ValueError: If the batch is no multiple of the target.
        """
        if not self._is_attribute and batch % len(self._embeddings):
            raise ValueError(
                f"The target must have one entry for each prompt of the pipeline, or one for all, but has"
                f" {len(self._embeddings)} for a batch of {batch} images."
            )

    def scores(self, embeddings: Tensor) -> Tensor:
        """Scores `[B]` of embedded pictures `[B, D]`.

        If the target has M < B entries, the first B / M pictures belong to the first of them, and so on: the
        order of a pipeline that makes several images a prompt.
        """
        self.check(len(embeddings))
        if self._is_attribute:
            embedder = _Embedded({text: row.to(embeddings.device) for text, row in self._texts.items()})
            return score_pairs(embedder, embeddings, None, self.task, self.method, self.prompts)
        targets = self._embeddings.to(embeddings.device)
        return cosine_similarity(
            embeddings, targets.repeat_interleave(len(embeddings) // len(targets), dim=0)
        )


class _Embedded:
    """Embeddings in the place of the encoder that made them."""

    def __init__(self, texts: dict[str, Tensor]) -> None:
        self._texts = texts

    def embed_images(self, embeddings: Any) -> Tensor:
        return cast(Tensor, embeddings)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self._texts[text] for text in texts])


def load_encoder(model_name_or_path: ModelLike, differentiable: bool = False) -> PerceptualModel:
    """Load a model that scores by embeddings.

    Args:
        model_name_or_path: What `load_model` takes; a model loaded by name is kept for the next call.
        differentiable: Whether gradients have to reach the pixels.

    Raises:
        ValueError: If the model embeds no pictures, or gradients do not reach the pixels.
    """
    model = as_model(model_name_or_path)
    with torch.inference_mode(False), torch.enable_grad():
        pixels = torch.full((1, 3, 32, 32), 0.5, device=model.device, requires_grad=differentiable)
        try:
            embedding = model.embed_images(pixels)
            reached = embedding.requires_grad or not differentiable
        except Exception as error:
            raise ValueError(_not_an_encoder(model, "embeds no pictures")) from error
    if not reached:
        raise ValueError(_not_an_encoder(model, "has no gradient to the pixels"))
    return model


def embed_pictures(model: PerceptualModel, pictures: Tensor) -> Tensor:
    """Embed pictures `[B, 3, H, W]` that may leave [0, 1], as they look: clipped, with the gradient of unclipped ones.

    A clip would cut the gradient of every pixel at black or white, which are many in a decoded preview.
    """
    if model.device != pictures.device:
        model.to(pictures.device)
    return model.embed_images(pictures + (pictures.clamp(0, 1) - pictures).detach())


def _not_an_encoder(model: PerceptualModel, why: str) -> str:
    return (
        f"Argument `model_name_or_path` must be an encoder such as 'unisim-mini' or a CLIP model, but {model.name!r}"
        f" {why}: rank the finished images with `unisim_metrics.functional.unisim_rank` instead."
    )
