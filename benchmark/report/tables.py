"""The paper's tables with our figures beside the paper's, the best of each column marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from unisim_metrics.statistics.intervals import Estimate

from ..paper import PAPER_MODELS, PAPER_TABLES, Column, PaperModel, PaperTable
from ..tasks import TASKS
from .measurements import Measurement

GROUPS: dict[str, str] = {
    "general-purpose": "General-purpose models",
    "specialized": "Specialized models",
    "unisim": "UniSim models",
    "other": "Other models",
}
"""The headings under which rows stand; those that the paper does not have come last."""

# The paper prints one digit: its figures stand for all within half of it.
_ROUNDING = 0.05


@dataclass(frozen=True)
class Cell:
    """The figures of a model in a column, in per cent.

    Attributes:
        paper: The paper's figure; None where it has none.
        measured: Ours, with its 95 % interval, as a share; None where there is none.
        place: 1 if no figure of the column is higher, 2 if only one other value is; else 0. Ours counts where there
            is one, to the digit that is printed.
        truncated: How many of the set's texts were cut to the model's context; None if that is not known.
        method: In which way quality and attributes were asked; empty where there is one way only.
    """

    paper: float | None = None
    measured: Estimate | None = None
    place: int = 0
    truncated: int | None = None
    method: str = ""

    @property
    def value(self) -> float | None:
        """The figure that counts, in per cent: ours where there is one."""
        return self.paper if self.measured is None else 100 * self.measured.value

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, in points; None unless there are both."""
        return None if self.measured is None or self.paper is None else 100 * self.measured.value - self.paper

    @property
    def outside(self) -> bool:
        """Whether the paper's figure, however it was rounded, lies outside our interval."""
        if self.measured is None or self.paper is None:
            return False
        low, high = 100 * self.measured.low - _ROUNDING, 100 * self.measured.high + _ROUNDING
        # Binary fractions miss decimal ones by less than this.
        return not low - 1e-9 <= self.paper <= high + 1e-9


@dataclass(frozen=True)
class Row:
    """A model of a table.

    Attributes:
        id: Unlike that of any other row of the table.
        name: What the table calls it.
        group: The heading that it stands under, a key of `GROUPS`.
        model: The paper's model; None for one that the paper does not have.
        measurement: What was measured of it; None if nothing was.
        cells: Its figures by column; none for a column without figures.
        fewer: Whether some of them are of fewer samples than in the paper.
    """

    id: str
    name: str
    group: str
    model: PaperModel | None
    measurement: Measurement | None
    cells: Mapping[str, Cell] = field(default_factory=dict)
    fewer: bool = False

    @property
    def generative(self) -> bool:
        """Whether it answers in words, as far as that is known."""
        return self.model is not None and self.model.generative

    @property
    def truncated(self) -> bool:
        """Whether texts were cut to its context in any of its sets here."""
        return any(cell.truncated for cell in self.cells.values())

    @property
    def asked(self) -> str:
        """In which way it was asked by task, where there are two: `"IQA naive, PAA naive / clip-iqa"`."""
        ways = ((task.title, self.cells.get(task.id, Cell()).method) for task in TASKS)
        return ", ".join(f"{title} {way}" for title, way in ways if way)

    def has_trained_on(self, column: Column) -> bool:
        """Whether it has seen the training split of a set, as far as that is known."""
        return self.model is not None and column.id in self.model.trained


@dataclass(frozen=True)
class Table:
    """One of the paper's tables with what was measured.

    Attributes:
        number: Its number in the paper.
        title: What it shows.
        columns: Its columns, in the paper's order.
        rows: Its rows: the paper's in its order, then the models that it does not have.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def asked(self) -> str:
        """In which way the measured models were asked where there are two; empty if none was."""
        ways = [f"{row.name}: {row.asked}" for row in self.rows if row.asked]
        return f"Ways in which quality and attributes were asked. {'; '.join(ways)}." if ways else ""


def build_tables(measurements: Sequence[Measurement]) -> dict[int, Table]:
    """Return the paper's tables, by number, with the figures of measured models beside the paper's.

    A model of the paper that was measured several times, with different weights, has a row for each. Rows of models
    that the paper does not have, or not in that table, stand in those tables that they have a figure for. What was
    measured on other samples than the paper's is in none.
    """
    names = names_of(measurements)
    measured = [each for each in measurements if each.results]
    return {number: _table(table, measured, names) for number, table in PAPER_TABLES.items()}


def groups_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return rows by the title of their group, in order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(GROUPS[row.group], []).append(row)
    return grouped


def _table(paper: PaperTable, measurements: Sequence[Measurement], names: Mapping[str, str]) -> Table:
    rows: list[Row] = []
    for id, figures in paper.figures.items():
        model = PAPER_MODELS[id]
        found = [
            _row(paper, model.group, measured, figures, names)
            for measured in measurements
            if measured.model == model
        ]
        alone = Row(id, model.name, model.group, model, None, _cells(paper, figures, {}))
        rows += found or [alone]
    known = {PAPER_MODELS[id] for id in paper.figures}
    added = [
        _row(paper, "other", measured, {}, names) for measured in measurements if measured.model not in known
    ]
    rows += (row for row in added if row.cells)
    return Table(paper.number, paper.title, paper.columns, mark_places(rows, paper.columns))


def _row(
    paper: PaperTable,
    group: str,
    measured: Measurement,
    figures: Mapping[str, float],
    names: Mapping[str, str],
) -> Row:
    cells = _cells(paper, figures, measured.figures(paper.group), measured)
    fewer = any(
        name in task.datasets for task in TASKS if task.group == paper.group for name in measured.fewer
    )
    return Row(measured.id, names[measured.id], group, measured.model, measured, cells, fewer)


def _cells(
    paper: PaperTable,
    figures: Mapping[str, float],
    found: Mapping[str, Estimate],
    measured: Measurement | None = None,
) -> dict[str, Cell]:
    truncated = {} if measured is None else measured.truncated
    asked = {} if measured is None else measured.asked(paper.group)
    return {
        column.id: Cell(
            figures.get(column.id),
            found.get(column.id),
            truncated=truncated.get(column.id),
            method=asked.get(column.id, "") if column.id in found else "",
        )
        for column in paper.columns
        if column.id in figures or column.id in found
    }


def names_of(measurements: Sequence[Measurement]) -> dict[str, str]:
    """Return what tables call measured models: with the beginning of the weights' hash where a name would not do."""
    plain = {
        measured.id: measured.meta.name if measured.model is None else measured.model.name
        for measured in measurements
    }
    count = Counter(plain.values())
    return {
        measured.id: f"{plain[measured.id]} @{measured.meta.weights_hash[:7]}"
        if count[plain[measured.id]] > 1
        else plain[measured.id]
        for measured in measurements
    }


def mark_places(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Return rows with the two highest figures of each column marked, and all that tie for them."""
    places: dict[str, dict[float, int]] = {}
    for column in columns:
        values = {_printed(row.cells[column.id]) for row in rows if column.id in row.cells}
        places[column.id] = {value: place for place, value in enumerate(sorted(values, reverse=True)[:2], 1)}
    return tuple(
        replace(
            row,
            cells={
                column: replace(cell, place=places[column].get(_printed(cell), 0))
                for column, cell in row.cells.items()
            },
        )
        for row in rows
    )


def _printed(cell: Cell) -> float:
    assert cell.value is not None
    return float(f"{cell.value:.1f}")
