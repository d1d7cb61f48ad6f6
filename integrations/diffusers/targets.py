"""What pictures are scored against: texts, pictures or an attribute, embedded once for a whole sampling run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unisim_metrics.errors import GradientError
from unisim_metrics.functional import cosine_similarity, score_pairs
from unisim_metrics.images import list_images
from unisim_metrics.models import PerceptualModel
from unisim_metrics.models.answering import SCORED_ALONE, Scorer, check_answers, view_of
from unisim_metrics.models.comparing import Embedder, embed
from unisim_metrics.prompts import PromptsLike, check_prompts, resolve_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Task, check_method, check_task, modalities, resolve_task

# The side of the picture that gradients are tried on: judges may refuse smaller ones than generators make.
_PROBE = 256


class Target:
    """A fixed target, for pictures that are still to come.

    Args:
        model: A model that scores single pictures.
        target: M texts or images, or None for quality and attributes.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

    Raises:
        ValueError: If the target does not fit the task, pictures are not what the task scores, or the model does not
            score the task.
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
        self._way = check_answers(model, self.task, SCORED_ALONE)
        self.signature = signature(model, self.task, self.method, self.prompts, SCORED_ALONE)
        self._model = model
        self._view = view_of(model, self.task)
        attribute = resolve_prompts(self.task, self.prompts)
        self._is_attribute = attribute is not None
        self._entries: list[Any] = []
        second = modalities(self.task)[1]
        if self._way == "scores":
            # Kept as it is: such a model looks at picture and target together.
            if second == "text":
                self._entries = [target] if isinstance(target, str) else list(target)
            elif second == "image":
                self._entries = list(list_images(target, "target"))
            return
        with torch.inference_mode(False), torch.no_grad():
            if attribute is not None:
                texts = attribute.texts(self.method)
                self._texts = dict(zip(texts, model.embed_texts(texts), strict=True))
            elif second is not None:
                self._embeddings = embed(model, target, second, self._view)

    def check(self, batch: int) -> None:
        """Check that a batch can be scored: one entry of the target for all, for each, or for each group.

        Raises:
            ValueError: If the batch is no multiple of the target.
        """
        entries = self._count()
        if entries and batch % entries:
            raise ValueError(
                f"The target must have one entry for each prompt of the pipeline, or one for all, but has"
                f" {entries} for a batch of {batch} images."
            )

    def scores(self, pictures: Tensor, embedder: Embedder | None = None) -> Tensor:
        """Scores `[B]` of pictures `[B, 3, H, W]`, as `visible` gives them, with gradients.

        If the target has M < B entries, the first B / M pictures belong to the first of them, and so on: the
        order of a pipeline that makes several images a prompt.

        Args:
            pictures: The pictures.
            embedder: What embeds them in the model's place.
        """
        self.check(len(pictures))
        if self._way == "scores":
            each = len(pictures) // max(1, len(self._entries))
            target = [entry for entry in self._entries for _ in range(each)] or None
            return cast(Scorer, self._model).score(pictures, target, self.task, self.method, self.prompts)
        embeddings = embed(self._model if embedder is None else embedder, pictures, "image", self._view)
        if self._is_attribute:
            known = _Embedded({text: row.to(embeddings.device) for text, row in self._texts.items()})
            return score_pairs(known, embeddings, None, self.task, self.method, self.prompts)
        targets = self._embeddings.to(embeddings.device)
        return cosine_similarity(
            embeddings, targets.repeat_interleave(len(embeddings) // len(targets), dim=0)
        )

    def check_gradient(self) -> None:
        """Check that gradients reach the pictures.

        Raises:
            GradientError: If they do not.
        """
        with torch.inference_mode(False), torch.enable_grad():
            size = (max(1, self._count()), 3, _PROBE, _PROBE)
            pictures = torch.full(size, 0.5, device=self._model.device, requires_grad=True)
            if not self.scores(pictures).requires_grad:
                raise GradientError(
                    f"Model {self._model.name!r} gives scores of {self.task} without a graph."
                )

    def _count(self) -> int:
        """How many entries the target has; 0 for an attribute."""
        if self._is_attribute:
            return 0
        return len(self._entries if self._way == "scores" else self._embeddings)


class _Embedded:
    """Embeddings in the place of the encoder that made them."""

    def __init__(self, texts: dict[str, Tensor]) -> None:
        self._texts = texts

    def embed_images(self, embeddings: Any) -> Tensor:
        return cast(Tensor, embeddings)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self._texts[text] for text in texts])


def visible(model: PerceptualModel, pictures: Tensor) -> Tensor:
    """Pictures `[B, 3, H, W]` that may leave [0, 1], as they look: clipped, with the gradient of unclipped ones.

    A clip would cut the gradient of every pixel at black or white, which are many in a decoded preview. The model
    follows them to their device.
    """
    if model.device != pictures.device:
        model.to(pictures.device)
    return pictures + (pictures.clamp(0, 1) - pictures).detach()
