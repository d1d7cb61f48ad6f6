"""Tables as Markdown, as GitHub and MkDocs read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..costs.efficiency import EfficiencyReport
from .other_tables import ApartRow, other_tables
from .tables import Cell, Row, Table, groups_of

_LEGEND = """\
Per cent; **best** and *second best* of a column. ♣: answers in words. †: has seen the training split of the set.
Where a model was measured, its figure stands before the paper's (in parentheses), with ▲ or ▼ if it is higher or lower
and the paper's lies outside its 95 % interval. ‡: on fewer samples than in the paper. §: texts were cut to the model's
context."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")


def to_markdown(
    tables: Mapping[int, Table],
    efficiency: EfficiencyReport | None = None,
    apart: Sequence[ApartRow] = (),
) -> str:
    """Return tables as a page."""
    parts = ["# UniSim-Bench", _LEGEND, *(_table(table) for table in tables.values())]
    for other in other_tables(efficiency, apart):
        sides = ("--:" if column in other.numbers else ":--" for column in range(len(other.heads)))
        lines = [_line(other.heads), _line(sides), *(_line(map(escape, row)) for row in other.rows)]
        parts.append(f"## {other.title}\n\n{escape(other.note)}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    heads = [
        f"**{column.task.title}**" if column.kind == "task" and column.task is not None else column.title
        for column in table.columns
    ]
    lines = [_line(["Model", *heads]), _line([":--", *("--:" for _ in heads)])]
    for group, rows in groups_of(table.rows).items():
        lines.append(_line([f"**{group}**", *("" for _ in heads)]))
        lines += (_line([_name(row), *_cells(table, row)]) for row in rows)
    asked = f"\n\n{escape(table.asked)}" if table.asked else ""
    return f"## Table {table.number}. {table.title}\n\n" + "\n".join(lines) + asked


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(row: Row) -> str:
    return (
        escape(row.name)
        + (" ♣" if row.generative else "")
        + (" ‡" if row.fewer else "")
        + (" §" if row.truncated else "")
    )


def escape(text: str) -> str:
    """Return text so that Markdown shows it as it is, in one cell of a table."""
    # A line break would end the table's row.
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", plain)


def _cells(table: Table, row: Row) -> list[str]:
    return [
        _figure(row.cells[column.id]) + ("†" if row.has_trained_on(column) else "")
        if column.id in row.cells
        else "–"
        for column in table.columns
    ]


def _figure(cell: Cell) -> str:
    mark = {1: "**", 2: "*"}.get(cell.place, "")
    text = f"{mark}{cell.value:.1f}{mark}"
    if cell.measured is None or cell.paper is None:
        return text
    arrow = "" if not cell.outside else "▲" if (cell.difference or 0) > 0 else "▼"
    return f"{text}{arrow} ({cell.paper:.1f})"
