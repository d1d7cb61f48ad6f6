"""A report's files: Markdown, CSV, LaTeX and one page of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from unisim_metrics.text_files import write_text

from ..costs.efficiency import read_efficiency
from .csv_tables import apart_to_csv, efficiency_to_csv, to_csv
from .latex import to_latex
from .markdown import to_markdown
from .measurements import read_measurements
from .other_tables import apart_rows
from .page import to_html
from .tables import build_tables, names_of

FORMATS = ("html", "markdown", "csv", "latex")


def write_report(
    out: str | Path,
    results: Iterable[str | Path] = (),
    formats: Iterable[str] = FORMATS,
    *,
    paper_choice: bool = False,
) -> list[Path]:
    """Write Tables 2, 3, 6 and 8 of the paper, with measured figures beside the paper's, and a page with all charts.

    What was measured on other samples than the paper's sets, whole, stands in a table of its own and in no chart.

    Args:
        out: The folder of the report; made if it is not there.
        results: Folders with results of `run`. Those of one model are put together; without any, the tables are the
            paper's alone.
        formats: Which files: `"html"` makes `report.html`, `"markdown"` `report.md`, `"latex"` `report.tex`, `"csv"`
            `table2.csv` and so on.
        paper_choice: Whether quality and attributes count in the way that is better on the scored samples themselves,
            as the paper's figures do; otherwise the way is chosen on other samples.

    Returns:
        The files.

    Raises:
        ValueError: If there is no such format, or a file is none of results. The message names file and field.
        NotADirectoryError: If a folder of results is not there.
    """
    chosen = list(dict.fromkeys(formats))
    for form in chosen:
        if form not in FORMATS:
            raise ValueError(f"Argument `formats` must be some of {FORMATS}, but got {form!r}.")
    folders = [Path(folder) for folder in results]
    for folder in folders:
        if not folder.is_dir():
            raise NotADirectoryError(
                f"Argument `results` must name folders of results, but there is none at {folder}."
            )
    measurements = read_measurements(*folders, paper_choice=paper_choice)
    tables = build_tables(measurements)
    apart = apart_rows(measurements, names_of(measurements))
    efficiency = read_efficiency(folders)
    texts: dict[str, str] = {}
    if "html" in chosen:
        texts["report.html"] = to_html(tables, measurements, efficiency, apart)
    if "markdown" in chosen:
        texts["report.md"] = to_markdown(tables, efficiency, apart)
    if "csv" in chosen:
        texts |= {f"table{number}.csv": to_csv(table) for number, table in tables.items()}
        if apart:
            texts["other_samples.csv"] = apart_to_csv(apart)
        if efficiency is not None:
            texts["efficiency.csv"] = efficiency_to_csv(efficiency)
    if "latex" in chosen:
        texts["report.tex"] = to_latex(tables, efficiency, apart)
    return _write(Path(out), texts)


def _write(out: Path, texts: Mapping[str, str]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]
