"""What the trainer reads: records with their images, batch by batch; those with unreadable images are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from unisim_metrics.errors import ImageReadError
from unisim_metrics.models.generative.pictures import to_rgb

from ..errors import TrainingError
from .llava_json import Record
from .tokens import Dialogue, Tokens, write_dialogue

LEFT_OUT = "left_out"
"""The key under which a batch names the records that could not be read, with the reason."""

_MOST_IN_A_ROW = 100


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
