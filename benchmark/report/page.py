"""The report as one page that needs nothing but itself: tables, charts, styles and script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from unisim_metrics.version import __version__

from ..paper import PAPER_MODELS, PAPER_TABLES, Column
from ..tasks import TASKS
from .charts import plot, radar, scatter
from .figures import icl_curves, nafc_curves, task_maps
from .measurements import SETS, Measurement
from .other_tables import KINDS, ApartRow, OtherTable, apart_tables, describe_costs, efficiency_table
from .tables import GROUPS, Cell, Row, Table, groups_of

if TYPE_CHECKING:
    from jinja2 import Template

    from ..costs.efficiency import EfficiencyReport

# The paper's own examples: what CLIP is, and how well those do that were made for one task.
_DRAWN = ("clip-vit-b-32", "unisim-vit-b-32", "dreamsim-vit-b-32", "hpsv2", "pac-s-vit-l-14", "liqe")
_COLORS = 8
_COMMANDS = {
    "nafc": "unisim bench run MODEL --dataset hpdv2-nafc-8 --root DATA",
    "icl": "unisim bench run MODEL --demonstrations 1 --root DATA",
    "efficiency": "unisim bench efficiency MODEL …",
}


@dataclass(frozen=True)
class _CellView:
    cell: Cell
    heat: float | None
    hint: str
    arrow: str


@dataclass(frozen=True)
class _RowView:
    key: str
    row: Row
    cells: tuple[tuple[Column, _CellView | None], ...]


@dataclass(frozen=True)
class _TableView:
    table: Table
    spans: tuple[tuple[str, int], ...]
    groups: Mapping[str, Sequence[_RowView]]


def to_html(
    tables: Mapping[int, Table],
    measurements: Sequence[Measurement],
    efficiency: EfficiencyReport | None = None,
    apart: Sequence[ApartRow] = (),
) -> str:
    """Return the page.

    Args:
        tables: The tables.
        measurements: What stands in them, for the curves.
        efficiency: What the models cost, if that was measured.
        apart: What was measured on other samples than the paper's.
    """
    known = [measured for measured in measurements if measured.results]
    rows = {row.id: row for table in tables.values() for row in table.rows}
    keys = {id: f"m{number}" for number, id in enumerate(rows)}
    names = {key: rows[id].name for id, key in keys.items()}
    others = apart_tables(apart)
    averages = _averages(tables)
    task_titles = {task.id: task.title for task in TASKS}
    both = {
        keys[id]: (figures["core"], figures["ood"])
        for id, figures in averages.items()
        if "core" in figures and "ood" in figures
    }
    shapes = {keys[id]: figures for id, figures in averages.items() if figures}
    nafc = {keys[id]: curve for id, curve in nafc_curves(known).items() if id in keys}
    icl = {keys[id]: curve for id, curve in icl_curves(known).items() if id in keys}
    return _template().render(
        style=_resource("page.css"),
        script=_resource("page.js"),
        version=__version__,
        summary=_summary(rows.values()),
        sections=_sections(bool(known), others),
        commands=_COMMANDS,
        groups={
            key: title for key, title in GROUPS.items() if any(row.group == key for row in rows.values())
        },
        measured=bool(known),
        views=[_view(table, keys) for table in tables.values()],
        names=names,
        drawn=_drawn(rows, keys),
        radar=radar(task_titles, shapes),
        scatter=scatter(both, names, ("core", "OOD")),
        maps=task_maps(averages, rows),
        nafc=plot(nafc, names, unit="alternatives") if nafc else None,
        icl=plot(icl, names, unit="demonstrations") if icl else None,
        efficiency=efficiency and _efficiency(efficiency),
        others=others,
        provenance=[
            _provenance(measured, rows[measured.id].name) for measured in known if measured.id in rows
        ],
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    # Names come from result files: whatever they hold, it is text.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html"))


def _resource(name: str) -> str:
    return files(__package__).joinpath("page").joinpath(name).read_text(encoding="utf-8")


def _summary(rows: Iterable[Row]) -> str:
    measured = sum(row.measurement is not None for row in rows)
    return f"{len(PAPER_MODELS)} models of the paper{f', {measured} measured here' if measured else ''}."


def _averages(tables: Mapping[int, Table]) -> dict[str, dict[str, float]]:
    """Return the averages of each row in per cent: of tasks by id, of the groups by their names."""
    averages: dict[str, dict[str, float]] = {}
    for number, group in ((6, "core"), (8, "ood")):
        for row in tables[number].rows:
            for column in tables[number].columns:
                cell = row.cells.get(column.id)
                if column.kind != "set" and cell is not None and cell.value is not None:
                    name = group if column.kind == "group" else column.id
                    averages.setdefault(row.id, {})[name] = cell.value
    return averages


def _view(table: Table, keys: Mapping[str, str]) -> _TableView:
    heats = {column.id: _heats(table.rows, column) for column in table.columns}
    groups = {
        title: [
            _RowView(
                keys[row.id],
                row,
                tuple((column, _cell(row, column, heats[column.id].get(row.id))) for column in table.columns),
            )
            for row in rows
        ]
        for title, rows in groups_of(table.rows).items()
    }
    spans = [
        (task, len(list(columns))) for task, columns in groupby(table.columns, key=lambda column: column.task)
    ]
    # Where tasks are the columns, no heading stands above them.
    above = tuple(("" if task is None else task.title, count) for task, count in spans)
    return _TableView(table, above if any(count > 1 for _, count in above) else (), groups)


def _heats(rows: Iterable[Row], column: Column) -> dict[str, float]:
    """Return where each row's figure lies between the lowest, 0, and the highest, 1, of a column.

    Squared: what sets the good apart shows, and one bad model does not make all others alike.
    """
    values = {
        row.id: cell.value for row in rows if (cell := row.cells.get(column.id)) and cell.value is not None
    }
    low, high = min(values.values(), default=0), max(values.values(), default=0)
    return {row: ((value - low) / (high - low)) ** 2 if high > low else 1.0 for row, value in values.items()}


def _cell(row: Row, column: Column, heat: float | None) -> _CellView | None:
    cell = row.cells.get(column.id)
    if cell is None:
        return None
    hints = []
    if cell.measured is not None:
        hints.append(f"95 % interval {100 * cell.measured.low:.1f}–{100 * cell.measured.high:.1f}")
        result = row.measurement.results.get(column.id) if row.measurement is not None else None
        if result is not None:
            hints.append(f"n = {result.n}")
    if cell.truncated:
        hints.append(f"{cell.truncated:,} texts cut to the model's context")
    if cell.method:
        hints.append(f"asked {cell.method}")
    if cell.difference is not None:
        hints.append(f"paper {cell.paper:.1f}")
    arrow = "" if not cell.outside else "▲" if (cell.difference or 0) > 0 else "▼"
    return _CellView(cell, heat, ", ".join(hints), arrow)


def _drawn(rows: Mapping[str, Row], keys: Mapping[str, str]) -> list[str]:
    """Return which models the charts draw at first: those that were measured, then the paper's examples."""
    measured = [id for id, row in rows.items() if row.measurement is not None]
    examples = [id for id in _DRAWN if id in rows]
    return [keys[id] for id in (measured + examples)[:_COLORS]]


def _sections(measured: bool, others: Iterable[OtherTable]) -> dict[str, str]:
    sections = {"overview": "Overview"}
    sections |= {f"table-{table.number}": table.title for table in PAPER_TABLES.values()}
    sections |= {"correlation": "Do tasks agree?", "curves": "Curves", "efficiency": "Efficiency"}
    sections |= {other.id: other.title for other in others}
    return {**sections, "provenance": "What was measured"} if measured else sections


def _efficiency(report: EfficiencyReport) -> dict[str, Any]:
    fastest = {kind: max(getattr(model, kind) or 0 for model in report.models) for kind in KINDS}
    lines = []
    for model in report.models:
        parameters, *ratios, memory = describe_costs(model)
        shares = [(getattr(model, kind) or 0) / (fastest[kind] or 1) for kind in KINDS]
        bars = list(zip(ratios, shares, strict=True))
        lines.append({"name": model.name, "parameters": parameters, "bars": bars, "memory": memory})
    table = efficiency_table(report)
    return {"heads": table.heads[1:], "lines": lines, "note": table.note}


def _provenance(measured: Measurement, name: str) -> dict[str, Any]:
    lost = sum(result.lost for result in measured.results.values())
    notes = [f"{len(measured.fewer)} sets on fewer samples than in the paper"] if measured.fewer else []
    notes += [f"{lost:,} samples without an answer"] if lost else []
    unnamed = sum(result.unnamed_answers for result in measured.results.values())
    notes += [f"{unnamed:,} answers that name no alternative, counted as wrong"] if unnamed else []
    cut = sum(measured.truncated.values())
    notes += [f"{cut:,} texts cut to the model's context"] if cut else []
    ways = {task.title: measured.summary.methods.get(task.id) for task in TASKS}
    notes += [f"{title} asked {choice.title}" for title, choice in ways.items() if choice is not None]
    return {
        "name": name,
        "weights": measured.meta.weights_hash[:12],
        "input": measured.meta.input_tag,
        "version": measured.meta.library_version,
        "sets": f"{sum(name in measured.results for name in SETS)} of {len(SETS)}",
        "notes": notes,
    }
