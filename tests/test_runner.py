"""A model through sets: figures against NumPy, what is encoded how often, what is kept, lost and refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmark_data
import numpy as np
import pytest
import torch
from benchmark_runs import draw, timeless, write_distinct_sets
from oracle import TEXTS, OneByOne, PlainClip, count_letters, photos
from PIL import Image
from torch import Tensor

from unisim_metrics import load_model
from unisim_metrics.benchmark import load_dataset, run
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.errors import BenchmarkError
from unisim_metrics.benchmark.results.files import UNANSWERED, SetResult, read_meta, read_result, read_results
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.images import Preprocessing
from unisim_metrics.models import EncoderModel

KONIQ = ["koniq-10k", "koniq-brightness", "koniq-colorfulness", "koniq-contrast", "koniq-sharpness"]


class Counting(OneByOne):
    """Remembers what passed through it."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[bytes] = []
        self.texts: list[bytes] = []

    def encode_image(self, pixels: Tensor) -> Tensor:
        self.images += [image.numpy().tobytes() for image in pixels]
        return super().encode_image(pixels)

    def encode_text(self, counts: Tensor) -> Tensor:
        self.texts += [row.numpy().tobytes() for row in counts]
        return super().encode_text(counts)


def counting_model() -> tuple[Any, Counting]:
    module = Counting()
    model = load_model(module, tokenizer=count_letters, preprocessing=Preprocessing(size=8))
    return model, module


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some sets, which tests must not change."""
    return write_distinct_sets(tmp_path_factory.mktemp("root"))


@pytest.fixture(autouse=True)
def no_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the embeddings of tests out of the user's cache."""
    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "unisim-cache"))


# Figures.


def own_set(root: Path, task: str, samples: Sequence[Sample]) -> Path:
    path = root / f"own-{task}.jsonl"
    write_json_lines(path, samples, task, root)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Image.Image]:
    folder = tmp_path_factory.mktemp("pictures")
    found = {folder / f"{index}.png": photo for index, photo in enumerate(photos(24, seed=3))}
    for path, photo in found.items():
        photo.save(path)
    return found


def samples_of(task: str, paths: Sequence[Path]) -> list[Sample]:
    """Twenty samples; those of texts and images have from two to four alternatives."""
    random = np.random.default_rng(0)
    samples = []
    for index in range(20):
        count = 3 if task == "odd-one-out" else 2 + index % 3
        images = [paths[place] for place in random.choice(len(paths), count + 1, replace=False)]
        texts = [TEXTS[place] for place in random.choice(len(TEXTS), count + 1, replace=False)]
        reference: Any = {"image-image": images[0], "image-text": texts[0], "caption": images[0]}.get(task)
        samples.append(
            Sample(reference, tuple(texts[1:] if task == "caption" else images[1:]), index % count)
        )
    return samples


def oracle_choices(
    task: str, method: str, samples: Sequence[Sample], plain: PlainClip, pictures: dict[Path, Image.Image]
) -> list[int]:
    def embed(item: Any) -> np.ndarray:
        return plain.images([pictures[item]])[0] if isinstance(item, Path) else plain.texts([item])[0]

    choices = []
    for sample in samples:
        alternatives = np.stack([embed(item) for item in sample.alternatives])
        if task == "odd-one-out":
            similar = alternatives @ alternatives.T
            scores = [similar[1, 2], similar[2, 0], similar[0, 1]]
        elif sample.reference is None:
            scores = plain.attribute([pictures[item] for item in sample.alternatives], task, method)
        else:
            scores = alternatives @ embed(sample.reference)
        choices.append(int(np.argmax(scores)))
    return choices


@pytest.mark.parametrize(
    "task", ["image-image", "image-text", "caption", "quality", "contrast", "odd-one-out"]
)
def test_choices_and_figures_are_those_of_numpy(
    task: str, plain: PlainClip, tiny_model: EncoderModel, pictures: dict[Path, Image.Image]
) -> None:
    root = next(iter(pictures)).parent
    path = own_set(root, task, samples_of(task, list(pictures)))
    result = run(tiny_model, path, root)[f"own-{task}"]

    samples = draw(path, root)
    methods = ("naive", "clip-iqa") if task in ("quality", "contrast") else (None,)
    assert result.n == len(samples) == 20
    assert result.labels is not None and result.labels.tolist() == [sample.label for sample in samples]
    assert tuple(outcome.method for outcome in result.outcomes) == methods
    for outcome in result.outcomes:
        expected = oracle_choices(task, outcome.method or "naive", samples, plain, pictures)
        assert outcome.choices is not None and outcome.choices.tolist() == expected
        assert outcome.figure == np.mean(result.labels == expected)
        assert 0 <= outcome.low < outcome.figure < outcome.high <= 1
        assert f"task:{task}" in outcome.signature


def test_retrieval_is_the_revisited_protocol(root: Path, plain: PlainClip, tiny_model: EncoderModel) -> None:
    result = run(tiny_model, "roxford", root)["roxford"].outcome()
    truth = load_dataset("roxford", root).retrieval()  # type: ignore[attr-defined]
    gallery = plain.images([Image.open(path).convert("RGB") for path in truth.gallery])
    expected: dict[str, list[float]] = {"medium": [], "hard": []}
    for row, query in enumerate(truth.queries):
        similar = gallery @ plain.images([Image.open(query).convert("RGB")])[0]
        for protocol, good, bad in (
            ("medium", truth.easy[row] | truth.hard[row], truth.junk[row]),
            ("hard", truth.hard[row], truth.junk[row] | truth.easy[row]),
        ):
            ranked = [index for index in np.argsort(-similar, kind="stable") if not bad[index]]
            places = [place for place, index in enumerate(ranked) if good[index]]
            area = [
                (found / place if place else 1.0) + (found + 1) / (place + 1)
                for found, place in enumerate(places)
            ]
            expected[protocol].append(sum(area) / 2 / len(places))
    assert result.average_precision is not None
    for protocol, values in expected.items():
        np.testing.assert_allclose(result.average_precision[protocol], values, atol=1e-6)  # type: ignore[index]
    assert result.figure == pytest.approx(
        np.mean([np.mean(values) for values in expected.values()]), abs=1e-6
    )
    assert result.signature.split("|")[2] == "task:retrieval"


def test_a_tie_counts_for_the_first(tmp_path: Path, exact: EncoderModel) -> None:
    photos(1)[0].save(tmp_path / "a.png")
    same = (tmp_path / "a.png", tmp_path / "a.png")
    path = own_set(tmp_path, "quality", [Sample(None, same, label % 2) for label in range(4)])
    for outcome in run(exact, path, tmp_path, cache=False)["own-quality"].outcomes:
        assert outcome.choices is not None and outcome.choices.tolist() == [0] * 4
        assert outcome.figure == 0.5


# What is encoded.


def test_each_item_is_encoded_once_across_sets_and_ways(root: Path) -> None:
    model, module = counting_model()
    found = run(model, [*KONIQ, "agiqa-3k-quality", "agiqa-3k-alignment"], root, cache=False)
    assert len(module.images) == len(set(module.images))
    shown = {
        sample
        for name in [*KONIQ, "agiqa-3k-quality", "agiqa-3k-alignment"]
        for each in draw(name, root)
        for sample in each.alternatives
    }
    assert len(module.images) == len(shown) == sum(result.run.images_encoded for result in found.values())
    # Three prompts of each of five attributes, and the four prompts of AGIQA.
    assert len(module.texts) == 3 * 5 + 4 == sum(result.run.texts_encoded for result in found.values())


def test_sets_that_show_a_file_in_their_own_way_do_not_share_it(root: Path, tmp_path: Path) -> None:
    model, module = counting_model()
    scenes = [sample.alternatives for sample in draw("sice-brightness", root)]
    own = own_set(root, "brightness", [Sample(None, images, 0) for images in scenes])
    run(model, ["sice-brightness", own], root, cache=tmp_path)
    shown = {image for images in scenes for image in images}
    # Other pixels of the same files: SICE is shown at a fifth of its size. Equal greys stay equal.
    assert len(module.images) > len(shown) / 2
    again, other = counting_model()
    run(again, own, root, cache=tmp_path)
    assert other.images == []
    own.unlink()


def test_a_second_run_encodes_nothing(root: Path, tmp_path: Path) -> None:
    first, _ = counting_model()
    found = run(
        first, ["nights", "hpdv2", "cifar-100-ooo"], root, n=8, results=tmp_path / "a", cache=tmp_path / "c"
    )
    second, module = counting_model()
    again = run(
        second, ["nights", "hpdv2", "cifar-100-ooo"], root, n=8, results=tmp_path / "b", cache=tmp_path / "c"
    )
    assert module.images == module.texts == []
    assert len(timeless(tmp_path / "a")) == len(found) + 1
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b")
    assert all(result.run.images_encoded == 0 for result in again.values())


def test_a_cache_that_fails_costs_time_only(root: Path, tmp_path: Path) -> None:
    def go(cache: Path) -> int:
        model, module = counting_model()
        run(
            model, "nights", root, results=tmp_path / "results", cache=cache, batch_size=4, overwrite="always"
        )
        files.append(timeless(tmp_path / "results"))
        return len(module.images)

    files: list[dict[str, str]] = []
    everything = go(tmp_path / "cache")
    shards = sorted((tmp_path / "cache").glob("*/*.safetensors"), key=lambda path: path.stat().st_size)
    shards[-1].write_bytes(shards[-1].read_bytes()[:100])  # four images
    with pytest.warns(UserWarning, match=r"Dropped 1 damaged file"):
        assert go(tmp_path / "cache") == 4
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="The run goes on without it"):
        assert go(tmp_path / "file") == everything
    assert files[0] == files[1] == files[2]


def test_other_weights_find_nothing_in_the_cache(root: Path, tmp_path: Path) -> None:
    run(counting_model()[0], "nights", root, cache=tmp_path)
    model, module = counting_model()
    with torch.no_grad():
        module.image_weights.add_(0.1)
    run(model, "nights", root, cache=tmp_path)
    assert module.images


def test_results_do_not_depend_on_workers(root: Path, tmp_path: Path, tiny_model: EncoderModel) -> None:
    for workers in (0, 1, 2):
        sets = ["koniq-10k", "cifar-100-ooo", "sice-brightness", "roxford"]
        run(tiny_model, sets, root, n=16, results=tmp_path / str(workers), cache=False, workers=workers)
    files = [timeless(tmp_path / str(workers)) for workers in (0, 1, 2)]
    assert len(files[0]) == 5 and files[0] == files[1] == files[2]


# What is left behind.


def test_files_of_a_run(root: Path, tmp_path: Path, exact: EncoderModel) -> None:
    found = run(exact, ["nights", "koniq-10k"], root, results=tmp_path, n=6, seed=3)
    folder = tmp_path / "OneByOne" / exact.weights_hash()[:12]
    assert sorted(path.name for path in folder.iterdir()) == [
        "koniq-10k.json",
        "model_meta.json",
        "nights.json",
    ]
    assert read_meta(folder).parameters == 64 * 6 + 3 * 8 * 8 * 6
    [(meta, results)] = read_results(tmp_path)
    assert meta.weights_hash == exact.weights_hash()
    for name, result in results.items():
        assert result.model_dump_json() == found[name].model_dump_json()
        assert (result.n, result.seed, result.lost, result.unreadable) == (6, 3, 0, ())
        assert torch.__version__.startswith(result.environment.packages["torch"])
        assert result.run.seconds > 0 and result.run.peak_memory_bytes > 2**20


def test_a_result_that_fits_is_kept(root: Path, tmp_path: Path) -> None:
    def go(**arguments: Any) -> tuple[SetResult, int]:
        model, module = counting_model()
        result = run(model, "nights", root, results=tmp_path, cache=False, **{"n": 6, **arguments})["nights"]
        return result, len(module.images)

    first, encoded = go()
    assert encoded > 0
    for overwrite in ("only-missing", "never", "read-only"):
        kept, encoded = go(overwrite=overwrite)
        assert encoded == 0 and kept.run == first.run
    assert go(overwrite="always")[1] > 0
    assert go(n=7)[1] > 0  # other samples
    assert go(seed=1, n=7)[1] > 0
    with pytest.raises(BenchmarkError, match=r"nights.*may not be overwritten"):
        go(n=6, overwrite="never")
    path = next(tmp_path.glob("*/*/nights.json"))
    path.write_text("{}")
    with pytest.raises(BenchmarkError, match="is no SetResult"):
        go(overwrite="never")
    model, module = counting_model()
    assert run(model, "nights", root, results=tmp_path, n=6, overwrite="read-only") == {}
    assert module.images == []
    assert go()[1] > 0  # a damaged file is made anew
    assert read_result(path).n == 6


# What goes wrong.


def damaged(root: Path, folder: Path, count: int) -> list[Path]:
    """A copy of NIGHTS of which some reference images cannot be read."""
    benchmark_data.write_nights(folder)
    for path in sorted(folder.rglob("*.png")):
        Image.open(root / path.relative_to(folder)).save(path)
    references = list(dict.fromkeys(sample.reference for sample in draw("nights", folder)))
    for index, path in enumerate(references[:count]):
        assert isinstance(path, Path)
        path.write_bytes(b"not an image") if index % 2 else path.unlink()
    return references[:count]  # type: ignore[return-value]


def test_unreadable_images_are_skipped_listed_and_counted(
    root: Path, tmp_path: Path, exact: EncoderModel
) -> None:
    whole = run(exact, "nights", root, cache=False)["nights"]
    bad = damaged(root, tmp_path, 2)
    with pytest.warns(UserWarning, match=r"2 images could not be read, the first: Image file '.*nights"):
        result = run(exact, "nights", tmp_path, cache=False, max_lost=0.5)["nights"]
    assert result.unreadable == tuple(sorted(path.relative_to(tmp_path).as_posix() for path in bad))
    lost = np.array([sample.reference in bad for sample in draw("nights", tmp_path)])
    choices, before = result.outcome().choices, whole.outcome().choices
    assert choices is not None and before is not None and result.labels is not None
    assert result.lost == lost.sum() == 2
    assert (choices[lost] == UNANSWERED).all() and (choices[~lost] == before[~lost]).all()
    assert result.outcome().figure == np.mean(choices[~lost] == result.labels[~lost])


@pytest.mark.filterwarnings("ignore:Dataset 'nights'")
def test_a_set_that_lost_too_much_has_no_figure_and_the_others_go_on(
    root: Path, tmp_path: Path, exact: EncoderModel
) -> None:
    damaged(root, tmp_path, 2)
    benchmark_data.write_hpdv2(tmp_path)
    with pytest.raises(
        BenchmarkError, match=r"2 of 10 samples have no choice, more than the share of 0.01"
    ) as caught:
        run(exact, ["nights", "hpdv2"], tmp_path, results=tmp_path / "results", cache=False)
    assert list(caught.value.results) == ["hpdv2"]
    assert [path.name for path in (tmp_path / "results").glob("*/*/*.json") if "meta" not in path.name] == [
        "hpdv2.json"
    ]


@pytest.mark.filterwarnings("ignore:Dataset 'roxford'")
def test_gallery_images_that_cannot_be_read_count_neither_way(tmp_path: Path, exact: EncoderModel) -> None:
    benchmark_data.write_revisitop(tmp_path)
    images = sorted((tmp_path / "retrieval/revisitop/roxford5k/jpg").glob("*.jpg"))
    for path, photo in zip(images, photos(len(images)), strict=True):
        photo.save(path)
    next(path for path in images if path.name.startswith("roxford5k")).write_bytes(b"")
    with pytest.raises(BenchmarkError, match="1 of 20 images are lost"):
        run(exact, "roxford", tmp_path, cache=False)
    result = run(exact, "roxford", tmp_path, cache=False, max_lost=0.05)["roxford"]
    assert result.lost == 0 and len(result.unreadable) == 1
    assert 0 < result.outcome().figure < 1


def test_nothing_is_loaded_where_the_request_is_wrong(root: Path, tmp_path: Path) -> None:
    nowhere = "no-such-model"  # would be an error of its own, later
    with pytest.raises(ValueError, match=r"Argument `dataset` must be one of .*Did you mean 'nights'"):
        run(nowhere, ["night"], root)
    with pytest.raises(NotADirectoryError, match="Argument `root` must be the folder of the data"):
        run(nowhere, ["nights"], tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"Dataset 'bapps' is missing in .*there is no bapps/val"):
        run(nowhere, ["nights", "bapps"], root)
    with pytest.raises(FileNotFoundError, match="None of the benchmark's sets is in"):
        run(nowhere, None, tmp_path)
    with pytest.raises(ValueError, match="Argument `n` must be at least 1, or None, but got 0"):
        run(nowhere, ["nights"], root, n=0)
    with pytest.raises(ValueError, match="must name sets with an id of their own, but 'nights'"):
        run(nowhere, ["nights", "nights"], root)
    for name, value in (
        ("n", 0),
        ("workers", -1),
        ("batch_size", 0),
        ("max_lost", 1.5),
        ("overwrite", "sometimes"),
        ("overwrite", "read-only"),
        ("demonstrations", 4),
        ("split", "validation"),
    ):
        argument = "results" if value == "read-only" else name
        with pytest.raises(ValueError, match=f"Argument `{argument}` must"):
            run(nowhere, ["nights"], root, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no-such-model"):
        run(nowhere, ["nights"], root)


def test_all_sets_that_are_there_are_run_and_the_others_told(root: Path, exact: EncoderModel) -> None:
    with pytest.warns(UserWarning, match="left out: bapps, pieapp-2afc, imagereward, magicbrush"):
        found = run(exact, None, root, n=3, cache=False)
    assert list(found) == [
        "nights",
        "hpdv2",
        "agiqa-3k-alignment",
        "koniq-10k",
        "agiqa-3k-quality",
        "sice-brightness",
        *KONIQ[1:],
        "cifar-100-ooo",
        "roxford",
        "rparis",
    ]


def test_training_splits(root: Path, exact: EncoderModel) -> None:
    found = run(exact, ["hpdv2", "nights"], root, split="train", cache=False, n=8)
    assert {(result.split, result.n) for result in found.values()} == {("train", 8)}


@pytest.mark.usefixtures("fresh_text_warning")
def test_texts_that_were_cut_are_counted(tmp_path: Path, tiny_clip_dir: Path) -> None:
    model = load_model(tiny_clip_dir)
    assert isinstance(model, EncoderModel)
    for index, photo in enumerate(photos(3)):
        photo.save(tmp_path / f"{index}.png")
    images = tuple(tmp_path / f"{index}.png" for index in range(3))
    long, other = "dog " * 100, "cat " * 100
    samples = [Sample(text, images, 0) for text in (long, "a dog", long, other)]
    with pytest.warns(UserWarning, match=r"cut|truncated|longer"):
        found = run(
            model,
            [
                own_set(tmp_path, "image-text", samples),
                own_set(tmp_path, "image-image", [Sample(images[0], images, 0)]),
            ],
            tmp_path,
            results=tmp_path / "results",
            cache=False,
        )
    assert found["own-image-text"].truncated_texts == 2, "each text once"
    assert found["own-image-image"].truncated_texts == 0
    [(_, read)] = read_results(tmp_path / "results")
    assert read["own-image-text"].truncated_texts == 2


def test_a_model_that_cannot_tell_what_it_cuts_says_nothing(root: Path, exact: EncoderModel) -> None:
    class Silent:
        """A model of somebody else's, without `count_truncated`."""

        def __getattr__(self, name: str) -> Any:
            if name == "count_truncated":
                raise AttributeError(name)
            return getattr(exact, name)

    runner_model: Any = Silent()
    assert run(runner_model, "nights", root, n=2, cache=False)["nights"].truncated_texts is None


def test_a_text_that_the_model_refuses_costs_its_set_only(tmp_path: Path, tiny_clip_dir: Path) -> None:
    model = load_model(tiny_clip_dir, truncate=False)
    for index, photo in enumerate(photos(3)):
        photo.save(tmp_path / f"{index}.png")
    images = tuple(tmp_path / f"{index}.png" for index in range(3))
    long = own_set(tmp_path, "image-text", [Sample("dog " * 100, images, 0)])
    fine = own_set(tmp_path, "image-image", [Sample(images[0], images[1:], 0)])
    with pytest.raises(BenchmarkError, match=r"own-image-text.*must fit in the model's context") as caught:
        run(model, [long, fine], tmp_path, cache=False)
    assert list(caught.value.results) == ["own-image-image"]


def test_results_are_json_of_the_declared_layout(root: Path, tmp_path: Path, exact: EncoderModel) -> None:
    run(exact, "nights", root, results=tmp_path, cache=False)
    content = json.loads(next(tmp_path.glob("*/*/nights.json")).read_text())
    assert list(content) == list(SetResult.model_fields)
