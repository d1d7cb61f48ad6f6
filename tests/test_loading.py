"""``load_model``: what each kind of name resolves to, and what is said when it resolves to nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoints import authors_state_dict, trained_model, write_checkpoint
from conftest import write_clip
from hub_server import COMMIT, serve
from pillow_processors import CLIPImageProcessorPil
from torch import nn
from torch.nn.functional import normalize
from torchvision.transforms.functional import to_pil_image
from transformers import (
    AutoTokenizer,
    CLIPModel,
    MobileNetV2Config,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.images import Preprocessing
from unisim_metrics.installation import install_extra
from unisim_metrics.models import REGISTRY, EncoderModel, PerceptualModel, convert, list_models, load_model
from unisim_metrics.models.checkpoints import clip as checkpoint
from unisim_metrics.models.sources.hub import is_hub_id

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def copy_of(directory: Path, target: Path, without: tuple[str, ...] = ()) -> Path:
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns(*without))
    return target


class TestRegistry:
    def test_names(self) -> None:
        names = list_models()
        assert names[0] == "unisim-mini"
        assert {"unisim-vit-b-32", "unisim-vit-l-14", "clip-vit-b-32", "siglip-so400m-14"} <= set(names)
        assert len(names) == len(set(names))

    def test_what_is_downloaded_is_pinned(self) -> None:
        for entry in REGISTRY.values():
            if entry.kind == "clip":
                assert entry.revision is not None
                assert len(entry.revision) == 40

    def test_open_clip_entries_are_known_to_open_clip(self) -> None:
        import open_clip

        for entry in REGISTRY.values():
            if entry.kind == "open_clip":
                architecture, tag = entry.source.split("/")
                assert tag in open_clip.list_pretrained_tags_by_model(architecture)


class TestDirectories:
    def test_string_and_path(self, tiny_clip_dir: Path, tiny_model: EncoderModel) -> None:
        for target in (str(tiny_clip_dir), tiny_clip_dir):
            model = load_model(target)
            assert isinstance(model, PerceptualModel)
            assert model.name == "tiny-clip"
            assert model.weights_hash() == tiny_model.weights_hash()

    def test_relative_and_trailing_slash(self, tiny_clip_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tiny_clip_dir.parent)
        assert load_model("tiny-clip/").name == "tiny-clip"
        monkeypatch.chdir(tiny_clip_dir)
        assert load_model(".").name == "tiny-clip"

    def test_choices(self, tiny_clip_dir: Path) -> None:
        model = load_model(
            tiny_clip_dir, resample="pil", device="cpu", preprocessing=Preprocessing(size=32, crop="round")
        )
        assert model.input_tag == "32-pil-round"
        with pytest.raises(ValueError, match="`resample` must be one of"):
            load_model(tiny_clip_dir, resample="nearest")  # type: ignore[arg-type]

    def test_processor_in_the_new_format(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        directory = copy_of(tiny_clip_dir, tmp_path / "new", without=("preprocessor_config.json",))
        assert load_model(directory).input_tag == "32-bicubic", "the model's own size without a file"
        settings = json.loads((tiny_clip_dir / "preprocessor_config.json").read_text())
        settings["image_mean"] = [0.5, 0.5, 0.5]
        (directory / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
        assert load_model(directory).input_tag == "32-bicubic-mean0.5"

    def test_processor_that_is_not_supported(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        directory = copy_of(tiny_clip_dir, tmp_path / "bilinear")
        settings = json.loads((directory / "preprocessor_config.json").read_text())
        (directory / "preprocessor_config.json").write_text(json.dumps({**settings, "resample": 2}))
        with pytest.raises(ValueError, match=r"bilinear is not supported.*`resample` must be bicubic"):
            load_model(directory)

    def test_weights_that_are_missing_left_over_or_cut(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        directory = copy_of(tiny_clip_dir, tmp_path / "broken")
        weights = load_file(directory / "model.safetensors")
        removed = weights.pop("visual_projection.weight")
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=r"1 is missing \(visual_projection.weight\)"):
            load_model(directory)
        weights = {**weights, "visual_projection.weight": removed, "head.weight": torch.zeros(1)}
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=r"1 is extra \(head.weight\)"):
            load_model(directory)
        content = (directory / "model.safetensors").read_bytes()
        (directory / "model.safetensors").write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_model(directory)

    @pytest.mark.parametrize(
        ("without", "message"),
        [
            (("config.json",), "neither"),
            (("tokenizer.json", "vocab.json"), "must hold the model's tokenizer"),
        ],
    )
    def test_incomplete(
        self, tiny_clip_dir: Path, tmp_path: Path, without: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            load_model(copy_of(tiny_clip_dir, tmp_path / "incomplete", without=without))

    def test_other_kinds(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        directory = copy_of(tiny_clip_dir, tmp_path / "siglip")
        (directory / "config.json").write_text(json.dumps({"model_type": "siglip"}))
        with pytest.raises(ValueError, match=r"type 'siglip'.*open_clip:ARCHITECTURE"):
            load_model(directory)
        (directory / "config.json").write_text("{")
        with pytest.raises(CheckpointError, match="not valid JSON"):
            load_model(directory)

    def test_another_image_tower_with_clips_text_tower(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        vision = MobileNetV2Config(image_size=32, depth_multiplier=0.25, finegrained_output=False)
        vision.hidden_size = 320
        text = CLIPModel.from_pretrained(tiny_clip_dir).config.text_config
        config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=16)
        directory = copy_of(tiny_clip_dir, tmp_path / "joined", without=("config.json", "*.safetensors"))
        plain = VisionTextDualEncoderModel(config).eval()
        plain.save_pretrained(directory)

        tokenizer = AutoTokenizer.from_pretrained(directory)
        images, texts = torch.rand(3, 3, 32, 32), ["a photo", "good", "a photo of a dog"]
        pixels = CLIPImageProcessorPil.from_pretrained(directory)(
            [to_pil_image(image) for image in images], return_tensors="pt"
        )["pixel_values"]
        with torch.no_grad():
            seen = normalize(plain.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
            read = normalize(
                plain.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output,
                dim=-1,
            )
        for model in (load_model(directory), load_model(plain, tokenizer=tokenizer)):
            model.preprocessing = load_model(directory).preprocessing
            assert (model.embed_images([to_pil_image(image) for image in images]) - seen).abs().max() <= 1e-6
            assert (model.embed_texts(texts) - read).abs().max() <= 1e-6

    def test_adapter_without_a_base(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        with pytest.raises(ValueError, match="Argument `base` must be given"):
            load_model(tmp_path)
        with pytest.raises(ValueError, match=r"Argument `base` must be .* but got '\./nowhere'"):
            load_model(tmp_path, base="./nowhere")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("unisim-vit-b32", "Did you mean `unisim-vit-b-32`"),
            ("UniSim-Mini", "Did you mean `unisim-mini`"),
            ("nonsense", "one of \\['unisim-mini', .*, a directory"),
            ("./models/mine", "got './models/mine', which is none of these here"),
            ("/nowhere/mine", "which is none of these"),
            ("mine/epoch_1.pt", "which is none of these"),
            ("a/b/c", "which is none of these"),
            ("", "which is none of these"),
        ],
    )
    def test_unknown(self, name: str, hint: str) -> None:
        with pytest.raises(ValueError, match=hint):
            load_model(name)

    def test_path_objects_are_never_hub_ids(self) -> None:
        with pytest.raises(ValueError, match="which is none of these"):
            load_model(Path("org/model"))

    def test_directory_beside_is_a_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert is_hub_id("runs/best")
        (tmp_path / "runs").mkdir()
        assert not is_hub_id("runs/best")
        with pytest.raises(ValueError, match="which is none of these"):
            load_model("runs/best")
        with pytest.raises(ModelUnavailableError):
            load_model("runs/best", revision="main")

    def test_offline(self) -> None:
        with pytest.raises(
            OSError, match=r"`org/model` could not be fetched.*HF_HUB_OFFLINE is set"
        ) as caught:
            load_model("org/model")
        assert isinstance(caught.value, ModelUnavailableError)
        for way in ("unset HF_HUB_OFFLINE", "hf download org/model --local-dir", "load_model('unisim-mini')"):
            assert way in str(caught.value)
        with pytest.raises(ModelUnavailableError, match="`openai/clip-vit-large-patch14-336`"):
            load_model("clip-vit-l-14-336")

    def test_arguments_that_would_be_ignored(self, tiny_clip_dir: Path, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match="`revision` does not apply to the directory"):
            load_model(Path(tiny_clip_dir), revision="main")
        with pytest.raises(ValueError, match="`base` does not apply to the full model"):
            load_model(tiny_clip_dir, base="org/base")
        with pytest.raises(ValueError, match="`base` does not apply to `unisim-mini`"):
            load_model("unisim-mini", base="org/base")
        with pytest.raises(ValueError, match="only `device` applies"):
            load_model(tiny_model, truncate=False)

    def test_model_passes_through(self, tiny_model: EncoderModel) -> None:
        assert load_model(tiny_model) is tiny_model
        assert load_model(tiny_model, device="cpu") is tiny_model

    def test_other_types_and_files(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="but got int"):
            load_model(3)  # type: ignore[arg-type]
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=r"\.pt, \.pth\), but got the file"):
            load_model(tmp_path / "model.safetensors")


@pytest.fixture
def tiny_architecture(tmp_path: Path) -> Path:
    """A small architecture known to open_clip, and a file of weights for it."""
    import open_clip

    (tmp_path / "configs").mkdir()
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (tmp_path / "configs" / "tiny-unisim-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-unisim-test")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD}})
    )
    torch.save(model.state_dict(), tmp_path / "packed" / "open_clip_pytorch_model.bin")
    return tmp_path / "weights.pt"


class TestOpenCLIP:
    def test_weights_in_a_file(self, tiny_architecture: Path) -> None:
        preprocessing = Preprocessing(size=32, crop="round")
        with pytest.raises(ValueError, match="`preprocessing` must be given"):
            load_model(f"open_clip:tiny-unisim-test/{tiny_architecture}")
        model = load_model(f"open_clip:tiny-unisim-test/{tiny_architecture}", preprocessing=preprocessing)
        assert model.name == "open_clip:tiny-unisim-test/weights.pt", "the same on every machine"
        assert model.input_tag == "32-bicubic-round"
        assert not any(module.training for module in model.modules())  # type: ignore[attr-defined]
        packed = tiny_architecture.parent / "packed"
        for target in (packed, f"open_clip:local-dir:{packed}"):
            assert load_model(target).weights_hash() == model.weights_hash()

    def test_weights_of_another_architecture(self, tiny_architecture: Path) -> None:
        torch.save({"weight": torch.zeros(1)}, tiny_architecture)
        with pytest.raises(CheckpointError, match="do not fit the architecture"):
            load_model(
                f"open_clip:tiny-unisim-test/{tiny_architecture}", preprocessing=Preprocessing(size=32)
            )

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "open_clip:ViT-B-32",
                "must name its weights, since random ones measure nothing.*laion2b_s34b_b79k",
            ),
            ("open_clip:ViT-B32/openai", "not known to open_clip. Did you mean .*`ViT-B-32`"),
            ("open_clip:ViT-B-32/nonsense", "'nonsense' of 'ViT-B-32' must be a file or one of"),
        ],
    )
    def test_unknown(self, name: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load_model(name)

    def test_offline(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailableError, match="could not be fetched") as caught:
            load_model("open_clip:ViT-B-32/laion2b_s34b_b79k", cache_dir=tmp_path)
        assert "load_model('unisim-mini')" in str(caught.value)

    def test_activation_follows_the_weights(
        self, monkeypatch: pytest.MonkeyPatch, tiny_architecture: Path
    ) -> None:
        """open_clip computes with the wrong activation, after a warning, when architecture and tag differ."""
        import open_clip

        seen: dict[str, Any] = {}

        def create_model(architecture: str, **options: Any) -> nn.Module:
            seen.update(options, architecture=architecture)
            raise RuntimeError("no network")

        monkeypatch.setattr(open_clip, "create_model", create_model)
        with pytest.raises(ModelUnavailableError):
            load_model("open_clip:ViT-L-14-336/openai")
        assert seen["force_quick_gelu"] is True
        seen.clear()
        with pytest.raises(ModelUnavailableError):
            load_model("siglip-so400m-14")
        assert seen["architecture"] == "ViT-SO400M-14-SigLIP"
        assert "force_quick_gelu" not in seen


class TestPublished:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("UNISIM_HUB_ORG", raising=False)
        return tmp_path / "cache"

    @pytest.fixture
    def base(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        base = write_clip(tmp_path / "base", eos_token_id=2)
        monkeypatch.setattr(checkpoint, "BASES", {17: str(base)})
        return base

    @pytest.fixture
    def online(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("unisim_metrics.models.published.is_offline", lambda: False)

    def test_offline_tells_each_way_out(self, cache: Path) -> None:
        with pytest.raises(ModelUnavailableError) as caught:
            load_model("unisim-vit-l-14")
        message = str(caught.value)
        for part in (
            f"no converted copy at {cache / 'unisim-vit-l-14'}",
            "UNISIM_HUB_ORG is not set",
            "HF_HUB_OFFLINE is set, so the authors' file was not asked for",
            install_extra("drive"),
            "gdown 1exLFqZvantuiu4yx2FtdGb8OcolvFg_f -O unisim-vit-l-14.pt",
            "hf download openai/clip-vit-large-patch14-336 --local-dir base",
            f"unisim convert unisim-vit-l-14.pt {cache / 'unisim-vit-l-14'} --base base --merged",
            "load_model('unisim-mini')",
        ):
            assert part in message
        assert not cache.exists()

    def test_hub_organisation_is_asked_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UNISIM_HUB_ORG", "somebody")
        with pytest.raises(ModelUnavailableError, match="`somebody/unisim-vit-b-32` could not be fetched"):
            load_model("unisim-vit-b-32")

    @pytest.mark.usefixtures("online")
    def test_without_gdown_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gdown", None)
        with pytest.raises(ModelUnavailableError, match=r"needs gdown, which is not installed") as caught:
            load_model("unisim-vit-b-32")
        assert isinstance(caught.value.__cause__, ImportError)
        assert install_extra("drive") in str(caught.value.__cause__)

    @pytest.mark.usefixtures("online")
    def test_authors_file_is_converted_once(
        self, cache: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        downloads: list[str] = []

        def download(id: str, output: str, quiet: bool) -> str:
            downloads.append(id)
            write_checkpoint(Path(output), authors_state_dict(trained_model(base)))
            return output

        monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download))
        model = load_model("unisim-vit-b-32")
        assert downloads == ["1z8fQ3KSrih-diYqm9O_NazotlFTo8fN3"]
        assert model.name == "unisim-vit-b-32"
        assert [path.name for path in cache.iterdir()] == ["unisim-vit-b-32"], "nothing else stays"
        shutil.rmtree(base)
        monkeypatch.setitem(sys.modules, "gdown", None)
        assert load_model("unisim-vit-b-32").weights_hash() == model.weights_hash()

    def test_file_put_in_the_cache_by_hand(self, cache: Path, base: Path) -> None:
        cache.mkdir()
        write_checkpoint(cache / "unisim-vit-b-32.pt", authors_state_dict(trained_model(base)))
        assert load_model("unisim-vit-b-32").name == "unisim-vit-b-32"

    @pytest.mark.usefixtures("online", "base")
    def test_download_that_is_not_the_checkpoint(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def page(id: str, output: str, quiet: bool) -> str:
            Path(output).write_text("<html>Quota exceeded</html>")
            return output

        def nothing(id: str, output: str, quiet: bool) -> None:
            raise RuntimeError("cannot retrieve the public link")

        monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=page))
        with pytest.raises(ModelUnavailableError, match="is not the authors' checkpoint"):
            load_model("unisim-vit-b-32")
        assert not (cache / "unisim-vit-b-32").exists()
        (cache / "unisim-vit-b-32.pt").unlink()
        monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=nothing))
        with pytest.raises(ModelUnavailableError, match="cannot retrieve the public link"):
            load_model("unisim-vit-b-32")
        assert list(cache.iterdir()) == []


def test_hub(tmp_path: Path) -> None:
    """A model, an adapter and errors from a Hub that runs here; what was fetched is there without it."""
    model = write_clip(tmp_path / "model", eos_token_id=2)
    for extra in ("open_clip_model.safetensors", "pytorch_model.bin", "model.py"):
        (model / extra).write_bytes(b"another library's")
    trained = write_checkpoint(tmp_path / "epoch_1.pt", authors_state_dict(trained_model(model)))
    adapter = convert(trained, tmp_path / "adapter", base=model, base_name="org/model")
    script = """
import sys
from unisim_metrics.models import load_model
for call in sys.argv[1:]:
    name, _, revision = call.partition("@")
    try:
        model = load_model(name, revision=revision or None)
        print("loaded", model.name, model.weights_hash())
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""

    def run(*calls: str, **environment: str) -> list[str]:
        settings = {**os.environ, "HF_HOME": str(tmp_path / "hub"), **environment}
        result = subprocess.run(
            [sys.executable, "-c", script, *calls], env=settings, check=True, capture_output=True, text=True
        )
        return [line for line in result.stdout.splitlines() if line]

    expected = load_model(model).weights_hash()
    adapted = load_model(adapter, base=model).weights_hash()
    with serve({"org/model": model, "org/adapter": adapter}) as (address, asked):
        lines = run(
            "org/model",
            "org/model@v1",
            "org/adapter",
            "org/model@nope",
            "org/nope",
            HF_ENDPOINT=address,
            HF_HUB_OFFLINE="0",
        )
    assert lines[0] == lines[1] == f"loaded org/model {expected}"
    assert lines[2] == f"loaded org/adapter {adapted}"
    assert lines[3].startswith("ModelUnavailableError") and "no revision 'nope'" in lines[3]
    assert lines[4].startswith("ModelUnavailableError") and "no such repository" in lines[4]
    fetched = {line.rsplit("/", 1)[-1] for line in asked if "/resolve/" in line}
    assert {"config.json", "model.safetensors", "tokenizer.json", "adapter_model.safetensors"} <= fetched
    assert not fetched & {"open_clip_model.safetensors", "pytorch_model.bin", "model.py"}
    assert (tmp_path / "hub" / "hub" / "models--org--model" / "snapshots" / COMMIT).is_dir()

    offline = run("org/model", "org/adapter", "org/other", HF_HUB_OFFLINE="1")
    assert offline[:2] == [f"loaded org/model {expected}", f"loaded org/adapter {adapted}"]
    assert offline[2].startswith("ModelUnavailableError")


def test_what_the_hub_client_raises_is_named() -> None:
    """No class of its is missed by the families that are caught, and a fault of ours is not among them."""
    from huggingface_hub import HfApi, errors

    from unisim_metrics.models.sources.hub import hub_errors

    families = hub_errors()
    for name in (
        "OfflineModeIsEnabled",
        "LocalEntryNotFoundError",
        "RepositoryNotFoundError",
        "HFValidationError",
    ):
        assert issubclass(getattr(errors, name), families)
    for kind in (AttributeError, TypeError, NameError, KeyError, AssertionError):
        assert not issubclass(kind, families)
    with pytest.raises(families):
        HfApi(endpoint="http://127.0.0.1:1", token="hf_none").model_info("org/name")


def test_no_broad_except_around_what_loads() -> None:
    """`except Exception` hides faults of ours as a missing network; named families do not."""
    import ast

    import unisim_metrics

    package = Path(unisim_metrics.__file__).parent
    top = package.parent
    files = [
        *(package / "models").glob("*.py"),
        top / "training" / "publishing" / "hub_repository.py",
        top / "benchmark" / "data" / "downloads.py",
        top / "integrations" / "evaluate" / "installation.py",
    ]
    broad = [
        f"{file.name}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
        )
    ]
    assert not broad


def test_every_loader_of_transformers_is_told_to_run_no_code() -> None:
    import ast

    import unisim_metrics

    top = Path(unisim_metrics.__file__).parents[1]
    files = [
        file
        for room in ("unisim_metrics", "training", "benchmark", "integrations")
        for file in (top / room).rglob("*.py")
    ]
    forgetful = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "transformers"
            for alias in node.names
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            ours = owner in names or owner.startswith(("auto.", "transformers.")) or owner == "kind"
            if node.func.attr != "from_pretrained" or not ours:
                continue
            told = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if told.get("trust_remote_code") != "False":
                forgetful.append(f"{file.relative_to(top)}:{node.lineno}")
    assert not forgetful
