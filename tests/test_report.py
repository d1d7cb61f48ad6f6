"""The report's tables: ours beside the paper's, what differs, the best of a column."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_results import SETS, paper_shares, weights_hash, write_model
from typer.testing import CliRunner

from unisim_metrics.benchmark.paper import PAPER_MODELS, PAPER_TABLES
from unisim_metrics.benchmark.report import Cell, Row, Table, build_tables, read_measurements, write_report
from unisim_metrics.benchmark.report.figures import icl_curves, nafc_curves
from unisim_metrics.benchmark.report.tables import mark_places
from unisim_metrics.benchmark.tasks import TASKS
from unisim_metrics.cli import app
from unisim_metrics.statistics.intervals import Estimate

CORE = [task for task in TASKS if task.group == "core"]


def row_of(table: Table, model: str) -> Row:
    (row,) = (row for row in table.rows if row.model is not None and row.model.id == model)
    return row


class TestPaperAlone:
    def test_each_table_is_the_papers(self) -> None:
        for number, table in build_tables([]).items():
            figures = {row.id: {id: cell.paper for id, cell in row.cells.items()} for row in table.rows}
            assert figures == PAPER_TABLES[number].figures
            assert list(figures) == list(PAPER_TABLES[number].figures)

    @pytest.mark.parametrize(
        ("number", "column", "best", "second"),
        [
            # As the paper prints them bold and underlined.
            (2, "nights", {"dreamsim-ensemble"}, {"dreamsim-vit-b-32"}),
            (2, "average", {"unisim-vit-l-14"}, {"unisim-ll-n-0.5b"}),
            (3, "average", {"clip-vit-h-14"}, {"siglip-so400m-14"}),
            (8, "sice-brightness", {"dreamsim-vit-b-32"}, {"siglip-so400m-14"}),
            (8, "ir", {"siglip-so400m-14"}, {"clip-vit-h-14"}),
            # Two that tie are both second.
            (6, "nights", {"dreamsim-ensemble"}, {"dreamsim-vit-b-32"}),
            (3, "ooo", {"clip-vit-b-32"}, {"pac-s-vit-l-14"}),
        ],
    )
    def test_best_and_second_best(self, number: int, column: str, best: set[str], second: set[str]) -> None:
        rows = build_tables([])[number].rows
        places = {row.id: row.cells[column].place for row in rows if column in row.cells}
        assert {id for id, place in places.items() if place == 1} == best
        assert {id for id, place in places.items() if place == 2} == second


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), min_size=1, max_size=12))
def test_places_of_ties_and_gaps(figures: list[int | None]) -> None:
    column = PAPER_TABLES[3].columns[0]
    rows = [
        Row(str(index), "", "other", None, None, {} if figure is None else {column.id: Cell(figure / 10)})
        for index, figure in enumerate(figures)
    ]
    known = sorted({figure for figure in figures if figure is not None}, reverse=True)
    for figure, row in zip(figures, mark_places(rows, [column]), strict=True):
        if figure is None:
            assert row.cells == {}
        else:
            assert row.cells[column.id].place == {place: place + 1 for place in (0, 1)}.get(
                known.index(figure), 0
            )


@pytest.mark.parametrize(
    ("paper", "outside"),
    [(80.0, False), (84.0, False), (79.95, False), (79.9, True), (84.05, False), (84.1, True), (50.0, True)],
)
def test_a_difference_counts_where_no_rounding_explains_it(paper: float, outside: bool) -> None:
    cell = Cell(paper, Estimate(0.82, 0.8, 0.84))
    assert cell.outside is outside
    assert cell.difference == pytest.approx(82 - paper)
    assert cell.value == pytest.approx(82)


class TestMeasured:
    def test_averages_are_those_of_the_columns(self, tmp_path: Path) -> None:
        """A model that is right exactly as often as the paper's gives the averages that the paper prints."""
        models = ("unisim-vit-l-14", "pac-s-vit-l-14")
        for model in models:
            write_model(tmp_path, model, paper_shares(model), n=1000, exact=True)
        tables = build_tables(read_measurements(tmp_path))
        for number, model in itertools.product((2, 6, 8), models):
            row = row_of(tables[number], model)
            for column in tables[number].columns:
                cell = row.cells[column.id]
                assert cell.measured is not None and cell.paper is not None
                # Of sets to the last digit; averages of rounded figures are rounded once more.
                within = 1e-6 if column.kind == "set" else 0.05 + 1e-6
                assert 100 * cell.measured.value == pytest.approx(cell.paper, abs=within), (model, column.id)
                assert cell.measured.low <= cell.measured.value <= cell.measured.high
                assert not cell.outside

    def test_stands_beside_the_paper_in_its_row(self, tmp_path: Path) -> None:
        shares = {**paper_shares("hpsv2"), "nights": 0.5}
        write_model(tmp_path, "hpsv2", shares, n=1000, exact=True)
        for number, table in build_tables(read_measurements(tmp_path)).items():
            rows = [row.model.id for row in table.rows if row.model]
            assert rows == list(PAPER_TABLES[number].figures), "no row is added, none moves"
        row = row_of(build_tables(read_measurements(tmp_path))[2], "hpsv2")
        marked = {id for id, cell in row.cells.items() if cell.outside}
        assert marked == {"nights", "img-2afc", "average"}
        assert row.cells["nights"].difference == pytest.approx(50 - 78.5)

    def test_a_missing_set_leaves_its_averages_out(self, tmp_path: Path) -> None:
        shares = {name: share for name, share in paper_shares("liqe").items() if name != "bapps"}
        write_model(tmp_path, "liqe", shares, n=100)
        cells = row_of(build_tables(read_measurements(tmp_path))[6], "liqe").cells
        assert {id for id, cell in cells.items() if cell.measured is None} == {"bapps", "img-2afc", "average"}
        assert cells["img-2afc"].value == cells["img-2afc"].paper == 74.4

    def test_models_that_the_paper_does_not_have_stand_below(self, tmp_path: Path) -> None:
        write_model(tmp_path, "mine", dict.fromkeys(CORE[0].datasets, 0.99), n=200)
        tables = build_tables(read_measurements(tmp_path))
        for number in (2, 6):
            last = tables[number].rows[-1]
            assert (last.name, last.group, last.model) == ("mine", "other", None)
            assert set(last.cells) == {*CORE[0].datasets, "img-2afc"}
            assert last.cells["bapps"].place == 1
        for number in (3, 8):
            assert all(row.name != "mine" for row in tables[number].rows), "it has no figure there"

    def test_a_model_stands_below_a_table_that_has_no_row_of_it(self, tmp_path: Path) -> None:
        write_model(tmp_path, "deqa-score", {"imagenet-ooo": 0.5, "cifar-100-ooo": 0.5}, n=100)
        tables = build_tables(read_measurements(tmp_path))
        assert (tables[8].rows[-1].name, tables[8].rows[-1].group) == ("DeQA-Score mPLUG-Owl2", "other")
        assert row_of(tables[6], "deqa-score").measurement is not None

    def test_each_revision_has_a_row(self, tmp_path: Path) -> None:
        for revision in (0, 1):
            write_model(tmp_path, "unisim-vit-b-32", {"nights": 0.8}, revision=revision, n=100)
        rows = [row for row in build_tables(read_measurements(tmp_path))[2].rows if row.measurement]
        assert {row.name for row in rows} == {
            f"UniSim ViT-B/32 @{weights_hash('unisim-vit-b-32', revision)[:7]}" for revision in (0, 1)
        }
        assert all(row.cells["nights"].paper == 87.7 for row in rows)

    def test_tells_of_fewer_samples(self, tmp_path: Path) -> None:
        shares = {"roxford": 0.3, "rparis": 0.5, "nights": 0.9}
        write_model(tmp_path, "pac-s-vit-l-14", shares, n=1823)
        tables = build_tables(read_measurements(tmp_path))
        assert row_of(tables[2], "pac-s-vit-l-14").fewer
        assert not row_of(tables[3], "pac-s-vit-l-14").fewer
        assert not row_of(tables[8], "pac-s-vit-l-14").fewer, "all 70 queries of both sets"
        write_model(tmp_path, "pac-s-vit-l-14", {**shares, "cifar-100-ooo": 0.5}, n=1824)
        tables = build_tables(read_measurements(tmp_path))
        assert not row_of(tables[2], "pac-s-vit-l-14").fewer
        assert row_of(tables[3], "pac-s-vit-l-14").fewer and row_of(tables[8], "pac-s-vit-l-14").fewer

    def test_the_better_way_of_a_task_counts(self, tmp_path: Path) -> None:
        write_model(tmp_path, "mine", dict.fromkeys(SETS, 0.9), n=1000, exact=True)
        cells = build_tables(read_measurements(tmp_path))[6].rows[-1].cells
        assert cells["iqa"].value == pytest.approx(90)


class TestCurves:
    def test_alternatives(self, tmp_path: Path) -> None:
        shares = {"hpdv2": 0.8, "hpdv2-nafc-3": 0.7, "hpdv2-nafc-8": 0.4}
        write_model(tmp_path, "mine", shares, n=100, exact=True)
        write_model(tmp_path, "pairs-only", {"hpdv2": 0.8}, n=100)
        ((model, curve),) = nafc_curves(read_measurements(tmp_path)).items()
        assert model.startswith("mine@")
        assert {number: share.value for number, share in curve.items()} == pytest.approx(
            {2: 0.8, 3: 0.7, 8: 0.4}
        )

    def test_demonstrations_over_the_sets_that_all_have(self, tmp_path: Path) -> None:
        kept = {"nights": 0.9, "hpdv2": 0.7}
        write_model(tmp_path / "0", "mine", {**kept, "bapps": 0.1}, n=100, exact=True)
        for number in (1, 3):
            lower = {name: share - 0.1 * number for name, share in kept.items()}
            write_model(tmp_path / str(number), "mine", lower, n=100, exact=True, demonstrations=number)
        measured = read_measurements(*(tmp_path / name for name in "013"))
        ((_, curve),) = icl_curves(measured).items()
        assert {number: share.value for number, share in curve.items()} == pytest.approx(
            {0: 0.8, 1: 0.7, 3: 0.5}
        )
        tables = build_tables(measured)
        assert tables[2].rows[-1].cells["nights"].value == pytest.approx(90), (
            "tables are without demonstrations"
        )

    def test_models_without_demonstrations_have_no_curve(self, tmp_path: Path) -> None:
        write_model(tmp_path, "mine", {"nights": 0.9}, n=100)
        assert icl_curves(read_measurements(tmp_path)) == {}


class TestCommand:
    FILES = ("report.html", "report.md", "report.tex", "table2.csv", "table3.csv", "table6.csv", "table8.csv")

    def test_without_results(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(app, ["bench", "report"])
        assert done.exit_code == 0, done.output
        assert sorted(path.name for path in Path("report").iterdir()) == sorted(self.FILES)
        assert "85.3" in Path("report/report.md").read_text(encoding="utf-8")

    def test_takes_results_where_runs_leave_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_model(Path("results"), "mine", {"nights": 0.9}, n=100)
        done = CliRunner().invoke(app, ["bench", "report", "--format", "markdown", "--out", "here"])
        assert done.exit_code == 0, done.output
        assert [path.name for path in Path("here").iterdir()] == ["report.md"]
        assert "| mine ‡ |" in Path("here/report.md").read_text(encoding="utf-8")

    def test_refuses_what_it_cannot_read(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path, "mine", {"nights": 0.9}, n=100)
        (folder / "bapps.json").write_text('{"dataset": 3', encoding="utf-8")
        with pytest.raises(ValueError, match=r"bapps\.json is no SetResult"):
            write_report(tmp_path / "out", [tmp_path])
        assert not (tmp_path / "out").exists()

    def test_refuses_unknown_formats_and_folders(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="`formats` must be some of"):
            write_report(tmp_path / "out", formats=["pdf"])
        with pytest.raises(NotADirectoryError, match="`results` must name folders"):
            write_report(tmp_path / "out", [tmp_path / "nowhere"])


def test_the_papers_groups_are_known() -> None:
    from unisim_metrics.benchmark.report.tables import GROUPS

    assert {model.group for model in PAPER_MODELS.values()} < set(GROUPS)
