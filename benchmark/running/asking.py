"""How a set is put to a model: it embeds the items, or is shown the samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .abilities import view_of_sets, way_of
from .encoding import Encoder, share_batches
from .judging import Answer, judge_comparisons, judge_embeddings, judge_retrieval

if TYPE_CHECKING:
    from unisim_metrics.models import PerceptualModel

    from .planning import PlannedSet
    from .processes import Processes


@dataclass(frozen=True)
class Answered:
    """What came of a set.

    Attributes:
        answers: One for each way.
        unreadable: Why images could not be read.
        images_encoded: How many images passed through an encoder for it.
        texts_encoded: Texts likewise.
    """

    answers: Sequence[Answer]
    unreadable: Mapping[Path, str]
    images_encoded: int = 0
    texts_encoded: int = 0


class EncoderAsker:
    """Puts sets to a model that embeds, in two steps.

    All processes take part in the first, the leader alone does the second.

    Args:
        encoder: The model with what it has embedded.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def count(self, plans: Sequence[PlannedSet]) -> int:
        """Return how many images and texts of the sets this process will go through."""
        return self.encoder.count(plans)

    def ask(self, planned: PlannedSet, advance: Callable[[int], object]) -> Callable[[], Answered]:
        """Embed what is not embedded yet, and return what turns it into answers.

        Args:
            planned: The set.
            advance: Is called with numbers of items that are done.

        Raises:
            ValueError: If the model takes an item for wrong.
        """
        encoded = self.encoder.encode(planned, advance)

        def judge() -> Answered:
            unreadable = {key.path: reason for key, reason in encoded.unreadable.items()}
            by_kind = judge_embeddings if planned.retrieval is None else judge_retrieval
            answers = by_kind(planned, self.encoder.embeddings(planned.dataset), unreadable)
            return Answered(answers, unreadable, encoded.images, encoded.texts)

        return judge


class ComparingAsker:
    """Puts sets to a model that compares alternatives itself; as `EncoderAsker` does.

    Args:
        models: The model as it is asked about each set, with solved samples or without.
        processes: Who shares the work.
        batch_size: Samples that are asked about together.
        workers: How many threads read images ahead.
    """

    def __init__(
        self,
        models: Mapping[str, PerceptualModel],
        processes: Processes,
        batch_size: int,
        workers: int,
    ) -> None:
        self.models = models
        self.processes = processes
        self.batch_size = batch_size
        self.workers = workers

    def count(self, plans: Sequence[PlannedSet]) -> int:
        """Return how many samples of the sets this process will go through."""
        return sum(
            len(batch)
            for planned in plans
            for batch in share_batches(range(planned.n), self.batch_size, self.processes)
        )

    def ask(self, planned: PlannedSet, advance: Callable[[int], object]) -> Callable[[], Answered]:
        """Show the model each sample."""
        answers, unreadable = judge_comparisons(
            planned,
            self.models[planned.dataset.id],
            self.processes,
            batch_size=self.batch_size,
            workers=self.workers,
            advance=advance,
        )
        return lambda: Answered(answers, unreadable)


class Askers:
    """Puts each set to a model in the way in which it answers what the set asks; as `EncoderAsker` does.

    Args:
        model: The model.
        by_view: What has the model embed, by the space.
        comparing: What shows it samples.
    """

    def __init__(
        self, model: PerceptualModel, by_view: Mapping[str, EncoderAsker], comparing: ComparingAsker
    ) -> None:
        self.model = model
        self.by_view = by_view
        self.comparing = comparing

    def count(self, plans: Sequence[PlannedSet]) -> int:
        """Return how many items and samples of the sets this process will go through."""
        askers: tuple[EncoderAsker | ComparingAsker, ...] = (*self.by_view.values(), self.comparing)
        return sum(
            asker.count([planned for planned in plans if self._asker(planned) is asker]) for asker in askers
        )

    def ask(self, planned: PlannedSet, advance: Callable[[int], object]) -> Callable[[], Answered]:
        """Have the model embed what it has not, or show it each sample."""
        return self._asker(planned).ask(planned, advance)

    def _asker(self, planned: PlannedSet) -> EncoderAsker | ComparingAsker:
        kind = planned.dataset.task
        if way_of(self.model, kind) != "embeddings":
            return self.comparing
        return self.by_view[view_of_sets(self.model, kind)]
