"""Noise that is told by seeds: drawn afresh, or between the noises of several seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .sampling import seeded


@dataclass(frozen=True)
class Noise:
    """A weighted sum of the noises of some seeds. The squares of the weights sum to one, so that it is normal too.

    Attributes:
        seeds: The seeds.
        weights: The weight of each.
    """

    seeds: tuple[int, ...]
    weights: tuple[float, ...] = (1.0,)

    def neighbour(self, seed: int, radius: float) -> Noise:
        """Noise near this one.

        Args:
            seed: Of the noise that is mixed in.
            radius: Its weight, from 0 (this noise again) to 1 (another one altogether).
        """
        kept = math.sqrt(1 - radius**2)
        return Noise((*self.seeds, seed), (*(kept * weight for weight in self.weights), radius))

    @contextmanager
    def drawn(self) -> Iterator[torch.Generator]:
        """A generator for a call of a pipeline, which draws this noise wherever it is asked for normal noise.

        Examples:
            ```python
            with result.noises[0].drawn() as generator:
                pipe(prompt, generator=generator)  # the best image again
            ```
        """
        with drawn([self]) as generators:
            yield generators[0]


@contextmanager
def drawn(noises: Sequence[Noise]) -> Iterator[list[torch.Generator]]:
    """Generators that draw some noises, one each; see `Noise.drawn`."""
    mixed = {}
    for noise in noises:
        generators = [seeded(seed) for seed in noise.seeds]
        mixed[generators[0]] = list(zip(generators, noise.weights, strict=True))
    with _Mixing(mixed):
        yield list(mixed)


class _Mixing(TorchFunctionMode):
    """Lets `torch.randn` draw sums for some generators.

    Args:
        mixed: For a generator the generators and weights of the sum, itself the first.
    """

    def __init__(self, mixed: Mapping[torch.Generator, Sequence[tuple[torch.Generator, float]]]) -> None:
        super().__init__()
        self._mixed = mixed

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Draw a sum if noise of such a generator is asked for."""
        kwargs = kwargs or {}
        generator: Any = kwargs.get("generator")
        if function is not torch.randn or generator not in self._mixed:
            return function(*args, **kwargs)
        parts: list[Tensor] = [
            weight * torch.randn(*args, **{**kwargs, "generator": one})
            for one, weight in self._mixed[generator]
        ]
        return torch.stack(parts).sum(0)
