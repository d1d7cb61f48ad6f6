"""Old and new versions of transformers: the same names of weights, and errors that say which version is needed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from unisim_metrics import load_model
from unisim_metrics.models.versions import require_transformers, stable_weights

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
