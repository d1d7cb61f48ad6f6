"""What scores mean: percentiles against SciPy, the logistic slope against statsmodels, and the commands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import expit
from scipy.stats import percentileofscore
from scipy.stats import t as student_t
from typer.testing import CliRunner

from unisim_metrics.calibration import (
    Calibration,
    Preference,
    ReferenceSample,
    read_calibration,
    write_calibration,
)
from unisim_metrics.cli import app
from unisim_metrics.models import EncoderModel
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.logistic import fit_slope

PREFERENCE = Preference("s", "hpdv2", "ab", "paper", 100, 12.0, 9.0, 15.0)


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-6, 6) | st.none(), max_size=5),
)
def test_percentiles_are_scipys(sample: list[int], asked: list[int | None]) -> None:
    reference = ReferenceSample("s", tuple(sorted(each / 4 for each in sample)))
    scores = [math.nan if each is None else each / 4 for each in asked]
    found = reference.percentiles(scores, "s")
    for score, percentile in zip(scores, found, strict=True):
        if math.isnan(score):
            assert math.isnan(percentile)
        else:
            assert percentile == pytest.approx(
                percentileofscore(reference.scores, score, kind="mean"), abs=1e-9
            )


def draw(n: int, slope: float, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    differences = rng.normal(0, 0.1, n)
    return differences, rng.random(n) < expit(slope * differences), np.arange(n) % groups


@pytest.mark.parametrize(("n", "slope"), [(30, 5.0), (500, 20.0), (500, -3.0), (3000, 0.0)])
def test_slope_is_that_of_statsmodels(n: int, slope: float) -> None:
    sm = pytest.importorskip("statsmodels.api")
    differences, chosen, labels = draw(n, slope, n // 5)
    for clusters in (None, Clusters(labels)):
        fitted = sm.Logit(chosen.astype(float), differences).fit(
            disp=0,
            tol=1e-14,
            method="newton",
            cov_type="cluster",
            cov_kwds={"groups": np.arange(n) if clusters is None else labels},
        )
        found = fit_slope(differences, chosen, clusters)
        assert found.value == pytest.approx(fitted.params[0], rel=1e-8)
        groups = n if clusters is None else n // 5
        half = student_t.ppf(0.975, groups - 1) * fitted.bse[0]
        assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-6)


def test_order_and_unit_do_not_matter() -> None:
    differences, chosen, _ = draw(200, 10.0, 40)
    found = fit_slope(differences, chosen)
    turned = fit_slope(np.where(chosen, differences, -differences), np.ones(200, dtype=bool))
    assert turned.value == pytest.approx(found.value, rel=1e-12)
    # Scores of another unit, as far as floats go.
    for unit in (1e-9, 1e9):
        assert fit_slope(unit * differences, chosen).value * unit == pytest.approx(found.value, rel=1e-9)


def test_intervals_of_the_slope_hold_it() -> None:
    rng, held = np.random.default_rng(0), []
    for _ in range(600):
        differences = rng.normal(0, 0.1, 200)
        found = fit_slope(differences, rng.random(200) < expit(15 * differences))
        held.append(found.low <= 15 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(
    ("differences", "chosen", "message"),
    [
        ([0.1, 0.2], [True, True], r"of 2 pairs 2 are with it and 0 against"),
        ([0.1, 0.2], [False, False], r"of 2 pairs 0 are with it and 2 against"),
        ([0.0], [True], r"of 1 pairs 0 are with it and 0 against"),
        ([], [], r"of 0 pairs"),
        ([0.1, math.nan], [True, False], "1 not finite"),
        ([0.1], [True, False], r"one shape \[n\]"),
    ],
)
def test_no_slope(differences: list[float], chosen: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_slope(np.array(differences), np.array(chosen, dtype=bool))


def test_one_group_has_no_slope() -> None:
    differences, chosen, _ = draw(50, 10.0, 5)
    with pytest.raises(ValueError, match="all pairs hang together as one"):
        fit_slope(differences, chosen, Clusters(np.zeros(50, dtype=int)))
    with pytest.raises(ValueError, match="`clusters` must be of 50 pairs, but got 4"):
        fit_slope(differences, chosen, Clusters.independent(4))


def test_chances_are_logistic() -> None:
    differences = [-1e6, -0.2, 0.0, 0.1, 1e6]
    assert PREFERENCE.chances(differences, "s") == pytest.approx(expit(12 * np.array(differences)), abs=1e-12)
    with pytest.raises(ValueError, match="another signature: it was made of s, but these are t"):
        PREFERENCE.chances([0.1], "t")


@pytest.mark.parametrize("reference", [None, ReferenceSample("a|b", (-1.0, 0.25, 0.25, 1e-9 + 1))])
@pytest.mark.parametrize("preference", [None, PREFERENCE])
def test_file_survives(
    tmp_path: Path, reference: ReferenceSample | None, preference: Preference | None
) -> None:
    path, made = tmp_path / "c.json", Calibration(reference, preference)
    write_calibration(path, made)
    if reference is None and preference is None:
        with pytest.raises(ValueError, match="neither a reference nor a preference"):
            read_calibration(path)
        return
    assert read_calibration(path) == made
    content = json.loads(path.read_text()) | {"later": 1}
    path.write_text(json.dumps(content))
    assert read_calibration(path) == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no calibration"),
        ("[1]", "neither a reference"),
        ("[" * 100_000, "is no calibration"),
        ('{"reference": 3}', "scores: a value of another kind"),
        ('{"reference": {"signature": "s", "scores": []}}', "at least one, but got 0"),
        ('{"reference": {"signature": "s", "scores": [2, 1]}}', "ascending"),
        ('{"reference": {"signature": "s", "scores": [NaN]}}', "finite number was expected"),
        ('{"reference": {"signature": "s", "scores": [true]}}', "scores must be numbers"),
        ('{"reference": {"signature": 1, "scores": [1]}}', "signature: a value of another kind"),
        (f'{{"reference": {{"signature": "s", "scores": [{10**400}]}}}}', "finite number was expected"),
        ('{"preference": {"signature": "s"}}', "dataset: a value of another kind"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_calibration(path)
    assert str(path) in str(error.value)


@pytest.fixture
def unisim(tiny_clip_dir: Path) -> Callable[..., Any]:
    """Runs a command with the tiny model; a result on success, else the error."""

    def run(command: str, *arguments: object, status: int = 0) -> Any:
        found = CliRunner().invoke(app, [command, *map(str, arguments), "-m", str(tiny_clip_dir)])
        assert found.exit_code == status, found.output
        return json.loads(found.stdout) if "--json" in arguments and not status else found.stderr

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures and a file that is none."""
    rng = np.random.default_rng(0)
    for index in range(7):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def test_scores_get_percentiles(folder: Path, unisim: Callable[..., Any]) -> None:
    file = folder / "c.json"
    told = unisim("calibrate", folder, "-o", file)
    assert "broken.png" in told
    sample = read_calibration(file).reference
    assert sample is not None
    assert len(sample.scores) == 7
    found = unisim("score", folder / "3.png", folder / "5.png", "--calibration", file, "--json")
    assert found["signature"] == sample.signature
    for row in found["results"]:
        expected = percentileofscore(sample.scores, row["score"], kind="mean")
        assert row["percentile"] == pytest.approx(expected, abs=1e-9)
    # A picture that cannot be read has neither.
    rows = unisim("score", folder, "--calibration", file, "--json", status=1)
    assert "broken.png" in rows
    assert "signature" in unisim("score", folder / "3.png", "-t", "a", "--calibration", file, status=2)
    assert "has none" in unisim("rank", folder / "3.png", folder / "4.png", "--calibration", file, status=2)


def write_pairs(folder: Path, n: int) -> Path:
    """Pairs of as many more pictures, of which people liked any."""
    rng = np.random.default_rng(1)
    for index in range(7, n):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    lines = []
    for _ in range(n):
        first, second = rng.choice(n, 2, replace=False)
        lines.append(
            {
                "task": "quality",
                "reference": None,
                "alternatives": [{"image": f"{first}.png"}, {"image": f"{second}.png"}],
                "label": int(rng.integers(2)),
            }
        )
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("method", ["naive", "clip-iqa"])
def test_chances_of_people(
    folder: Path, unisim: Callable[..., Any], tiny_model: EncoderModel, method: str
) -> None:
    sm = pytest.importorskip("statsmodels.api")
    file, pairs = folder / "c.json", write_pairs(folder, 60)
    unisim("calibrate", "--dataset", pairs, "--root", folder, "-o", file, "--method", method)
    found = read_calibration(file).preference
    assert found is not None
    assert (found.dataset, found.provenance, found.n) == ("mine", "own", 60)
    samples = [json.loads(line) for line in pairs.read_text().splitlines()]
    groups = [[folder / each["image"] for each in sample["alternatives"]] for sample in samples]
    scores = tiny_model.compare(None, groups, task="quality", method=method).double().numpy()
    people = np.array([sample["label"] == 0 for sample in samples], dtype=float)
    fitted = sm.Logit(people, scores[:, 0] - scores[:, 1]).fit(disp=0, tol=1e-14)
    assert found.slope == pytest.approx(fitted.params[0], rel=1e-4)
    ranked = unisim(
        "rank",
        *(folder / f"{index}.png" for index in range(3)),
        "--calibration",
        file,
        "--json",
        "--method",
        method,
    )
    first = ranked["results"][0]["score"]
    for row in ranked["results"]:
        assert row["preferred_to_first"] == pytest.approx(
            expit(found.slope * (row["score"] - first)), abs=1e-9
        )
    other = {"naive": "clip-iqa", "clip-iqa": "naive"}[method]
    two = folder / "1.png", folder / "2.png"
    assert "another signature" in unisim("rank", *two, "--calibration", file, "--method", other, status=2)


def test_what_calibrate_refuses(folder: Path, unisim: Callable[..., Any]) -> None:
    assert "A reference sample must be given" in unisim("calibrate", status=2)
    three = folder / "three.jsonl"
    images = [{"image": f"{index}.png"} for index in range(3)]
    three.write_text(
        json.dumps({"task": "quality", "reference": None, "alternatives": images, "label": 0}) + "\n"
    )
    target = folder / "c.json"
    told = unisim("calibrate", "-d", three, "--root", folder, "-o", target, status=2)
    assert "must be a set of pairs, but 'three' is not" in told
    assert not target.exists()
