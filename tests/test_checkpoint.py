"""The authors' checkpoints: read exactly or refused, converted into what anyone can load."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import authors_state_dict, reference_embeddings, trained_model, write_checkpoint
from conftest import write_clip
from docs_cards import run_code
from torch import Tensor

from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.models import convert, load_model
from unisim_metrics.models.checkpoints.clip import read_state_dict

TEXTS = ["a photo of a dog", "red", "a high quality image of a cat"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("base") / "tiny-base", eos_token_id=2, seed=3)


@pytest.fixture(scope="module")
def trained(base: Path) -> Any:
    return trained_model(base)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, trained: Any) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("pt") / "epoch_1.pt", authors_state_dict(trained))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, base: Path) -> Path:
    return convert(checkpoint, tmp_path_factory.mktemp("converted") / "adapter", base=base)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, base: Path) -> Path:
    return convert(checkpoint, tmp_path_factory.mktemp("converted") / "merged", base=base, merged=True)


def embeddings(model: Any) -> tuple[Tensor, Tensor]:
    size = model.preprocessing.size
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    return model.embed_images(images), model.embed_texts(TEXTS)


def expected_embeddings(plain: Any, model: Any) -> tuple[Tensor, Tensor]:
    """Of the same inputs, from the plain model: images already at their size are only normalised."""
    preprocessing = model.preprocessing
    size = preprocessing.size
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    ids = model.tokenizer(TEXTS, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    return reference_embeddings(plain, (images - mean) / std, ids)


def assert_same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(first, second, strict=True):
        assert (one - other).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("image_size", "patch_size", "layers", "rows", "tensors", "activation", "hub_id"),
    [
        (224, 32, 12, 50, 541, "gelu", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        (224, 14, 24, 257, 877, "quick_gelu", "openai/clip-vit-large-patch14"),
        (336, 14, 24, 577, 877, "quick_gelu", "openai/clip-vit-large-patch14-336"),
    ],
)
def test_the_three_shapes(
    tmp_path: Path,
    image_size: int,
    patch_size: int,
    layers: int,
    rows: int,
    tensors: int,
    activation: str,
    hub_id: str,
) -> None:
    """Every name of the real files, at the real number of layers and positions; only the widths are small."""
    base = write_clip(
        tmp_path / "base",
        image_size=image_size,
        patch_size=patch_size,
        vision_layers=layers,
        text_layers=12,
        activation=activation,
        eos_token_id=2,
    )
    plain = trained_model(base)
    state_dict = authors_state_dict(plain)
    assert len(state_dict) == tensors
    prefix = "module.vision_model.base_model.model."
    assert state_dict[f"{prefix}embeddings.position_embedding.weight"].shape[0] == rows
    assert f"{prefix}encoder.layers.{layers - 1}.mlp.fc2.lora_B.default.weight" in state_dict
    assert f"{prefix}encoder.layers.0.self_attn.out_proj.base_layer.bias" in state_dict
    path = write_checkpoint(tmp_path / "epoch_1.pt", state_dict)

    model = load_model(path, base=base)
    assert model.name == "epoch_1"
    assert model.input_tag == f"{image_size}-bicubic"
    assert_same(embeddings(model), expected_embeddings(plain, model))
    # Without `base` the rows decide which model to ask the Hub for; there is no network here.
    with pytest.raises(ModelUnavailableError, match=hub_id + "`"):
        load_model(path)


def test_no_prefix_and_old_position_ids(tmp_path: Path, trained: Any, base: Path, checkpoint: Path) -> None:
    state_dict = authors_state_dict(trained, prefix="")
    state_dict["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state_dict["vision_model.base_model.model.embeddings.position_ids"] = torch.arange(17)[None]
    path = write_checkpoint(tmp_path / "old.pt", state_dict)
    assert load_model(path, base=base).weights_hash() == load_model(checkpoint, base=base).weights_hash()


def test_every_form_has_the_same_embeddings_and_hash(
    checkpoint: Path, adapter: Path, merged: Path, base: Path, trained: Any
) -> None:
    models = [load_model(checkpoint, base=base), load_model(adapter), load_model(adapter, base=base)]
    models.append(load_model(merged))
    expected = expected_embeddings(trained, models[0])
    for model in models:
        assert_same(embeddings(model), expected)
    assert len({model.weights_hash() for model in models}) == 1
    plain = load_model(base)
    assert plain.weights_hash() != models[0].weights_hash()
    assert (embeddings(plain)[0] - expected[0]).abs().max() > 1e-2, "the adapter must matter"


def test_code_of_the_adapters_card(tmp_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path" / "to" / "this").mkdir(parents=True)
    (tmp_path / "path" / "to" / "this" / "directory").symlink_to(adapter)
    monkeypatch.chdir(tmp_path)
    assert run_code((adapter / "README.md").read_text()) == 1


def test_adapter_of_an_adapter_directory_merges(tmp_path: Path, adapter: Path, merged: Path) -> None:
    again = convert(adapter, tmp_path / "merged", merged=True)
    assert load_model(again).weights_hash() == load_model(merged).weights_hash()
    with pytest.raises(ValueError, match="merged already"):
        convert(merged, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_adapter_keeps_the_base_it_is_told(
    tmp_path: Path, checkpoint: Path, base: Path, adapter: Path
) -> None:
    def named(directory: Path) -> str:
        return json.loads((directory / "adapter_config.json").read_text())["base_model_name_or_path"]

    assert named(adapter) == str(base.resolve())
    other = convert(checkpoint, tmp_path / "other", base=base, base_name="org/base")
    assert named(other) == "org/base"
    with pytest.raises(ModelUnavailableError, match="`org/base`"):
        load_model(other)
    assert load_model(other, base=base).weights_hash() == load_model(adapter).weights_hash()


def test_converted_directories_load_without_this_package(
    tmp_path: Path, adapter: Path, merged: Path, base: Path, trained: Any
) -> None:
    script = """
import sys, torch
from peft import PeftModel
from transformers import AutoTokenizer, CLIPModel
base, adapter, merged, out, inputs = sys.argv[1:]
pixels, texts = torch.load(inputs)
results = []
for model, directory in (
    (PeftModel.from_pretrained(CLIPModel.from_pretrained(base), adapter), adapter),
    (CLIPModel.from_pretrained(merged), merged),
):
    ids = AutoTokenizer.from_pretrained(directory)(texts, padding=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        model.eval()
        features = model.get_image_features(pixel_values=pixels), model.get_text_features(input_ids=ids)
    features = [getattr(feature, "pooler_output", feature) for feature in features]
    results.append([torch.nn.functional.normalize(feature, dim=-1) for feature in features])
assert not any(name.startswith("unisim") for name in sys.modules)
torch.save(results, out)
"""
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.save((pixels, TEXTS), tmp_path / "inputs.pt")
    arguments = [str(path) for path in (base, adapter, merged, tmp_path / "out.pt", tmp_path / "inputs.pt")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
    )
    model = load_model(merged)
    ids = model.tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]  # type: ignore[attr-defined]
    expected = reference_embeddings(trained, pixels, ids)
    for found in torch.load(tmp_path / "out.pt"):
        assert_same(tuple(found), expected)


def test_adapter_of_another_base_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    other = write_clip(tmp_path / "other", eos_token_id=2, seed=9)
    with pytest.raises(CheckpointError, match=r"not trained from the base .* are different \(text_model"):
        convert(checkpoint, tmp_path / "adapter", base=other)
    assert not (tmp_path / "adapter").exists()
    # The file holds every weight itself, so merged it is right on any base of the shape.
    convert(checkpoint, tmp_path / "merged", base=other, merged=True)


Change = Callable[[dict[str, Tensor]], object]
LORA = "module.vision_model.base_model.model.encoder.layers.1.mlp.fc1.lora_A.default.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop(LORA),
            r"1 is missing \(vision_model.*layers.1.mlp.fc1.lora_A.default.weight",
        ),
        (
            lambda state: state.pop("module.text_projection.weight"),
            r"1 is missing \(text_projection.weight\)",
        ),
        (lambda state: state.update({"module.head": torch.zeros(1)}), r"1 is extra \(head\)"),
        (
            lambda state: state.update({LORA: torch.zeros(8, 32)}),
            r"shape \(.*\(8, 32\) instead of \(16, 32\)",
        ),
        (lambda state: state.update({LORA: torch.full((16, 32), torch.nan)}), "1 is not finite"),
        (lambda state: state.update({LORA.removeprefix("module."): torch.zeros(16, 32)}), "twice"),
        (lambda state: state.update({"module.step": 3}), "has int under 'module.step'"),
        (lambda state: state.clear(), "must hold a `state_dict`"),
    ],
    ids=["missing LoRA", "missing", "extra", "shape", "nan", "twice", "no tensor", "empty"],
)
def test_every_tensor_is_accounted_for(
    tmp_path: Path, trained: Any, base: Path, change: Change, message: str
) -> None:
    state_dict = authors_state_dict(trained)
    change(state_dict)
    path = write_checkpoint(tmp_path / "bad.pt", state_dict)
    with pytest.raises(CheckpointError, match=message):
        load_model(path, base=base)


def test_checkpoint_on_a_base_of_other_shape(tmp_path: Path, checkpoint: Path) -> None:
    wide = write_clip(tmp_path / "wide", width=48, eos_token_id=2)
    with pytest.raises(CheckpointError, match="of a wrong shape"):
        load_model(checkpoint, base=wide)


def test_base_that_cannot_be_told(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has 17 rows.*50, 257, 577.*Pass `base=`"):
        load_model(checkpoint)


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, base: Path, trained: Any, legacy: bool
) -> None:
    marker = tmp_path / "harmed"
    path = tmp_path / "evil.pt"
    if legacy:
        path.write_bytes(
            pickle.dumps({"state_dict": authors_state_dict(trained), "optimizer": Harmful(marker)})
        )
    else:
        write_checkpoint(path, authors_state_dict(trained), extra=Harmful(marker))
    with pytest.raises(CheckpointError, match="refused" if not legacy else "refused|cannot be read"):
        load_model(path, base=base)
    assert not marker.exists()


def test_files_that_are_no_checkpoints(tmp_path: Path, base: Path, checkpoint: Path) -> None:
    text = tmp_path / "text.pt"
    text.write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="no file of weights"):
        load_model(text, base=base)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(cut, base=base)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_state_dict(tmp_path / "nowhere.pt")


def test_adapter_that_lacks_a_tensor(tmp_path: Path, adapter: Path) -> None:
    """peft itself only warns, and leaves the layer without its adapter."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for file in adapter.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(adapter / "adapter_model.safetensors")
    removed = next(name for name in weights if "lora_B" in name)
    del weights[removed]
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 is missing \(.*lora_B"):
        load_model(broken)


def test_adapter_of_the_vision_tower_alone_is_refused(tmp_path: Path, trained: Any, base: Path) -> None:
    """The form that leaves the full model silently un-adapted."""
    trained.vision_model.save_pretrained(tmp_path / "tower")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "tower", base=base)


def test_out_that_is_in_use(tmp_path: Path, checkpoint: Path, base: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="in use"):
        convert(checkpoint, tmp_path, base=base)
    with pytest.raises(FileNotFoundError, match="no '"):
        convert(tmp_path / "nowhere.pt", tmp_path / "out", base=base)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note.txt"]


def test_lora_on_live_peft_model_hashes_as_merged(adapter: Path, base: Path, merged: Path) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer, CLIPModel

    live = PeftModel.from_pretrained(CLIPModel.from_pretrained(base), adapter)
    model = load_model(live, tokenizer=AutoTokenizer.from_pretrained(base))
    before = live.state_dict().keys()
    assert model.weights_hash() == load_model(merged).weights_hash()
    assert live.state_dict().keys() == before, "the user's model must not be merged in place"
    assert_same(embeddings(model), embeddings(load_model(merged)))
