"""Each set of the benchmark from its files to a figure, against an oracle that reads and judges by hand.

The oracle reads the annotation files with the standard library, embeds one image at a time with transformers' own CLIP
and processor, and compares in NumPy.
"""

from __future__ import annotations

import pickle
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_data import (
    write_benchmark,
    write_cifar,
    write_csv,
    write_imagenet,
    write_imagereward,
    write_json,
    write_kadid,
    write_nights,
    write_pieapp,
    write_revisitop,
)
from oracle import PROMPTS, PlainClip
from PIL import Image
from set_oracles import ORACLES, PAPER, TRAINED, Choice
from test_damaged_annotations import Malicious
from typer.testing import CliRunner

from unisim_metrics.benchmark import hash_samples, load_dataset
from unisim_metrics.benchmark.datasets import hash_retrieval
from unisim_metrics.benchmark.datasets.odd_one_out import IMAGENET_GROUPS
from unisim_metrics.benchmark.errors import BenchmarkError
from unisim_metrics.benchmark.results.files import SetResult
from unisim_metrics.benchmark.running.runner import run
from unisim_metrics.cli.app import app
from unisim_metrics.models import EncoderModel, load_model

N_ODD = 120
METHODS: dict[str, tuple[Any, ...]] = {
    task: ("naive", "clip-iqa") for task in ("quality", "brightness", "colorfulness", "contrast", "sharpness")
}


def paint(root: Path) -> None:
    """Make every image another one; those of SICE stay, which are their own annotations."""
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".webp") and "sice" not in path.parts:
            random = np.random.default_rng(zlib.crc32(path.relative_to(root).as_posix().encode()))
            noise = random.integers(0, 140, (36, 40, 3)) + random.integers(0, 116, 3)
            # Some share their content by links.
            path.unlink()
            Image.fromarray(noise.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    root = write_benchmark(tmp_path_factory.mktemp("sets"))
    write_imagereward(root)
    paint(root)
    return root


@pytest.fixture(scope="module")
def model(tiny_clip_dir: Path) -> EncoderModel:
    return load_model(tiny_clip_dir, resample="pil")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def tested(root: Path, model: EncoderModel) -> dict[str, SetResult]:
    odd = {name for name, (task, _, _) in PAPER.items() if task == "odd-one-out"}
    found = run(model, [name for name in PAPER if name not in odd], root, cache=False, workers=1)
    return {**found, **run(model, sorted(odd), root, n=N_ODD, cache=False, workers=0)}


@pytest.fixture(scope="module")
def trained(root: Path, model: EncoderModel) -> dict[str, SetResult]:
    return run(model, TRAINED, root, split="train", cache=False, workers=2)


class Hand:
    """Judges choices by hand."""

    def __init__(self, plain: PlainClip, root: Path) -> None:
        self.plain = plain
        self.root = root
        self.seen: dict[str, np.ndarray] = {}
        with open(root / "cifar-100-python/test", "rb") as file:
            self.cifar = pickle.load(file)

    def open(self, name: str) -> Image.Image:
        if name.startswith("cifar-100-python/test/"):
            pixels = self.cifar[b"data"][int(name.rsplit("/", 1)[1])]
            return Image.fromarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0))
        with Image.open(self.root / name) as image:
            image = image.convert("RGB")
        if name.startswith("sice/"):
            image = image.resize((image.width // 5, image.height // 5), Image.Resampling.LANCZOS)
        return image

    def embed(self, item: str, kind: str) -> np.ndarray:
        if item not in self.seen:
            self.seen[item] = (
                self.plain.images([self.open(item)])[0] if kind == "image" else self.plain.texts([item])[0]
            )
        return self.seen[item]

    def scores(self, task: str, method: str | None, choice: Choice) -> tuple[float, list[float]]:
        """The score of the right alternative, and those of the others."""
        reference, right, wrong = choice
        items = [right, *sorted(wrong)]
        if method is not None:
            naive, positive, negative = (self.embed(text, "text") for text in PROMPTS[task])
            # The softmax of two similarities grows with their difference.
            prompt = naive if method == "naive" else positive - negative
            values = [float(self.embed(item, "image") @ prompt) for item in items]
        else:
            kinds = {
                "image-image": ("image", "image"),
                "image-text": ("text", "image"),
                "caption": ("image", "text"),
            }
            asked, offered = kinds[task]
            values = [float(self.embed(item, offered) @ self.embed(reference, asked)) for item in items]
        return values[0], values[1:]

    def odd(self, images: tuple[str, ...]) -> int:
        """The image that is left out of the most similar pair."""
        first, second, third = (self.embed(image, "image") for image in images)
        similarities = [second @ third, first @ third, first @ second]
        assert np.ptp(sorted(similarities)[1:]) > 1e-6
        return int(np.argmax(similarities))


@pytest.fixture(scope="module")
def hand(plain: PlainClip, root: Path) -> Hand:
    return Hand(plain, root)


def imagereward(root: Path, split: str) -> Iterator[Choice]:
    from pyarrow import parquet

    rows = parquet.read_table(root / "imagereward/metadata-validation.parquet").to_pylist()
    for prompt in sorted({row["prompt"] for row in rows}):
        own = [row for row in rows if row["prompt"] == prompt]
        ranks = [row["rank"] for row in own]
        best, worst = (own[ranks.index(rank)] for rank in (min(ranks), max(ranks)))
        if best is not worst and min(ranks) < max(ranks):
            yield (
                prompt,
                f"imagereward/{best['image_path']}",
                frozenset({f"imagereward/{worst['image_path']}"}),
            )


BY_HAND: dict[str, Callable[[Path, str], Iterator[Choice]]] = {**ORACLES, "imagereward": imagereward}


def check(result: SetResult, hand: Hand, split: str) -> None:
    name = result.dataset
    choices = Counter(BY_HAND[name](hand.root, split))
    # Each person's answer counts in HPDv2's training; elsewhere a repeated line adds nothing.
    if name != "hpdv2":
        choices = Counter(set(choices))
    assert result.n == sum(choices.values()) >= 4
    assert result.lost == 0
    assert [outcome.method for outcome in result.outcomes] == list(METHODS.get(result.task, (None,)))
    for outcome in result.outcomes:
        right = 0
        for choice, count in choices.items():
            best, others = hand.scores(result.task, outcome.method, choice)
            assert abs(best - max(others)) > 1e-6, "too near to tell"
            right += count * (best > max(others))
        assert outcome.figure == pytest.approx(right / result.n, abs=1e-12)
        assert outcome.low <= outcome.figure <= outcome.high
    dataset = load_dataset(name, hand.root)
    samples = dataset.samples(split)  # type: ignore[arg-type]
    assert result.samples_hash == hash_samples(samples, hand.root)
    assert result.labels is not None
    assert result.labels.tolist() == [sample.label for sample in samples]


@pytest.mark.parametrize("name", [name for name in PAPER if name in BY_HAND])
def test_figures_of_the_test_samples(tested: dict[str, SetResult], hand: Hand, name: str) -> None:
    assert tested[name].task == PAPER[name][0]
    check(tested[name], hand, "test")


@pytest.mark.parametrize("name", TRAINED)
def test_figures_of_the_training_samples(trained: dict[str, SetResult], hand: Hand, name: str) -> None:
    assert trained[name].split == "train"
    check(trained[name], hand, "train")


@pytest.mark.parametrize("name", ["cifar-100-ooo", "imagenet-ooo"])
def test_figures_of_odd_one_out(tested: dict[str, SetResult], hand: Hand, name: str) -> None:
    def class_of(image: str) -> Any:
        if name == "cifar-100-ooo":
            return hand.cifar[b"coarse_labels"][int(image.rsplit("/", 1)[1])]
        number = int(image.split("/")[2][1:]) - 10000
        return next(group for group, numbers in IMAGENET_GROUPS.items() if number in numbers)

    result = tested[name]
    right = 0
    for sample in load_dataset(name, hand.root).samples(n=N_ODD):
        images = tuple(item.relative_to(hand.root).as_posix() for item in sample.alternatives)  # type: ignore[union-attr]
        classes = [class_of(image) for image in images]
        (odd,) = (place for place in range(3) if classes.count(classes[place]) == 1)
        right += hand.odd(images) == odd
    (outcome,) = result.outcomes
    assert (result.n, outcome.method) == (N_ODD, None)
    assert outcome.figure == pytest.approx(right / N_ODD, abs=1e-12)


def average_precision(scores: np.ndarray, wanted: set[int], ignored: set[int]) -> float:
    """The area under precision over recall, by trapezoids, as the revisited benchmark has it."""
    total, found, place = 0.0, 0, 0
    for index in np.argsort(-scores, kind="stable").tolist():
        if index in ignored:
            continue
        if index in wanted:
            before = found / place if place else 1.0
            total += (before + (found + 1) / (place + 1)) / 2
            found += 1
        place += 1
    return total / len(wanted)


@pytest.mark.parametrize(("name", "folder"), [("roxford", "roxford5k"), ("rparis", "rparis6k")])
def test_figures_of_retrieval(tested: dict[str, SetResult], hand: Hand, name: str, folder: str) -> None:
    place = f"retrieval/revisitop/{folder}"
    with open(hand.root / place / f"gnd_{folder}.pkl", "rb") as file:
        content = pickle.load(file)
    gallery = np.stack([hand.embed(f"{place}/jpg/{image}.jpg", "image") for image in content["imlist"]])
    medium, hard = [], []
    for query, truth in zip(content["qimlist"], content["gnd"], strict=True):
        scores = gallery @ hand.embed(f"{place}/jpg/{query}.jpg", "image")
        easy, difficult, junk = (
            set(np.asarray(truth[part], dtype=int).tolist()) for part in ("easy", "hard", "junk")
        )
        medium.append(average_precision(scores, easy | difficult, junk))
        hard.append(average_precision(scores, difficult, junk | easy))
    result = tested[name]
    (outcome,) = result.outcomes
    assert (result.n, result.labels, outcome.choices) == (3, None, None)
    assert outcome.average_precision is not None
    assert outcome.average_precision["medium"] == pytest.approx(medium, abs=1e-9)
    assert outcome.average_precision["hard"] == pytest.approx(hard, abs=1e-9)
    assert outcome.figure == pytest.approx((np.mean(medium) + np.mean(hard)) / 2, abs=1e-9)
    found = load_dataset(name, hand.root).retrieval()  # type: ignore[attr-defined]
    assert result.samples_hash == hash_retrieval(found, hand.root)


def test_every_set_has_its_figure(tested: dict[str, SetResult], trained: dict[str, SetResult]) -> None:
    assert set(tested) == set(PAPER)
    assert list(trained) == TRAINED
    assert len(TRAINED) == 10


def test_the_hash_of_queries_tells_what_is_asked(tmp_path: Path) -> None:
    write_revisitop(tmp_path)
    path = tmp_path / "retrieval/revisitop/roxford5k/gnd_roxford5k.pkl"
    dataset: Any = load_dataset("roxford", tmp_path)
    before = hash_retrieval(dataset.retrieval(), tmp_path)
    shutil.copytree(tmp_path / "retrieval", tmp_path / "moved" / "retrieval")
    moved: Any = load_dataset("roxford", tmp_path / "moved")
    assert hash_retrieval(moved.retrieval(), tmp_path / "moved") == before
    content = pickle.loads(path.read_bytes())
    hashes = {before}
    for change in (
        lambda: content["gnd"][0]["easy"].append(19),
        lambda: content["gnd"][1].update(junk=[0]),
        lambda: content["imlist"].reverse(),
        lambda: content["qimlist"].reverse(),
    ):
        change()
        path.write_bytes(pickle.dumps(content))
        hashes.add(hash_retrieval(dataset.retrieval(), tmp_path))
    assert len(hashes) == 5
    with pytest.raises(ValueError, match="images under the root"):
        hash_retrieval(dataset.retrieval(), tmp_path / "elsewhere")


# What is broken is named, or left out and counted.


def unisim(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", "run", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def spoil_column(root: Path) -> None:
    write_nights(root)
    path = root / "nights/data.csv"
    path.write_text(path.read_text().replace("right_vote", "vote"))


def spoil_list(root: Path) -> None:
    write_json(root / "HQ-Edit/test.json", [])


def spoil_classes(root: Path) -> None:
    write_cifar(root)
    path = root / "cifar-100-python/test"
    content = pickle.loads(path.read_bytes())
    content[b"coarse_labels"] = [label % 19 for label in content[b"coarse_labels"]]
    path.write_bytes(pickle.dumps(content))


def spoil_folders(root: Path) -> None:
    write_imagenet(root)
    (root / "imagenet/val/n00010003").rename(root / "imagenet/n00010003")


def spoil_truth(root: Path) -> None:
    write_revisitop(root)
    path = root / "retrieval/revisitop/roxford5k/gnd_roxford5k.pkl"
    path.write_bytes(pickle.dumps({"gnd": Malicious(), "imlist": [], "qimlist": []}))


def spoil_layout(root: Path) -> None:
    write_pieapp(root)
    (root / "pie_app").rename(root / "pieapp")


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (spoil_column, "nights", r"data\.csv, line 1: expected the columns \['right_vote'\]"),
        (spoil_list, "hq-edit-images", "'hq-edit-images' has no test sample"),
        (spoil_classes, "cifar-100-ooo", "one coarse label from 0 to 19 an image, each in use"),
        (spoil_folders, "imagenet-ooo", "expected 1000 folders of classes, but got 999"),
        (spoil_truth, "roxford", "builtins.print has no place in a file of plain data"),
        (spoil_layout, "pieapp-2afc", r"pie_app/test_reference_list\.txt.* See https://"),
    ],
)
def test_broken_annotations_stop_a_run(
    tmp_path: Path,
    tiny_clip_dir: Path,
    model: EncoderModel,
    spoil: Callable[[Path], None],
    name: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(tmp_path)
    with pytest.raises((ValueError, OSError), match=message):
        run(model, name, tmp_path, cache=False)
    code, output = unisim(tiny_clip_dir, "--root", tmp_path, "-d", name, "--results", tmp_path / "results")
    assert code in (1, 2)
    assert "Traceback" not in output
    assert name in output or str(tmp_path) in output
    assert not (tmp_path / "results").exists()
    assert "ran" not in capsys.readouterr().out.split(), "a pickle must not run code"


def test_one_broken_set_does_not_keep_the_others(
    tmp_path: Path, tiny_clip_dir: Path, model: EncoderModel
) -> None:
    write_kadid(tmp_path)
    spoil_column(tmp_path)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(BenchmarkError) as raised:
        run(model, None, tmp_path, cache=False)
    assert set(raised.value.failures) == {"nights"}
    assert "right_vote" in raised.value.failures["nights"]
    assert list(raised.value.results) == ["kadid-10k"]


def test_unreadable_images_are_counted(tmp_path: Path, tiny_clip_dir: Path, model: EncoderModel) -> None:
    write_kadid(tmp_path)
    paint(tmp_path)
    broken = tmp_path / "kadid10k/images/I73_01_01.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(BenchmarkError, match=r"I73_01_01\.png"):
        run(model, "kadid-10k", tmp_path, cache=False)
    with pytest.warns(UserWarning, match=r"I73_01_01\.png"):
        result = run(model, "kadid-10k", tmp_path, cache=False, max_lost=0.2)["kadid-10k"]
    # One image of five levels stands in four of the pairs.
    assert (result.n, result.lost) == (40, 4)
    assert result.unreadable == ("kadid10k/images/I73_01_01.png",)
    for outcome in result.outcomes:
        assert outcome.choices is not None and result.labels is not None
        known = outcome.choices != 255
        assert known.sum() == 36
        assert outcome.figure == np.mean(outcome.choices[known] == result.labels[known])


def test_an_empty_table_is_an_error(tmp_path: Path, model: EncoderModel) -> None:
    write_csv(tmp_path / "koniq10k/koniq10k_distributions_sets.csv", [["image_name", "set", "MOS"]])
    (tmp_path / "koniq10k/1024x768").mkdir()
    with pytest.raises(ValueError, match="'koniq-10k' has no test sample"):
        run(model, "koniq-10k", tmp_path, cache=False)
