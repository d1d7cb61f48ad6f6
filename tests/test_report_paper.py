"""The paper's figures: what it prints, and what its averages are the averages of."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unisim_metrics.benchmark.datasets import list_datasets
from unisim_metrics.benchmark.paper import PAPER_MODELS, PAPER_TABLES, find_model
from unisim_metrics.benchmark.paper.tables import read_csv
from unisim_metrics.models import list_models

SHAPES = {2: (23, 21), 3: (22, 4), 6: (25, 21), 8: (24, 13)}
CORE = {"img-2afc": 3, "it-2afc": 5, "text-2afc": 3, "iqa": 5}
OOD = {"paa": 5, "ooo": 2, "ir": 2}

# Averages that the paper prints otherwise than its columns give: what it prints less what they give. Figures are
# rounded to 0.1, so that an average of rounded figures may be off by 0.05 and its own print by 0.05 more.
SLIPS: dict[tuple[int, str, str], float] = {
    (2, "dreamsim-vit-b-32", "iqa"): 69.2 - 69.26,
    (2, "unisim-vit-b-32", "iqa"): 85.3 - 85.24,
    (6, "dreamsim-vit-b-32", "iqa"): 69.2 - 69.26,
    (6, "unisim-vit-b-32", "iqa"): 85.3 - 85.24,
    (8, "siglip-so400m-14", "average"): 63.7 - (68.64 + 69.75 + 52.9) / 3,
    (3, "dreamsim-vit-b-32", "average"): 56.6 - (70.7 + 61.4 + 38.0) / 3,
    (3, "pac-s-vit-l-14", "average"): 61.6 - (65.8 + 71.2 + 48.0) / 3,
    (3, "liqe", "average"): 49.9 - (71.0 + 60.1 + 18.8) / 3,
}

# Where Table 3 prints another average than Table 8, of the same thing: Table 3's less Table 8's.
BETWEEN_TABLES = {
    ("siglip-so400m-14", "paa"): -0.3,
    ("siglip-so400m-14", "ooo"): -2.7,
    ("siglip-so400m-14", "average"): -0.9,
    ("dreamsim-vit-b-32", "average"): -0.1,
    ("dreamsim-ensemble", "ooo"): -2.0,
    ("dreamsim-ensemble", "ir"): 0.9,
}


def read(name: str) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Models, columns and figures of a file, NaN for what is missing, without the package's reader."""
    with files("unisim_metrics.benchmark.paper").joinpath(name).open(encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    figures = np.array([[float(figure or "nan") for figure in line[1:]] for line in lines])
    return [line[0] for line in lines], head[1:], figures


def averages(sizes: dict[str, int], figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Task averages and their mean `[models, tasks + 1]`, from the columns of sets alone."""
    means, start = [], 0
    for size in sizes.values():
        means.append(figures[:, start : start + size].mean(axis=1))
        start += size + 1
    return np.column_stack([*means, np.mean(means, axis=0)])


@pytest.mark.parametrize(
    ("number", "name", "sizes"), [(2, "table6.csv", CORE), (6, "table6.csv", CORE), (8, "table8.csv", OOD)]
)
def test_the_columns_give_the_averages(number: int, name: str, sizes: dict[str, int]) -> None:
    models, columns, figures = read(name)
    mine = averages(sizes, figures)
    where = [columns.index(column) for column in (*sizes, "average")]
    slips = {}
    for row, model in enumerate(models):
        if model not in PAPER_TABLES[number].figures:
            continue
        for column, own, printed in zip((*sizes, "average"), mine[row], figures[row, where], strict=True):
            assert np.isnan(own) == np.isnan(printed), (model, column)
            if abs(printed - own) > 0.05 + 1e-9:
                slips[number, model, column] = printed - own
    assert slips == pytest.approx({key: slip for key, slip in SLIPS.items() if key[0] == number})


def test_table_3_gives_its_averages() -> None:
    models, _, figures = read("table3.csv")
    own = figures[:, :3].mean(axis=1)
    assert (np.isnan(own) == np.isnan(figures[:, 3])).all()
    slips = {
        (3, model, "average"): difference
        for model, difference in zip(models, figures[:, 3] - own, strict=True)
        if abs(difference) > 0.05 + 1e-9
    }
    assert slips == pytest.approx({key: slip for key, slip in SLIPS.items() if key[0] == 3})


def test_every_slip_is_one_of_rounding() -> None:
    assert max(map(abs, SLIPS.values())) <= 0.1 + 1e-9


def test_tables_3_and_8_agree_but_where_they_do_not() -> None:
    short, long = PAPER_TABLES[3].figures, PAPER_TABLES[8].figures
    found = {
        (model, column): figure - long[model][column]
        for model, figures in short.items()
        for column, figure in figures.items()
        if figure != long[model][column]
    }
    assert found == pytest.approx(BETWEEN_TABLES)


@pytest.mark.parametrize("number", SHAPES)
def test_tables_have_the_papers_shape(number: int) -> None:
    table = PAPER_TABLES[number]
    assert (len(table.figures), len(table.columns)) == SHAPES[number]
    titles = {column.id for column in table.columns}
    assert all(set(figures) <= titles for figures in table.figures.values())
    assert set(table.figures) <= set(PAPER_MODELS)
    groups = [PAPER_MODELS[model].group for model in table.figures]
    assert list(dict.fromkeys(groups)) == ["general-purpose", "specialized", "unisim"]
    assert groups == sorted(groups), "a heading stands once"


def test_table_2_is_table_6_without_the_models_on_perceptual_data_alone() -> None:
    rest = {model: figures for model, figures in PAPER_TABLES[6].figures.items() if not model.endswith("-v1")}
    assert rest == PAPER_TABLES[2].figures
    assert len(PAPER_TABLES[6].figures) - len(rest) == 2


@pytest.mark.parametrize(
    ("number", "model", "column", "figure"),
    [
        (2, "clip-vit-b-32", "average", 72.6),
        (2, "hpsv2", "hpdv2", 83.5),
        (2, "unisim-vit-l-14", "average", 85.3),
        (3, "siglip-so400m-14", "average", 62.8),
        (6, "unisim-ll-n-7b-v1", "magicbrush", 97.7),
        (8, "siglip-so400m-14", "average", 63.7),
        (8, "liqe", "koniq-sharpness", 75.9),
        (8, "unisim-vit-b-32", "rparis", 48.4),
    ],
)
def test_some_figures_of_the_paper(number: int, model: str, column: str, figure: float) -> None:
    assert PAPER_TABLES[number].figures[model][column] == figure


def test_unisim_has_seen_what_it_trains_on() -> None:
    unisim = [model for model in PAPER_MODELS.values() if model.group == "unisim"]
    assert len(unisim) == 5
    assert all(model.trained == set(list_datasets(trained=True)) for model in unisim)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("unisim-vit-b-32", "unisim-vit-b-32"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "clip-vit-b-32"),
        ("open_clip:ViT-SO400M-14-SigLIP/webli", "siglip-so400m-14"),
        ("open_clip:ViT-SO400M-14-SigLIP-384/webli", None),
        ("openai/clip-vit-large-patch14-336", "clip-vit-l-14-336"),
        ("clip-vit-l-14", None),
        ("TIGER-Lab/Mantis-8B-Idefics2", "mantis-idefics2-8b"),
        ("clip-vit-b-32-openai", None),
        ("unisim-mini", None),
        ("", None),
    ],
)
def test_names_of_models(name: str, model: Any) -> None:
    found = find_model(name)
    assert (found and found.id) == model


def test_registry_names_are_the_papers() -> None:
    known = {name for name in list_models() if find_model(name) is not None}
    assert known >= {"unisim-vit-b-32", "unisim-vit-l-14"}
    assert all(find_model(name) is PAPER_MODELS[name] for name in known)


def test_every_row_has_a_name_of_the_registry_or_a_reason() -> None:
    rows = {row["model"] for table in ("table3.csv", "table6.csv", "table8.csv") for row in read_csv(table)}
    assert rows == set(PAPER_MODELS)
    for name in rows:
        assert (name in list_models()) == (PAPER_MODELS[name].unnamed is None), name
    assert [name for name, model in PAPER_MODELS.items() if model.unnamed == "never published"] == [
        "unisim-ll-n-0.5b-v1",
        "unisim-ll-n-7b-v1",
    ]
