"""The `evaluate` module: its figures are those of the metrics, whatever its inputs and however they come."""

from __future__ import annotations

import copy
import doctest
import importlib.util
import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from evaluate.evaluator.base import Evaluator
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from photo_crops import crop_prompts, photo_crops
from PIL import Image
from torchmetrics.wrappers import FeatureShare

from unisim_metrics import Prompts, UniSimRanking, UniSimScore, evaluate_path, load_model
from unisim_metrics.integrations.evaluate.files import NamedFiles
from unisim_metrics.integrations.evaluate.inputs import Restorer, store_items
from unisim_metrics.tasks import ATTRIBUTES, METHODS

FOLDER = Path(evaluate_path())
COUNT = 64


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The caches of evaluate in a folder of their own; its modules are imported from there once a process."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", folder / "modules")
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
        yield folder / "metrics"


@pytest.fixture
def module() -> Callable[..., Any]:
    """Loads the module with a config."""
    return lambda config, **settings: evaluate.load(evaluate_path(), config, **settings)


@pytest.fixture(scope="module")
def crops() -> list[Image.Image]:
    return photo_crops(COUNT)


@pytest.fixture(scope="module")
def blurred(crops: list[Image.Image]) -> list[Image.Image]:
    return [crop.resize((crop.width // 8, crop.height // 8)).resize(crop.size) for crop in crops]


@pytest.fixture(scope="module")
def files(crops: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The crops as files; JPEG, lossy, in every second place."""
    folder = tmp_path_factory.mktemp("crops")
    paths = [folder / f"{index}.{('png', 'jpg')[index % 2]}" for index in range(len(crops))]
    for path, crop in zip(paths, crops, strict=True):
        crop.save(path)
    return paths


def expected(config: str, predictions: Any, references: Any = None, **settings: Any) -> dict[str, Any]:
    """What the metric says of the same inputs, all in one update: to the bit by a model that is loaded already.

    A model that is loaded anew has its weights elsewhere in memory, and the last bit of a sum may depend on it.
    """
    given = settings.pop("model", "unisim-mini")
    model = load_model(given)
    metrics = FeatureShare(
        {
            reduction: UniSimScore(model, task=config, reduction=reduction, **settings)
            for reduction in ("none", "mean")
        }
    )
    metrics.update(predictions, references)
    values = metrics.compute()
    figures = {"scores": values["none"].reshape(-1).tolist(), "mean": values["mean"].item()}
    if given is not model:
        figures = {name: pytest.approx(value, abs=1e-6) for name, value in figures.items()}
    return {**figures, "signature": metrics["mean"].signature}


PAIRS = ("image-text", "image-image", "caption")
BUNDLED = [(config, "unisim-mini") for config in ("image-text", "image-image", "quality")]


@pytest.mark.parametrize(
    ("config", "model"), [*BUNDLED, *((config, None) for config in (*PAIRS, *ATTRIBUTES))]
)
def test_figures_are_those_of_the_metric(module, crops, blurred, tiny_clip_dir, config, model):
    model = model or tiny_clip_dir
    prompts = crop_prompts(COUNT)
    inputs = dict(zip(PAIRS, ((crops, prompts), (blurred, crops), (prompts, crops)), strict=True))
    predictions, references = inputs.get(config, (crops, None))
    result = module(config).compute(predictions=predictions, references=references, model=model)
    assert result == expected(config, predictions, references, model=model)
    assert len(set(result["scores"])) > COUNT / 2


@pytest.mark.parametrize("form", ["paths", "names", "arrays", "opened", "rows"])
def test_each_form_of_an_image_scores_as_the_metric_scores_it(module, crops, files, tiny_model, form):
    same: Any
    if form in ("paths", "names"):  # files go another way than PIL images, in the metric as here
        given, same = [path if form == "paths" else str(path) for path in files], files
    elif form == "arrays":
        given, same = [np.asarray(crop) for crop in crops], crops
    elif form == "opened":  # datasets alone would store these by name
        given = [Image.open(path) for path in files]
        same = [Image.open(path) for path in files]
    else:
        table = Dataset.from_dict({"image": [str(path) for path in files]})
        given = table.cast_column("image", ImageFeature(decode=False))["image"]
        same = files
    prompts = crop_prompts(COUNT)
    result = module("image-text").compute(predictions=given, references=prompts, model=tiny_model)
    assert result == expected("image-text", same, prompts, model=tiny_model)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_scores_as_the_metric_scores_it(module, crops, tiny_model, mode):
    image = crops[0].convert("L").convert("I") if mode == "I;16" else crops[0]
    image = image.point(lambda value: value * 256).convert(mode) if mode == "I;16" else image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    result = module("quality").compute(predictions=[image], model=tiny_model)
    assert result == expected("quality", [image], model=tiny_model)


def test_edits_of_an_opened_image_count_and_its_orientation_too(module, crops, tiny_model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    crops[0].save(tmp_path / "turned.jpg", exif=exif)
    turned, small = (Image.open(tmp_path / "turned.jpg") for _ in range(2))
    small.thumbnail((40, 40))
    images = [turned, small]
    result = module("quality").compute(predictions=images, model=tiny_model)
    assert result == expected("quality", images, model=tiny_model)
    assert result["scores"][0] != result["scores"][1]


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).map(lambda s: (*s, 3))))
def test_storing_an_image_loses_nothing(array):
    (stored,) = store_items([array], "image", "predictions", NamedFiles())
    assert (np.asarray(Restorer()(stored)) == array).all()


@pytest.mark.parametrize("method", METHODS)
def test_settings_reach_the_metric(module, crops, tiny_clip_dir, method):
    prompts = Prompts("a red dog", "a photo of a dog", "a dark image")
    chosen = {"model": tiny_clip_dir, "method": method, "prompts": prompts}
    result = module("quality").compute(predictions=crops[:4], **chosen)
    assert result == expected("quality", crops[:4], **chosen)
    again = module("quality").compute(predictions=crops[:4], reduction="mean", device="cpu", **chosen)
    assert again == {"mean": pytest.approx(result["mean"], abs=1e-6), "signature": result["signature"]}
    loaded = module("quality").compute(
        predictions=crops[:4], **{**chosen, "model": load_model(tiny_clip_dir)}
    )
    assert loaded == expected("quality", crops[:4], **chosen)


def test_batches_are_the_updates_of_the_metric(module, crops, tiny_model):
    metric = UniSimScore(tiny_model, reduction="none")
    prompts = ["a red dog", "a cat"] * 5
    for start in (0, 4, 8):
        metric.update(crops[start : min(start + 4, 10)], prompts[start : min(start + 4, 10)])
    result = module("image-text").compute(
        predictions=crops[:10], references=prompts, model=tiny_model, batch_size=4
    )
    assert result["scores"] == metric.compute().tolist()


def test_default_config_is_image_text(crops):
    unisim = evaluate.load(evaluate_path())
    assert (unisim.name, unisim.config_name) == ("unisim", "image-text")
    assert unisim.features == Features(
        {"predictions": ImageFeature(decode=False), "references": Value("string")}
    )
    result = unisim.compute(predictions=crops[:2], references=["a cat", "a dog"])
    assert "|task:image-text|" in result["signature"]


# Ranking.


def ranked(candidates: Any, references: Any, choices: Any, model: Any) -> dict[str, Any]:
    ranking = UniSimRanking(model)
    ranking.update(candidates, references, choices)
    values = {name: value.tolist() for name, value in ranking.compute().items()}
    values["win_matrix"] = [
        [None if value != value else value for value in row] for row in values["win_matrix"]
    ]
    return {**values, "signature": ranking.signature}


@pytest.mark.parametrize(
    "kind", ["images for texts", "images for images", "texts for images", "images alone"]
)
def test_ranking_is_that_of_the_metric(module, crops, blurred, files, tiny_model, kind):
    images = [[crop, blur, path] for crop, blur, path in zip(crops[:6], blurred, files[:6], strict=False)]
    candidates, references = {
        "images for texts": (images, crop_prompts(6)),
        "images for images": (images, crops[:6]),
        "texts for images": ([crop_prompts(6)] * 6, files[:6]),
        "images alone": (images, None),
    }[kind]
    result = module("ranking").compute(
        predictions=candidates, references=references, choices=[0] * 6, model=tiny_model
    )
    scores = result.pop("scores")
    assert result == ranked(candidates, references, [0] * 6, tiny_model)
    assert scores == tiny_model.compare(references, candidates).tolist()


def test_ranking_takes_groups_of_any_size_and_choices_for_some(module, crops, tiny_model):
    groups = [crops[:2], crops[2:5], crops[5:45]]
    ranking = module("ranking")
    ranking.add_batch(predictions=groups[:2], choices=[1, 2])
    ranking.add(prediction=groups[2])
    result = ranking.compute(task="sharpness", model=tiny_model, batch_size=2)
    assert [len(row) for row in result["scores"]] == [2, 3, 40]
    metric = UniSimRanking(tiny_model, task="sharpness", max_alternatives=40)
    metric.update(groups[:2], choices=[1, 2])
    metric.update(groups[2:])
    assert result["accuracy"] == metric.compute()["accuracy"].item()
    assert result["win_rate"] == metric.compute()["win_rate"].tolist()
    assert "scores" not in ranking.compute(predictions=groups, model=tiny_model, reduction="mean")


def test_odd_one_out(module, crops, tiny_model):
    groups = [[crops[0], crops[0], crops[1]]]
    result = module("ranking").compute(predictions=groups, task="odd-one-out", model=tiny_model, choices=[2])
    assert result["accuracy"] == 1.0


# The ways of evaluate.


def test_adding_one_by_one_is_adding_all(module, crops, tiny_model):
    unisim, prompts = module("image-text"), crop_prompts(5)
    for crop, prompt in zip(crops[:2], prompts, strict=False):
        unisim.add(prediction=crop, reference=prompt)
    unisim.add_batch(predictions=crops[2:5], references=prompts[2:5])
    assert len(unisim) == 5
    assert unisim.compute(model=tiny_model) == expected("image-text", crops[:5], prompts, model=tiny_model)


def test_combined(module, crops, tiny_model):
    unisim = evaluate.combine({"alignment": module("image-text"), "quality": module("quality")})
    prompts = crop_prompts(4)
    unisim.add_batch(predictions=crops[:3], references=prompts[:3])
    unisim.add(prediction=crops[3], reference=prompts[3])
    result = unisim.compute(model=tiny_model)
    alignment = expected("image-text", crops[:4], prompts, model=tiny_model)
    quality = expected("quality", crops[:4], model=tiny_model)
    assert result == {f"alignment_{name}": value for name, value in alignment.items()} | {
        f"quality_{name}": value for name, value in quality.items()
    }
    again = unisim.compute(predictions=crops[:4], references=prompts, model=tiny_model, reduction="mean")
    assert again == {name: value for name, value in result.items() if "scores" not in name}


class ImageGeneration(Evaluator):
    """An evaluator for a task that evaluate does not know."""

    METRIC_KWARGS = {"reduction": "mean"}  # noqa: RUF012

    def prepare_pipeline(self, model_or_pipeline, **_):
        return model_or_pipeline

    def predictions_processor(self, predictions, label_mapping):
        return {"predictions": predictions}


def test_in_an_evaluator(module, crops):
    prompts = crop_prompts(3)
    data = Dataset.from_dict({"prompt": prompts})
    result = ImageGeneration("text-to-image").compute(
        model_or_pipeline=lambda column: crops[: len(list(column))],
        data=data,
        metric=module("image-text"),
        input_column="prompt",
        label_column="prompt",
    )
    wanted = expected("image-text", crops[:3], prompts)
    assert {name: result[name] for name in ("mean", "signature")} == {
        name: wanted[name] for name in ("mean", "signature")
    }


def test_result_can_be_saved(module, crops, tiny_model, tmp_path):
    result = module("ranking").compute(predictions=[crops[:3]], model=tiny_model)
    file = evaluate.save(tmp_path / "result.json", **result)
    saved = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert {name: saved[name] for name in result} == result


def test_pickled(module, crops, tiny_model):
    unisim = module("quality")
    before = unisim.compute(predictions=crops[:2], model=tiny_model)
    for again in (pickle.loads(pickle.dumps(unisim)), copy.deepcopy(unisim)):
        assert again.compute(predictions=crops[:2], model=tiny_model) == before
    unisim.add(prediction=crops[0])
    with pytest.raises(ValueError, match="1 examples wait for `compute`"):
        pickle.dumps(unisim)


def test_kept_in_memory(module, crops, tiny_model):
    unisim = module("quality", keep_in_memory=True)
    result = unisim.compute(predictions=crops[:2], model=tiny_model)
    assert result == expected("quality", crops[:2], model=tiny_model)


def score_share(process_id: int, predictions: list[Any], model: Path, cache: Path, queue: Any) -> None:
    unisim = evaluate.load(
        evaluate_path(),
        "quality",
        num_process=2,
        process_id=process_id,
        experiment_id="shared",
        cache_dir=cache,
    )
    unisim.add_batch(predictions=predictions)
    queue.put((process_id, unisim.compute(model=model)))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """OpenMP's threads do not survive a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.usefixtures("one_thread")
def test_two_processes_share_an_evaluation(crops, tiny_clip_dir, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    shares = crops[:3], crops[3:5]
    processes = [
        context.Process(target=score_share, args=(index, share, tiny_clip_dir, tmp_path, queue))
        for index, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    assert results[1] is None
    assert results[0] == expected("quality", crops[:5], model=tiny_clip_dir)


# Wrong use.


IMAGE = Image.new("RGB", (8, 8))
WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("image-text", {"predictions": [IMAGE]}, ValueError, "`references` must be given for the config 'image-text'"),
    ("image-text", {"references": ["a"]}, ValueError, "`predictions` must be given"),
    ("image-text", {"predictions": [IMAGE], "references": ["a", "b"]}, ValueError, "same length, but got 1 and 2"),
    ("image-text", {"predictions": [IMAGE], "references": [IMAGE]}, TypeError, r"references\[0\]` must be a text"),
    ("image-text", {"predictions": ["a fox"], "references": ["a"]}, OSError, "not there: '.*a fox'"),
    ("image-text", {"predictions": IMAGE, "references": ["a"]}, ValueError, "`predictions` must be a list"),
    ("image-text", {"predictions": [IMAGE], "references": "a"}, ValueError, "`references` must be a list"),
    ("quality", {"predictions": [None]}, TypeError, "a PIL image, a path or a uint8 array"),
    ("quality", {"predictions": torch.zeros(1, 3, 8, 8)}, TypeError, "`to_pil_image"),
    ("quality", {"predictions": np.zeros((8, 8, 3), np.uint8)}, ValueError, "must be a list"),
    ("quality", {"predictions": np.zeros((1, 8, 8, 3))}, TypeError, "uint8 pixels in 0–255, but got float64: scale"),
    ("quality", {"predictions": np.zeros((1, 3, 8, 8), np.uint8)}, ValueError, "channels come last"),
    ("quality", {"predictions": [Image.new("F", (8, 8))]}, ValueError, "mode 'F'"),
    ("quality", {"predictions": [Image.new("RGB", (0, 8))]}, ValueError, "must have pixels"),
    ("quality", {"predictions": [{"bytes": b"no image", "path": None}]}, OSError, "could not be read"),
    ("quality", {"predictions": []}, ValueError, "at least one sample"),
    ("quality", {"predictions": [IMAGE], "reduction": "sum"}, ValueError, "`reduction` must be one of"),
    ("quality", {"predictions": [IMAGE], "method": "best"}, ValueError, "`method` must be one of"),
    ("quality", {"predictions": [IMAGE], "model": "unisim-maxi"}, ValueError, "unisim-maxi"),
    ("quality", {"predictions": [IMAGE], "batch_size": 0}, ValueError, "`batch_size` must be a positive integer"),
    ("quality", {"predictions": [IMAGE], "device": "abacus"}, ValueError, "`device` must be a device of this machine"),
    ("quality", {"predictions": [IMAGE], "task": "sharpness"}, ValueError, "`task` must be None for the config"),
    ("ranking", {"predictions": [[IMAGE]]}, ValueError, "at least two candidates a group, but group 0 has 1"),
    ("ranking", {"predictions": [IMAGE]}, ValueError, r"predictions\[0\]` must be a list"),
    ("ranking", {"predictions": [[IMAGE, "a"]]}, ValueError, "only images or only texts"),
    ("ranking", {"predictions": [["a", "b"]]}, ValueError, "but got texts alone"),
    ("ranking", {"predictions": [["a", "b"]], "references": ["a"]}, ValueError, "but got texts and texts"),
    ("ranking", {"predictions": [[IMAGE] * 2], "choices": [2]}, ValueError, "`choices` must be indices"),
    ("ranking", {"predictions": [[IMAGE] * 2], "choices": [0.5]}, TypeError, "`choices` must hold integers"),
    ("ranking", {"predictions": [[IMAGE] * 2], "choices": [0, 1]}, ValueError, "same length"),
    ("ranking", {"predictions": [[IMAGE] * 2], "task": "beauty"}, ValueError, "`task` must be one of"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "inputs", "error", "message"), WRONG)
def test_wrong_use_is_told(module, config, inputs, error, message):
    unisim = module(config)
    with pytest.raises(error, match=message):
        unisim.compute(**inputs)


def test_wrong_config_is_told():
    with pytest.raises(ValueError, match=r"`config_name` must be one of \('image-text'"):
        evaluate.load(evaluate_path(), "beauty")


def test_wrong_input_to_add_is_told(module):
    unisim = module("quality")
    with pytest.raises(ValueError, match=r"must be among \['predictions'\], but got \['prompts'\]"):
        unisim.add(prediction=IMAGE, prompts="a")
    ranking = module("ranking")
    ranking.add(prediction=[IMAGE] * 2, reference="a fox")
    with pytest.raises(ValueError, match="of the same kinds as in earlier batches"):
        ranking.add(prediction=[IMAGE] * 2, reference=IMAGE)
    assert len(ranking) == 1


def test_wrong_settings_cost_nothing_that_was_added(module, crops, tiny_model):
    unisim = module("quality")
    unisim.add_batch(predictions=crops[:3])
    with pytest.raises(ValueError, match="unisim-maxi"):
        unisim.compute(model="unisim-maxi")
    assert unisim.compute(model=tiny_model) == expected("quality", crops[:3], model=tiny_model)


def test_failed_scoring_leaves_nothing_behind(module, crops, tiny_model, tmp_path):
    unisim = module("quality", cache_dir=str(tmp_path / "cache"))
    crops[0].save(tmp_path / "crop.png")
    unisim.add(prediction=tmp_path / "crop.png")
    (tmp_path / "crop.png").write_text("no image")
    with pytest.raises(OSError, match=r"crop\.png"):
        unisim.compute(model=tiny_model)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    assert unisim.compute(predictions=crops[:1], model=tiny_model)["scores"]


def test_a_file_written_anew_is_told_when_it_is_added_again(module, crops, tiny_model, tmp_path):
    file = tmp_path / "same.png"
    unisim = module("quality")
    crops[0].save(file)
    unisim.add(prediction=file)
    unisim.add(prediction=str(file))  # the same content, once more
    crops[1].save(file)
    with pytest.raises(OSError, match=r"`predictions\[0\]` names '.*same\.png', which was written anew"):
        unisim.add(prediction=file)
    crops[0].save(file)
    assert unisim.compute(model=tiny_model) == expected("quality", [file, file], model=tiny_model)
    crops[1].save(file)  # the next run has nothing to do with the first
    assert unisim.compute(predictions=[file], model=tiny_model) == expected(
        "quality", [file], model=tiny_model
    )


@pytest.mark.parametrize("config", ["quality", "ranking"])
def test_a_file_written_anew_is_told_when_it_is_scored(module, crops, tiny_model, tmp_path, config):
    file = tmp_path / "same.png"
    crops[0].save(file)
    unisim = module(config)
    unisim.add(prediction=file if config == "quality" else [file, crops[2]])
    crops[1].save(file)
    with pytest.raises(OSError, match=r"Image file '.*same\.png', which was written anew since it was added"):
        unisim.compute(model=tiny_model)
    assert unisim.compute(predictions=[crops[:2]] if config == "ranking" else crops[:1], model=tiny_model)


def test_a_str_is_a_path_where_the_task_wants_an_image(module, crops, tiny_model, tmp_path):
    files = [tmp_path / f"{index}.png" for index in range(4)]
    for crop, file in zip(crops, files, strict=False):
        crop.save(file)
    groups, names = (
        [files[:2], files[2:]],
        [[str(file) for file in group] for group in (files[:2], files[2:])],
    )
    for task, references, named in [
        ("image-text", ["a fox", "a dog"], ["a fox", "a dog"]),
        ("image-image", files[:2], [str(file) for file in files[:2]]),
        ("sharpness", None, None),
    ]:
        settings = {"task": task, "model": tiny_model}
        wanted = module("ranking").compute(predictions=groups, references=references, **settings)
        assert module("ranking").compute(predictions=names, references=named, **settings) == wanted
    with pytest.raises(
        ValueError, match=r"but got texts and texts\. Image files are named by `pathlib.Path`"
    ):
        module("ranking").compute(predictions=names, references=["a fox", "a dog"], model=tiny_model)


def test_the_model_has_the_name_that_it_has_everywhere(module, crops, tiny_model, tiny_clip_dir):
    for model in (tiny_model, tiny_clip_dir, str(tiny_clip_dir)):
        wanted = expected("quality", crops[:2], model=model)
        assert module("quality").compute(predictions=crops[:2], model_name_or_path=model) == wanted
    with pytest.raises(
        ValueError, match="`model_name_or_path` and `model` are one and must not be given together"
    ):
        module("quality").compute(predictions=crops[:2], model_name_or_path=tiny_model, model=tiny_model)
    iqa = module("iqa").compute(predictions=crops[:2], model=tiny_model)
    assert iqa == expected("quality", crops[:2], model=tiny_model)


# What comes with the module.


def test_its_description_tells_the_truth():
    described = evaluate.load(evaluate_path()).inputs_description
    example = doctest.DocTestParser().get_doctest(described, {}, "inputs_description", None, None)
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


def read_cases() -> list[dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("unisim_cases", FOLDER / "tests.py")
    assert spec is not None and spec.loader is not None
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    return cases.test_cases


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case["config"])
def test_cases_of_the_module(module, case):
    inputs = {name: value for name, value in case.items() if name not in ("config", "result")}
    result = module(case["config"]).compute(**inputs)
    for name, value in case["result"].items():
        rounded = json.loads(json.dumps(result[name]), parse_float=lambda number: round(float(number), 3))
        assert rounded == value
