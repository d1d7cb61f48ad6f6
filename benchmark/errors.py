"""What ends a run of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unisim_metrics.errors import UniSimError

if TYPE_CHECKING:
    from .results.files import SetResult


class BenchmarkError(UniSimError, ValueError):
    """Some of the sets have no figure. The message tells which, and why.

    Attributes:
        failures: The reason, by set.
        results: The results of the other sets, which were run to the end.
    """

    def __init__(self, failures: Mapping[str, str], results: Mapping[str, SetResult] | None = None) -> None:
        self.failures = dict(failures)
        self.results = dict(results or {})
        super().__init__(
            "\n".join(f"Dataset {name!r} has no figure: {why}" for name, why in failures.items())
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.failures, self.results)


class TooFewSamplesError(UniSimError, ValueError):
    """A set has fewer distinct samples than were asked for.

    Attributes:
        available: How many it has.
    """

    def __init__(self, message: str, available: int) -> None:
        self.available = available
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.available)
