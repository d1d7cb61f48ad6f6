"""The benchmark that needs no data: made, read by the real adapters, and judged by the bundled model."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from typer.testing import CliRunner

from unisim_metrics.benchmark import list_datasets, load_dataset
from unisim_metrics.benchmark.demo import photos, write_demo
from unisim_metrics.benchmark.demo.distortions import DISTORTIONS, LEVELS, brighten, distort
from unisim_metrics.benchmark.demo.image_sets import write_nights
from unisim_metrics.benchmark.demo.odd_sets import write_cifar, write_revisitop
from unisim_metrics.benchmark.demo.prompt_sets import write_hpdv2
from unisim_metrics.benchmark.demo.quality_sets import indicators
from unisim_metrics.benchmark.demo.scenes import Scene, paint, random_scenes, worsen
from unisim_metrics.benchmark.results.files import SetResult, read_results
from unisim_metrics.benchmark.running.runner import run
from unisim_metrics.cli.app import app

pytest.importorskip("pyarrow")
pytest.importorskip("skimage")

# One set of each task, of few pictures each, and what chance achieves (of retrieval, more than that).
JUDGED = {
    "nights": 0.5,
    "imagereward": 0.5,
    "polaris": 0.5,
    "kadid-10k": 0.5,
    "sice-brightness": 0.5,
    "imagenet-ooo": 1 / 3,
    "roxford": 0.4,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, tiny_clip_dir: Path) -> tuple[Path, str]:
    """What the command leaves and prints, with a model that is quick and knows nothing."""
    out = tmp_path_factory.mktemp("demo")
    result = CliRunner().invoke(app, ["bench", "demo", "--out", str(out), "--model", str(tiny_clip_dir)])
    assert result.exit_code == 0, result.output
    return out, result.stdout


@pytest.fixture(scope="module")
def root(demo: tuple[Path, str]) -> Path:
    return demo[0] / "data"


@pytest.fixture(scope="module")
def results(root: Path) -> dict[str, SetResult]:
    return run("unisim-mini", list(JUDGED), root, n=12, cache=False, max_lost=0)


def test_every_set_is_present(root: Path) -> None:
    for name in list_datasets():
        status = load_dataset(name, root).status(images=True)
        assert (name, status.state) == (name, "present")


def test_every_set_has_samples_and_balanced_labels(root: Path) -> None:
    for name in list_datasets():
        dataset = load_dataset(name, root)
        if dataset.task == "retrieval":
            continue
        samples = dataset.samples()
        assert len(samples) >= 16, name
        counts = Counter(sample.label for sample in samples)
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len({(sample.reference, frozenset(sample.alternatives)) for sample in samples}) == len(samples)


@pytest.mark.parametrize("name", JUDGED)
def test_figures_are_well_above_chance(results: dict[str, SetResult], name: str) -> None:
    result = results[name]
    # Of two ways the better one: the paper's rule.
    outcome = max(result.outcomes, key=lambda outcome: outcome.figure)
    assert result.lost == 0
    if result.labels is None:
        assert outcome.low > JUDGED[name]
    else:
        # Labels stand in random order: a model that tells nothing is right by chance, whatever samples share. The
        # interval asks about other photos, and of twelve samples of a few photos it may reach below chance.
        right = int(np.sum(outcome.choices == result.labels))
        assert binomtest(right, result.n, JUDGED[name], alternative="greater").pvalue < 0.025
    assert outcome.figure > JUDGED[name] + 0.2


def test_the_command_runs_all_sets(demo: tuple[Path, str]) -> None:
    out, printed = demo
    ((meta, found),) = read_results(out / "results")
    assert meta.name == "tiny-clip"
    assert set(found) == set(list_datasets())
    table = re.sub(r"\s+", " ", printed)
    for title in ("Img-2AFC", "IT-2AFC", "Text-2AFC", "IQA", "PAA", "OOO", "IR"):
        assert f"{title} mean" in table


def test_some_sets_alone(root: Path, tmp_path: Path) -> None:
    made = write_demo(tmp_path, datasets=["cd-coco", "hq-edit-images"])
    present = [
        name for name in list_datasets() if load_dataset(name, made).status(images=True).state == "present"
    ]
    # Those that share their files come together.
    assert present == ["hq-edit-images", "cd-coco", "hq-edit-captions"]
    again = digests(made)
    assert again == {name: digest for name, digest in digests(root).items() if name in again}
    with pytest.raises(ValueError, match=r"`datasets` must hold some of .*, but got \['cd'\]"):
        write_demo(tmp_path, datasets=["cd"])


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_makes_the_same_files(root: Path, tmp_path: Path) -> None:
    made = digests(root)
    for write in (write_nights, write_hpdv2, write_cifar, write_revisitop):
        write(tmp_path / "again", 0)
        write(tmp_path / "other", 1)
    again, other = digests(tmp_path / "again"), digests(tmp_path / "other")
    assert len(again) > 100
    assert again == {name: made[name] for name in again}
    assert sum(other.get(name) == digest for name, digest in again.items()) < 5


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    photos.read_photo.cache_clear()
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs scikit-image: pip install .*'scikit-image>="):
        photos.read_photo("chelsea.png")


# What is drawn, and how it is damaged.


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    photos.read_photo.cache_clear()
    return photos.crops(1, 96, 5, ("chelsea.png",))[0].image


@pytest.mark.parametrize("kind", list(DISTORTIONS))
def test_distortions_grow_with_the_level(photo: Image.Image, kind: str) -> None:
    pixels = np.asarray(photo, dtype=float)
    errors = [float(np.abs(np.asarray(distort(photo, kind, level)) - pixels).mean()) for level in LEVELS]
    assert errors == sorted(errors)
    assert errors[0] > 0.5
    assert len(set(errors)) == 5
    assert np.array_equal(np.asarray(distort(photo, kind, 3, 7)), np.asarray(distort(photo, kind, 3, 7)))


def test_exposures(photo: Image.Image) -> None:
    lumas = [float(np.asarray(brighten(photo, stops).convert("L")).mean()) for stops in (-3, -1, 0, 1)]
    assert lumas == sorted(lumas)
    assert np.array_equal(np.asarray(brighten(photo, 0)), np.asarray(photo))


def test_indicators_measure_what_they_are_called(photo: Image.Image) -> None:
    brightness, contrast, colourfulness, sharpness = indicators(photo)
    assert indicators(brighten(photo, 1))[0] > brightness
    assert indicators(distort(photo, "contrast change", 4))[1] < contrast
    assert indicators(photo.convert("L").convert("RGB"))[2] == pytest.approx(0, abs=1e-12)
    assert colourfulness > 0.05
    assert indicators(distort(photo, "gaussian blur", 3))[3] < sharpness
    assert indicators(Image.new("RGB", (9, 9), (51, 51, 51)))[:2] == pytest.approx((0.2, 0))


def test_scenes_are_what_their_captions_say() -> None:
    scenes = random_scenes(64, 0)
    assert len({scene.caption for scene in scenes}) == 64
    scene = Scene("house", "blue", "snow", 3)
    assert scene.caption == "a blue house in the snow"
    for mistakes in range(4):
        worse = worsen(scene, mistakes, 9)
        parts = [(getattr(scene, name), getattr(worse, name)) for name in ("object", "colour", "ground")]
        assert [first != second for first, second in parts] == [place < mistakes for place in range(3)]
    red, green, blue = np.asarray(paint(scene)).reshape(-1, 3).astype(int).T
    assert ((blue > red + 60) & (blue > green + 40)).sum() > 500, "much of it is blue"
    assert (
        paint(scene).tobytes() == paint(scene).tobytes() != paint(Scene("house", "blue", "snow", 4)).tobytes()
    )


def test_prompts_are_ranked_by_what_is_shown(root: Path) -> None:
    with open(root / "agiqa-3k/data.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Alignment and quality are independent of each other: each level comes with every number of mistakes.
    pairs = {(row["mos_quality"], row["mos_align"]) for row in rows}
    assert len(pairs) > 15
