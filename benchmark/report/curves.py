"""Figures 4 and 5 of the paper, from results: accuracy over alternatives, and over demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..results.files import SetResult
from ..results.summary import Figure, choose_methods, nafc_curve, resample_set, sample_values
from ..statistics.intervals import Estimate
from ..tasks import TASKS
from .measurements import Measurement

__all__ = ["icl_curves", "nafc_curves"]

_CORE = tuple(name for task in TASKS if task.group == "core" for name in task.datasets)


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
                number: _mean({name: results[name] for name in common})
                for number, results in sorted(by_number.items())
            }
    return curves


def _mean(results: Mapping[str, SetResult]) -> Estimate:
    methods = choose_methods(results)
    figures = (
        resample_set(name, result.seed, [sample_values(result, methods)])[0]
        for name, result in results.items()
    )
    return Figure.mean(figures).estimate()
