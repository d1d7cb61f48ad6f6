"""The base of models that answer some tasks by scores of their own, beside or instead of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from unisim_metrics.errors import ModelUnavailableError
from unisim_metrics.images import list_images
from unisim_metrics.models.answering import MAIN_VIEW, check_answers
from unisim_metrics.models.encoders.base import EncoderModel
from unisim_metrics.models.evaluation import evaluation_mode, own_precision
from unisim_metrics.models.loading_options import Options
from unisim_metrics.models.sources.hub import fetch_dataset, fetch_file
from unisim_metrics.prompts import check_prompts, resolve_prompts
from unisim_metrics.tasks import check_method

if TYPE_CHECKING:
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task


@dataclass(frozen=True)
class JudgeSource:
    """What a judge is read from.

    Attributes:
        path: The file of its weights.
        name: What the signature calls it; its name in the registry.
        options: What the caller chose.
    """

    path: Path
    name: str
    options: Options

    @property
    def truncate(self) -> bool:
        """Whether texts longer than the context are cut."""
        return self.options.truncate

    @property
    def cache_dir(self) -> str | Path | None:
        """Where the Hub's cache is, if not where ``huggingface_hub`` puts it."""
        return self.options.cache_dir

    def fetch(self, repository: str, file: str, revision: str) -> Path:
        """Return what a judge needs beside its weights, a file of the Hub.

        Raises:
            ModelUnavailableError: If it cannot be fetched.
        """
        try:
            return fetch_file(repository, file, revision, **self.options.hub())
        except OSError as error:
            raise ModelUnavailableError(
                f"The model `{self.name}` needs {file} of `{repository}`, which could not be fetched: {error}. On a"
                f" machine with a network run `hf download {repository} {file} --revision {revision}` and copy the"
                " Hub's cache here."
            ) from error

    def fetch_dataset(self, repository: str, patterns: Sequence[str], by_hand: Path) -> Path:
        """Return the folder of what a judge needs beside its weights, files of a data set of the Hub.

        Args:
            repository: The data set's id.
            patterns: Which of its files.
            by_hand: Where they can be put instead, for error texts.

        Raises:
            ModelUnavailableError: If they cannot be fetched.
        """
        try:
            return fetch_dataset(repository, patterns, **self.options.hub())
        except OSError as error:
            raise ModelUnavailableError(
                f"The model `{self.name}` needs the data set `{repository}`, which could not be fetched: {error}. On a"
                f" machine with a network run `hf download {repository} --repo-type dataset --local-dir anchors` and"
                f" put the folder at {by_hand}."
            ) from error


class Judge(EncoderModel):
    """A model that scores a picture alone, or a picture with a text, by more than a cosine.

    A subclass says in `tasks` which tasks it answers, and which of them by `"scores"`: those named in `rated` by
    `rate`, the others by `match`. For tasks by `"embeddings"` it is an encoder, with spaces of its own in `views`.
    """

    rated: ClassVar[frozenset[Task]] = frozenset()
    """The tasks whose score is a rating of the picture alone."""

    # What a subclass says.

    def rate(self, pixels: Tensor) -> Tensor:
        """Rate prepared images: `[N]`, higher is better."""
        raise NotImplementedError

    def match(self, pixels: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
        """Score prepared images against as many texts, whose tokens `tokenize` gave: `[N]`, higher is closer."""
        raise NotImplementedError

    # What follows from it.

    def score(
        self,
        preds: Any,
        target: Any,
        task: Task,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N images or texts against as many others, or by themselves.

        Args:
            preds: N images; for `caption` texts.
            target: N texts, for `caption` images; None for quality and attributes.
            task: A task that the model answers by scores.
            method: How quality and attributes are scored where a text stands for them: `"naive"`, or `"clip-iqa"` for
                the probability of the positive of two antonym prompts, a softmax of their two scores.
            prompts: The texts of quality and attributes.

        Returns:
            Scores `[N]`, float32 (float64 for a model in float64), on the model's device. They carry a graph only if
            the images require gradients and gradients are enabled.

        Raises:
            ValueError: If the model does not answer the task so, inputs do not fit together, or a rating is asked for
                by a prompt.
            TypeError: If something is neither image nor text.
        """
        check_answers(self, task, ("scores",))
        if task in self.rated:
            self._check_unprompted(task, method, prompts)
            return self._batched(list_images(preds, "preds"), None, lambda pixels, _: self.rate(pixels))
        attribute = resolve_prompts(task, prompts)
        if attribute is None:
            images, texts = (target, preds) if task == "caption" else (preds, target)
            return self._match(list_images(images), list(texts))
        images = list_images(preds, "preds")
        scores = [self._match(images, [text] * len(images)) for text in attribute.texts(check_method(method))]
        return scores[0] if method == "naive" else torch.sigmoid(scores[0] - scores[1])

    def _match(self, images: Sequence[Any], texts: Sequence[str]) -> Tensor:
        with torch.no_grad(), own_precision(), evaluation_mode(self.backbone):
            tokens = self.tokenize(texts)
        return self._batched(images, tokens, self.match)

    def _batched(
        self,
        images: Sequence[Any],
        tokens: Mapping[str, Tensor] | None,
        run: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    ) -> Tensor:
        size = self._batch_size(None)
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        parts = []
        for start in range(0, len(images), size):
            rows = {key: value[start : start + size] for key, value in (tokens or {}).items()}
            parts.append(
                self._pass(
                    list(images[start : start + size]),
                    MAIN_VIEW,
                    lambda pixels, rows=rows: run(pixels, rows).to(dtype),  # type: ignore[misc]
                )
            )
        return torch.cat(parts)

    def _check_unprompted(self, task: Task, method: Method, prompts: PromptsLike) -> None:
        if check_method(method) != "naive":
            raise ValueError(
                f"Argument `method` must be 'naive' for task {task!r} of model {self.name!r}, which rates a picture"
                f" without a prompt, but got {method!r}."
            )
        if check_prompts(prompts) is not None:
            raise ValueError(
                f"Argument `prompts` must be None for task {task!r} of model {self.name!r}, which rates a picture"
                f" without a prompt, but got {prompts!r}."
            )
