"""From triplets to conversations: each is put into words by chance, but always the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from unisim_metrics.benchmark.samples import Item, Sample
from unisim_metrics.models.generative.instructions import IMAGE, LETTERS, ImagePart, ask
from unisim_metrics.statistics.stream import Stream
from unisim_metrics.tasks import Task

from ..stream import TripletStream
from .llava_json import Record, Turn
from .templates import FREE_FORM, OPTIONS, TEMPLATES

ORDINALS = ("first", "second")
_PURPOSE = "instruction"
_CHOICES = 8


@dataclass(frozen=True)
class Wording:
    """How often triplets are put into words in which way.

    Attributes:
        as_asked: Share of the questions in the very words in which the model is asked later (paper, Table 7).
        free_form: Share of the others without options, which are answered by a sentence.
        swap: Share of the other multiple-choice questions whose options stand in the opposite order.
        vary_reference: Whether the reference of an image-image question is any of the three images, or always the
            first. Table 7 has it first.

    Raises:
        ValueError: If a share is not between 0 and 1.
    """

    as_asked: float = 0.25
    free_form: float = 0.2
    swap: float = 0.5
    vary_reference: bool = True

    def __post_init__(self) -> None:
        for name in ("as_asked", "free_form", "swap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"Setting wording.{name} must be between 0 and 1, but got {getattr(self, name)}."
                )


class Instructions(Sequence[Record]):
    """The conversations that are made of the triplets of one task, each when it is asked for.

    Args:
        stream: The triplets, drawn as for every training: each once before any comes again, and of every two the
            right alternative stands first in one.
        task: The task, one of the stream's.
        count: How many there are.
        seed: Of the wording.
        wording: How often they are put into words in which way.
    """

    def __init__(
        self, stream: TripletStream, task: Task, count: int, seed: int = 0, wording: Wording | None = None
    ) -> None:
        if task not in TEMPLATES:
            raise ValueError(f"Argument `task` must be one of {tuple(TEMPLATES)}, but got {task!r}.")
        self.stream = stream
        self.task = task
        self._count = count
        self.seed = seed
        self.wording = wording or Wording()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Record:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(index)
        dataset, sample = self.stream.draw_from(self.task, index)
        words = Stream("instructions", self.seed, self.task, index)
        record = put_into_words(sample, self.task, words, self.wording, f"{self.task}-{index}")
        return Record(record.id, record.images, record.turns, {"dataset": dataset, "task": self.task})

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(self._count))


def put_into_words(sample: Sample, task: Task, stream: Stream, wording: Wording, name: str) -> Record:
    """Make a conversation of a triplet.

    Args:
        sample: The triplet.
        task: Its task.
        stream: What all choices are made by: equal names, equal conversations.
        wording: How often it is put into words in which way.
        name: The record's id.
    """
    chance = _Chance(stream)
    if chance.share(wording.as_asked):
        question = ask(task, sample.reference, sample.alternatives)
        text = "".join(IMAGE if isinstance(part, ImagePart) else _plain(part) for part in question.parts)
        return Record(
            name, tuple(question.images), (Turn("user", text), Turn("assistant", LETTERS[sample.label]))
        )
    templates = TEMPLATES[task]
    question_words = chance.one_of(templates.questions)
    place = chance.below(3) if wording.vary_reference else 0
    images, names, reference = _arrange(sample, task, place)
    texts = [_plain(item) for item in sample.alternatives if isinstance(item, str)]
    filled = question_words.format(
        images=IMAGE * len(images),
        reference=reference,
        Reference=_capital(reference),
        **dict(zip(ORDINALS, texts, strict=False)),
    )
    if chance.share(wording.free_form):
        answer = chance.one_of(templates.answers).format(
            ordinal=ORDINALS[sample.label],
            choice=names[sample.label],
            Choice=_capital(names[sample.label]),
        )
        filled += chance.one_of(FREE_FORM)
    else:
        swapped = chance.share(wording.swap)
        listed = [_capital(option) for option in (names[::-1] if swapped else names)]
        filled += chance.one_of(OPTIONS).format(a=listed[0], b=listed[1])
        answer = LETTERS[1 - sample.label if swapped else sample.label]
    return Record(name, images, (Turn("user", filled), Turn("assistant", answer)))


def _arrange(sample: Sample, task: Task, place: int) -> tuple[tuple[Path, ...], list[str], str]:
    """The images in order, the names of the alternatives, and how the reference is called.

    Args:
        sample: The triplet.
        task: Its task.
        place: Where the reference stands among three images.
    """
    images = [item for item in sample.alternatives if isinstance(item, Path)]
    if task == "caption":
        return (cast(Path, sample.reference),), ["caption 1", "caption 2"], ""
    if task != "image-image":
        return tuple(images), ["image 1", "image 2"], _plain(sample.reference or "")
    images.insert(place, cast(Path, sample.reference))
    others = [f"image {number + 1}" for number in range(3) if number != place]
    return tuple(images), others, f"image {place + 1}"


def _plain(item: Item) -> str:
    """A text without the mark that stands for an image, which no caption may bring in."""
    return str(item).replace(IMAGE, IMAGE.strip("<>"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class _Chance:
    """Choices one after another."""

    def __init__(self, stream: Stream) -> None:
        self.words = iter(stream.words(_CHOICES, _PURPOSE).tolist())

    def share(self, share: float) -> bool:
        return float(next(self.words)) < share * 2.0**64

    def below(self, count: int) -> int:
        return int(next(self.words) % count)

    def one_of(self, choices: Sequence[str]) -> str:
        return choices[self.below(len(choices))]
