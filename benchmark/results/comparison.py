"""Models side by side on the same samples: differences, their intervals, whether they are chance; and which models.

A model's results are found by their folder or by its name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import average, check_draws, draw_difference
from unisim_metrics.statistics.intervals import Estimate, check_confidence
from unisim_metrics.statistics.significance import draws_p, holm, mcnemar_p

from ..provenance import TITLES
from .files import META_NAME, SetResult, count_demonstrations, find_revisions, folder_name, read_model
from .methods import MethodChoice, choose_methods, sample_values
from .summary import Figure, Level, Samples, average_sets, count_samples

if TYPE_CHECKING:
    from ..provenance import Provenance

DRAWS = 9999
"""Draws of a test: enough for p-values that outlast the correction for a table of a few models."""


@dataclass(frozen=True)
class Difference:
    """How a model does beside the baseline, in one row of the table.

    Attributes:
        model: The model.
        level: What the figures are of.
        name: Which set, task or group; `"all"` for the mean of all tasks.
        baseline: The baseline's figure, on the samples that both models judged.
        figure: The model's figure on them.
        difference: The model's figure less the baseline's, with its paired interval.
        n: How many samples, or queries, both judged.
        samples: Where they are from; `"mixed"` for an average over several kinds.
        test: Where the p-value is from.
        p: How often chance alone makes a difference as large as this, if there is none.
        corrected: The same after Holm's correction over the table.
    """

    model: str
    level: Level
    name: str
    baseline: float
    figure: float
    difference: Estimate
    n: int
    samples: Samples
    test: Literal["mcnemar", "score"]
    p: float
    corrected: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Models beside a baseline.

    Attributes:
        baseline: The model that the others are compared with.
        rows: One for each other model and each figure that both have: the sets, the tasks, the groups.
        notes: What was left out, and why.
        confidence: Of the intervals; a row is significant where its corrected p-value is at most one less this.
    """

    baseline: str
    rows: tuple[Difference, ...]
    notes: tuple[str, ...]
    confidence: float

    def is_significant(self, row: Difference) -> bool:
        """Tell whether a row's difference is more than chance, all rows considered."""
        return row.corrected <= 1 - self.confidence + 1e-12


def compare(
    models: Mapping[str, Mapping[str, SetResult]],
    baseline: str | None = None,
    *,
    paper_choice: bool = False,
    draws: int = DRAWS,
    confidence: float = 0.95,
) -> Comparison:
    """Compare models with a baseline on the samples that both judged.

    A set of choices of which no two samples share anything is tested by McNemar's exact test; other sets, sets of
    queries by a score test of the differences, robust to groups of samples, and averages by draws from those of their
    sets. The p-values of the whole table are corrected by Holm's method.

    Args:
        models: The results of each model, by set.
        baseline: Which of them the others are compared with; None for the first.
        paper_choice: Whether quality and attributes count in the way that is better on the scored samples themselves,
            as in the paper; otherwise see `choose_methods`.
        draws: How many draws the intervals and p-values are read from.
        confidence: How often such intervals hold the true difference, in (0, 1).

    Raises:
        ValueError: If there are fewer than two models, the baseline is none of them, a model has no set on the
            baseline's samples, or results after different numbers of demonstrations.
    """
    check_draws(draws)
    check_confidence(confidence)
    if len(models) < 2:
        raise ValueError(f"Argument `models` must hold at least two models, but got {list(models)}.")
    if baseline is None:
        baseline = next(iter(models))
    if baseline not in models:
        raise ValueError(f"Argument `baseline` must be one of {list(models)}, but got {baseline!r}.")
    known = {name: _model(name, results, paper_choice) for name, results in models.items()}
    rows: list[Difference] = []
    notes: list[str] = []
    for name, model in known.items():
        if name != baseline:
            pair = _Pair(known[baseline], model, draws)
            rows += pair.rows(confidence)
            notes += pair.notes
    needed = math.ceil(2 * len(rows) / (1 - confidence) - 1e-6) - 1
    if draws < needed:
        notes.append(
            f"{draws} draws are too few to tell how significant averages are among {len(rows)} rows: take at"
            f" least {needed}."
        )
    notes += _tell_samples(rows)
    corrected = holm([row.p for row in rows])
    return Comparison(
        baseline,
        tuple(replace(row, corrected=p) for row, p in zip(rows, corrected, strict=True)),
        tuple(notes),
        confidence,
    )


def _tell_samples(rows: Iterable[Difference]) -> Iterator[str]:
    """Say which rows are not of the paper's samples."""
    kinds: dict[str, list[str]] = {}
    for row in rows:
        if row.level == "set" and row.name not in kinds.setdefault(row.samples, []):
            kinds[row.samples].append(row.name)
    for kind, names in kinds.items():
        if kind != "paper":
            title = TITLES[None if kind == "unknown" else cast("Provenance", kind)]
            which = "all sets" if len(kinds) == 1 else ", ".join(names)
            more = ", which nobody judged: figures of it tell little about a model" if kind == "demo" else ""
            yield f"The samples of {which} are {title}{more}."


@dataclass(frozen=True)
class _Model:
    name: str
    results: Mapping[str, SetResult]
    methods: Mapping[str, MethodChoice]
    demonstrations: int

    @property
    def shown(self) -> str:
        return f"{self.name} was shown {self.demonstrations or 'no demonstrations'}"


def _model(name: str, results: Mapping[str, SetResult], paper_choice: bool) -> _Model:
    try:
        demonstrations = count_demonstrations(results)
    except ValueError as error:
        raise ValueError(f"Model {name!r}: {error}") from error
    return _Model(name, results, choose_methods(results, paper_choice=paper_choice), demonstrations)


class _Pair:
    """The baseline and another model, on the samples that both judged."""

    def __init__(self, first: _Model, second: _Model, draws: int) -> None:
        self.models = (first, second)
        self.draws = draws
        self.notes: list[str] = []
        self.ungrouped: list[str] = []
        self.sets: tuple[dict[str, Figure], dict[str, Figure]] = ({}, {})
        self.differences: dict[str, Figure] = {}
        self.exact: dict[tuple[Level, str], float] = {}
        if first.demonstrations != second.demonstrations:
            self.notes.append(f"{first.shown}, {second.shown} before each sample.")
        for name in {**first.results, **second.results}:
            self._add(name)
        for task, choice in first.methods.items():
            other = second.methods.get(task, choice)
            if choice.title and other.title and choice != other:
                self.notes.append(
                    f"{task}: {first.name} is asked by {choice.title}, {second.name} by {other.title}, each in the way"
                    " that was better for it."
                )
        if self.ungrouped:
            self.notes.append(
                f"{', '.join(self.ungrouped)}: a result of an earlier version does not say which samples hang together."
                " Where the other does not either, they are taken for independent, which makes intervals too narrow and"
                " p-values too small; a run over the same folder adds it."
            )
        if not self.sets[0]:
            raise ValueError(
                f"Models {first.name!r} and {second.name!r} must have samples in common. {' '.join(self.notes)}"
            )

    def _add(self, name: str) -> None:
        for model in self.models:
            if name not in model.results:
                self.notes.append(f"{name} is left out: {model.name} has no result.")
                return
        first, second = (model.results[name] for model in self.models)
        if first.samples_hash != second.samples_hash:
            self.notes.append(
                f"{name} is left out: {self.models[0].name} and {self.models[1].name} judged different samples,"
                f" SHA-256 {first.samples_hash[:16]}… and {second.samples_hash[:16]}…."
            )
            return
        samples = {first.provenance, second.provenance} - {None}
        if "demo" in samples and len(samples) > 1:
            self.notes.append(
                f"{name} is left out: {self.models[0].name} judged {TITLES[first.provenance]},"
                f" {self.models[1].name} {TITLES[second.provenance]}."
            )
            return
        values = [sample_values(model.results[name], model.methods) for model in self.models]
        missing = [np.isnan(array) for array in values]
        gaps = missing[0] | missing[1]
        # A query that has nothing to find has no average precision, whoever searches: it is not lost.
        lost = gaps if gaps.ndim == 1 else (missing[0] != missing[1]).any(axis=1)
        if lost.any():
            pair = f"{self.models[0].name} and {self.models[1].name}"
            self.notes.append(
                f"{name}: {np.sum(lost)} of {len(lost)} samples are left out, not judged by both {pair}."
            )
        if gaps.all(axis=0).any():
            return
        groups = [model.results[name].clusters for model in self.models]
        if None in groups:
            self.ungrouped.append(name)
        columns = next((columns for columns in groups if columns is not None), ())
        clusters = Clusters.of_columns(columns, first.n)
        common = [np.where(gaps, np.nan, array) for array in values]
        if gaps.ndim == 1 and clusters.take(~gaps).is_independent:
            self.exact["set", name] = mcnemar_p(*common)
        n = count_samples(name, common[0])
        samples_of = first.provenance or second.provenance or "unknown"
        for figures, array in zip(self.sets, common, strict=True):
            value = average(array)
            figures[name] = Figure(value, np.array([value]), n, samples_of)
        found = draw_difference(common[0], common[1], name, first.seed, clusters=clusters, draws=self.draws)
        self.differences[name] = Figure(found.value, found.figures, n, samples_of, -1.0)

    def rows(self, confidence: float) -> Iterator[Difference]:
        first, second = map(average_sets, self.sets)
        for (level, name), difference in average_sets(self.differences).items():
            exact = self.exact.get((level, name))
            yield Difference(
                self.models[1].name,
                level,
                name,
                first[level, name].value,
                second[level, name].value,
                difference.estimate(confidence),
                difference.n,
                difference.samples,
                "score" if exact is None else "mcnemar",
                draws_p(difference.drawn) if exact is None else exact,
            )


def find_models(references: Sequence[str], results: Path) -> dict[str, dict[str, SetResult]]:
    """Return the results of several models, each by set, under the models' names.

    Args:
        references: For each model a folder with its results, its name, or `name@revision`, where the beginning of the
            revision is enough. Results after demonstrations are named `name@revision-demonstrations-2`.
        results: The folder under which names are looked for.

    Returns:
        The results in the order of the references. Models of one name, and results after demonstrations, are told
        apart by `name@revision`.

    Raises:
        ValueError: If a reference names no model, or several; or the same one twice.
        OSError: If a file cannot be read.
    """
    folders = [_find(reference, results) for reference in references]
    twice = [
        reference for reference, folder in zip(references, folders, strict=True) if folders.count(folder) > 1
    ]
    if twice:
        raise ValueError(f"Each model must be named once, but {twice} are the same.")
    metas, found = zip(*map(read_model, folders), strict=True) if folders else ((), ())
    names = [meta.name for meta in metas]
    labels = [
        f"{meta.name}@{folder.name}" if names.count(meta.name) > 1 or meta.demonstrations else meta.name
        for meta, folder in zip(metas, folders, strict=True)
    ]
    return dict(zip(labels, found, strict=True))


def _find(reference: str, results: Path) -> Path:
    path = Path(reference)
    if (path / META_NAME).is_file():
        return path.resolve()
    name, _, revision = reference.partition("@")
    found = find_revisions(path) or find_revisions(results / folder_name(name), revision)
    if len(found) > 1:
        names = ", ".join(f"{name}@{folder.name}" for folder in found)
        raise ValueError(f"{reference!r} has results of several revisions: name one, {names}.")
    if not found:
        known = [
            f"{meta.parent.parent.name.replace('__', '/')}@{meta.parent.name}"
            for meta in sorted(results.glob(f"*/*/{META_NAME}"))
        ]
        near = difflib.get_close_matches(name, [model.partition("@")[0] for model in known], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{reference!r} is neither a folder of results nor one of the models in {results}: {known}.{hint}"
        )
    return found[0].resolve()
