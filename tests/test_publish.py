"""`unisim publish`: from a run to the Hub, and from there to everybody; and what may go wrong between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_data import (
    write_hpdv2,
    write_hq_edit,
    write_kadid,
    write_magicbrush,
    write_nights,
    write_pieapp,
    write_pipal,
    write_polaris,
)
from conftest import write_clip
from docs_cards import run_code
from hub_server import Hub, point_client
from huggingface_hub import ModelCard, constants
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.cli import app
from unisim_metrics.training.publishing.publication import without_paths

TRAINING_SETS = (
    *("nights", "pieapp-2afc", "hpdv2", "magicbrush", "hq-edit-images"),
    *("polaris", "hq-edit-captions", "kadid-10k", "pieapp-iqa", "pipal"),
)
SETTINGS = (
    *(
        "--set",
        "data.samples_per_task=12",
        "--set",
        "optimization.batch_size=4",
        "--set",
        "validation.triplets=1",
    ),
    *("--set", "optimization.learning_rate=1e-3", "--set", "optimization.warmup_steps=1"),
)
BASE = "lab/tiny-clip"
TEXTS = ["a photo of a dog", "a red cat", "a bright image"]
SCORES = """
import json, sys
import torch
from unisim_metrics import UniSimScore
metric = UniSimScore(sys.argv[1], reduction="none")
images = torch.load(sys.argv[2])
scores = {
    "image-text": metric(images, sys.argv[3:]).tolist(),
    "image-image": UniSimScore(sys.argv[1], reduction="none")(images, images.flip(0)).tolist(),
    "quality": UniSimScore(sys.argv[1], reduction="none")(images).tolist(),
}
print(json.dumps({"scores": scores, "signature": metric.signature}))
"""
PLAIN = """
import json, sys
import torch
from peft import PeftModel
from transformers import CLIPModel, CLIPProcessor
name, base, images, *texts = sys.argv[1:]
processor = CLIPProcessor.from_pretrained(name)
inputs = processor(text=texts, images=list(torch.load(images)), return_tensors="pt", padding=True, do_rescale=False)
models = {
    "CLIPModel": CLIPModel.from_pretrained(name),
    "CLIPModel, merged": CLIPModel.from_pretrained(name, subfolder="merged"),
    "CLIPModel, merged, tagged": CLIPModel.from_pretrained(name, subfolder="merged", revision="v1"),
    "PeftModel": PeftModel.from_pretrained(CLIPModel.from_pretrained(base), name),
    "base": CLIPModel.from_pretrained(base),
}
scores = {}
for kind, model in models.items():
    with torch.no_grad():
        out = model.eval()(**inputs)
    scores[kind] = (out.image_embeds * out.text_embeds).sum(-1).tolist()
print(json.dumps(scores))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data in the layouts of the ten training sets of Table 5."""
    root = tmp_path_factory.mktemp("data")
    for write in (write_nights, write_pieapp, write_hpdv2, write_magicbrush, write_hq_edit, write_polaris):
        write(root)
    write_kadid(root)
    write_pipal(root)
    return root


@pytest.fixture(scope="module")
def finished(data: Path, tiny_clip_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two of its three steps, from a base in a directory."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    base = ("--set", f"base={tiny_clip_dir}", "--set", "name=mine")
    code, output = unisim(
        "train",
        "unisim-vit-b-32",
        "--data",
        data,
        "--out",
        out,
        "--workers",
        0,
        "--max-steps",
        2,
        *base,
        *SETTINGS,
    )
    assert code == 0, output
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def hub(tmp_path: Path, tiny_clip_dir: Path) -> Iterator[Hub]:
    """A Hub with the base on it, where one token writes to `org`, another to `somebody`."""
    hub = Hub(tmp_path / "hub", tokens={"hf_mine": "org", "hf_theirs": "somebody"})
    hub.add(BASE, tiny_clip_dir)
    with hub.serve():
        yield hub


@pytest.fixture
def here(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client of this process, which read its settings when it was imported, to that Hub."""
    point_client(hub, tmp_path / "cache", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")


def unisim(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def publish(run: Path, *options: object, repo: str = "org/mine", base: str | None = BASE) -> tuple[int, str]:
    code, output = unisim("publish", run, "--repo", repo, *(("--base", base) if base else ()), *options)
    return code, " ".join(output.split())


def sent(hub: Hub) -> list[str]:
    """What was asked for that writes."""
    return [line for line in hub.asked if not line.startswith(("GET", "HEAD"))]


@pytest.mark.usefixtures("here")
def test_train_publish_score(hub: Hub, data: Path, tiny_clip_dir: Path, tmp_path: Path) -> None:
    """The ten training sets, to a run, to the Hub, to a metric in a process that knows nothing but the name."""

    def python(*arguments: object, home: str) -> str:
        settings = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        environment = {**os.environ, **settings, "HF_HOME": str(tmp_path / home)}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = tmp_path / "run"
    train = ("train", "unisim-vit-b-32", "--data", data, "--out", run, "--workers", 1)
    code, output = unisim(*train, "--set", f"base={BASE}", *SETTINGS)
    assert code == 0, output
    assert [row["dataset"] for row in json.loads((run / "environment.json").read_text())["data"]] == list(
        TRAINING_SETS
    )
    published = CliRunner().invoke(app, ["publish", str(run), "--repo", "org/mine"])
    assert published.exit_code == 0, published.output
    assert published.stdout.strip() == f"{hub.address}/org/mine/tree/v1"
    validation = json.loads((run / "validation.jsonl").read_text().splitlines()[-1])
    figures: Any = ModelCard.load(hub.files("org/mine") / "README.md").data.eval_results
    assert {(figure.dataset_type, figure.metric_value) for figure in figures} == {
        (result["dataset"], result["accuracy"]) for result in validation["results"]
    }
    assert len(figures) == len(TRAINING_SETS)

    images = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    torch.save(images, tmp_path / "images.pt")
    hub.asked.clear()
    result = json.loads(python("-c", SCORES, "org/mine", tmp_path / "images.pt", *TEXTS, home="user"))
    assert not any("/merged/" in line for line in hub.asked), "the adapter and its base are enough"

    own: Any = load_model(run / "adapter", base=tiny_clip_dir)
    own.name = "org/mine"
    metric = UniSimScore(own, reduction="none")
    expected = {
        "image-text": metric(images, TEXTS),
        "image-image": UniSimScore(own, reduction="none")(images, images.flip(0)),
        "quality": UniSimScore(own, reduction="none")(images),
    }
    assert result["signature"] == metric.signature
    untrained = UniSimScore(load_model(tiny_clip_dir), reduction="none")(images, TEXTS)
    for task, scores in expected.items():
        assert (torch.tensor(result["scores"][task]) - scores).abs().max() <= 1e-6
    assert (expected["image-text"] - untrained).abs().max() > 1e-4

    # Without this package, by each of the ways that the card tells.
    plain = json.loads(python("-c", PLAIN, "org/mine", BASE, tmp_path / "images.pt", *TEXTS, home="plain"))
    base = torch.tensor(plain.pop("base"))
    merged = torch.tensor(plain["CLIPModel, merged"])
    assert (merged - base).abs().max() > 1e-4
    # Their processor resizes by torchvision, ours by its own bicubic.
    assert (merged - expected["image-text"]).abs().max() <= 0.02
    for kind, scores in plain.items():
        assert (torch.tensor(scores) - merged).abs().max() <= 1e-6, kind


@pytest.mark.usefixtures("here")
class TestPublish:
    def test_what_is_published(
        self, hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        code, output = publish(run)
        assert code == 0, output
        first, initial = hub.commits("org/mine")
        assert hub.tags("org/mine") == {"v1": first["id"]}
        assert first["parent"] == initial["id"], "one commit holds all"
        assert "/org/mine/tree/v1" in output and first["id"] in output

        files = hub.files("org/mine")
        for folder, weights in (
            (files, "adapter_model.safetensors"),
            (files / "merged", "model.safetensors"),
        ):
            for name in (weights, "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
                assert (folder / name).is_file()
        same = (run / "adapter" / "adapter_model.safetensors").read_bytes()
        assert (files / "adapter_model.safetensors").read_bytes() == same
        config = json.loads((files / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == BASE
        assert config["revision"] == hub.resolve(BASE)
        assert config["target_modules"] == r".*vision_model\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
        assert json.loads((files / "recipe.json").read_text())["base"] == BASE
        environment = json.loads((files / "environment.json").read_text())
        assert environment["data_hash"] == json.loads((run / "environment.json").read_text())["data_hash"]
        for path in files.rglob("*.json"):
            assert str(tmp_path.parent.parent) not in path.read_text(), path
        assert not list(tmp_path.glob("unisim-publish-*"))

    def test_card(self, hub: Hub, run: Path) -> None:
        results = [
            {
                "dataset": "nights",
                "task": "image-image",
                "accuracy": 0.8125,
                "interval": [0.57, 0.93],
                "n": 16,
            },
            {"dataset": "kadid-10k", "task": "quality", "accuracy": 0.5, "interval": [0.2, 0.8], "n": 8},
        ]
        lines = [{"step": step, "results": results, "samples_hash": "ab" * 32} for step in (0, 2)]
        (run / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert publish(run)[0] == 0
        card = ModelCard.load(hub.files("org/mine") / "README.md")
        metadata: Any = card.data
        assert metadata.base_model == BASE
        assert metadata.base_model_relation == "adapter"
        assert metadata.library_name == "peft"
        assert metadata.license == "other" and metadata.license_name == "research-only"
        assert metadata.datasets == ["ymhao/HPDv2"]
        assert "unisim" in metadata.tags
        assert metadata.model_name == "mine"
        assert [
            (
                result.dataset_type,
                result.task_type,
                result.metric_type,
                result.metric_value,
                result.metric_args,
            )
            for result in metadata.eval_results
        ] == [
            ("nights", "image-image", "accuracy", 0.8125, {"interval_95": [0.57, 0.93], "n": 16}),
            ("kadid-10k", "quality", "accuracy", 0.5, {"interval_95": [0.2, 0.8], "n": 8}),
        ]

        text = card.text
        assert "| nights | image-image | 0.812 | 0.570 – 0.930 | 16 |" in text
        environment = json.loads((run / "environment.json").read_text())
        for row in environment["data"]:
            counts = f"| {row['task']} | {row['triplets']} | {row['held_out']} |"
            assert any(row["dataset"] in line and counts in line for line in text.splitlines())
        assert environment["data_hash"] in text
        assert "| steps | 2 of 3 |" in text, "the run was stopped early"
        assert "| `optimization.learning_rate` | `0.001` |" in text
        published: Any = load_model("org/mine")
        assert UniSimScore(published).signature in text
        assert f'CLIPModel.from_pretrained("{BASE}", revision="{hub.resolve(BASE)}")' in text
        for way in (
            'UniSimScore("org/mine")',
            'subfolder="merged"',
            'PeftModel.from_pretrained(base, "org/mine")',
        ):
            assert way in text
        assert "arXiv:2412.10594" in text

    def test_code_of_the_card(self, hub: Hub, run: Path) -> None:
        assert publish(run)[0] == 0
        images = torch.rand(3, 3, 40, 48)
        card = (hub.files("org/mine") / "README.md").read_text()
        assert run_code(card, images=images, prompts=TEXTS) == 3

    @pytest.mark.parametrize("lines", [[], [{"step": 1, "results": [], "samples_hash": "ab"}]])
    def test_card_without_figures_of_these_weights(self, hub: Hub, run: Path, lines: list[Any]) -> None:
        (run / "validation.jsonl").unlink()
        for line in lines:
            (run / "validation.jsonl").write_text(json.dumps(line))
        assert publish(run, "--license", "cc-by-4.0")[0] == 0
        card = ModelCard.load(hub.files("org/mine") / "README.md")
        assert card.data.get("model-index") is None and card.data.get("metrics") is None
        assert card.data.license == "cc-by-4.0" and card.data.get("license_name") is None
        assert "It was not evaluated" in card.text
        assert ("after step 1, before these weights" in card.text) == bool(lines)

    def test_dry_run_writes_nothing(self, hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HF_TOKEN")
        code, output = publish(run, "--dry-run")
        assert code == 0, output
        assert sent(hub) == []
        assert not (hub.root / "org").exists()
        assert "Nothing was published" in output
        assert f"base_model: {BASE}" in output and "# mine" in output
        size = (run / "adapter" / "adapter_model.safetensors").stat().st_size
        assert f"adapter_model.safetensors {size}" in output and "merged/model.safetensors" in output

    def test_again(self, hub: Hub, run: Path) -> None:
        assert publish(run)[0] == 0
        (first, _) = hub.commits("org/mine")
        code, output = publish(run)
        assert code == 0 and "tree/v1" in output
        assert hub.commits("org/mine")[0] == first, "nothing new, no commit"

        leftover = hub.files("org/mine") / "merged" / "model-00002-of-00002.safetensors"
        leftover.write_bytes(b"of an earlier version")
        (hub.files("org/mine") / "figure.png").write_bytes(b"the user's own")
        results = {"dataset": "nights", "task": "image-image", "accuracy": 0.1234, "interval": [0, 1], "n": 1}
        line = {"step": 2, "results": [results], "samples_hash": "ab"}
        (run / "validation.jsonl").write_text(json.dumps(line))
        code, output = publish(run)
        assert code == 0 and "tree/v2" in output
        second = hub.commits("org/mine")[0]
        assert second["parent"] == first["id"]
        assert hub.tags("org/mine") == {"v1": first["id"], "v2": second["id"]}
        assert "0.123" in (hub.files("org/mine") / "README.md").read_text()
        assert "0.123" not in (hub.files("org/mine", "v1") / "README.md").read_text()
        assert not (hub.files("org/mine") / "merged" / leftover.name).exists()
        assert (hub.files("org/mine") / "figure.png").exists()
        tagged: Any = load_model("org/mine", revision="v1")
        assert tagged.weights_hash() == load_model("org/mine").weights_hash()

    def test_tag(self, hub: Hub, run: Path) -> None:
        assert publish(run, "--revision-tag", "paper")[0] == 0
        assert list(hub.tags("org/mine")) == ["paper"]
        hub.asked.clear()
        code, output = publish(run, "--revision-tag", "paper")
        assert code == 1
        assert "has the tag 'paper' already" in output
        assert sent(hub) == []

    def test_private(self, hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert publish(run, "--private")[0] == 0
        assert hub.is_private("org/mine")
        assert load_model("org/mine").name == "org/mine"
        monkeypatch.setenv("HF_TOKEN", "hf_theirs")
        with pytest.raises(OSError, match="no such repository, or it is private"):
            load_model("org/mine", revision="v1")
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        assert publish(run, repo="org/open")[0] == 0
        hub.asked.clear()
        code, output = publish(run, "--private", repo="org/open")
        assert code == 1
        assert "is public already" in output
        assert sent(hub) == []

    def test_base_that_moves_on(self, hub: Hub, run: Path, tmp_path: Path) -> None:
        """The adapter names the version of its base: nobody puts it on another unawares."""
        assert publish(run)[0] == 0
        hash_before = load_model("org/mine").weights_hash()
        hub.add(BASE, write_clip(tmp_path / "next", seed=7))
        fresh = load_model("org/mine", cache_dir=tmp_path / "fresh")
        assert fresh.weights_hash() == hash_before
        code, output = publish(run, repo="org/other")
        assert code == 2
        assert "its weights are others" in output
        assert not (hub.root / "org" / "other").exists()


@pytest.mark.usefixtures("here")
class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda run: (run / "recipe.json").unlink(), "has no recipe.json"),
            (lambda run: shutil.rmtree(run / "adapter"), "is not finished: it has no adapter"),
            (lambda run: _train_on(run), "its adapter is not that of its last checkpoint, at step 2"),
            (lambda run: (run / "adapter/adapter_model.safetensors").write_bytes(b"cut"), "cannot be read"),
            (lambda run: (run / "validation.jsonl").write_text('{"step": 1}'), "must hold a validation"),
        ],
    )
    def test_run(self, hub: Hub, run: Path, change: Any, message: str) -> None:
        change(run)
        code, output = publish(run)
        assert code in (1, 2)
        assert message in output
        assert hub.asked == []

    @pytest.mark.parametrize("repo", ["mine", "org/team/mine", "org/mi ne", "org/mine--", "", "org/"])
    def test_repository_name(self, hub: Hub, run: Path, repo: str) -> None:
        for options in ((), ("--dry-run",)):
            code, output = publish(run, *options, repo=repo)
            assert code == 2
            assert "Argument `repo` must be of the form ORG/NAME" in output
        assert hub.asked == []

    @pytest.mark.parametrize(
        ("base", "message"),
        [
            (None, "which nobody else has. Name the id of the same weights, `--base ORG/NAME`"),
            ("./somewhere", "which nobody else has"),
            (
                "lab/nothing",
                "`lab/nothing` could not be fetched from the Hub: the Hub has no such repository",
            ),
        ],
    )
    def test_base(self, hub: Hub, run: Path, base: str | None, message: str) -> None:
        code, output = publish(run, base=base)
        assert code in (1, 2)
        assert message in output
        assert sent(hub) == []

    @pytest.mark.parametrize(
        ("token", "message"),
        [
            ("", "no token is set, run `hf auth login` or set HF_TOKEN"),
            ("hf_old", "the Hub does not know the token"),
            ("hf_theirs", "the token may not write to 'org'"),
        ],
    )
    def test_token(
        self, hub: Hub, run: Path, token: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", token)
        code, output = publish(run)
        assert code == 1
        assert message in output and "Nothing was published" in output
        assert not (hub.root / "org").exists()

    @pytest.mark.parametrize(
        "request_", ["create", "preupload", "objects/batch", "PUT", "verify", "commit/main"]
    )
    def test_hub_that_breaks_off(self, hub: Hub, run: Path, request_: str) -> None:
        hub.broken = request_
        code, output = publish(run)
        assert code == 1
        assert "507" in output and "Nothing was published" in output
        if request_ != "create":
            assert [path.name for path in hub.files("org/mine").iterdir()] == [".gitattributes"]
        hub.broken = None
        assert publish(run)[0] == 0, "publishing again is all there is to do"
        assert len(hub.commits("org/mine")) == 2

    def test_tag_that_fails(self, hub: Hub, run: Path) -> None:
        hub.broken = "/tag/"
        code, output = publish(run)
        commit = hub.resolve("org/mine")
        assert code == 1
        assert f"The files stand in commit {commit}, without a tag: publish again" in output
        hub.broken = None
        assert publish(run)[0] == 0
        assert hub.tags("org/mine") == {"v1": commit}

    def test_offline(self, hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        code, output = publish(run)
        assert code == 1
        assert "HF_HUB_OFFLINE is set" in output
        assert hub.asked == []

    def test_hub_out_of_reach(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
        code, output = publish(run)
        assert code == 1
        assert "the Hub cannot be reached" in output


def _train_on(run: Path) -> None:
    """Leave what a run leaves that was resumed and then killed: a checkpoint newer than the adapter."""
    from safetensors.torch import load_file, save_file

    (checkpoint,) = run.glob("checkpoint-*")
    weights = load_file(checkpoint / "trained.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, checkpoint / "trained.safetensors")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/data", "data"),
        ("/home/some body/data", "data"),
        ("--data=/home/me/data", "--data=data"),
        ("data.datasets=['/home/me/a.jsonl', 'nights']", "data.datasets=['a.jsonl', 'nights']"),
        (r"C:\Users\me\run", "run"),
        ("file:///home/me/a", "a"),
        ("org/name", "org/name"),
        ("runs/b-32", "runs/b-32"),
        ("https://huggingface.co/org/name", "https://huggingface.co/org/name"),
        (
            r".*vision_model\..*\.(q_proj|k_proj)",
            r".*vision_model\..*\.(q_proj|k_proj)",
        ),
        ("", ""),
        ({"command": ["/usr/bin/unisim", "--workers", 2]}, {"command": ["unisim", "--workers", 2]}),
    ],
)
def test_paths_of_this_machine(text: Any, expected: Any) -> None:
    assert without_paths(text) == expected


PARTS = st.lists(
    st.text("abcdefgh.-_", min_size=3, max_size=8).filter(lambda part: part.strip(".")), min_size=2
)


@given(parts=PARTS, frame=st.sampled_from(["{}", "--data={}", "x={}", "['{}']", '"{}"', "a {} b"]))
def test_no_folder_of_this_machine_is_left(parts: list[str], frame: str) -> None:
    text = frame.format("/" + "/".join(parts))
    cleaned = without_paths(text)
    assert "/" not in cleaned
    assert parts[-1] in cleaned
    assert without_paths(cleaned) == cleaned
