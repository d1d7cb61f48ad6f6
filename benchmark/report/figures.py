"""Figures 3 to 5 of the paper: which tasks rank models alike, and accuracy over alternatives and demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unisim_metrics.statistics.correlation import Correlation, correlate
from unisim_metrics.statistics.intervals import Estimate

from ..results.files import SetResult
from ..results.methods import choose_methods, sample_values
from ..results.summary import Figure, draw_set, nafc_curve
from ..tasks import TASKS
from .measurements import Measurement
from .tables import GROUPS, Row

# Below it, an order says nothing.
_FEWEST = 3

_CORE = tuple(name for task in TASKS if task.group == "core" for name in task.datasets)


@dataclass(frozen=True)
class MapCell:
    """Kendall's τ of two tasks, and what stands in the cell and beside it."""

    value: float
    text: str
    hint: str


@dataclass(frozen=True)
class Map:
    """Kendall's τ of each two tasks over some models.

    Attributes:
        title: Which models.
        count: How many.
        tasks: The titles of the tasks.
        rows: For each task its title and its cells; None where there is no τ.
    """

    title: str
    count: str
    tasks: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MapCell | None, ...]], ...]


def task_maps(averages: Mapping[str, Mapping[str, float]], rows: Mapping[str, Row]) -> list[Map]:
    """Return the maps of general-purpose, of specialized and of all models.

    Args:
        averages: The figure of each model on each task.
        rows: The models.
    """
    groups = {
        GROUPS[group]: {id: row for id, row in rows.items() if row.group == group}
        for group in ("general-purpose", "specialized")
    }
    chosen = {
        title: {id: averages[id] for id in members if id in averages}
        for title, members in {**groups, "All models": rows}.items()
    }
    return [_map(title, table) for title, table in chosen.items() if len(table) >= _FEWEST]


def _map(title: str, table: Mapping[str, Mapping[str, float]]) -> Map:
    found = correlate(table, [task.id for task in TASKS])
    same = Correlation(Estimate(1.0, 1.0, 1.0), 0.0, len(table))
    return Map(
        title,
        f"{len(table)} models",
        tuple(task.title for task in TASKS),
        tuple(
            (row.title, tuple(_cell(found.get((row.id, column.id), same)) for column in TASKS))
            for row in TASKS
        ),
    )


def _cell(correlation: Correlation) -> MapCell | None:
    tau = correlation.tau
    # NaN is unlike itself.
    if tau.value != tau.value:
        return None
    hint = f"95 % interval {tau.low:.2f} to {tau.high:.2f}, {correlation.models} models"
    return MapCell(tau.value, f"{tau.value:.2f}".replace("-", "−"), hint)


def nafc_curves(measurements: Iterable[Measurement]) -> dict[str, dict[int, Estimate]]:
    """Return, by model, the accuracy on HPDv2 for each number of alternatives, where more than two were tried."""
    curves = {measured.id: nafc_curve(measured.results) for measured in measurements}
    return {id: curve for id, curve in curves.items() if len(curve) > 1}


def icl_curves(measurements: Iterable[Measurement]) -> dict[str, dict[int, Estimate]]:
    """Return, by model, the accuracy after each number of demonstrations.

    It is the mean of those sets of the core tasks that have a result for each number that the model has any for.
    Models that were never shown demonstrations have no curve.
    """
    curves = {}
    for measured in measurements:
        by_number: dict[int, dict[str, SetResult]] = {}
        for result in (*measured.results.values(), *measured.shown):
            by_number.setdefault(result.demonstrations, {})[result.dataset] = result
        common = [name for name in _CORE if all(name in results for results in by_number.values())]
        if len(by_number) > 1 and common:
            curves[measured.id] = {
                number: _mean({name: results[name] for name in common}, measured.paper_choice)
                for number, results in sorted(by_number.items())
            }
    return curves


def _mean(results: Mapping[str, SetResult], paper_choice: bool) -> Estimate:
    methods = choose_methods(results, paper_choice=paper_choice)
    figures = (
        draw_set(name, result.seed, sample_values(result, methods), clusters=result.shared)
        for name, result in results.items()
    )
    return Figure.mean(figures).estimate()
