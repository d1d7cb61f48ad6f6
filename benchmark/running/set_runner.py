"""Sets put to one model, one after the other: which results stay, what is written, what is refused."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from tqdm import tqdm

from unisim_metrics.models.encoders.base import default_batch_size
from unisim_metrics.signature import signature
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import estimate
from unisim_metrics.version import __version__

from ..costs.efficiency import count_parameters
from ..costs.memory import peak_memory
from ..provenance import TITLES
from ..results.files import (
    NO_ALTERNATIVE,
    UNANSWERED,
    ModelMeta,
    Outcome,
    RunRecord,
    SetResult,
    describe_environment,
    read_result,
    write_meta,
    write_result,
)
from ..results.records import write_record
from ..tasks import task_of
from .abilities import unanswered, view_of_sets, way_of
from .asking import Answered, Askers, ComparingAsker, EncoderAsker
from .embedding_cache import EmbeddingCache, identify
from .encoding import Encoder

if TYPE_CHECKING:
    from unisim_metrics.models import PerceptualModel
    from unisim_metrics.tasks import Method, Task

    from .planning import PlannedSet
    from .processes import Processes

Overwrite = Literal["always", "only-missing", "never", "read-only"]
"""What to do about a result that is there already: see `run`."""

# Samples that a generative model is asked about together.
_QUESTIONS_AT_ONCE = 8


@dataclass
class SetRunner:
    """What stays the same from set to set of a run.

    Attributes:
        model: The model.
        processes: Who shares the work.
        folder: Where the model's result files are; None for nowhere.
        cache: The folder where embeddings are; None for nowhere.
        workers: Threads that read images ahead.
        batch_size: Items that pass through the model at a time; chosen by the device if None.
        max_lost: The share of a set's samples that may have no choice.
        overwrite: What to do about results that are there already.
        demonstrations: How many solved samples a generative model is shown before each question.
        asked: The model as it is asked about each set, with solved samples or without.
    """

    model: PerceptualModel
    processes: Processes
    folder: Path | None
    cache: Path | None
    workers: int
    batch_size: int | None
    max_lost: float
    overwrite: Overwrite
    demonstrations: int
    asked: Mapping[str, PerceptualModel]

    def run(
        self, plans: Sequence[PlannedSet], failures: dict[str, str], progress: bool | None
    ) -> dict[str, SetResult]:
        """Go through the sets. One that fails does not stop the others.

        Args:
            plans: The sets.
            failures: Gets the reasons of those that fail, by set.
            progress: Whether to show a progress bar; None to show it on a terminal.

        Returns:
            The results of the others, by set, in order.
        """
        if self.folder is not None:
            # A name that no file can hold ends the run now rather than when figures are to be written.
            _describe(self.model, self.demonstrations)
        found: dict[str, SetResult] = {}
        left: list[PlannedSet] = []
        for planned in plans:
            try:
                kept = self.processes.lead(lambda planned=planned: self._kept(planned))  # type: ignore[misc]
            except (ValueError, OSError) as error:
                failures[planned.dataset.id] = str(error)
                continue
            if kept is not None:
                found[planned.dataset.id] = kept
            elif self.overwrite != "read-only":
                left.append(planned)
        if left:
            asker = self._askers(left)
            is_hidden = (None if progress is None else not progress) if self.processes.is_leader else True
            with tqdm(total=asker.count(left), unit="item", disable=is_hidden) as bar:
                for planned in left:
                    bar.set_description(planned.dataset.id)
                    try:
                        found[planned.dataset.id] = self._run_set(planned, asker, bar.update)
                    except (ValueError, OSError) as error:
                        failures[planned.dataset.id] = str(error)
        return {
            planned.dataset.id: found[planned.dataset.id] for planned in plans if planned.dataset.id in found
        }

    def answer(self, planned: PlannedSet) -> Answered:
        """Put one set to the model and return its answers; nothing is written."""
        return self._askers([planned]).ask(planned, lambda count: None)()

    def _run_set(self, planned: PlannedSet, asker: Askers, advance: Callable[[int], object]) -> SetResult:
        start = time.perf_counter()
        judge = asker.ask(planned, advance)

        def finish() -> SetResult:
            result = self._result(planned, judge(), start)
            if self.folder is not None:
                write_meta(self.folder, _describe(self.model, self.demonstrations))
                write_result(self.folder, result)
            return result

        return self.processes.lead(finish)

    def _askers(self, plans: Sequence[PlannedSet]) -> Askers:
        kinds = [planned.dataset.task for planned in plans]
        embedded = [kind for kind in kinds if way_of(self.model, kind) == "embeddings"]
        views = dict.fromkeys(view_of_sets(self.model, kind) for kind in embedded)
        size = self.batch_size or _QUESTIONS_AT_ONCE
        return Askers(
            self.model,
            {view: EncoderAsker(self._encoder(view)) for view in views},
            ComparingAsker(self.asked, self.processes, size, self.workers),
        )

    def _encoder(self, view: str) -> Encoder:
        cache = None if self.cache is None else EmbeddingCache(self.cache, identify(self.model, view))
        size = self.batch_size or default_batch_size(self.model)
        return Encoder(self.model, cache, self.processes, self.workers, size, view)

    def _kept(self, planned: PlannedSet) -> SetResult | None:
        """Return the result that is there already and stays."""
        if self.folder is None or self.overwrite == "always":
            return None
        path = self.folder / f"{planned.dataset.id}.json"
        if not path.exists():
            return None
        try:
            result = read_result(path)
        except ValueError:
            # A file that cannot be read has nothing to lose, except where all is to stay.
            if self.overwrite == "never":
                raise
            return None
        if self._fits(result, planned):
            return self._located(result, planned, path)
        if self.overwrite == "never":
            raise ValueError(
                f"{path} is of other samples, or was made in another way, and may not be overwritten ('never')"
            )
        if self.overwrite == "only-missing" and result.provenance == "paper" != planned.provenance:
            raise ValueError(
                f"{path} is of the paper's set, whole, and would be replaced by {TITLES[planned.provenance]}:"
                " name another folder of results, or let it be overwritten ('always')"
            )
        return None

    def _located(self, result: SetResult, planned: PlannedSet, path: Path) -> SetResult:
        """Return a result that stays, with what earlier versions did not write down of its samples.

        That is where they are from and which of them hang together; the intervals go by it.
        """
        if result.provenance == planned.provenance and result.clusters is not None:
            return result
        told = result.model_copy(update={"provenance": planned.provenance})
        if result.clusters is None:
            told = self._grouped(told, planned)
        if self.overwrite == "only-missing":
            write_record(path, told)
        return told

    def _grouped(self, result: SetResult, planned: PlannedSet) -> SetResult:
        """Return a result with the groups of its samples, and the intervals that they give."""
        told = result.model_copy(update={"clusters": planned.clusters})
        found = [estimate(outcome.values(told.labels), told.shared) for outcome in told.outcomes]
        outcomes = tuple(
            outcome.model_copy(update={"low": each.low, "high": each.high})
            for outcome, each in zip(told.outcomes, found, strict=True)
        )
        return told.model_copy(update={"outcomes": outcomes})

    def _fits(self, result: SetResult, planned: PlannedSet) -> bool:
        """Whether a run would make this result anew."""
        made = (result.samples_hash, result.split, result.seed, result.demonstrations)
        wanted = (planned.samples_hash, planned.split, planned.seed, self.demonstrations)
        signatures = {outcome.method: outcome.signature for outcome in result.outcomes}
        return (
            made == wanted
            and signatures == {method: self._signature(planned, method) for method in self._methods(planned)}
            and result.lost <= self.max_lost * result.n
        )

    def _methods(self, planned: PlannedSet) -> tuple[Method | None, ...]:
        kind = planned.dataset.task
        return task_of(kind).methods if way_of(self.model, kind) == "embeddings" else (None,)

    def _signature(self, planned: PlannedSet, method: Method | None) -> str:
        made_by = signature(
            self.asked[planned.dataset.id], cast("Task", planned.dataset.task), method or "naive"
        )
        protocol = planned.dataset.protocol
        return made_by if protocol == "paper" else f"{made_by}|protocol:{protocol}"

    def _result(self, planned: PlannedSet, answered: Answered, start: float) -> SetResult:
        lost = self._check_lost(planned, answered)
        labels = planned.labels
        clusters = Clusters.of_columns(planned.clusters, planned.n)
        outcomes = []
        for answer in answered.answers:
            figure = estimate(answer.values(labels), clusters)
            outcomes.append(
                Outcome(
                    method=answer.method,
                    signature=self._signature(planned, answer.method),
                    figure=figure.value,
                    low=figure.low,
                    high=figure.high,
                    choices=answer.choices,
                    average_precision=answer.average_precision,
                )
            )
        return SetResult(
            dataset=planned.dataset.id,
            task=planned.dataset.task,
            split=planned.split,
            seed=planned.seed,
            n=planned.n,
            samples_hash=planned.samples_hash,
            provenance=planned.provenance,
            labels=labels,
            clusters=planned.clusters,
            demonstrations=self.demonstrations,
            unreadable=tuple(sorted(planned.name(path) for path in answered.unreadable)),
            lost=lost,
            unnamed_answers=self._count_unnamed(planned, answered),
            truncated_texts=self._count_truncated(planned),
            outcomes=tuple(outcomes),
            environment=describe_environment(self.model.device),
            run=RunRecord(
                finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                seconds=time.perf_counter() - start,
                images_encoded=answered.images_encoded,
                texts_encoded=answered.texts_encoded,
                peak_memory_bytes=peak_memory(self.model.device),
                processes=self.processes.count,
            ),
        )

    def _count_truncated(self, planned: PlannedSet) -> int | None:
        """Return how many of a set's texts do not fit into the model's context; None if the model cannot tell."""
        if not hasattr(self.model, "count_truncated"):
            return None
        return int(self.model.count_truncated(planned.texts))

    def _count_unnamed(self, planned: PlannedSet, answered: Answered) -> int:
        """Return how many answers name no alternative, and tell."""
        count = max(int(np.sum(answer.choices == NO_ALTERNATIVE)) for answer in answered.answers)
        if count:
            warnings.warn(
                f"Dataset {planned.dataset.id!r}: {count} of {planned.n} answers name no alternative and count as"
                " wrong.",
                UserWarning,
                stacklevel=2,
            )
        return count

    def _check_lost(self, planned: PlannedSet, answered: Answered) -> int:
        """Return how many samples have no choice, or refuse the set."""
        name, unreadable = planned.dataset.id, answered.unreadable
        reasons = f"{len(unreadable)} images could not be read"
        if unreadable:
            reasons += f", the first: {next(iter(unreadable.values()))}"
            warnings.warn(f"Dataset {name!r}: {reasons}", UserWarning, stacklevel=2)
        if planned.retrieval is None:
            what, total = "samples have no choice", planned.n
            lost = max(int(np.sum(answer.choices == UNANSWERED)) for answer in answered.answers)
            missing = lost
        else:
            what, gallery = "images are lost", planned.retrieval.gallery
            lost = sum(path in unreadable for path in planned.retrieval.queries)
            missing, total = max(
                (lost, planned.n),
                (sum(path in unreadable for path in gallery), len(gallery)),
                key=lambda counts: counts[0] / counts[1],
            )
        if missing > self.max_lost * total:
            raise ValueError(
                f"{missing} of {total} {what}, more than the share of {self.max_lost:g} that `max_lost` allows;"
                f" {reasons}"
            )
        return lost


def _describe(model: PerceptualModel, demonstrations: int) -> ModelMeta:
    return ModelMeta(
        name=model.name,
        weights_hash=model.weights_hash(),
        input_tag=model.input_tag,
        parameters=count_parameters(model),
        unanswered=unanswered(model),
        library_version=__version__,
        demonstrations=demonstrations,
    )
