"""BLIP and ImageReward from files in their published layouts, against their towers written out by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clip_files import normalised
from oracle import TEXTS, photos
from test_clip_judges import CAPTIONS, PHOTOS, cropped
from torch import Tensor

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.functional import unisim_rank
from unisim_metrics.integrations.rewards import PointwiseReward
from unisim_metrics.models.judges import base, blip

VISION = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "encoder_hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
WORDS = sorted({word for text in CAPTIONS for word in re.findall(r"\w+|,", text)})
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shrink(monkeypatch, tmp_path)


def shrink(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the towers be tiny ones, and the Hub hold a tokenizer of a few words, in a folder."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    for name, value in VISION.items():
        monkeypatch.setitem(blip.VISION, name, value)
    for name, value in TEXT.items():
        monkeypatch.setitem(blip.TEXT, name, value)
    monkeypatch.setattr(blip, "PROJECTION", 16)
    vocabulary = {word: index for index, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(512)
    tokenizer.save(str(folder / "tokenizer.json"))
    monkeypatch.setattr(base, "fetch_file", lambda *_, **__: folder / "tokenizer.json")


def linear(weights: dict[str, Tensor], name: str, inputs: int, outputs: int, generator: Any) -> None:
    weights[f"{name}.weight"] = 0.2 * torch.randn(outputs, inputs, generator=generator)
    weights[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)


def norm(weights: dict[str, Tensor], name: str, width: int, generator: Any) -> None:
    weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
    weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)


def random_towers(seed: int = 0) -> dict[str, Tensor]:
    """Both towers, by the names of BLIP's own code."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    width, inner = VISION["hidden_size"], VISION["intermediate_size"]
    weights["visual_encoder.cls_token"] = torch.randn(1, 1, width, generator=generator)
    weights["visual_encoder.pos_embed"] = torch.randn(1, 17, width, generator=generator)
    weights["visual_encoder.patch_embed.proj.weight"] = 0.1 * torch.randn(width, 3, 8, 8, generator=generator)
    weights["visual_encoder.patch_embed.proj.bias"] = torch.randn(width, generator=generator)
    for layer in range(VISION["num_hidden_layers"]):
        block = f"visual_encoder.blocks.{layer}"
        for name, sizes in (
            ("attn.qkv", (width, 3 * width)),
            ("attn.proj", (width, width)),
            ("mlp.fc1", (width, inner)),
            ("mlp.fc2", (inner, width)),
        ):
            linear(weights, f"{block}.{name}", *sizes, generator)
        for name in ("norm1", "norm2"):
            norm(weights, f"{block}.{name}", width, generator)
    norm(weights, "visual_encoder.norm", width, generator)

    size, deep = TEXT["hidden_size"], TEXT["intermediate_size"]
    words = "text_encoder.embeddings"
    weights[f"{words}.position_ids"] = torch.arange(512)[None]
    weights[f"{words}.word_embeddings.weight"] = torch.randn(TEXT["vocab_size"], size, generator=generator)
    weights[f"{words}.position_embeddings.weight"] = torch.randn(512, size, generator=generator)
    norm(weights, f"{words}.LayerNorm", size, generator)
    for layer in range(TEXT["num_hidden_layers"]):
        block = f"text_encoder.encoder.layer.{layer}"
        for kind, source in (("attention", size), ("crossattention", width)):
            linear(weights, f"{block}.{kind}.self.query", size, size, generator)
            linear(weights, f"{block}.{kind}.self.key", source, size, generator)
            linear(weights, f"{block}.{kind}.self.value", source, size, generator)
            linear(weights, f"{block}.{kind}.output.dense", size, size, generator)
            norm(weights, f"{block}.{kind}.output.LayerNorm", size, generator)
        linear(weights, f"{block}.intermediate.dense", size, deep, generator)
        linear(weights, f"{block}.output.dense", deep, size, generator)
        norm(weights, f"{block}.output.LayerNorm", size, generator)
    return weights


def blip_weights() -> dict[str, Tensor]:
    """The file of BLIP's pretraining, with what it holds besides."""
    weights, generator = random_towers(), torch.Generator().manual_seed(1)
    linear(weights, "vision_proj", VISION["hidden_size"], 16, generator)
    linear(weights, "text_proj", TEXT["hidden_size"], 16, generator)
    copies = {re.sub(r"^(\w+?)\.", r"\1_m.", name): value for name, value in weights.items()}
    others = ("image_queue", "text_queue", "queue_ptr", "temp", "itm_head.weight", "text_decoder.bert.x")
    return {**weights, **copies, **{name: torch.zeros(2) for name in others}}


def reward_weights() -> dict[str, Tensor]:
    """The file of ImageReward."""
    weights = {f"blip.{name}": value for name, value in random_towers(2).items()}
    generator = torch.Generator().manual_seed(3)
    widths = (TEXT["hidden_size"], 1024, 128, 64, 16, 1)
    for layer, before, after in zip((0, 2, 4, 6, 7), widths[:-1], widths[1:], strict=True):
        linear(weights, f"mlp.layers.{layer}", before, after, generator)
    linear(weights, "blip.vision_proj", VISION["hidden_size"], 16, generator)
    return weights


class ByHand:
    """BLIP's towers on published weights, one image and one text at a time."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = {name: value.double() for name, value in weights.items()}

    def linear(self, name: str, values: Tensor) -> Tensor:
        return values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, values: Tensor, eps: float) -> Tensor:
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    @staticmethod
    def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        parts = []
        for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in (query, key, value)), strict=True):
            parts.append((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)
        return torch.cat(parts, dim=-1)

    def image(self, pixels: Tensor) -> Tensor:
        """Image tokens `[17, D]`."""
        patches = pixels.double().unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).reshape(16, -1)
        kernel = self.weights["visual_encoder.patch_embed.proj.weight"].flatten(1)
        patches = patches @ kernel.T + self.weights["visual_encoder.patch_embed.proj.bias"]
        hidden = torch.cat([self.weights["visual_encoder.cls_token"][0], patches])
        hidden = hidden + self.weights["visual_encoder.pos_embed"][0]
        for layer in range(VISION["num_hidden_layers"]):
            block = f"visual_encoder.blocks.{layer}"
            qkv = self.linear(f"{block}.attn.qkv", self.norm(f"{block}.norm1", hidden, 1e-6))
            attended = self.attend(*qkv.chunk(3, dim=-1), heads=VISION["num_attention_heads"])
            hidden = hidden + self.linear(f"{block}.attn.proj", attended)
            inner = F.gelu(self.linear(f"{block}.mlp.fc1", self.norm(f"{block}.norm2", hidden, 1e-6)))
            hidden = hidden + self.linear(f"{block}.mlp.fc2", inner)
        return self.norm("visual_encoder.norm", hidden, 1e-6)

    def text(self, text: str, image: Tensor | None = None) -> Tensor:
        """What stands for a text, alone or beside an image, `[D]`."""
        ids = [VOCABULARY.index(word) for word in re.findall(r"\w+|,", text.lower())]
        ids = [2, *ids, 3] if len(ids) <= 33 else [2, *ids[:33], 3]
        words = "text_encoder.embeddings"
        hidden = self.weights[f"{words}.word_embeddings.weight"][ids]
        hidden = hidden + self.weights[f"{words}.position_embeddings.weight"][: len(ids)]
        hidden = self.norm(f"{words}.LayerNorm", hidden, 1e-12)
        for layer in range(TEXT["num_hidden_layers"]):
            block = f"text_encoder.encoder.layer.{layer}"
            for kind, source in (("attention", hidden), ("crossattention", image)):
                if source is None:
                    continue
                source = hidden if kind == "attention" else source
                attended = self.attend(
                    self.linear(f"{block}.{kind}.self.query", hidden),
                    self.linear(f"{block}.{kind}.self.key", source),
                    self.linear(f"{block}.{kind}.self.value", source),
                    heads=TEXT["num_attention_heads"],
                )
                attended = self.linear(f"{block}.{kind}.output.dense", attended)
                hidden = self.norm(f"{block}.{kind}.output.LayerNorm", hidden + attended, 1e-12)
            inner = F.gelu(self.linear(f"{block}.intermediate.dense", hidden))
            inner = self.linear(f"{block}.output.dense", inner)
            hidden = self.norm(f"{block}.output.LayerNorm", hidden + inner, 1e-12)
        return hidden[0]


def cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / first.norm() / second.norm())


def reward(hand: ByHand, pixels: Tensor, text: str) -> float:
    """What ImageReward's file makes of an image and a text."""
    towers = ByHand({name.removeprefix("blip."): value for name, value in hand.weights.items()})
    hidden = towers.text(text, towers.image(pixels))
    for layer in (0, 2, 4, 6, 7):
        hidden = hand.linear(f"mlp.layers.{layer}", hidden)
    return (hidden.item() - 0.16717362830052426) / 1.0333394966054072


PIXELS = [normalised(cropped(photo)) for photo in PHOTOS]


class TestBLIP:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "model_large.pth"
        torch.save({"model": blip_weights(), "epoch": 19}, path)
        return path

    def test_scores(self, file: Path) -> None:
        model: Any = load_model(f"blip-vit-l-16:{file}")
        hand = ByHand(blip_weights())
        tokens = [hand.image(pixels)[0] for pixels in PIXELS]
        images = [hand.linear("vision_proj", token) for token in tokens]
        texts = [hand.linear("text_proj", hand.text(text)) for text in CAPTIONS]
        expected = [cosine(*pair) for pair in zip(images, texts, strict=True)]
        scores = UniSimScore(model, reduction="none")
        np.testing.assert_allclose(scores(PHOTOS, CAPTIONS), expected, atol=1e-5)
        captions = UniSimScore(model, reduction="none")(CAPTIONS, PHOTOS)
        np.testing.assert_allclose(captions, expected, atol=1e-5)
        # Images with each other: before the projection.
        alike = [cosine(*pair) for pair in zip(tokens[1:], tokens[:-1], strict=True)]
        found = UniSimScore(model, reduction="none")(PHOTOS[1:], PHOTOS[:-1])
        np.testing.assert_allclose(found, alike, atol=1e-5)
        alone = UniSimScore(model)(PHOTOS[3], CAPTIONS[3])
        assert alone.item() == pytest.approx(expected[3], abs=1e-5)

    def test_long_texts_are_cut_at_35_tokens(self, file: Path) -> None:
        model: Any = load_model(f"blip-vit-l-16:{file}")
        long = " ".join(["dog", "red"] * 20)
        assert model.count_truncated([long, "dog"]) == 1
        hand = ByHand(blip_weights())
        expected = hand.linear("text_proj", hand.text(long))
        np.testing.assert_allclose(model.embed_texts(long)[0], expected / expected.norm(), atol=1e-5)

    def test_a_file_of_something_else(self, file: Path, tmp_path: Path) -> None:
        torch.save(reward_weights(), tmp_path / "ImageReward.pt")
        with pytest.raises(CheckpointError, match=r"ImageReward\.pt must be exactly the model's"):
            load_model(f"blip-vit-l-16:{tmp_path / 'ImageReward.pt'}")
        with pytest.raises(CheckpointError, match=r"model_large\.pth .* but has dict under 'model'"):
            load_model(f"imagereward:{file}")


class TestImageReward:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Any:
        torch.save(reward_weights(), tmp_path / "ImageReward.pt")
        return load_model(f"imagereward:{tmp_path / 'ImageReward.pt'}")

    def test_rewards(self, model: Any) -> None:
        hand = ByHand(reward_weights())
        expected = [reward(hand, *pair) for pair in zip(PIXELS, CAPTIONS, strict=True)]
        scale = max(map(abs, expected))
        found = UniSimScore(model, reduction="none")(PHOTOS, CAPTIONS) / scale
        np.testing.assert_allclose(found, np.array(expected) / scale, atol=1e-5)
        found = UniSimScore(model, reduction="none")(CAPTIONS, PHOTOS) / scale
        np.testing.assert_allclose(found, np.array(expected) / scale, atol=1e-5)
        rewards, _ = PointwiseReward(model)(PHOTOS[:3], CAPTIONS[:3])
        np.testing.assert_allclose(rewards / scale, np.array(expected[:3]) / scale, atol=1e-5)
        ranked = unisim_rank([PHOTOS[:3]], CAPTIONS[:1], model)[0]
        by_hand = [reward(hand, pixels, CAPTIONS[0]) for pixels in PIXELS[:3]]
        np.testing.assert_allclose(ranked / scale, np.array(by_hand) / scale, atol=1e-5)

    def test_images_with_each_other(self, model: Any) -> None:
        inner = {name.removeprefix("blip."): value for name, value in reward_weights().items()}
        tokens = [ByHand(inner).image(pixels)[0] for pixels in PIXELS[:6]]
        expected = [cosine(*pair) for pair in zip(tokens[1:], tokens[:-1], strict=True)]
        found = UniSimScore(model, reduction="none")(PHOTOS[1:6], PHOTOS[:5])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with pytest.raises(ValueError, match="embeds images alone"):
            model.embed_texts(TEXTS)

    def test_gradients_reach_the_pixels(self, model: Any) -> None:
        pixels = torch.rand(2, 3, 40, 40, requires_grad=True)
        model.score(pixels, TEXTS[:2], "image-text").sum().backward()
        assert pixels.grad is not None and bool((pixels.grad != 0).any())
        assert all(weight.grad is None for weight in model.parameters())

    def test_quality_by_the_prompt(self, model: Any) -> None:
        ranking = UniSimRanking(model, task="quality")
        scores = model.score(photos(3), None, "quality")
        assert ranking([photos(3)])["win_rate"].argmax() == scores.argmax()


def test_a_tokenizer_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Path:
        raise OSError("HF_HUB_OFFLINE is set")

    monkeypatch.setattr(base, "fetch_file", refuse)
    torch.save(reward_weights(), tmp_path / "ImageReward.pt")
    with pytest.raises(
        ModelUnavailableError, match=r"needs tokenizer\.json of `google-bert/bert-base-uncased`"
    ):
        load_model(f"imagereward:{tmp_path / 'ImageReward.pt'}")
