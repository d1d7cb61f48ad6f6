"""What a folder of scores holds, and which of its rows are worth keeping; both in streams."""

from __future__ import annotations

import fnmatch
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.collections.arrow import parquet, pyarrow
from unisim_metrics.collections.folders import open_folder
from unisim_metrics.collections.order import order_statistics
from unisim_metrics.collections.output import SETTINGS_FILE, SIGNATURE, SUCCESS_FILE
from unisim_metrics.collections.scorer import EMBEDDING, ERROR, SCORE

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)

_CONFIDENCE = 0.95
_ROWS = 65_536


@dataclass(frozen=True)
class Summary:
    """The scores of a folder.

    Attributes:
        signature: What made them.
        count: How many rows have a score.
        errors: How many have none.
        mean: Their mean; NaN if there is none, as all that follows.
        interval: Its 95 % confidence interval, for rows that are drawn independently.
        deviation: Their standard deviation.
        percentiles: The smallest score that at least so many percent do not exceed, by percent.
        edges: Where the bars of the histogram begin and end, `[B + 1]`, from the smallest score to the largest.
        bars: How many scores stand in each, `[B]`.
        above: The share of scores at or above the threshold, if one was given.
        is_complete: Whether all shards are there.
    """

    signature: str
    count: int
    errors: int
    mean: float
    interval: tuple[float, float]
    deviation: float
    percentiles: dict[int, float]
    edges: tuple[float, ...]
    bars: tuple[int, ...]
    above: float | None
    is_complete: bool


def summarize_collection(
    folder: str | os.PathLike[str], *, threshold: float | None = None, bars: int = 20
) -> Summary:
    """Summarize the shards of a folder that `score_collection` has written to, complete or not.

    Percentiles are exact. The shards are gone through four times, in memory that does not grow with them.

    Args:
        folder: The folder, a path or a URL of fsspec.
        threshold: Of what score the share at or above it is told.
        bars: How many bars the histogram has.

    Raises:
        ValueError: If it holds no scores, shards have different signatures, or `bars` is less than 1.
        OSError: If a shard cannot be read.
    """
    if bars < 1:
        raise ValueError(f"Argument `bars` must be at least 1, but got {bars}.")
    shards = _Shards(folder)
    count = above = 0
    shift = total = squares = 0.0
    low, high = math.inf, -math.inf
    for scores in shards.scores():
        if not count and scores.size:
            shift = float(scores[0])  # sums of differences from any score lose fewer digits
        count += scores.size
        centred = scores.astype(np.float64) - shift
        total += centred.sum()
        squares += (centred**2).sum()
        if scores.size:
            low, high = min(low, float(scores.min())), max(high, float(scores.max()))
        above += 0 if threshold is None else int((scores >= np.float32(threshold)).sum())
    if not count:
        nan = math.nan
        return Summary(
            *(shards.signature, 0, shards.rows, nan, (nan, nan), nan, dict.fromkeys(PERCENTILES, nan)),
            *((), (), None if threshold is None else nan, shards.is_complete),
        )
    mean = shift + total / count
    deviation = math.sqrt(max(squares - total**2 / count, 0) / (count - 1)) if count > 1 else 0.0
    margin = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2) * deviation / math.sqrt(count)
    edges = np.linspace(low, high, bars + 1)
    heights = np.zeros(bars, np.int64)
    for scores in shards.scores():
        heights += np.histogram(scores, edges)[0] if high > low else 0
    if high == low:
        heights[-1] = count
    ranks = [max(math.ceil(percent * count / 100) - 1, 0) for percent in PERCENTILES]
    return Summary(
        shards.signature,
        count,
        shards.rows - count,
        mean,
        (mean - margin, mean + margin),
        deviation,
        dict(zip(PERCENTILES, order_statistics(shards.scores, ranks), strict=True)),
        tuple(edges.tolist()),
        tuple(heights.tolist()),
        None if threshold is None else above / count,
        shards.is_complete,
    )


def filter_collection(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    top: float | None = None,
    above: float | None = None,
) -> int:
    """Write the rows with the highest scores into one Parquet file, in the order of the shards, without embeddings.

    Args:
        folder: A folder that `score_collection` has completed, a path or a URL of fsspec.
        output: The file; it appears when it is complete.
        top: Which share of the rows that have a score is kept, in (0, 1]; of rows that tie at its end all.
        above: The lowest score that is kept.

    Returns:
        How many rows were kept.

    Raises:
        ValueError: If not exactly one of `top` and `above` is given, or is out of its range; if the folder holds no
            scores, or not yet all.
        OSError: If a shard cannot be read, or the file cannot be written.
    """
    if (top is None) == (above is None):
        raise ValueError("Exactly one of the arguments `top` and `above` must be given.")
    if top is not None and not 0 < top <= 1:
        raise ValueError(f"Argument `top` must be a share in (0, 1], but got {top}.")
    shards = _Shards(folder)
    if not shards.is_complete:
        raise ValueError(f"{shards.name} is not complete: run the job that writes it to its end first.")
    if above is None:
        assert top is not None
        count = sum(scores.size for scores in shards.scores())
        # The shortest list that holds so large a share; a product that is whole but for rounding stays so.
        kept = math.ceil(round(top * count, 9))
        above = order_statistics(shards.scores, [count - kept])[0] if count else math.inf
    return shards.write(Path(output), above)


class _Shards:
    """The complete shards of a folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = open_folder(folder)
        self.name = self._folder.name
        names = self._folder.names()
        self._files = sorted(fnmatch.filter(names, "part-*.parquet"), key=lambda name: (len(name), name))
        if not self._files:
            hint = "" if SETTINGS_FILE in names else f", nor {SETTINGS_FILE}"
            raise ValueError(
                f"Argument `folder` must hold scores of a collection, but {self.name} has no part-*.parquet{hint}."
            )
        self.is_complete = SUCCESS_FILE in names
        self.rows = 0
        signatures = set()
        for file in self._files:
            try:
                metadata = parquet.read_metadata(self._folder.place(file), filesystem=self._folder.arrow)
            except pyarrow.ArrowException as error:
                raise OSError(f"{self._folder.place(file)} cannot be read: {error}") from error
            self.rows += metadata.num_rows
            signatures.add((metadata.metadata or {}).get(SIGNATURE, b"").decode())
        if len(signatures) > 1 or "" in signatures:
            raise ValueError(
                f"Argument `folder` must hold scores of one signature, but {self.name} has {sorted(signatures)}."
            )
        self.signature = signatures.pop()

    def scores(self) -> Iterator[NDArray[np.float32]]:
        """All scores, in pieces, without those of rows that have none."""
        for batch in self._batches([SCORE, ERROR]):
            scores: Any = batch.column(SCORE).to_numpy(zero_copy_only=False)
            yield scores[~np.isnan(scores)]

    def write(self, output: Path, lowest: float) -> int:
        """Write the rows from a score on into a file."""
        fields = [
            field
            for field in parquet.read_schema(
                self._folder.place(self._files[0]), filesystem=self._folder.arrow
            )
            if field.name not in (EMBEDDING, ERROR)
        ]
        schema = pyarrow.schema(fields, {SIGNATURE: self.signature.encode()})
        torn = output.with_name(f".unisim-{output.name}")
        count = 0
        try:
            with parquet.ParquetWriter(torn, schema) as writer:
                for batch in self._batches(schema.names):
                    scores = batch.column(SCORE).to_numpy(zero_copy_only=False)
                    kept = batch.filter(pyarrow.array(scores >= np.float32(lowest)))
                    writer.write_table(pyarrow.Table.from_batches([kept]).cast(schema))
                    count += kept.num_rows
            os.replace(torn, output)
        finally:
            torn.unlink(missing_ok=True)
        return count

    def _batches(self, columns: Sequence[str]) -> Iterator[Any]:
        for file in self._files:
            place, system = self._folder.place(file), self._folder.arrow
            with closing(parquet.ParquetFile(place, filesystem=system)) as opened:
                yield from opened.iter_batches(_ROWS, columns=list(columns))
