"""Generative models where models are used: loading, metrics, the command line, `evaluate`, the benchmark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_generative
import torch
from benchmark_data import write_benchmark
from comparing import OnlyCompares
from hub_server import serve
from tiny_generative import pictures
from typer.testing import CliRunner

from unisim_metrics import UniSimRanking, list_models, load_model
from unisim_metrics.cli.app import app
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.functional import choose, odd_one_out, unisim_rank
from unisim_metrics.models import GenerativeModel
from unisim_metrics.models.registry import REGISTRY


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA as `save_pretrained` writes it."""
    return tiny_generative.write(tmp_path_factory.mktemp("generative") / "tiny-llava")


@pytest.fixture(scope="module")
def model(directory: Path) -> GenerativeModel:
    loaded = load_model(directory)
    assert isinstance(loaded, GenerativeModel)
    return loaded


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "copy"))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six image files."""
    paths = [tmp_path / f"{index}.png" for index in range(6)]
    for path, image in zip(paths, pictures(6), strict=True):
        image.save(path)
    return paths


class Brightest(OnlyCompares):
    """A model that only compares, and leaves some groups of a batch unanswered: whole ones, or by half."""

    name = "brightest"

    def __init__(self, unanswered: Collection[int] = (), half: bool = False) -> None:
        self.unanswered = list(unanswered)
        self.half = half

    def compare(self, references: Any, alternatives: Any, **settings: Any) -> torch.Tensor:
        scores = [torch.tensor([np.asarray(image).mean() for image in group]) for group in alternatives]
        padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=torch.nan)
        padded[self.unanswered, 1 if self.half else 0 :] = torch.nan
        return padded


class TestLoading:
    @pytest.mark.parametrize("family", tiny_generative.FAMILIES)
    def test_directories_of_every_family(self, family: str, tmp_path: Path) -> None:
        written = tiny_generative.write(tmp_path / family, family)
        model = load_model(written)
        assert isinstance(model, GenerativeModel)
        assert model.name == family
        assert not any(parameter.requires_grad for parameter in model.parameters())
        original = tiny_generative.model(family)
        assert model.weights_hash() == original.weights_hash()
        group = [pictures(2)]
        assert torch.allclose(model.compare(["a"], group), original.compare(["a"], group), atol=1e-5)

    def test_options(self, directory: Path) -> None:
        model = load_model(directory, batch_size=3)
        assert isinstance(model, GenerativeModel)
        assert (model.batch_size, model.dtype, model.device.type) == (3, torch.float32, "cpu")
        assert load_model(directory, dtype=torch.bfloat16).dtype == torch.bfloat16  # type: ignore[attr-defined]
        assert load_model(model) is model
        asked = load_model(directory, mode="generate", debias=True)
        assert asked.input_tag == model.input_tag.replace("/letters", "/generate/debias")
        spread = load_model(directory, device_map={"": "cpu"}, dtype=torch.float32)
        assert spread.weights_hash() == load_model(directory).weights_hash()

    def test_float32_whatever_the_file_stores(self, model: GenerativeModel, tmp_path: Path) -> None:
        backbone, processor = tiny_generative.build("llava")
        backbone.to(torch.float16).save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        assert load_model(tmp_path).dtype == torch.float32  # type: ignore[attr-defined]
        on_devices = load_model(tmp_path, device_map={"": "cpu"})
        assert on_devices.dtype == torch.float16  # type: ignore[attr-defined]

    def test_modules(self, directory: Path, model: GenerativeModel) -> None:
        from transformers import AutoModelForImageTextToText

        backbone = AutoModelForImageTextToText.from_pretrained(directory)
        groups = [pictures(2)]
        expected = model.compare(None, groups)
        assert torch.equal(load_model(backbone).compare(None, groups), expected)
        assert torch.equal(load_model(backbone, processor=model.processor).compare(None, groups), expected)
        assert load_model(backbone).name == "LlavaForConditionalGeneration"
        fresh, _ = tiny_generative.build("llava")
        with pytest.raises(ValueError, match="`processor` must be given for a LlavaForConditionalGeneration"):
            load_model(fresh)

    def test_hub_id(
        self, directory: Path, model: GenerativeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from huggingface_hub import constants

        with serve({"org/llava": directory}) as (address, _):
            files = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            monkeypatch.setattr(constants, "ENDPOINT", address)
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
            fetched = load_model("org/llava", cache_dir=tmp_path)
        assert fetched.name == "org/llava"
        assert fetched.weights_hash() == model.weights_hash()
        assert fetched.input_tag == model.input_tag

    def test_names(self) -> None:
        assert {"unisim-ll-n-0.5b", "llava-next-0.5b", "llava-next-7b", "qwen2-vl-7b"} <= set(list_models())
        for entry in REGISTRY.values():
            if entry.kind == "generative":
                with pytest.raises(ModelUnavailableError, match=f"`{entry.source}` could not be fetched"):
                    load_model(entry.name)

    def test_weights_that_are_missing_or_left_over(self, copy: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(copy / "model.safetensors")
        removed = weights.pop("model.multi_modal_projector.linear_1.bias", None)
        if removed is None:
            name = next(key for key in weights if key.endswith("linear_1.bias"))
            removed = weights.pop(name)
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(
            CheckpointError, match=r"1 is missing \(model.multi_modal_projector.linear_1.bias\)"
        ):
            load_model(copy)
        save_file(weights | {"surplus": removed}, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=r"1 is missing .* and 1 is extra \(surplus\)"):
            load_model(copy)
        content = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_model(copy)

    def test_processors_that_are_missing_or_only_a_tokenizer(self, copy: Path) -> None:
        for name in ("processor_config.json", "preprocessor_config.json"):
            (copy / name).unlink(missing_ok=True)
        with pytest.raises(ValueError, match=r"must hold .* processor"):
            load_model(copy)

    def test_arguments_that_would_be_ignored(self, directory: Path, model: GenerativeModel) -> None:
        from unisim_metrics.images import Preprocessing

        with pytest.raises(ValueError, match="`preprocessing` does not apply to the generative model"):
            load_model(directory, preprocessing=Preprocessing())
        with pytest.raises(ValueError, match="`tokenizer` does not apply to the generative model"):
            load_model(directory, tokenizer=model.processor.tokenizer)
        with pytest.raises(ValueError, match="`base` does not apply"):
            load_model(directory, base="org/base")
        with pytest.raises(ValueError, match="`device` and `device_map` must not be given together"):
            load_model(directory, device="cpu", device_map="auto")
        with pytest.raises(ValueError, match="only `device` applies"):
            load_model(model, batch_size=4)
        for option in ({"batch_size": 4}, {"device_map": "auto"}, {"mode": "letters"}, {"debias": True}):
            with pytest.raises(ValueError, match="does not apply to the encoder"):
                load_model("unisim-mini", **option)

    def test_device_map_needs_accelerate(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match="`device_map` needs accelerate"):
            load_model(directory, device_map="auto")

    def test_weights_on_several_devices_stay_there(self, directory: Path) -> None:
        model = load_model(directory)
        model.backbone.hf_device_map = {"a": 0, "b": 1}  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="is spread over the devices"):
            model.to("cpu")


class TestMetrics:
    def test_ranking(self, model: GenerativeModel) -> None:
        shown = pictures(8)
        candidates = [[shown[0], shown[1]], [shown[2], shown[3], shown[4]]]
        ranking = UniSimRanking(model)
        scores = unisim_rank(candidates, ["a cat", "a dog"], model)
        ranking.update(candidates, ["a cat", "a dog"], choose(scores))
        result = ranking.compute()
        assert float(result["accuracy"]) == 1.0
        assert result["win_rate"].shape == (3,)
        assert float(result["win_matrix"][0, 1] + result["win_matrix"][1, 0]) == 1.0
        assert f"input:{model.input_tag}" in ranking.signature
        assert f"model:tiny-llava@{model.weights_hash()[:12]}" in ranking.signature
        expected = model.compare(["a cat", "a dog"], candidates)
        assert torch.allclose(scores, expected, atol=1e-5, equal_nan=True)

    def test_ranking_that_came_by_name_is_read_again_after_pickling(self, directory: Path) -> None:
        import pickle

        ranking = UniSimRanking(str(directory))
        again = pickle.loads(pickle.dumps(ranking))
        again.update([pictures(3)])
        ranking.update([pictures(3)])
        assert torch.equal(again.compute()["mean_rank"], ranking.compute()["mean_rank"])
        assert again.signature == ranking.signature

    def test_highest_score_is_the_odd_one(self, model: GenerativeModel) -> None:
        """As `odd_one_out` of embeddings: the answer's letter names the image that is left out."""
        vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        assert choose(odd_one_out(vectors)[None]).tolist() == [2]
        third = torch.tensor(model.chat.letters[2])

        def answer_by_the_third(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
            return out + 50 * torch.nn.functional.one_hot(third, out.shape[-1])

        handle = model.backbone.lm_head.register_forward_hook(answer_by_the_third)  # type: ignore[union-attr]
        try:
            scores = model.compare(None, [pictures(3)], task="odd-one-out")
        finally:
            handle.remove()
        assert choose(scores).tolist() == [2]

    def test_answers_that_are_no_letter_are_counted(
        self, model: GenerativeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("unisim_metrics.models.generative.model.NEW_TOKENS", 2)
        generating = GenerativeModel(model.backbone, model.processor, "x", mode="generate")
        ranking = UniSimRanking(generating)
        ranking.update([pictures(2), pictures(3)], choices=[0, 1])
        assert int(ranking.groups.sum()) == 0
        result = ranking.compute()
        assert result["unanswered"] == 1
        assert "accuracy" not in result

    def test_the_answers_that_there_are_make_the_figures(self) -> None:
        groups = [pictures(2), pictures(3), pictures(2), pictures(3)[1:]]
        humans = [0, 2, 1, 0]
        unsure, sure = UniSimRanking(Brightest({1, 2})), UniSimRanking(Brightest())  # type: ignore[arg-type]
        unsure.update(groups, choices=humans)
        sure.update([groups[0], groups[3]], choices=[humans[0], humans[3]])
        result, expected = unsure.compute(), sure.compute()
        assert result.pop("unanswered") == 0.5
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, equal_nan=True)
        with pytest.raises(ValueError, match="scores that are not finite"):
            UniSimRanking(Brightest({1}, half=True)).update(groups)  # type: ignore[arg-type]


class TestCommandLine:
    def run(self, *arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    def test_rank(self, directory: Path, model: GenerativeModel, files: list[Path], tmp_path: Path) -> None:
        (tmp_path / "broken.png").write_text("no image")
        out = tmp_path / "ranked.json"
        status, _ = self.run(
            *("rank", *files[:3], tmp_path / "broken.png", "--reference", files[3]),
            *("--model", directory, "--device", "cpu", "-o", out),
        )
        assert status == 1, "one file could not be read"
        rows = json.loads(out.read_text())
        expected = model.compare([files[3]], [files[:3]])[0]
        scores = {Path(row["candidate"]): row["score"] for row in rows["results"]}
        assert [scores[path] for path in files[:3]] == pytest.approx(expected.tolist(), abs=1e-5)
        assert f"input:{model.input_tag}" in rows["signature"]

    def test_rank_captions_and_generators(self, directory: Path, files: list[Path], tmp_path: Path) -> None:
        captions = ("--caption", "a cat", "--caption", "a dog", "--caption", "a bird")
        status, out = self.run(
            "rank", *captions, "--reference", files[0], "--model", directory, "--device", "cpu"
        )
        assert status == 0, out
        for name, half in (("one", files[:3]), ("two", files[3:])):
            (tmp_path / name).mkdir()
            for index, path in enumerate(half):
                shutil.copy(path, tmp_path / name / f"{index}.png")
        (tmp_path / "prompts.txt").write_text("a cat\na dog\na bird\n")
        status, out = self.run(
            *("rank", tmp_path / "one", tmp_path / "two", "--prompts", tmp_path / "prompts.txt"),
            *("--model", directory, "--device", "cpu", "--json"),
        )
        assert status == 0, out

    def test_score(self, directory: Path, model: GenerativeModel, files: list[Path], tmp_path: Path) -> None:
        out = tmp_path / "scores.json"
        for extra, task, target in (
            ((), "quality", None),
            (("--text", "a cat"), "image-text", ["a cat"] * 3),
        ):
            status, printed = self.run(
                *("score", *files[:3], *extra, "--model", directory, "--device", "cpu", "-o", out)
            )
            assert status == 0, printed
            rows = json.loads(out.read_text())
            expected = model.score(files[:3], target, task)  # type: ignore[arg-type]
            assert [row["score"] for row in rows["results"]] == pytest.approx(expected.tolist(), abs=1e-5)
            assert f"input:{model.tag_of('scores')}" in rows["signature"]

    def test_score_and_rank_name_the_way_out(self, directory: Path, files: list[Path]) -> None:
        settings = ("--model", directory, "--device", "cpu")
        status, out = self.run("score", files[0], "--reference", files[1], *settings)
        assert status == 2
        assert "UniSimRanking" in " ".join(out.split())
        status, out = self.run("rank", files[0], "--text", "a cat", *settings)
        assert status == 2
        assert "Candidates must be two or more" in " ".join(out.split())

    def test_models_are_listed(self) -> None:
        assert "unisim-ll-n-0.5b" in self.run("models", "--csv")[1]


def test_evaluate_ranks(model: GenerativeModel, directory: Path, files: list[Path]) -> None:
    from unisim_metrics.integrations.evaluate.files import NamedFiles
    from unisim_metrics.integrations.evaluate.inputs import store_items
    from unisim_metrics.integrations.evaluate.scoring import Scorer

    stored = store_items(files, "image", "predictions", NamedFiles())
    result = Scorer("ranking", model=str(directory), device="cpu")(
        [stored[:2], stored[2:5]], ["a cat", "a dog"], [0, None]
    )
    expected = model.compare(["a cat", "a dog"], [files[:2], files[2:5]])
    assert result["scores"][0] == pytest.approx(expected[0, :2].tolist(), abs=1e-5)
    assert result["scores"][1] == pytest.approx(expected[1].tolist(), abs=1e-5)
    assert f"input:{model.input_tag}" in result["signature"]
    alone = Scorer("image-text", model=model)(stored[:1], ["a cat"])
    assert alone["scores"] == pytest.approx(
        model.score(files[:1], ["a cat"], "image-text").tolist(), abs=1e-5
    )


def test_best_of_n(model: GenerativeModel) -> None:
    from diffusion import Tiny

    from unisim_metrics.integrations.diffusers import best_of_n

    tiny = Tiny("sd", images=1)
    result = best_of_n(tiny.pipe, None, 3, reference="a cat", model_name_or_path=model, **tiny.arguments)
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
    order = sorted(range(3), key=lambda place: result.seeds[place])
    expected = model.compare(["a cat"], [[result.images[place] for place in order]])[0]
    assert torch.allclose(result.scores[order], expected, atol=1e-5)
    assert model.input_tag in result.signature


class TestBenchmark:
    @pytest.fixture(scope="class")
    def root(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_benchmark(tmp_path_factory.mktemp("data"))

    SETS = ("nights", "hpdv2", "cd-coco", "kadid-10k", "koniq-brightness", "imagenet-ooo")

    def test_sets_of_every_task_that_it_answers(
        self, model: GenerativeModel, root: Path, tmp_path: Path
    ) -> None:
        from unisim_metrics.benchmark import load_dataset, run

        results = run(model, list(self.SETS), root, results=tmp_path, n=4, workers=0, progress=False)
        assert set(results) == set(self.SETS)
        for name, result in results.items():
            (outcome,) = result.outcomes
            assert outcome.method is None
            assert f"input:{model.input_tag}" in outcome.signature
            dataset = load_dataset(name, root)
            samples = dataset.samples(n=4)

            def show(item: Any, of: Any = dataset) -> Any:
                return of.image(item) if isinstance(item, Path) else item

            references = [show(sample.reference) for sample in samples]
            groups = [[show(item) for item in sample.alternatives] for sample in samples]
            scores = model.compare(references if references[0] else None, groups, task=dataset.task)  # type: ignore[arg-type]
            expected = choose(scores)
            assert outcome.choices is not None
            assert outcome.choices.tolist() == expected.tolist()

    def test_demonstrations(self, model: GenerativeModel, root: Path, tmp_path: Path) -> None:
        from unisim_metrics.benchmark import run

        options: dict[str, Any] = {"results": tmp_path, "n": 3, "workers": 0, "progress": False}
        result = run(model, ["nights"], root, demonstrations=2, **options)["nights"]
        assert result.demonstrations == 2

    def test_retrieval_is_refused(self, model: GenerativeModel, root: Path, tmp_path: Path) -> None:
        from unisim_metrics.benchmark import run

        with pytest.raises(ValueError, match=r"roxford"):
            run(model, ["roxford"], root, results=tmp_path, workers=0, progress=False)
