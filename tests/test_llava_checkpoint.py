"""The authors' LLaVA layout: converted strictly, and the same model afterwards."""

from __future__ import annotations

import shutil
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from llava_layout import FC, LAYERS, PATCH, SIDE, TOWER, WIDTH, write_layout
from tiny_generative import pictures
from torch import Tensor, nn
from typer.testing import CliRunner

from unisim_metrics import load_model
from unisim_metrics.cli.app import app
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.models import GenerativeModel, convert
from unisim_metrics.models.generative.chat import NEWLINE_TOKEN

PROMPT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "Answer the following multiple-choice question:\nGiven two images: <image><image> which image has a better"
    " quality? \nOptions:\n(A) Image 1\n(B) Image 2<|im_end|>\n<|im_start|>assistant\n"
)


def by_hand(weights: Mapping[str, Tensor], newline: bool, words: Any, images: list[Any]) -> Tensor:
    """The logits after `PROMPT`: tower, projector, end-of-image vector and Qwen, wired up as the authors' code does."""
    from PIL import Image
    from pillow_processors import SiglipImageProcessorPil
    from transformers import (
        Qwen2Config,
        Qwen2ForCausalLM,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    def part(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}

    tower = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=FC,
            num_hidden_layers=LAYERS,
            num_attention_heads=1,
            image_size=SIDE,
            patch_size=PATCH,
            vision_use_head=False,
        )
    ).eval()
    tower.load_state_dict(part(TOWER), strict=True)
    projector = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, 32))
    projector.load_state_dict(part("model.mm_projector."))
    embedding = weights["model.embed_tokens.weight"]
    language = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(embedding),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            rope_theta=1000000.0,
            max_position_embeddings=4096,
        )
    ).eval()
    own = {
        f"model.{key}": value
        for key, value in part("model.").items()
        if not key.startswith(("mm_", "vision"))
    }
    own = {key: value for key, value in own.items() if "inv_freq" not in key and "newline" not in key}
    language.load_state_dict({**own, "lm_head.weight": weights.get("lm_head.weight", embedding)}, strict=True)
    prepare = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, resample=Image.Resampling.BICUBIC)
    pixels = prepare(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        # The authors drop the last layer of the tower and take what the layer before it gives, before its norm.
        features = projector(tower(pixels, output_hidden_states=True).hidden_states[-1])
        pieces = []
        for index, text in enumerate(PROMPT.split("<image>")):
            if index:
                pieces.append(features[index - 1])
                pieces += [weights["model.image_newline"][None]] if newline else []
            pieces.append(embedding[words(text, add_special_tokens=False)["input_ids"]])
        return language(inputs_embeds=torch.cat(pieces)[None]).logits[0, -1]


def converted_logits(directory: Path, images: list[Any]) -> Tensor:
    """The logits of the written directory, by transformers alone."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(directory)
    backbone = AutoModelForImageTextToText.from_pretrained(directory).eval()
    content: list[dict[str, Any]] = []
    question = PROMPT.split("user\n")[1].split("<|im_end|>")[0]
    for index, text in enumerate(question.split("<image>")):
        content += [{"type": "image", "image": images[index - 1]}] if index else []
        content += [{"type": "text", "text": text}] if text else []
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        return backbone(**inputs).logits[0, -1]


@pytest.mark.parametrize("merge", ["flat", "spatial_unpad"])
@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_the_parts_wired_by_hand(
    tmp_path: Path, merge: str, pickled: bool, tied: bool
) -> None:
    weights = write_layout(tmp_path / "authors", merge=merge, pickled=pickled, tied=tied)
    out = convert(tmp_path / "authors", tmp_path / "out")
    model = load_model(out)
    assert isinstance(model, GenerativeModel)
    images = [image.resize((SIDE, SIDE)) for image in pictures(2)]  # resizing is not what is compared
    expected = by_hand(weights, merge != "flat", model.processor.tokenizer, images)
    logits = converted_logits(out, images)
    kept = torch.ones(len(expected), dtype=torch.bool)
    # Rows of the embedding that no token had: one now holds the vector that ends an image.
    kept[model.backbone.generation_config.suppress_tokens] = False
    assert torch.allclose(logits[kept], expected[kept], atol=1e-5, rtol=0)
    assert float(expected.std()) > 0.1

    letters = [model.processor.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
    expected[~kept] = -torch.inf
    scores = model.compare(None, [images])
    assert torch.allclose(scores[0], expected.log_softmax(-1)[letters], atol=1e-4, rtol=0)


def test_images_are_resized_by_pillow_on_request(tmp_path: Path) -> None:
    weights = write_layout(tmp_path / "authors", merge="flat")
    out = convert(tmp_path / "authors", tmp_path / "out")
    model = load_model(out, resample="pil")
    assert isinstance(model, GenerativeModel)
    images = pictures(2)
    letters = [model.processor.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
    expected = by_hand(weights, False, model.processor.tokenizer, images)
    expected[model.backbone.generation_config.suppress_tokens] = -torch.inf
    assert torch.allclose(
        model.compare(None, [images])[0], expected.log_softmax(-1)[letters], atol=1e-5, rtol=0
    )
    assert "/pil" in model.input_tag
    assert "/pil" not in load_model(out).input_tag


@pytest.mark.parametrize(("merge", "tokens"), [("flat", 4), ("spatial_unpad", 5), ("spatial", 4)])
def test_tokens_an_image_follow_the_checkpoints_own_configuration(
    tmp_path: Path, merge: str, tokens: int
) -> None:
    write_layout(tmp_path / "authors", merge=merge)
    model = load_model(convert(tmp_path / "authors", tmp_path / "out"))
    assert isinstance(model, GenerativeModel)
    vocabulary = model.processor.tokenizer.get_vocab()
    assert (NEWLINE_TOKEN in vocabulary) == (tokens == 5)
    text = model.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}], tokenize=False
    )
    ids = model.processor(text=[text], images=[[pictures(1)[0]]], return_tensors="pt")["input_ids"][
        0
    ].tolist()
    special = [vocabulary[token] for token in ("<image>", NEWLINE_TOKEN) if token in vocabulary]
    assert sum(token in special for token in ids) == tokens


def test_the_vector_that_ends_an_image_is_never_written(tmp_path: Path) -> None:
    weights = write_layout(tmp_path / "authors")
    direction = weights["model.norm.weight"].abs() * 100
    write_layout(tmp_path / "loud", extra={"model.image_newline": direction})
    model = load_model(convert(tmp_path / "loud", tmp_path / "out"))
    assert isinstance(model, GenerativeModel)
    newline = model.processor.tokenizer.convert_tokens_to_ids(NEWLINE_TOKEN)
    inputs = model.processor(text=["?"], return_tensors="pt")
    with torch.no_grad():
        logits = model.backbone(**inputs).logits[0, -1]
        ids = model.backbone.generate(**inputs, max_new_tokens=4, do_sample=False)  # type: ignore[operator]
    assert int(logits.abs().argmax()) == newline
    assert newline not in ids[0].tolist()


def test_an_embedding_without_spare_rows_grows(tmp_path: Path) -> None:
    weights = write_layout(tmp_path / "authors", spare_rows=0)
    out = convert(tmp_path / "authors", tmp_path / "out")
    model = load_model(out)
    assert isinstance(model, GenerativeModel)
    rows = len(weights["model.embed_tokens.weight"])
    assert model.backbone.get_input_embeddings().weight.shape[0] == rows + 2  # type: ignore[operator]
    images = [image.resize((SIDE, SIDE)) for image in pictures(2)]
    expected = by_hand(weights, True, model.processor.tokenizer, images)
    assert torch.allclose(converted_logits(out, images)[:rows], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"without": (f"{TOWER}post_layernorm.bias",)},
            r"1 is missing \(model.vision_tower.post_layernorm.bias\)",
        ),
        ({"without": ("model.layers.1.mlp.up_proj.weight",)}, "1 is missing"),
        ({"without": (f"{TOWER}embeddings.patch_embedding.weight",)}, "must hold a SigLIP tower"),
        ({"without": ("model.image_newline",)}, r"1 is missing \(model.image_newline\)"),
        ({"extra": {"model.surplus.weight": torch.zeros(2)}}, r"1 is extra \(model.surplus.weight\)"),
        ({"extra": {"model.norm.weight": torch.zeros(3)}}, "1 is of a wrong shape"),
        ({"extra": {"model.norm.weight": torch.full((32,), torch.nan)}}, "1 is not finite"),
        ({"extra": {"lm_head.weight": torch.zeros(300, 32)}}, "must have one matrix"),
        ({"mm_projector_type": "linear"}, "must have a projector of type"),
        ({"mm_vision_tower": "google/siglip-tiny-patch14-98"}, "must have a square of positions"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_layout(tmp_path / "authors", **change)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "authors", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["authors"], "nothing half written"


def test_files_that_are_cut_or_hold_code(tmp_path: Path) -> None:
    write_layout(tmp_path / "cut")
    shard = next((tmp_path / "cut").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert(tmp_path / "cut", tmp_path / "out")
    write_layout(tmp_path / "code", pickled=True)
    torch.save({"model.norm.weight": SimpleNamespace()}, next((tmp_path / "code").glob("*.bin")))
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert(tmp_path / "code", tmp_path / "out")
    write_layout(tmp_path / "empty")
    for shard in (tmp_path / "empty").glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(CheckpointError, match="must hold weights"):
        convert(tmp_path / "empty", tmp_path / "out")


def test_command_archives_and_the_hint_of_load_model(tmp_path: Path) -> None:
    write_layout(tmp_path / "authors")
    with pytest.raises(ValueError, match="convert it first"):
        load_model(tmp_path / "authors")
    with pytest.raises(ValueError, match="`base` must be left out"):
        convert(tmp_path / "authors", tmp_path / "out", base="somewhere")
    plain = load_model(convert(tmp_path / "authors", tmp_path / "plain"))
    zipped = shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "authors")
    with tarfile.open(tmp_path / "tarred.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "authors", "deep/down/authors")
    for archive in (zipped, tmp_path / "tarred.tar.gz"):
        out = tmp_path / f"from-{Path(archive).name}"
        result = CliRunner().invoke(app, ["convert", str(archive), str(out)])
        assert result.exit_code == 0, result.output
        assert load_model(out).weights_hash() == plain.weights_hash()
    names = {path.name for path in tmp_path.iterdir()}
    assert not any(name.startswith(".") for name in names), "nothing is left of unpacking"
    Path(zipped).write_bytes(Path(zipped).read_bytes()[:-3000])
    assert CliRunner().invoke(app, ["convert", zipped, str(tmp_path / "cut")]).exit_code != 0


class TestPublishedName:
    """`unisim-ll-n-0.5b`: from the cache, else the authors' file."""

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("UNISIM_HUB_ORG", raising=False)
        return tmp_path / "cache"

    def test_offline_tells_each_way_out(self, cache: Path) -> None:
        with pytest.raises(ModelUnavailableError) as caught:
            load_model("unisim-ll-n-0.5b")
        for part in (
            f"no converted copy at {cache / 'unisim-ll-n-0.5b'}",
            "HF_HUB_OFFLINE is set",
            "gdown 1wUPBJ9-DqtmrlRDjfunckQlzf3PCMYIL -O unisim-ll-n-0.5b.zip",
            f"unisim convert unisim-ll-n-0.5b.zip {cache / 'unisim-ll-n-0.5b'}",
        ):
            assert part in str(caught.value)
        assert "--base" not in str(caught.value)

    def test_authors_file_is_converted_once(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_layout(tmp_path / "authors")
        archive = shutil.make_archive(str(tmp_path / "fetched"), "zip", tmp_path, "authors")

        def download(id: str, output: str, quiet: bool) -> str:
            shutil.copyfile(archive, output)
            return output

        monkeypatch.setattr("unisim_metrics.models.published.is_offline", lambda: False)
        monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download))
        model = load_model("unisim-ll-n-0.5b")
        assert isinstance(model, GenerativeModel)
        assert model.name == "unisim-ll-n-0.5b"
        assert [path.name for path in cache.iterdir()] == ["unisim-ll-n-0.5b"], "nothing else stays"
        monkeypatch.setitem(sys.modules, "gdown", None)
        assert load_model("unisim-ll-n-0.5b").weights_hash() == model.weights_hash()
