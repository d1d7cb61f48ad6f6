"""DeQA-Score and Compare2Score from folders in their published layout, against mPLUG-Owl2 computed by hand."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import torch.nn.functional as F
from clip_files import normalised
from oracle import photos, tensor_of
from PIL import Image
from safetensors.torch import save_file
from scipy.optimize import minimize
from scipy.special import log_ndtr
from torch import Tensor

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.models import published
from unisim_metrics.models.judges.compare2score import score_among_anchors
from unisim_metrics.models.judges.thurstone import most_likely_scores

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
ABSTRACTOR = {
    "num_learnable_queries": 3,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
LANGUAGE = {
    "vocab_size": 360,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}
CONFIG = {
    **LANGUAGE,
    "rms_norm_eps": 1e-5,
    "visual_config": {"visual_model": VISION, "visual_abstractor": ABSTRACTOR},
}
ANCHORS = photos(5, seed=7)
DEQA = ["USER: How would you rate the quality of this image?\n", "\nASSISTANT: The quality of the image is"]
COMPARE = [
    "USER: ",
    " ",
    " Compared with the first image, what is your quality rating for second image? "
    "\nASSISTANT: The quality of the second image is",
]
LEVELS = ["excellent", "good", "fair", "poor", "bad"]
RELATIONS = ["inferior", "worse", "similar", "better", "superior"]


@cache
def tokenizer_model(size: int = LANGUAGE["vocab_size"], times: int = 9) -> bytes:
    """A small one of Llama's kind: byte pairs, bytes for what it lacks, a space before each text."""
    written = io.BytesIO()
    words = " ".join([*DEQA, *COMPARE, *(LEVELS + RELATIONS) * times]).replace("\n", " ").split()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 3),
        model_writer=written,
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return written.getvalue()


def tokens_of(text: str) -> list[int]:
    ids: list[int] = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model()).encode(text)
    return ids


@cache
def weights() -> dict[str, Tensor]:
    """All tensors of the published layout, tiny and at random."""
    width, inner, wide = VISION["hidden_size"], VISION["intermediate_size"], LANGUAGE["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, columns: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    def norm(name: str, size: int, bias: bool = True) -> None:
        shapes.update({f"{name}.{kind}": (size,) for kind in ("weight", "bias")[: 1 + bias]})

    tower = "model.vision_model"
    shapes[f"{tower}.embeddings.cls_token"] = (1, 1, width)
    shapes[f"{tower}.embeddings.patch_embed.weight"] = (width, 3, 14, 14)
    shapes[f"{tower}.embeddings.position_embedding"] = (1, 5, width)
    norm(f"{tower}.embeddings.pre_layernorm", width)
    norm(f"{tower}.post_layernorm", width)
    for layer in range(VISION["num_hidden_layers"]):
        at = f"{tower}.encoder.layers.{layer}"
        norm(f"{at}.input_layernorm", width)
        norm(f"{at}.post_attention_layernorm", width)
        linear(f"{at}.self_attn.query_key_value", 3 * width, width)
        linear(f"{at}.self_attn.dense", width, width)
        linear(f"{at}.mlp.fc1", inner, width)
        linear(f"{at}.mlp.fc2", width, inner)
    tower, inner = "model.visual_abstractor", ABSTRACTOR["intermediate_size"]
    shapes[f"{tower}.query_embeds"] = (1, 3, width)
    shapes[f"{tower}.vit_eos"] = (1, 1, wide)
    linear(f"{tower}.visual_fc", wide, width)
    for layer in range(ABSTRACTOR["num_hidden_layers"]):
        at = f"{tower}.encoder.layers.{layer}.crossattention"
        for name in ("norm1", "normk", "output.norm2"):
            norm(f"{at}.{name}", width)
        for name in ("query", "key", "value"):
            linear(f"{at}.attention.{name}", width, width)
        shapes[f"{at}.attention.q_pos_embed"] = (3, width)
        shapes[f"{at}.attention.k_pos_embed"] = (5, width)
        linear(f"{at}.output.out_proj", width, width)
        linear(f"{at}.output.mlp.w1", inner, width)
        linear(f"{at}.output.mlp.w2", width, inner)
        linear(f"{at}.output.mlp.w3", inner, width)
        norm(f"{at}.output.mlp.ffn_ln", inner)
    shapes["model.embed_tokens.weight"] = shapes["lm_head.weight"] = (LANGUAGE["vocab_size"], wide)
    norm("model.norm", wide, bias=False)
    for layer in range(LANGUAGE["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for way in (0, 1):
            norm(f"{at}.input_layernorm.multiway.{way}", wide, bias=False)
            norm(f"{at}.post_attention_layernorm.multiway.{way}", wide, bias=False)
            for name in ("k_proj", "v_proj"):
                linear(f"{at}.self_attn.{name}.multiway.{way}", wide, wide, bias=False)
        linear(f"{at}.self_attn.q_proj", wide, wide, bias=False)
        linear(f"{at}.self_attn.o_proj", wide, wide, bias=False)
        linear(f"{at}.mlp.gate_proj", LANGUAGE["intermediate_size"], wide, bias=False)
        linear(f"{at}.mlp.up_proj", LANGUAGE["intermediate_size"], wide, bias=False)
        linear(f"{at}.mlp.down_proj", wide, LANGUAGE["intermediate_size"], bias=False)
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes.items():
        scale = (
            1 / np.sqrt(np.prod(shape[1:])) if len(shape) in (2, 4) and "embed_tokens" not in name else 0.5
        )
        found[name] = torch.randn(shape, generator=generator) * scale + ("norm" in name and "weight" in name)
    # Words far enough from each other that answers differ
    found["lm_head.weight"] *= 4
    return found


class ByHand:
    """The network in float64, image by image and head by head."""

    def __init__(self) -> None:
        self.weights = {name: tensor.double() for name, tensor in weights().items()}

    def linear(self, name: str, states: Tensor) -> Tensor:
        found = states @ self.weights[f"{name}.weight"].T
        return found + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else found

    def norm(self, name: str, states: Tensor, eps: float = 1e-6) -> Tensor:
        centred = states - states.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def image(self, pixels: Tensor) -> Tensor:
        """The four rows that the language model reads of one image `[3, 28, 28]`."""
        at, pixels = "model.vision_model", pixels.double()
        kernel = self.weights[f"{at}.embeddings.patch_embed.weight"]
        patches = [pixels[:, y : y + 14, x : x + 14] for y in (0, 14) for x in (0, 14)]
        rows = [self.weights[f"{at}.embeddings.cls_token"][0, 0]]
        rows += [(kernel * patch).sum((1, 2, 3)) for patch in patches]
        states = torch.stack(rows) + self.weights[f"{at}.embeddings.position_embedding"][0]
        states = self.norm(f"{at}.embeddings.pre_layernorm", states)
        for layer in range(VISION["num_hidden_layers"]):
            here = f"{at}.encoder.layers.{layer}"
            mixed = self.linear(
                f"{here}.self_attn.query_key_value", self.norm(f"{here}.input_layernorm", states)
            )
            found = []
            for head in range(4):  # each has its query, key and value side by side
                query, key, value = mixed[:, 12 * head : 12 * head + 12].split(4, dim=1)
                found.append((query @ key.T / 2).softmax(1) @ value)
            states = states + self.linear(f"{here}.self_attn.dense", torch.cat(found, 1))
            inner = self.linear(f"{here}.mlp.fc1", self.norm(f"{here}.post_attention_layernorm", states))
            states = states + self.linear(f"{here}.mlp.fc2", inner / (1 + (-1.702 * inner).exp()))
        tokens, at = self.norm(f"{at}.post_layernorm", states), "model.visual_abstractor"
        states = self.weights[f"{at}.query_embeds"][0]
        for layer in range(ABSTRACTOR["num_hidden_layers"]):
            here = f"{at}.encoder.layers.{layer}.crossattention"
            queries = self.norm(f"{here}.norm1", states, 1e-5)
            both = torch.cat([queries, self.norm(f"{here}.normk", tokens, 1e-5)])
            first = self.weights[f"{here}.attention.q_pos_embed"]
            places = torch.cat([first, self.weights[f"{here}.attention.k_pos_embed"]])
            query = self.linear(f"{here}.attention.query", queries + first)
            key = self.linear(f"{here}.attention.key", both + places)
            value = self.linear(f"{here}.attention.value", both)
            found = [
                (query[:, at_head] @ key[:, at_head].T / np.sqrt(8)).softmax(1) @ value[:, at_head]
                for at_head in (slice(0, 8), slice(8, 16))
            ]
            states = queries + self.linear(f"{here}.output.out_proj", torch.cat(found, 1))
            normed = self.norm(f"{here}.output.norm2", states, 1e-5)
            mlp = f"{here}.output.mlp"
            inner = F.silu(self.linear(f"{mlp}.w1", normed)) * self.linear(f"{mlp}.w3", normed)
            states = states + self.linear(f"{mlp}.w2", self.norm(f"{mlp}.ffn_ln", inner))
        return torch.cat([self.linear(f"{at}.visual_fc", states), self.weights[f"{at}.vit_eos"][0]])

    def logits(self, texts: list[str], images: list[Tensor]) -> Tensor:
        """Of all tokens, behind texts with images in between."""
        rows, ways = [], []
        for index, text in enumerate(texts):
            for token in [1] * (index == 0) + tokens_of(text):
                rows.append(self.weights["model.embed_tokens.weight"][token])
                ways.append(0)
            for row in images[index] if index < len(images) else ():
                rows.append(row)
                ways.append(1)
        states, positions = torch.stack(rows), torch.arange(len(rows)).double()

        def rms(name: str, states: Tensor) -> Tensor:
            return (
                states
                / (states.square().mean(-1, keepdim=True) + 1e-5).sqrt()
                * self.weights[f"{name}.weight"]
            )

        def each_way(name: str, states: Tensor, run: Any) -> Tensor:
            pairs = zip(states, ways, strict=True)
            return torch.stack([run(f"{name}.multiway.{way}", row) for row, way in pairs])

        def turned(head: Tensor) -> Tensor:
            pairs = torch.complex(head[:, :4], head[:, 4:])
            angles = positions[:, None] * 10000.0 ** (-torch.arange(4).double() / 4)
            spun = pairs * torch.polar(torch.ones_like(angles), angles)
            return torch.cat([spun.real, spun.imag], 1)

        future = torch.full((len(rows), len(rows)), -torch.inf).triu(1).double()
        for layer in range(LANGUAGE["num_hidden_layers"]):
            here = f"model.layers.{layer}"
            normed = each_way(f"{here}.input_layernorm", states, rms)
            query = self.linear(f"{here}.self_attn.q_proj", normed)
            key = each_way(f"{here}.self_attn.k_proj", normed, self.linear)
            value = each_way(f"{here}.self_attn.v_proj", normed, self.linear)
            found = []
            for start in (0, 8, 16):
                one = slice(start, start + 8)
                likeness = turned(query[:, one]) @ turned(key[:, one]).T / np.sqrt(8)
                found.append((likeness + future).softmax(1) @ value[:, one])
            states = states + self.linear(f"{here}.self_attn.o_proj", torch.cat(found, 1))
            normed = each_way(f"{here}.post_attention_layernorm", states, rms)
            inner = F.silu(self.linear(f"{here}.mlp.gate_proj", normed)) * self.linear(
                f"{here}.mlp.up_proj", normed
            )
            states = states + self.linear(f"{here}.mlp.down_proj", inner)
        return self.linear("lm_head", rms("model.norm", states[-1]))


def square(image: Image.Image) -> Tensor:
    side = max(image.size)
    canvas = Image.new("RGB", (side, side), (122, 116, 104))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return normalised(canvas.resize((28, 28), Image.Resampling.BICUBIC))


def expected(logits: Tensor, words: list[str], counts: list[float]) -> float:
    shares = logits[[tokens_of(word)[0] for word in words]].softmax(0)
    return float(shares @ torch.tensor(counts).double())


def deqa_by_hand(pictures: list[Image.Image]) -> np.ndarray:
    hand = ByHand()
    answers = [hand.logits(DEQA, [hand.image(square(picture))]) for picture in pictures]
    return np.array([expected(answer, LEVELS, [5.0, 4.0, 3.0, 2.0, 1.0]) for answer in answers])


def one_align_by_hand(pictures: list[Image.Image]) -> np.ndarray:
    hand = ByHand()
    answers = [hand.logits(DEQA, [hand.image(square(picture))]) for picture in pictures]
    return np.array([expected(answer, LEVELS, [1.0, 0.75, 0.5, 0.25, 0.0]) for answer in answers])


UPPER = {
    (0, 1): 0.25912809,
    (0, 2): 3.3130276e-4,
    (0, 3): 1.6087297e-6,
    (0, 4): 1.1803027e-9,
    (1, 2): 0.24985345,
    (1, 3): 0.099954158,
    (1, 4): 1.8675303e-8,
    (2, 3): 0.4996888,
    (2, 4): 0.24852838,
    (3, 4): 0.25400183,
}


def place(preferred: list[float]) -> float:
    """The score of a picture among the anchors, by SciPy."""
    matrix = np.full((6, 6), 0.5)
    for (row, column), share in {**UPPER, **{(5, index): p for index, p in enumerate(preferred)}}.items():
        matrix[row, column], matrix[column, row] = share, 1 - share

    def loss(scores: np.ndarray) -> float:
        return float((scores**2).sum() / 2 - (matrix * log_ndtr(scores[:, None] - scores)).sum())

    scores = minimize(loss, np.zeros(6), tol=1e-13, options={"gtol": 1e-9}).x
    return float(100 * (scores[5] - scores.min()) / (scores.max() - scores.min()))


def compare2score_by_hand(pictures: list[Image.Image]) -> np.ndarray:
    hand = ByHand()
    anchors = [hand.image(square(anchor)) for anchor in ANCHORS]
    found = []
    for picture in pictures:
        image = hand.image(square(picture))
        answers = [hand.logits(COMPARE, [anchor, image]) / 100 for anchor in anchors]
        found.append(place([expected(answer, RELATIONS, [0.0, 0.25, 0.5, 0.75, 1.0]) for answer in answers]))
    return np.array(found)


BY_HAND = {
    "deqa-score": deqa_by_hand,
    "one-align": one_align_by_hand,
    "compare2score": compare2score_by_hand,
}
LARGEST = {"deqa-score": 5, "one-align": 1, "compare2score": 100}


def write_folder(folder: Path) -> Path:
    """The published folder, tiny, with the anchors beside."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.model").write_bytes(tokenizer_model())
    torch.save(weights(), folder / "pytorch_model.bin")
    (folder / "anchors").mkdir(exist_ok=True)
    for index, anchor in enumerate(ANCHORS):
        anchor.save(folder / "anchors" / f"{index}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model")


@pytest.mark.parametrize("name", BY_HAND)
class TestBoth:
    def test_ratings(self, name: str, folder: Path) -> None:
        pictures = photos(3)
        wanted = BY_HAND[name](pictures)
        published.tell_terms.cache_clear()
        with pytest.warns(UserWarning, match="tuned from Llama 2"):
            model: Any = load_model(f"{name}:{folder}", batch_size=2)
        scale = LARGEST[name]
        assert len(set(wanted.round(3))) == 3 and 0 < wanted.min() < wanted.max() < scale
        found = UniSimScore(model, reduction="none")(pictures)
        np.testing.assert_allclose(found / scale, wanted / scale, atol=1e-6)
        sharp = UniSimScore(model, "sharpness", reduction="none")(pictures[:1])
        np.testing.assert_allclose(sharp / scale, wanted[:1] / scale, atol=1e-6)
        best = UniSimRanking(model)([pictures])["win_rate"].argmax()
        assert best == int(wanted.argmax())
        with pytest.raises(ValueError, match=r"which model .* answers, but got 'image-text'"):
            UniSimScore(model)(pictures, ["a", "b", "c"])
        with pytest.raises(ValueError, match="embeds nothing"):
            model.embed_images(pictures)
        with pytest.raises(ValueError, match="embeds nothing"):
            model.embed_texts("a")
        with pytest.raises(ValueError, match="at least one image"):
            model.score([], None, "quality")

    def test_kinds_of_images(self, name: str, folder: Path, tmp_path: Path) -> None:
        model: Any = load_model(f"{name}:{folder}")
        picture = photos(1)[0].crop((0, 0, 31, 17))
        picture.save(tmp_path / "photo.png")
        exact = model.score([picture], None, "quality").item()
        pixels = tensor_of(picture)
        floats = (pixels / 255).requires_grad_()
        for same in (pixels, tmp_path / "photo.png", floats):
            assert model.score([same], None, "quality").item() == pytest.approx(exact, rel=0.02)
        model.score([floats], None, "quality").sum().backward()
        assert floats.grad is not None and bool(floats.grad.isfinite().all()) and bool(floats.grad.any())
        with pytest.raises(ValueError, match="float pixels in 0–1"):
            model.score([torch.full((3, 30, 30), 200.0)], None, "quality")
        by_pillow: Any = load_model(f"{name}:{folder}", resample="pil")
        assert by_pillow.score([pixels], None, "quality").item() == pytest.approx(exact, abs=1e-5)
        assert "pil" in by_pillow.input_tag and by_pillow.input_tag != model.input_tag

    def test_gradients_are_the_slopes(self, name: str, folder: Path) -> None:
        model: Any = load_model(f"{name}:{folder}", dtype=torch.float64)
        pixels = torch.rand(3, 30, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        direction = torch.randn(pixels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        pixels, step = pixels * 0.5 + 0.25, 1e-3  # Llama's norms are in float32
        above, below = (model.score([pixels + s * direction], None, "quality") for s in (step, -step))
        model.score([pixels.requires_grad_()], None, "quality").sum().backward()
        assert pixels.grad is not None
        slope = (pixels.grad * direction).sum().item()
        assert abs(slope) > 1e-3
        assert slope == pytest.approx(((above - below) / (2 * step)).item(), rel=1e-2)

    def test_files_in_pieces(self, name: str, folder: Path) -> None:
        whole: Any = load_model(f"{name}:{folder}")
        (folder / "pytorch_model.bin").unlink()
        names = sorted(weights())
        halves = {"a-1.bin": names[::2], "a-2.bin": names[1::2]}
        for file, part in halves.items():
            old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)} if file == "a-1.bin" else {}
            torch.save({key: weights()[key] for key in part} | old, folder / file)
        index = {"weight_map": {key: file for file, part in halves.items() for key in part}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        assert load_model(f"{name}:{folder}").weights_hash() == whole.weights_hash()
        (folder / "a-2.bin").unlink()
        with pytest.raises(CheckpointError, match=r"must name files beside it, but names 'a-2.bin'"):
            load_model(f"{name}:{folder}")
        index["weight_map"][names[0]] = "../other.bin"
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match=r"must name files beside it, but names '../other.bin'"):
            load_model(f"{name}:{folder}")
        save_file(weights(), folder / "model.safetensors")
        assert load_model(f"{name}:{folder}").weights_hash() == whole.weights_hash()

    def test_the_type_of_the_weights(self, name: str, folder: Path) -> None:
        torch.save(
            {key: tensor.bfloat16() for key, tensor in weights().items()}, folder / "pytorch_model.bin"
        )
        assert load_model(f"{name}:{folder}").dtype == torch.float32  # type: ignore[attr-defined]
        half: Any = load_model(f"{name}:{folder}", dtype=torch.bfloat16)
        assert half.dtype == torch.bfloat16
        found = half.score(photos(2), None, "quality")
        assert found.dtype == torch.float32 and bool(found.isfinite().all())

    def test_options(self, name: str, folder: Path) -> None:
        with pytest.raises(ValueError, match="`batch_size` must be at least 1, but got 0"):
            load_model(f"{name}:{folder}", batch_size=0)
        with pytest.raises(ValueError, match="`mode` does not apply"):
            load_model(f"{name}:{folder}", mode="yes-no")
        one: Any = load_model(f"{name}:{folder}", batch_size=1)
        many: Any = load_model(f"{name}:{folder}", batch_size=64)
        pictures = photos(5)
        np.testing.assert_allclose(
            one.score(pictures, None, "quality"), many.score(pictures, None, "quality"), rtol=1e-5
        )

    def test_folders_of_something_else(self, name: str, folder: Path) -> None:
        def refused(message: str) -> None:
            with pytest.raises(CheckpointError, match=message):
                load_model(f"{name}:{folder}")

        def configured(**changed: Any) -> None:
            (folder / "config.json").write_text(json.dumps({**CONFIG, **changed}))

        configured(hidden_size=0)
        refused(r"config\.json must hold a positive integer as `hidden_size`, but has 0")
        configured(num_attention_heads=5)
        refused(r"must give the language model a `hidden_size` that is a multiple .* 24 and 5")
        configured(rope_theta="ten")
        refused(r"positive number as `rope_theta`, but has 'ten'")
        configured(visual_config={"visual_model": 3})
        refused("must hold mappings of sizes, but has 3")
        configured(
            visual_config={"visual_model": VISION, "visual_abstractor": {**ABSTRACTOR, "hidden_size": 8}}
        )
        refused("one `hidden_size`, but has 16 and 8")
        configured(intermediate_size=41)
        refused("6 are of a wrong shape")
        configured()
        (folder / "tokenizer.model").write_bytes(b"nothing")
        refused(r"tokenizer\.model cannot be read as a model of sentencepiece")
        (folder / "tokenizer.model").write_bytes(tokenizer_model(size=310, times=0))
        refused(r"tokenizer\.model must begin the words .* with a token each")
        (folder / "tokenizer.model").write_bytes(tokenizer_model(size=364))
        refused(r"tokenizer\.model must hold at most the 360 tokens of the model, but has 364")
        (folder / "tokenizer.model").unlink()
        refused(r"must hold a tokenizer\.model, but has none")
        (folder / "pytorch_model.bin").unlink()
        refused(r"must hold model\.safetensors or pytorch_model\.bin, in one piece or with an index")
        (folder / "config.json").unlink()
        refused(r"must hold a config\.json, but has none")


class TestAnchors:
    def test_others_give_other_scores(self, folder: Path) -> None:
        model: Any = load_model(f"compare2score:{folder}")
        before = model.score(photos(1), None, "quality").item(), model.input_tag
        photos(1, seed=9)[0].save(folder / "anchors" / "0.png")
        model = load_model(f"compare2score:{folder}")
        assert model.score(photos(1), None, "quality").item() != before[0] and model.input_tag != before[1]

    def test_in_a_table(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted: Any = load_model(f"compare2score:{folder}")
        files = sorted((folder / "anchors").iterdir())
        rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
        pq.write_table(pa.table({"image": rows}), folder / "anchors" / "train.parquet")
        for file in files:
            file.unlink()
        found: Any = load_model(f"compare2score:{folder}")
        assert found.input_tag == wanted.input_tag

    def test_missing_ones(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "anchors" / "0.png").unlink()
        with pytest.raises(CheckpointError, match=r"must hold the 5 pictures .*, but holds 4"):
            load_model(f"compare2score:{folder}")
        (folder / "anchors").rename(folder / "others")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ModelUnavailableError, match="needs the data set `VQA-CityU/Anchor_images`"):
            load_model(f"compare2score:{folder}", cache_dir=folder)


class TestThurstone:
    @pytest.mark.parametrize(("share", "score"), [(0.45, 45.51), (0.5, 54.06), (0.55, 62.61)])
    def test_known_scores(self, share: float, score: float) -> None:
        assert score_among_anchors(torch.full((1, 5), share)).item() == pytest.approx(score, abs=5e-3)

    def test_against_scipy(self) -> None:
        rows = np.random.default_rng(0).uniform(size=(5, 5))
        rows[0], rows[1], rows[2] = 0, 1, [0, 1, 0, 1, 0]
        found = score_among_anchors(torch.from_numpy(rows))
        np.testing.assert_allclose(found, [place(list(row)) for row in rows], atol=1e-4)
        assert found[0] == 0

    def test_items_of_any_number(self) -> None:
        assert most_likely_scores(torch.full((2, 1, 1), 0.5)).tolist() == [[0.0], [0.0]]
        assert most_likely_scores(torch.zeros(0, 3, 3)).shape == (0, 3)
        even = most_likely_scores(torch.full((1, 4, 4), 0.5))
        assert even.abs().max() < 1e-12

    def test_gradients(self) -> None:
        rows = torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(score_among_anchors, (rows.requires_grad_(),))
