"""Tables as LaTeX, with the rules of booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from ..costs.efficiency import EfficiencyReport
from ..paper import Column
from .other_tables import ApartRow, OtherTable, other_tables
from .tables import Cell, Row, Table, groups_of

_HEAD = r"""% Tables of UniSim-Bench. The preamble needs \usepackage{booktabs,graphicx,amssymb}"""
_LEGEND = (
    r"Per cent; \textbf{best} and \underline{second best} of a column. $\clubsuit$: answers in words."
    r" $\dagger$: has seen the training split of the set."
)
_MEASURED = (
    r" Where a model was measured, the paper's figure stands below, and $\blacktriangle$ or $\blacktriangledown$"
    r" tells that ours is higher or lower and the paper's outside its 95\,\% interval."
    r" $\ddagger$: on fewer samples than in the paper. \S: texts were cut to the model's context."
)
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "×": r"$\times$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def escape(text: str) -> str:
    """Return text so that LaTeX prints it as it is, on one line."""
    escaped = re.sub(r'[\\~^<>|"×–&%$#_{}]', lambda found: _ESCAPES[found[0]], " ".join(text.split()))
    # A bracket or a star after the end of a row would be read as its option.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def to_latex(
    tables: Mapping[int, Table],
    efficiency: EfficiencyReport | None = None,
    apart: Sequence[ApartRow] = (),
) -> str:
    """Return tables as floats over two columns, for a document to input."""
    parts = [_HEAD, *(_table(table) for table in tables.values())]
    parts += (_other(table) for table in other_tables(efficiency, apart))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    body: list[str] = []
    for group, rows in groups_of(table.rows).items():
        body += [
            r"\midrule",
            rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\textit{{{escape(group)}}}}} \\",
        ]
        for row in rows:
            body += _lines(table.columns, row)
    legend = _LEGEND + (_MEASURED if any(row.measurement is not None for row in table.rows) else "")
    asked = f" {escape(table.asked)}" if table.asked else ""
    caption = rf"\textbf{{{escape(table.title)}}} (the paper's Table {table.number}). {legend}{asked}"
    return _float(caption, str(table.number), len(table.columns), [*_heads(table.columns), *body])


def _other(table: OtherTable) -> str:
    head, *body = (_line(map(escape, cells)) for cells in (table.heads, *table.rows))
    caption = rf"\textbf{{{table.title}}}. {escape(table.note)}"
    return _float(caption, table.id, len(table.heads) - 1, [head, r"\midrule", *body])


def _float(caption: str, label: str, columns: int, body: Iterable[str]) -> str:
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:unisim-bench-{label}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l*{{{columns}}}{{r}}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
        ]
    )


def _heads(columns: Sequence[Column]) -> list[str]:
    """Return the headings, those of tasks above those of their sets."""
    lines: list[str] = []
    spans = [list(group) for _, group in groupby(columns, key=lambda column: column.task)]
    if any(len(span) > 1 for span in spans):
        cells, rules, start = [], [], 2
        for span in spans:
            task = span[0].task
            cells.append("" if task is None else rf"\multicolumn{{{len(span)}}}{{c}}{{{escape(task.title)}}}")
            if task is not None:
                rules.append(rf"\cmidrule(lr){{{start}-{start + len(span) - 1}}}")
            start += len(span)
        lines += [_line(["", *cells]), "".join(rules)]
    return [*lines, _line(["Model", *(escape(column.title) for column in columns)])]


def _lines(columns: Sequence[Column], row: Row) -> list[str]:
    cells = [row.cells.get(column.id) for column in columns]
    first = [
        "--" if cell is None else _figure(cell, row.has_trained_on(column))
        for cell, column in zip(cells, columns, strict=True)
    ]
    lines = [_line([escape(row.name) + _marks(row), *first])]
    beside = [None if cell is None or cell.measured is None else cell.paper for cell in cells]
    if any(figure is not None for figure in beside):
        below = ("" if figure is None else f"{figure:.1f}" for figure in beside)
        lines.append(_line([r"\quad paper", *below]))
    return lines


def _marks(row: Row) -> str:
    return (
        (r" $\clubsuit$" if row.generative else "")
        + (r" $\ddagger$" if row.fewer else "")
        + (r" \S" if row.truncated else "")
    )


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _figure(cell: Cell, trained: bool) -> str:
    command = {1: r"\textbf", 2: r"\underline"}.get(cell.place)
    text = f"{cell.value:.1f}" if command is None else f"{command}{{{cell.value:.1f}}}"
    arrow = r"\blacktriangle" if (cell.difference or 0) > 0 else r"\blacktriangledown"
    marks = (arrow if cell.outside else "") + (r"\dagger" if trained else "")
    # Without a width of their own, so that figures stand below each other.
    return rf"{text}\rlap{{$^{{{marks}}}$}}" if marks else text
