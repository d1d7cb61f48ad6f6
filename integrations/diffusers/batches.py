"""Several images of one prompt in one call of a pipeline: what it has to be given for each of them.

A pipeline repeats a prompt by itself. What it gets in the place of a prompt it repeats or does not. Of a picture that
it starts from some pipelines take one for all images, but draw the noise of it from the first generator alone: then an
image would not be that of its seed. No signature tells which do so, but what they draw does: a pipeline that has not
drawn the same from each generator, when it comes to its networks, is called again with a picture for each image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .components import networks
from .listening import wrapped

T = TypeVar("T")

LAYERS_FIRST = ("_llama3",)
"""How the names of embeddings end that have the layers of their encoder in the first dimension and then the batch."""

# What pipelines take in the place of a prompt, with a row or an entry for each.
_PER_PROMPT = re.compile("prompt|^(negative_)?(image_embed|attention_mask|prior_token_ids)")

# Pipelines that need more for each image than the picture; by how their names begin. Others repeat masks and pictures
# of a control themselves, and would do so once more.
_PICTURES: dict[str, tuple[str, ...]] = {
    "KandinskyV22Inpaint": ("image", "mask_image"),
    "ZImageControlNetInpaint": ("image", "mask_image", "control_image"),
    "ZImageInpaint": ("image", "mask_image"),
}

# Pipelines that make something else of a batch than of each of its images, though they draw alike for all.
_MIXED = {"StableDiffusionPanorama": "it mixes the views of one image with those of others"}


class DrawnOnce(Exception):
    """A pipeline drew something once for all images of a call, rather than for each from its own generator."""


def check_batch(pipe: Any) -> None:
    """Check that a pipeline makes no other images in one call than alone, as far as its name tells.

    Args:
        pipe: The pipeline.

    Raises:
        ValueError: If it cannot.
    """
    why = next((why for begin, why in _MIXED.items() if type(pipe).__name__.startswith(begin)), None)
    if why is not None:
        raise _not_apart(pipe, why)


class Batches:
    """Calls of a pipeline for several images of one prompt.

    Args:
        pipe: The pipeline.
        arguments: What it is called with for one image.
    """

    def __init__(self, pipe: Any, arguments: Mapping[str, Any]) -> None:
        self._pipe = pipe
        self._arguments = arguments
        # What has to come for each image, as far as is known.
        self._pictures = next(
            (more for begin, more in _PICTURES.items() if type(pipe).__name__.startswith(begin)), ()
        )

    def call(self, run: Callable[[dict[str, Any]], T], count: int) -> T:
        """Call the pipeline, again with a picture for each image if it draws something of it once.

        Args:
            run: Calls the pipeline with the arguments that it gets and new generators, within `drawn_for_each`.
            count: How many images.

        Returns:
            What `run` returns.

        Raises:
            ValueError: If the images cannot be those of their seeds. It is found before the first step.
        """
        if not self._pictures:
            try:
                return run(repeated(self._arguments, count))
            except DrawnOnce:
                if self._arguments.get("padding_mask_crop") is not None:
                    raise _not_apart(
                        self._pipe, "with `padding_mask_crop` it takes but one picture"
                    ) from None
                self._pictures = ("image",)
        try:
            return run(repeated(self._arguments, count, self._pictures))
        except DrawnOnce as error:
            why = _not_apart(self._pipe, "it draws something once for all of them")
            raise error.__cause__ or why from None


@contextmanager
def drawn_for_each(pipe: Any, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Let a pipeline come to its networks only if it has drawn the same from each generator.

    Args:
        pipe: The pipeline.
        generators: Those that it is called with.

    Raises:
        DrawnOnce: If it has not. Where it then failed, as some do that have one picture for several images, its error
            is the cause.
    """
    draws = _Draws(generators)

    def check(arguments: dict[str, Any]) -> None:
        if not draws.alike:
            raise DrawnOnce

    with ExitStack() as watching:
        for network in networks(pipe):
            watching.enter_context(wrapped(network, "forward", check))
        watching.enter_context(draws)
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if draws.alike:
                raise
            raise DrawnOnce from error
    check({})  # of a pipeline whose networks are no modules of torch


class _Draws(TorchFunctionMode):
    """Keeps what was drawn from generators: of each the functions, with the shapes of what they gave."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self._drawn: dict[torch.Generator, list[tuple[Any, Any]]] = {one: [] for one in generators}

    @property
    def alike(self) -> bool:
        """Whether the same was drawn from each."""
        first, *others = self._drawn.values()
        return all(other == first for other in others)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Keep the call of a function that draws from one of the generators."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        generator = kwargs.get("generator")
        if isinstance(generator, torch.Generator) and generator in self._drawn:
            self._drawn[generator].append((function, result.shape))
        return result


def repeated(arguments: Mapping[str, Any], count: int, pictures: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments for `count` images of one prompt.

    Args:
        arguments: Those for one image.
        count: How many images.
        pictures: The arguments of which there is to be one for each image, too.
    """
    given = {
        name: _pictures(value, count) if name in pictures and value is not None else value
        for name, value in arguments.items()
    }
    if "prompt" in given:
        return {**given, "num_images_per_prompt": count}
    # Some pipelines repeat embeddings that they get, others do not; none repeats where there is one for each image.
    return {
        name: _embeddings(name, value, count) if _PER_PROMPT.search(name) else value
        for name, value in given.items()
    }


def _not_apart(pipe: Any, why: str) -> ValueError:
    return ValueError(
        f"Arguments `prune` and `batch_size` must be None and 1 for {type(pipe).__name__}, whose candidates cannot be"
        f" told apart: {why}."
    )


def _pictures(value: Any, count: int) -> Any:
    """A picture as often as there are images; several are left as they are."""
    if isinstance(value, Tensor):
        batch = value if value.ndim == 4 else value.unsqueeze(0)
        return batch.repeat(count, 1, 1, 1) if len(batch) == 1 else value
    if isinstance(value, list | tuple):
        return list(value) * count if len(value) == 1 else value
    return [value] * count


def _embeddings(name: str, value: Any, count: int) -> Any:
    """What stands in the place of a single prompt, in a batch or in a list, for `count` images of it."""
    if not isinstance(value, Tensor):
        return value * count if isinstance(value, list) else value
    if name.endswith("cu_seqlens"):  # where the tokens of each begin and end
        return value[-1] * torch.arange(count + 1, dtype=value.dtype, device=value.device)
    return value.repeat_interleave(count, dim=1 if name.endswith(LAYERS_FIRST) else 0)
