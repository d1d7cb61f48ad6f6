"""What a validation renders: prompts, the seeds of their pictures, and the images that these are held against."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unisim_metrics.columns import as_lists
from unisim_metrics.images import is_image, list_images
from unisim_metrics.metrics.wrappers import content_of
from unisim_metrics.statistics.clusters import Clusters

# Seeds that PyTorch and NumPy both take lie below.
_SEEDS = 2**32


class Sample(NamedTuple):
    """One picture of a validation: its prompt, its seed, and the images that it is held against."""

    prompt: str
    seed: int
    references: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """The pictures that every validation renders, in their order: all seeds of a prompt, then those of the next.

    Args:
        prompts: The P texts.
        references: For each prompt an image or several; None if there are none.
        seeds_per_prompt: How many pictures each prompt has.
        seed: The seed of the first picture; every further picture has the next one.

    Raises:
        ValueError: If there is no prompt, an argument is out of its range, or the references are of another number.
        TypeError: If a prompt is no text, or a reference no image.
    """

    prompts: Sequence[str]
    references: Sequence[Any] | None = None
    seeds_per_prompt: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        prompts = as_lists(self.prompts)
        if isinstance(prompts, str) or not isinstance(prompts, Sequence):
            raise TypeError(f"Argument `prompts` must be a list of texts, but got {type(prompts).__name__}.")
        for place, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise TypeError(
                    f"Argument `prompts` must hold texts, but got {type(prompt).__name__} at position {place}."
                )
        if not prompts:
            raise ValueError("Argument `prompts` must hold at least one text, but it is empty.")
        object.__setattr__(self, "prompts", tuple(prompts))
        check_count("seeds_per_prompt", self.seeds_per_prompt, 1)
        check_count("seed", self.seed, 0)
        if self.seed + len(self) > _SEEDS:
            raise ValueError(
                f"Argument `seed` must leave room for {len(self)} seeds below 2**32, but got {self.seed}."
            )
        if self.references is not None:
            object.__setattr__(self, "references", _as_sets(self.references, len(prompts)))

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.prompts) * self.seeds_per_prompt

    @property
    def samples(self) -> list[Sample]:
        """The pictures in their order."""
        return [
            Sample(
                prompt,
                self.seed + place * self.seeds_per_prompt + number,
                () if self.references is None else self.references[place],
            )
            for place, prompt in enumerate(self.prompts)
            for number in range(self.seeds_per_prompt)
        ]

    @property
    def clusters(self) -> Clusters:
        """Which pictures hang together: those of one text. With a single text each picture stands by itself."""
        numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(self.prompts))}
        if len(numbers) == 1:
            return Clusters.independent(len(self))
        return Clusters(np.array([numbers[sample.prompt] for sample in self.samples]))

    def describe(self) -> dict[str, Any]:
        """What tells one plan from another, as JSON knows it; of references the SHA-256 of their pixels."""
        sets = self.references or [()] * len(self.prompts)
        # Photos of one subject stand with every prompt.
        distinct = {id(image): image for images in sets for image in images}
        known = {number: _digest(image) for number, image in distinct.items()}
        return {
            "prompts": list(self.prompts),
            "seeds_per_prompt": self.seeds_per_prompt,
            "seed": self.seed,
            "references": [[known[id(image)] for image in images] for images in sets],
        }


def check_count(name: str, value: Any, least: int) -> None:
    """Check that an argument is an integer of at least so much.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"Argument `{name}` must be an integer of at least {least}, but got {value!r}.")


def _as_sets(references: Any, count: int) -> tuple[tuple[Any, ...], ...]:
    """The references of each prompt."""
    references = as_lists(references)
    if getattr(references, "ndim", 0) == 4:
        references = list(references)
    if is_image(references) or isinstance(references, str) or len(references) != count:
        got = type(references).__name__ if not isinstance(references, list | tuple) else str(len(references))
        raise ValueError(
            f"Argument `references` must hold an image, or a list of images, for each of the {count} prompts, but got"
            f" {got}: photos of one subject for all prompts are given as `subject`."
        )
    return tuple(
        tuple(list_images(entry if isinstance(entry, list | tuple) else [entry], "references"))
        for entry in references
    )


def _digest(image: Any) -> str:
    return hashlib.sha256("\n".join(content_of(image, "image")).encode()).hexdigest()
