"""InternVL2.5 in its authors' layout: converted strictly, and the same model afterwards, computed by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_generative
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_generative import pictures
from torch import Tensor
from transformers import InternVLProcessor
from typer.testing import CliRunner

from unisim_metrics import load_model
from unisim_metrics.cli.app import app
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models import GenerativeModel, convert

WIDTH, HEADS, LAYERS, FC = 32, 2, 2, 48
SIDE, PATCH = 28, 7
TEXT_WIDTH, TEXT_HEADS, GROUPS, TEXT_FC = 32, 4, 2, 64
SIZE = TEXT_WIDTH // TEXT_HEADS
EPS = 1e-6

# The three sizes: which InternViT, which language model.
KINDS = {"8b": ("300m", "internlm2"), "26b": ("6b", "internlm2"), "38b": ("6b", "qwen2")}


def random_weights(tower: str, text: str, vocabulary: int) -> dict[str, Tensor]:
    """Weights under the authors' names, large enough that every part of the model shows in the logits."""
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    def linear(name: str, out: int, into: int, bias: bool = True) -> dict[str, Tensor]:
        return {f"{name}.weight": matrix(out, into), **({f"{name}.bias": matrix(out)} if bias else {})}

    def norm(name: str, width: int, bias: bool) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + matrix(width), **({f"{name}.bias": matrix(width)} if bias else {})}

    big = tower == "6b"
    weights = {
        "vision_model.embeddings.class_embedding": matrix(1, 1, WIDTH),
        "vision_model.embeddings.position_embedding": matrix(1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "vision_model.embeddings.patch_embedding.weight": matrix(WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.patch_embedding.bias": matrix(WIDTH),
    }
    for layer in range(LAYERS):
        name = f"vision_model.encoder.layers.{layer}"
        weights |= {f"{name}.ls1": matrix(WIDTH) + 1, f"{name}.ls2": matrix(WIDTH) + 1}
        weights |= norm(f"{name}.norm1", WIDTH, not big) | norm(f"{name}.norm2", WIDTH, not big)
        weights |= linear(f"{name}.attn.qkv", 3 * WIDTH, WIDTH, not big) | linear(
            f"{name}.attn.proj", WIDTH, WIDTH
        )
        if big:
            weights |= norm(f"{name}.attn.q_norm", WIDTH, False) | norm(f"{name}.attn.k_norm", WIDTH, False)
        weights |= linear(f"{name}.mlp.fc1", FC, WIDTH) | linear(f"{name}.mlp.fc2", WIDTH, FC)
    weights |= norm("mlp1.0", 4 * WIDTH, True) | linear("mlp1.1", TEXT_WIDTH, 4 * WIDTH)
    weights |= linear("mlp1.3", TEXT_WIDTH, TEXT_WIDTH)
    if text == "internlm2":
        weights["language_model.model.tok_embeddings.weight"] = matrix(vocabulary, TEXT_WIDTH)
        weights["language_model.output.weight"] = matrix(vocabulary, TEXT_WIDTH)
    else:
        weights["language_model.model.embed_tokens.weight"] = matrix(vocabulary, TEXT_WIDTH)
        weights["language_model.lm_head.weight"] = matrix(vocabulary, TEXT_WIDTH)
    weights |= norm("language_model.model.norm", TEXT_WIDTH, False)
    for layer in range(LAYERS):
        name = f"language_model.model.layers.{layer}"
        if text == "internlm2":
            weights |= linear(f"{name}.attention.wqkv", (TEXT_HEADS + 2 * GROUPS) * SIZE, TEXT_WIDTH, False)
            weights |= linear(f"{name}.attention.wo", TEXT_WIDTH, TEXT_WIDTH, False)
            weights |= linear(f"{name}.feed_forward.w1", TEXT_FC, TEXT_WIDTH, False)
            weights |= linear(f"{name}.feed_forward.w2", TEXT_WIDTH, TEXT_FC, False)
            weights |= linear(f"{name}.feed_forward.w3", TEXT_FC, TEXT_WIDTH, False)
            weights |= norm(f"{name}.attention_norm", TEXT_WIDTH, False) | norm(
                f"{name}.ffn_norm", TEXT_WIDTH, False
            )
        else:
            weights |= linear(f"{name}.self_attn.q_proj", TEXT_WIDTH, TEXT_WIDTH)
            weights |= linear(f"{name}.self_attn.k_proj", GROUPS * SIZE, TEXT_WIDTH)
            weights |= linear(f"{name}.self_attn.v_proj", GROUPS * SIZE, TEXT_WIDTH)
            weights |= linear(f"{name}.self_attn.o_proj", TEXT_WIDTH, TEXT_WIDTH, False)
            weights |= linear(f"{name}.mlp.gate_proj", TEXT_FC, TEXT_WIDTH, False)
            weights |= linear(f"{name}.mlp.up_proj", TEXT_FC, TEXT_WIDTH, False)
            weights |= linear(f"{name}.mlp.down_proj", TEXT_WIDTH, TEXT_FC, False)
            weights |= norm(f"{name}.input_layernorm", TEXT_WIDTH, False)
            weights |= norm(f"{name}.post_attention_layernorm", TEXT_WIDTH, False)
    return weights


def write_layout(directory: Path, kind: str = "8b", **settings: Any) -> dict[str, Tensor]:
    """Write a checkpoint as its authors do, and beside it, in `processor`, a processor; return the weights."""
    tower, text = KINDS[kind]
    _, processor = tiny_generative.build("internvl")
    processor.save_pretrained(directory.parent / "processor")
    # The authors' tokenizer ends before the processor's token for films.
    own = processor.tokenizer.get_vocab()
    rows = own.pop("<video>")
    directory.mkdir(parents=True)
    added = {
        str(own[token]): {"content": token} for token in processor.tokenizer.get_added_vocab() if token in own
    }
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"added_tokens_decoder": added}), encoding="utf-8"
    )
    weights = random_weights(tower, text, rows)
    names = sorted(weights)
    for index in range(3):
        part = {name: weights[name].clone() for name in names[index::3]}
        save_file(part, directory / f"model-{index + 1:05d}-of-00003.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "vision_config": {
            "model_type": "intern_vit_6b",
            "hidden_size": WIDTH,
            "intermediate_size": FC,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "image_size": SIDE,
            "patch_size": PATCH,
            "hidden_act": "gelu",
            "layer_norm_eps": EPS,
            "norm_type": "rms_norm" if tower == "6b" else "layer_norm",
            "qkv_bias": tower != "6b",
            "qk_normalization": tower == "6b",
            "use_flash_attn": True,
        },
        "llm_config": {
            "model_type": text,
            "bias": False,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": TEXT_FC,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": TEXT_HEADS,
            "num_key_value_heads": GROUPS,
            "hidden_act": "silu",
            "rms_norm_eps": EPS,
            "rope_theta": 1000000.0,
            "rope_scaling": {"type": "dynamic", "factor": 2.0} if text == "internlm2" else None,
            "max_position_embeddings": 4096,
            "vocab_size": rows,
            "tie_word_embeddings": False,
            "attn_implementation": "flash_attention_2",
        },
        **settings,
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return weights


def rms(states: Tensor, weight: Tensor) -> Tensor:
    return states / (states.square().mean(-1, keepdim=True) + EPS).sqrt() * weight


def see(weights: dict[str, Tensor], pixels: Tensor, big: bool) -> Tensor:
    """Tokens `[N, 4, TEXT_WIDTH]` of prepared pictures, as `modeling_intern_vit.py` and `extract_feature` make them."""
    own = {key.removeprefix("vision_model."): value for key, value in weights.items()}
    patches = F.conv2d(
        pixels, own["embeddings.patch_embedding.weight"], own["embeddings.patch_embedding.bias"], stride=PATCH
    )
    states = patches.flatten(2).transpose(1, 2)
    states = torch.cat([own["embeddings.class_embedding"].expand(len(states), -1, -1), states], dim=1)
    states = states + own["embeddings.position_embedding"]

    def norm(name: str, values: Tensor) -> Tensor:
        if big:
            return rms(values, own[f"{name}.weight"])
        return F.layer_norm(values, (WIDTH,), own[f"{name}.weight"], own[f"{name}.bias"], EPS)

    for layer in range(LAYERS):
        name = f"encoder.layers.{layer}"
        qkv = F.linear(
            norm(f"{name}.norm1", states), own[f"{name}.attn.qkv.weight"], own.get(f"{name}.attn.qkv.bias")
        )
        queries, keys, values = qkv.reshape(*states.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        if big:
            queries, keys = (
                rms(each.transpose(1, 2).flatten(2), own[f"{name}.attn.{part}_norm.weight"])
                .unflatten(-1, (HEADS, -1))
                .transpose(1, 2)
                for each, part in ((queries, "q"), (keys, "k"))
            )
        weighed = ((queries @ keys.transpose(2, 3)) * (WIDTH // HEADS) ** -0.5).softmax(-1) @ values
        found = F.linear(
            weighed.transpose(1, 2).flatten(2), own[f"{name}.attn.proj.weight"], own[f"{name}.attn.proj.bias"]
        )
        states = states + found * own[f"{name}.ls1"]
        hidden = F.gelu(
            F.linear(
                norm(f"{name}.norm2", states), own[f"{name}.mlp.fc1.weight"], own[f"{name}.mlp.fc1.bias"]
            )
        )
        found = F.linear(hidden, own[f"{name}.mlp.fc2.weight"], own[f"{name}.mlp.fc2.bias"])
        states = states + found * own[f"{name}.ls2"]
    count, side = len(states), SIDE // PATCH
    grid = states[:, 1:].reshape(count, side, side, WIDTH)
    # `pixel_shuffle` by one half, version 2.
    grid = grid.reshape(count, side, side // 2, 2 * WIDTH).permute(0, 2, 1, 3)
    grid = grid.reshape(count, side // 2, side // 2, 4 * WIDTH).permute(0, 2, 1, 3)
    states = F.layer_norm(grid.flatten(1, 2), (4 * WIDTH,), own["mlp1.0.weight"], own["mlp1.0.bias"])
    states = F.gelu(F.linear(states, own["mlp1.1.weight"], own["mlp1.1.bias"]))
    return F.linear(states, own["mlp1.3.weight"], own["mlp1.3.bias"])


def turned(states: Tensor) -> Tensor:
    """Heads `[H, L, D]` with rotary positions."""
    angles = torch.arange(states.shape[1])[:, None] * 1000000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
    cos, sin = (torch.cat([part, part], dim=-1) for part in (angles.cos(), angles.sin()))
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-second, first], dim=-1) * sin


def read(weights: dict[str, Tensor], text: str, embedded: Tensor) -> Tensor:
    """Logits `[L, vocabulary]`: `modeling_internlm2.py`, or Qwen2."""
    own = {key.removeprefix("language_model."): value for key, value in weights.items()}
    internlm = text == "internlm2"
    names = (
        (
            "attention_norm",
            "ffn_norm",
            "attention.wo",
            "feed_forward.w1",
            "feed_forward.w3",
            "feed_forward.w2",
        )
        if internlm
        else (
            *("input_layernorm", "post_attention_layernorm", "self_attn.o_proj"),
            *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        )
    )
    states, length = embedded, len(embedded)
    mask = torch.full((length, length), float("-inf")).triu(1)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        before, after, out, gate, up, down = (own[f"{name}.{part}.weight"] for part in names)
        inner = rms(states, before)
        if internlm:
            # rearrange "q (h gs d) -> q h gs d": the queries of a group, then its key, then its value.
            qkv = F.linear(inner, own[f"{name}.attention.wqkv.weight"]).reshape(length, GROUPS, -1, SIZE)
            queries = qkv[:, :, : TEXT_HEADS // GROUPS].reshape(length, TEXT_HEADS, SIZE)
            keys, values = qkv[:, :, -2], qkv[:, :, -1]
        else:
            queries, keys, values = (
                F.linear(
                    inner, own[f"{name}.self_attn.{part}.weight"], own[f"{name}.self_attn.{part}.bias"]
                ).reshape(length, -1, SIZE)
                for part in ("q_proj", "k_proj", "v_proj")
            )
        queries, keys = turned(queries.transpose(0, 1)), turned(keys.transpose(0, 1))
        keys, values = (
            each.repeat_interleave(TEXT_HEADS // GROUPS, 0) for each in (keys, values.transpose(0, 1))
        )
        weighed = (queries @ keys.transpose(1, 2) * SIZE**-0.5 + mask).softmax(-1) @ values
        states = states + F.linear(weighed.transpose(0, 1).flatten(1), out)
        inner = rms(states, after)
        states = states + F.linear(F.silu(F.linear(inner, gate)) * F.linear(inner, up), down)
    head = own["output.weight" if internlm else "lm_head.weight"]
    return F.linear(rms(states, own["model.norm.weight"]), head)


@pytest.mark.parametrize("kind", KINDS)
def test_the_converted_model_is_the_authors(kind: str, tmp_path: Path) -> None:
    weights = write_layout(tmp_path / "source", kind)
    tower, text = KINDS[kind]
    out = convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")
    model = load_model(out)
    assert isinstance(model, GenerativeModel)
    words, (first, second) = model.processor, pictures(2)
    prompt = "<|im_start|>user\n<IMG_CONTEXT>\n<IMG_CONTEXT>\nWhich image has a better quality?<|im_end|>\n"
    inputs = words(text=prompt, images=[first, second], return_tensors="pt")
    with torch.no_grad():
        found = model.backbone(**inputs).logits[0]  # type: ignore[operator]
        seen = see(weights, inputs["pixel_values"], tower == "6b").flatten(0, 1)
        table = "tok_embeddings" if text == "internlm2" else "embed_tokens"
        embedded = weights[f"language_model.model.{table}.weight"][inputs["input_ids"][0]]
        embedded[inputs["input_ids"][0] == words.image_token_id] = seen
        torch.testing.assert_close(found, read(weights, text, embedded), atol=1e-4, rtol=1e-5)
    assert float(found.std()) > 0.1
    scores = model.compare(["a fox"], [[first, second]])
    assert scores.shape == (1, 2) and bool(scores.isfinite().all())
    end = words.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.backbone.generation_config.eos_token_id == end  # type: ignore[union-attr]


def test_weights_keep_their_type_and_their_files(tmp_path: Path) -> None:
    weights = write_layout(tmp_path / "source")
    for file in (tmp_path / "source").glob("*.safetensors"):
        save_file({key: value.bfloat16() for key, value in load_file(file).items()}, file)
    convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")
    parts = [load_file(file) for file in sorted((tmp_path / "model").glob("*.safetensors"))]
    assert len(parts) == 3 and {value.dtype for part in parts for value in part.values()} == {torch.bfloat16}
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == sum(2 * value.numel() for value in weights.values())
    assert set(index["weight_map"]) == {key for part in parts for key in part}
    assert json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"


def test_the_command_converts_it(tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    words = ["convert", str(tmp_path / "source"), str(tmp_path / "model")]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 2 and "`base` must be given" in " ".join(run.output.split())
    run = CliRunner().invoke(app, [*words, "--base", str(tmp_path / "processor")])
    assert run.exit_code == 0, run.output
    with pytest.raises(ValueError, match="holds an InternVL in its authors' layout: convert it first"):
        load_model(tmp_path / "source")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"language_model.model.norm.weight": None}, r"1 is missing \(model.language_model.norm.weight\)"),
        ({"vision_model.encoder.layers.1.attn.qkv.weight": None}, r"3 are missing .*k_proj"),
        ({"language_model.model.layers.0.attention.w4.weight": torch.zeros(1)}, r"1 is extra .*attention.w4"),
        (
            {"mlp1.3.bias": torch.zeros(TEXT_WIDTH + 1)},
            r"1 is of a wrong shape .*linear_2.bias: \(33,\) instead of",
        ),
        (
            {"language_model.model.layers.0.attention.wqkv.weight": torch.zeros(60, TEXT_WIDTH)},
            "3 are of a wrong shape",
        ),
        (
            {"mlp1.3.bias": torch.full((TEXT_WIDTH,), float("nan"))},
            "finite weights, but 'mlp1.3.bias' is not",
        ),
    ],
)
def test_weights_that_are_not_the_models(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    files = sorted((tmp_path / "source").glob("*.safetensors"))
    ((key, value),) = change.items()
    target = next((file for file in files if key in load_file(file)), files[0])
    kept = {name: tensor for name, tensor in load_file(target).items() if name != key}
    save_file(kept if value is None else kept | {key: value}, target, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")
    assert not (tmp_path / "model").exists()


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    file = sorted((tmp_path / "source").glob("*.safetensors"))[0]
    shutil.copyfile(file, file.with_name("model-00004.safetensors"))
    with pytest.raises(
        CheckpointError, match=r"holds '.*' twice, the second time in model-00004.safetensors"
    ):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    file = sorted((tmp_path / "source").glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read; it may be cut short"):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ps_version": "v1"}, "must have 'ps_version' as 'v2', as InternVL2.5 has, but has 'v1'"),
        ({"select_layer": -4}, "must have 'select_layer' as -1"),
        (
            {"llm_config": {"model_type": "phi3"}},
            "a language model of type 'internlm2' or 'qwen2', but has 'phi3'",
        ),
        ({"vision_config": 3}, "must have a mapping as 'vision_config', but has 3"),
    ],
)
def test_other_models_of_the_family(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_layout(tmp_path / "source", **settings)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")


def test_a_processor_with_other_tokens(tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    file = tmp_path / "source" / "tokenizer_config.json"
    added = json.loads(file.read_text(encoding="utf-8"))["added_tokens_decoder"]
    place = next(place for place, token in added.items() if token["content"] == "<img>")
    added["1"] = added.pop(place)
    file.write_text(json.dumps({"added_tokens_decoder": added}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer must be that of .* 1 is other \(<img>\)"):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")
    file.unlink()
    with pytest.raises(CheckpointError, match="must hold its tokenizer's"):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")


def test_tokens_without_an_embedding(tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    processor = InternVLProcessor.from_pretrained(tmp_path / "processor")
    processor.tokenizer.add_tokens(["<more>"])
    processor.save_pretrained(tmp_path / "processor")
    with pytest.raises(CheckpointError, match=r"1 is without an embedding \(<more>\)"):
        convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor")


def test_a_text_that_holds_the_token_for_films(tmp_path: Path) -> None:
    write_layout(tmp_path / "source")
    model = load_model(convert(tmp_path / "source", tmp_path / "model", tmp_path / "processor"))
    first, second = pictures(2)
    scores = model.compare(["a <video> of a fox"], [[first, second]])
    torch.testing.assert_close(scores, model.compare(["a < video> of a fox"], [[first, second]]))


@pytest.mark.parametrize("name", ["internvl2.5-8b", "OpenGVLab/InternVL2_5-8B"])
def test_from_the_hub_it_is_converted_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_layout(tmp_path / "source")
    fetched = []

    def fetch(repository: str, revision: str | None = None, **options: Any) -> Path:
        fetched.append((repository, options.get("weights", True)))
        return tmp_path / ("processor" if repository.endswith("-hf") else "source")

    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("unisim_metrics.models.published.fetch_snapshot", fetch)
    monkeypatch.setattr("unisim_metrics.models.checkpoints.conversion.fetch_snapshot", fetch)
    model = load_model(name)
    assert model.name == name
    assert fetched == [("OpenGVLab/InternVL2_5-8B", True), ("OpenGVLab/InternVL2_5-8B-MPO-hf", False)]
    assert load_model(name).weights_hash() == model.weights_hash()
    assert len(fetched) == 2
