"""Writing InternVL2.5 as transformers does, from its authors' layout, every tensor accounted for.

The layout (`model_type` `internvl_chat`) runs by code beside the weights, which is never run here: InternViT, a
projector of two layers, and InternLM2 (8B, 26B), which is Llama by other names, or Qwen2 (38B). The class of
transformers is `InternVLForConditionalGeneration`. Weights are read and written shard by shard: one lies in memory at a
time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import read_json
from unisim_metrics.models.checkpoints.weight_checks import describe_keys

MODEL_TYPE = "internvl_chat"

_END_OF_TURN = "<|im_end|>"
_LAYER = re.compile(r"\.layers\.\d+\.")

# Names in a layer, or outside of the layers, of either.
_VISION = {
    "vision_model.embeddings.class_embedding": "model.vision_tower.embeddings.cls_token",
    "vision_model.embeddings.position_embedding": "model.vision_tower.embeddings.position_embeddings",
    "vision_model.embeddings.patch_embedding.": "model.vision_tower.embeddings.patch_embeddings.projection.",
}
_VISION_LAYER = {
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.",
    "attn.proj.": "attention.projection_layer.",
    "attn.q_norm.": "attention.q_norm.",
    "attn.k_norm.": "attention.k_norm.",
    "mlp.": "mlp.",
}
_PROJECTOR = {
    "mlp1.0.": "model.multi_modal_projector.layer_norm.",
    "mlp1.1.": "model.multi_modal_projector.linear_1.",
    "mlp1.3.": "model.multi_modal_projector.linear_2.",
}
_INTERNLM2 = {
    "language_model.model.tok_embeddings.": "model.language_model.embed_tokens.",
    "language_model.model.norm.": "model.language_model.norm.",
    "language_model.output.": "lm_head.",
}
_INTERNLM2_LAYER = {
    "attention.wo.": "self_attn.o_proj.",
    "feed_forward.w1.": "mlp.gate_proj.",
    "feed_forward.w2.": "mlp.down_proj.",
    "feed_forward.w3.": "mlp.up_proj.",
    "attention_norm.": "input_layernorm.",
    "ffn_norm.": "post_attention_layernorm.",
}
_QWEN2 = {"language_model.model.": "model.language_model.", "language_model.lm_head.": "lm_head."}

# What is taken from a configuration; whatever else stands in it is of the code beside the weights.
_VISION_SETTINGS = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "hidden_act": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "norm_type": "norm_type",
    "qkv_bias": "attention_bias",
    "qk_normalization": "use_qk_norm",
}
_TEXT_SETTINGS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("hidden_act", "rms_norm_eps", "rope_theta", "rope_scaling", "max_position_embeddings", "vocab_size"),
    *("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
_QWEN2_SETTINGS = ("use_sliding_window", "sliding_window", "max_window_layers")
_LANGUAGE_MODELS = {"internlm2": "llama", "qwen2": "qwen2"}


def is_internvl_checkpoint(directory: Path) -> bool:
    """Whether a directory holds a model in the layout of InternVL's authors."""
    config = directory / "config.json"
    return config.is_file() and read_json(config).get("model_type") == MODEL_TYPE


def convert_internvl(source: Path, out: Path, processor: Any) -> None:
    """Write a checkpoint of InternVL's authors as transformers' `InternVLForConditionalGeneration` with its processor.

    Args:
        source: The directory of the checkpoint.
        out: The directory to write into.
        processor: An InternVL processor of transformers whose tokenizer is that of the checkpoint.

    Raises:
        CheckpointError: If the checkpoint is of another kind, a tensor is missing, left over, twice, of a wrong shape
            or not finite, or the processor's tokenizer is another one.
    """
    import transformers

    classes: Any = transformers  # most of them have no type information
    config = _config(source, processor)
    _check_tokenizer(source, processor, config)
    with torch.device("meta"):
        model: Any = classes.InternVLForConditionalGeneration(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    config.dtype = _write_weights(source, out, config, wanted)
    config.architectures = ["InternVLForConditionalGeneration"]
    config.save_pretrained(out)
    end = processor.tokenizer.convert_tokens_to_ids(_END_OF_TURN)
    classes.GenerationConfig(eos_token_id=end).save_pretrained(out)
    processor.save_pretrained(out)


def _config(source: Path, processor: Any) -> Any:
    """The configuration for transformers."""
    import transformers

    file = source / "config.json"
    config = read_json(file)
    vision, text = (_mapping(config, name, file) for name in ("vision_config", "llm_config"))
    for name, expected in (("ps_version", "v2"), ("select_layer", -1)):
        if config.get(name, expected) != expected:
            raise CheckpointError(
                f"The file {file} must have {name!r} as {expected!r}, as InternVL2.5 has, but has {config[name]!r}."
            )
    kind = _LANGUAGE_MODELS.get(str(text.get("model_type")))
    if kind is None:
        raise CheckpointError(
            f"The file {file} must have a language model of type {' or '.join(map(repr, _LANGUAGE_MODELS))}, but has"
            f" {text.get('model_type')!r}."
        )
    names = _TEXT_SETTINGS + (_QWEN2_SETTINGS if kind == "qwen2" else ())
    side, patch = int(vision["image_size"]), int(vision["patch_size"])
    config_class: Any = transformers.InternVLConfig
    return config_class(
        vision_config={new: vision[old] for old, new in _VISION_SETTINGS.items() if old in vision}
        | {"image_size": [side, side], "patch_size": [patch, patch]},
        text_config={
            "model_type": kind,
            **{name: text[name] for name in names if text.get(name) is not None},
        },
        image_token_id=processor.image_token_id,
        image_seq_length=int((side // patch * float(config["downsample_ratio"])) ** 2),
        downsample_ratio=float(config["downsample_ratio"]),
        tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
    )


def _mapping(config: Mapping[str, Any], name: str, file: Path) -> Mapping[str, Any]:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise CheckpointError(f"The file {file} must have a mapping as {name!r}, but has {part!r}.")
    return part


def _check_tokenizer(source: Path, processor: Any, config: Any) -> None:
    """Check that a processor's tokenizer gives the tokens of the checkpoint's own the same places."""
    own: dict[str, int] = {}
    if (source / "vocab.json").is_file():
        own |= read_json(source / "vocab.json")
    if (source / "tokenizer_config.json").is_file():
        added = read_json(source / "tokenizer_config.json").get("added_tokens_decoder", {})
        own |= {token["content"]: int(place) for place, token in added.items()}
    if not own:
        raise CheckpointError(
            f"The directory {source} must hold its tokenizer's `tokenizer_config.json` or `vocab.json`, but holds"
            " neither."
        )
    places = processor.tokenizer.get_vocab()
    rows = config.text_config.vocab_size
    others = [token for token, place in own.items() if places.get(token) != place]
    # transformers' processors add a token for films, which the authors' models have no embedding for: no question and
    # no answer holds one.
    beyond = [token for token, place in places.items() if place >= rows and token != processor.video_token]
    if others or beyond:
        raise CheckpointError(
            f"The processor's tokenizer must be that of {source}, with embeddings for {rows} tokens, but of its"
            f" {len(places)} {describe_keys(other=others, without_an_embedding=beyond)}."
        )


def _write_weights(source: Path, out: Path, config: Any, wanted: Mapping[str, tuple[int, ...]]) -> Any:
    """Write the weights under transformers' names, a file for a file; return their type."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"The directory {source} must hold weights (`*.safetensors`), but has none.")
    places: dict[str, str] = {}
    extra: list[str] = []
    wrong: list[str] = []
    size, dtype = 0, None
    for number, file in enumerate(files, 1):
        target = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        part: dict[str, Tensor] = {}
        try:
            with safe_open(file, framework="pt") as content:
                for key in content.keys():  # noqa: SIM118 – no mapping
                    for name, tensor in _converted(key, content.get_tensor(key), config):
                        if name not in wanted:
                            extra.append(key)
                            continue
                        if name in places:
                            raise CheckpointError(
                                f"The checkpoint {source} holds {key!r} twice, the second time in {file.name}."
                            )
                        places[name] = target
                        if tuple(tensor.shape) != wanted[name]:
                            wrong.append(f"{name}: {tuple(tensor.shape)} instead of {wanted[name]}")
                            continue
                        if not bool(torch.isfinite(tensor).all()):
                            raise CheckpointError(
                                f"The file {file} must hold finite weights, but {key!r} is not."
                            )
                        part[name] = tensor.contiguous()
                        size, dtype = size + tensor.nbytes, dtype or tensor.dtype
        except SafetensorError as error:
            raise CheckpointError(f"The file {file} cannot be read; it may be cut short: {error}") from error
        if part:
            save_file(part, out / target, metadata={"format": "pt"})
    missing = wanted.keys() - places.keys()
    if missing or extra or wrong:
        raise CheckpointError(
            f"The checkpoint {source} must hold exactly the model's tensors, but of {len(wanted)}"
            f" {describe_keys(missing=missing, extra=extra, of_a_wrong_shape=wrong)}."
        )
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return dtype


def _converted(key: str, tensor: Tensor, config: Any) -> Iterator[tuple[str, Tensor]]:
    """A tensor under its new name, or its parts under theirs; what has none keeps its own name."""
    layer = _LAYER.search(key)
    if key.startswith("vision_model.") and layer is not None:
        stem = "model.vision_tower.encoder" + layer[0].replace(".layers.", ".layer.")
        rest = key[layer.end() :]
        if rest.startswith("attn.qkv."):
            # Queries, keys and values of all heads, one after the other.
            for part, rows in zip("qkv", tensor.tensor_split(3), strict=True):
                yield f"{stem}attention.{part}_proj.{rest.removeprefix('attn.qkv.')}", rows
        else:
            yield stem + _renamed(rest, _VISION_LAYER), tensor
    elif config.text_config.model_type == "llama" and layer is not None:
        stem, rest = f"model.language_model{layer[0]}", key[layer.end() :]
        if rest == "attention.wqkv.weight":
            for part, rows in zip("qkv", _split_by_groups(tensor, config.text_config), strict=True):
                yield f"{stem}self_attn.{part}_proj.weight", rows
        else:
            yield stem + _renamed(rest, _INTERNLM2_LAYER), tensor
    else:
        text = _INTERNLM2 if config.text_config.model_type == "llama" else _QWEN2
        yield _renamed(key, _VISION | _PROJECTOR | text), tensor


def _split_by_groups(tensor: Tensor, text: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values out of InternLM2's rows: for each head of keys its queries, itself, and its values."""
    groups = text.num_key_value_heads
    size = text.hidden_size // text.num_attention_heads
    if tensor.shape[0] != (text.num_attention_heads + 2 * groups) * size:
        # Of a wrong shape, which whoever compares it with the model tells.
        return tensor, tensor, tensor
    rows = tensor.unflatten(0, (groups, -1, size))
    queries, keys, values = rows[:, :-2], rows[:, -2], rows[:, -1]
    return queries.flatten(0, 2), keys.flatten(0, 1), values.flatten(0, 1)


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if key == old or (old.endswith(".") and key.startswith(old)):
            return new + key.removeprefix(old)
    return key
