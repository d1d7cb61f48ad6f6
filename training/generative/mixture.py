"""Several sources of records as one sequence, in stated shares that hold all along it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from unisim_metrics.benchmark.samples import Stream

from .llava_json import Record


class Mixture(Sequence[Record]):
    """Records of several sources, a stated number of each, in random order.

    A source goes through its records in random order, each once before any comes again. The sources are spread over the
    whole: among the first `n` records, each has its share of `n`, up to one record.

    Args:
        sources: The records, by the name of their source.
        counts: How many of each source there are in the mixture.
        seed: Of the order.

    Attributes:
        counts: How many records there are of each source.

    Raises:
        ValueError: If the names differ, a source is empty, or a count is negative.
    """

    def __init__(
        self, sources: Mapping[str, Sequence[Record]], counts: Mapping[str, int], seed: int = 0
    ) -> None:
        if sources.keys() != counts.keys():
            raise ValueError(
                "Arguments `sources` and `counts` must have the same names, but they differ in"
                f" {sorted(sources.keys() ^ counts.keys())}."
            )
        for name, count in counts.items():
            if count < 0 or (count and not len(sources[name])):
                raise ValueError(f"Source {name!r} must give at least 0 records, of some, but got {count}.")
        self.sources = tuple(sources.values())
        self.names = tuple(sources)
        self.counts = dict(counts)
        origins, keys, rows = [], [], []
        for place, (name, source) in enumerate(sources.items()):
            stream, count = Stream("mixture", seed, name), counts[name]
            # One record in each of `count` equal stretches, anywhere in it.
            jitter = stream.words(count, "place").astype(np.float64) / 2.0**64
            keys.append((np.arange(count) + jitter) / max(count, 1))
            rows.append(_rows(stream, count, len(source)))
            origins.append(np.full(count, place))
        order = np.argsort(np.concatenate(keys), kind="stable")
        self._origins = np.concatenate(origins)[order]
        self._rows = np.concatenate(rows)[order]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        record: Record = self.sources[self._origins[index]][int(self._rows[index])]
        return record

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def origin(self, index: int) -> str:
        """Return the name of the source of a record."""
        name: str = self.names[self._origins[index]]
        return name


def _rows(stream: Stream, count: int, size: int) -> np.ndarray:
    """Which records of a source come, `count` of `size`, one permutation after another."""
    passes = -(-count // size) if size else 0
    orders = [stream.permutation(size, f"pass {number}") for number in range(passes)]
    return np.concatenate(orders)[:count] if orders else np.zeros(0, dtype=np.int64)
