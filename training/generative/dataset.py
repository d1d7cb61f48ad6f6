"""What the trainer reads: several sources of records as one sequence, and their images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from unisim_metrics.errors import ImageReadError
from unisim_metrics.models.generative.pictures import to_rgb
from unisim_metrics.statistics.stream import Stream

from ..errors import TrainingError
from .llava_json import Record
from .tokens import Dialogue, Tokens, write_dialogue

LEFT_OUT = "left_out"
"""The key under which a batch names the records that could not be read, with the reason."""

_MOST_IN_A_ROW = 100


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


@dataclass(frozen=True)
class Item:
    """A record that can be used.

    Attributes:
        dialogue: Its conversation.
        images: Its images, RGB.
        left_out: The records in whose place it comes, by id, with the reason.
    """

    dialogue: Dialogue
    images: tuple[Image.Image, ...]
    left_out: dict[str, str] = field(default_factory=dict)


class Conversations(Dataset[Item]):
    """Records with their images. In the place of a record that cannot be read comes the next that can.

    Args:
        records: The records.
        tokens: The tokens of the model.
    """

    def __init__(self, records: Sequence[Record], tokens: Tokens) -> None:
        self.records = records
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Item:
        left_out: dict[str, str] = {}
        for offset in range(min(len(self.records), _MOST_IN_A_ROW)):
            record = self.records[(index + offset) % len(self.records)]
            try:
                images = tuple(to_rgb(path) for path in record.images)
            except ImageReadError as error:
                left_out[record.id] = str(error)
                continue
            return Item(write_dialogue(record, self.tokens.chat), images, left_out)
        raise TrainingError(
            f"At least one of {len(left_out)} records in a row must be readable, but none is, the first of them:"
            f" {next(iter(left_out.values()))}"
        )

    def collate(self, items: Sequence[Item]) -> dict[str, Any]:
        """Join records into a batch: what the model takes, labels, and what was left out."""
        batch: dict[str, Any] = dict(
            self.tokens([item.dialogue for item in items], [item.images for item in items])
        )
        if batch.get("pixel_values") is not None and batch["pixel_values"].ndim == 4:
            # Convolutions are quicker with the channels last, some 1.5 times on CPUs.
            batch["pixel_values"] = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        batch[LEFT_OUT] = {name: reason for item in items for name, reason in item.left_out.items()}
        return batch
