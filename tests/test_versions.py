"""Old and new versions of transformers: the same names of weights, and errors that say which version is needed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from unisim_metrics import load_model
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import read_dual_encoder
from unisim_metrics.models.checkpoints.vision_language import read_generative, read_processor
from unisim_metrics.models.versions import allowed_globals, require_transformers, stable_weights

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
TEXT = {**TOWER, "vocab_size": 50, "max_position_embeddings": 20}
VISION = {**TOWER, "image_size": 32, "patch_size": 16}


def towers(vision: str, text: str) -> Any:
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        getattr(transformers, f"{vision}Config")(**VISION),
        getattr(transformers, f"{text}Config")(**TEXT),
        projection_dim=8,
    )
    return VisionTextDualEncoderModel(config)


@pytest.mark.parametrize(
    ("vision", "text", "names"),
    [
        (
            "ViT",
            "CLIPText",
            {
                "vision_model.encoder.layer.0.attention.attention.key.weight",
                "text_model.encoder.layers.0.self_attn.k_proj.weight",
                "text_model.final_layer_norm.bias",
            },
        ),
        (
            "CLIPVision",
            "Bert",
            {
                "vision_model.embeddings.class_embedding",
                "vision_model.encoder.layers.0.mlp.fc1.weight",
                "text_model.encoder.layer.0.attention.self.key.weight",
            },
        ),
    ],
)
def test_weights_have_the_same_names_in_every_version(vision: str, text: str, names: set[str]) -> None:
    model = towers(vision, text)
    weights = stable_weights(model)
    assert names <= weights.keys()
    assert not [
        name for name in weights if name.startswith(("text_model.text_model.", "vision_model.vision_model."))
    ]
    assert len(weights) == len(model.state_dict())


def test_the_bundled_model_has_the_same_hash_in_every_version() -> None:
    assert load_model("unisim-mini").weights_hash().startswith("7c5b813c38c7")


def test_an_old_transformers_is_an_error_that_names_the_version_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"transformers": "4.57.6"}[name])
    with pytest.raises(ImportError, match=r"A model needs transformers>=5\.20, but 4\.57\.6 is installed"):
        require_transformers("A model", "5.20")
    require_transformers("A model", "4.57")
    require_transformers("A model", "4.57.6")


def test_generative_models_name_the_version_that_they_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    monkeypatch.setattr(metadata, "version", lambda name: {"transformers": "5.6.2"}[name])
    with pytest.raises(ImportError, match=r"A generative model needs transformers>=5\.20, but 5\.6\.2"):
        load_model(tmp_path)


@pytest.mark.parametrize("nested", [False, True], ids=["as newer versions name them", "as older ones do"])
@pytest.mark.parametrize(
    ("vision", "text"), [("ViT", "CLIPText"), ("CLIPVision", "Bert"), ("CLIPVision", "CLIPText")]
)
def test_files_of_other_versions_are_read(tmp_path: Path, vision: str, text: str, nested: bool) -> None:
    """Versions before 5.6 nest CLIP's towers in their files once more than later ones."""
    model = towers(vision, text)
    model.save_pretrained(tmp_path)
    weights = {
        next(
            (part + name for part in clip_towers(vision, text) if nested and name.startswith(part)), name
        ): weight
        for name, weight in stable_weights(model).items()
    }
    save_file({name: weight.contiguous() for name, weight in weights.items()}, tmp_path / "model.safetensors")
    read = read_dual_encoder(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight), name


def clip_towers(vision: str, text: str) -> list[str]:
    return ["vision_model."] * (vision == "CLIPVision") + ["text_model."] * (text == "CLIPText")


def test_weights_that_lack_one_are_refused_in_every_version(tmp_path: Path) -> None:
    model = towers("ViT", "CLIPText")
    model.save_pretrained(tmp_path)
    weights = {name: weight.contiguous() for name, weight in stable_weights(model).items()}
    weights.pop("text_model.final_layer_norm.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 is missing \(.*text_model\.final_layer_norm\.bias"):
        read_dual_encoder(tmp_path)


@pytest.mark.parametrize("read", [read_generative, read_processor])
def test_parts_of_generative_models_name_the_version_that_they_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"transformers": "4.57.6"}[name])
    with pytest.raises(ImportError, match=r"A generative model needs transformers>=5\.20, but 4\.57\.6"):
        read(tmp_path)


class TestAllowedGlobals:
    """What `torch.load` may build while a block runs, in every version of torch."""

    @pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
    def test_a_name_that_files_have_for_a_function(self, tmp_path: Path, module: str) -> None:
        """A scalar of NumPy 1 or 2, whichever is installed."""
        path = tmp_path / "scalar.pt"
        save_scalar(path, np.float64(0.5), module)
        names = [np.dtype, np.dtypes.Float64DType, (scalar_function(), f"{module}.scalar")]
        with pytest.raises(UnpicklingError):
            torch.load(path, weights_only=True)
        with allowed_globals(names):
            assert torch.load(path, weights_only=True) == {"value": 0.5}
        with pytest.raises(UnpicklingError):
            torch.load(path, weights_only=True)


def scalar_function() -> Any:
    core: Any = np._core if hasattr(np, "_core") else np.core  # type: ignore[attr-defined]
    return core.multiarray.scalar


def save_scalar(path: Path, value: Any, module: str) -> None:
    """Write a file of torch whose pickle names the module of NumPy's scalars as another version of NumPy does."""
    torch.save({"value": value}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    own = scalar_function().__module__.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"c" + own + b"\n", b"c" + module.encode() + b"\n"))
