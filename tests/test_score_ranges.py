"""What scores are usually like: the file that comes with the package, and what measures it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from docs.experiments.score_ranges import ASKED, measure
from unisim_metrics import UniSimScore, load_model
from unisim_metrics.benchmark import load_dataset
from unisim_metrics.benchmark.demo import write_demo
from unisim_metrics.cli import app
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.typical import typical_scores
from unisim_metrics.tasks import Method

pytest.importorskip("skimage")


def test_ranges_are_of_todays_bundled_model() -> None:
    """After a change of the model: `python -m docs.experiments.score_ranges --output …`, as its text says."""
    model = load_model("unisim-mini")
    found = typical_scores("unisim-mini")
    assert [(row["task"], row["method"]) for row in found] == ASKED
    for row in found:
        made_by = UniSimScore(model, task=row["task"], method=row["method"] or "naive")
        assert row["signature"] == made_by.signature
        assert row["low"] <= row["middle"] <= row["high"]
        assert row["low"] < row["high"]
    assert typical_scores("clip-vit-b-32") == []


def test_page_shows_them() -> None:
    page = (Path(__file__).parent.parent / "docs" / "concepts.md").read_text(encoding="utf-8")
    for row in typical_scores("unisim-mini"):
        shown = f"`{row['method']}`" if row["method"] else ""
        figures = f"{row['low']:.3f} | {row['middle']:.3f} | {row['high']:.3f} | {row['n']}"
        assert f"| `{row['task']}` | {shown} | {figures} |" in page


def test_json_of_the_models_has_them() -> None:
    content = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    by_name = {row["name"]: row["typical_scores"] for row in content["results"]}
    assert by_name["unisim-mini"] == typical_scores("unisim-mini")
    assert by_name["unisim-vit-l-14"] == []
    assert "typical" not in CliRunner().invoke(app, ["models", "--csv"]).stdout


@pytest.mark.parametrize("method", ["naive", "clip-iqa"])
def test_percentiles_of_each_picture_once(tmp_path: Path, tiny_model: EncoderModel, method: Method) -> None:
    root = write_demo(tmp_path, 0, ["koniq-sharpness"])
    samples = load_dataset("koniq-sharpness", root).samples()[:3]
    images = list(dict.fromkeys(image for sample in samples for image in sample.alternatives))
    metric = UniSimScore(tiny_model, task="sharpness", method=method, reduction="none")
    scores = metric(images).double().numpy()
    found = measure(tiny_model, "sharpness", method, root, 3)
    assert (found["task"], found["method"], found["n"]) == ("sharpness", method, len(images))
    expected = np.percentile(scores, (5, 50, 95))
    assert [found["low"], found["middle"], found["high"]] == pytest.approx(expected, abs=6e-4)
