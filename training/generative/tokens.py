"""From conversations to tokens, with labels on what the assistant says and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisim_metrics.models.generative.chat import Chat
from unisim_metrics.models.generative.illustrated import adds_special_tokens
from unisim_metrics.models.generative.instructions import IMAGE, ImagePart, Part

from ..errors import TrainingError
from .llava_json import Record

IGNORED = -100
"""The label of a token that the loss passes over."""


@dataclass(frozen=True)
class Dialogue:
    """A conversation as the model reads it.

    Attributes:
        name: The record's id.
        text: The whole of it, an image token in the place of each image.
        answers: Where in the text the answers stand, from and to, each with what ends its turn.
    """

    name: str
    text: str
    answers: tuple[tuple[int, int], ...]


def write_dialogue(record: Record, chat: Chat) -> Dialogue:
    """Write a record in the chat form of a model.

    Raises:
        TrainingError: If the template writes a conversation otherwise than its first turns.
    """
    messages: list[dict[str, Any]] = []
    answers = []
    text = ""
    for turn in record.turns:
        if turn.role == "user":
            messages.append(chat.user(_parts(turn.text)))
            continue
        asked = chat.render(messages, add_generation_prompt=True)
        messages.append({**chat.user([turn.text]), "role": "assistant"})
        answered = chat.render(messages, add_generation_prompt=False)
        if not asked.startswith(text) or not answered.startswith(asked):
            raise TrainingError(
                f"The chat template of model {chat.name!r} must write a conversation turn by turn, but writes record"
                f" {record.id!r} otherwise when an answer follows: the answer cannot be told from the rest."
            )
        text = answered
        answers.append((len(asked), len(answered.rstrip())))
    return Dialogue(record.id, text, tuple(answers))


class Tokens:
    """Turns dialogues and their images into what a model's forward pass takes, with labels.

    Args:
        chat: The chat form of the model.
        max_length: Tokens that a record may have, at most the model's context; None for any number.

    Raises:
        ValueError: If the tokenizer does not tell where its tokens stand in a text.
    """

    def __init__(self, chat: Chat, max_length: int | None = None) -> None:
        self.chat = chat
        self.max_length = max_length
        if not chat.processor.tokenizer.is_fast:
            raise ValueError(
                f"The tokenizer of model {chat.name!r} must tell where its tokens stand in the text, but is a slow one."
            )

    def __call__(self, dialogues: Sequence[Dialogue], images: Sequence[Sequence[Any]]) -> dict[str, Tensor]:
        """Return a batch, padded on the right.

        Args:
            dialogues: The conversations.
            images: The images of each, RGB.

        Raises:
            TrainingError: If a conversation is longer than `max_length`: none is ever cut.
        """
        texts = [dialogue.text for dialogue in dialogues]
        special = adds_special_tokens(self.chat.processor, texts[0])
        inputs = dict(
            self.chat.processor(
                text=texts,
                images=[list(of_one) for of_one in images] if any(images) else None,
                padding=True,
                padding_side="right",
                add_special_tokens=special,
                return_tensors="pt",
            )
        )
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        labels = torch.full_like(ids, IGNORED)
        for row, dialogue in enumerate(dialogues):
            length = int(mask[row].sum())
            if self.max_length is not None and length > self.max_length:
                raise TrainingError(
                    f"Record {dialogue.name!r} must have at most {self.max_length} tokens, but has {length}, with"
                    f" {len(images[row])} images. Nothing is cut: raise data.max_length up to the model's context, or"
                    " lower instructions.max_images."
                )
            places = self._answered(dialogue, ids[row][mask[row].bool()].tolist(), special)
            labels[row, places] = ids[row, places]
        return inputs | {"labels": labels}

    def _answered(self, dialogue: Dialogue, written: list[int], special: bool) -> list[int]:
        """Where among the tokens that the processor wrote the answers stand."""
        tokenizer = self.chat.processor.tokenizer
        plain = tokenizer(dialogue.text, add_special_tokens=special, return_offsets_mapping=True)
        places = align(plain["input_ids"], written, self.chat.processor.image_token_id)
        if places is None:
            raise TrainingError(
                f"The processor of model {self.chat.name!r} must write text as its tokenizer does, but does not for:"
                f" {dialogue.text[:200]!r}."
            )
        return [
            place
            for place, (start, stop) in zip(places, plain["offset_mapping"], strict=True)
            if place is not None
            and stop > start
            and any(first <= start and stop <= last for first, last in dialogue.answers)
        ]


def align(plain: Sequence[int], written: Sequence[int], image: int) -> list[int | None] | None:
    """Find the tokens of a text among those of the same text with its images written out.

    Args:
        plain: The text's tokens, one image token for each image.
        written: The same, but for any number of other tokens in the place of each image token.
        image: The image token.

    Returns:
        For each token of `plain` its place in `written`, None for image tokens; None if they do not fit.
    """
    places: list[int | None] = []
    position, start = 0, 0
    while start < len(plain):
        if plain[start] == image:
            places.append(None)
            start += 1
            continue
        stop = start
        while stop < len(plain) and plain[stop] != image:
            stop += 1
        run = list(plain[start:stop])
        # The first stretch of text begins the conversation, the last one ends it; images stand between the others.
        last = len(written) - len(run)
        first = last if stop == len(plain) else position
        candidates = range(max(first, position), (last if start else 0) + 1)
        found = next((place for place in candidates if list(written[place : place + len(run)]) == run), None)
        if found is None:
            return None
        places += range(found, found + len(run))
        position, start = found + len(run), stop
    return places


def _parts(text: str) -> list[Part]:
    """A turn's text and images, in order."""
    parts: list[Part] = []
    for index, piece in enumerate(text.split(IMAGE)):
        parts += [ImagePart(index)] if index else []
        parts += [piece] if piece else []
    return parts
