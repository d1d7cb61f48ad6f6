"""Writing a LLaVA checkpoint of the authors as transformers does, every tensor accounted for.

The class there is `LlavaForConditionalGeneration`.

Where the checkpoint's own configuration asks for it (`mm_patch_merge_type` with "unpad"), a learnt vector follows each
image: 730 tokens an image instead of 729. In transformers' layout that vector is the embedding of a token of its own,
which the chat template writes after each image, and which is never generated.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.llava import LlavaCheckpoint, read_llava
from unisim_metrics.models.checkpoints.weight_checks import describe_keys
from unisim_metrics.models.generative.chat import NEWLINE_TOKEN, qwen_template
from unisim_metrics.models.generative.instructions import IMAGE

_NEWLINE = "model.image_newline"
_EMBEDDING = "model.embed_tokens.weight"
_HEAD = "lm_head.weight"
_TOWER = "model.vision_tower.vision_tower.vision_model."
_PATCHES = f"{_TOWER}embeddings.patch_embedding.weight"
_POSITIONS = f"{_TOWER}embeddings.position_embedding.weight"
_FC1 = f"{_TOWER}encoder.layers.0.mlp.fc1.weight"
_RENAMED = (
    (_TOWER, "model.vision_tower."),
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
)
# Buffers, and parts of the training code that compute nothing.
_UNUSED = re.compile(r".*\.(inv_freq|position_ids)|model\.vision_resampler\..*")
# Widths whose heads have another size than 64: SigLIP SO400M.
_HEADS = {1152: 16}
_QWEN_SETTINGS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *(
        "hidden_act",
        "rms_norm_eps",
        "rope_theta",
        "max_position_embeddings",
        "use_sliding_window",
        "sliding_window",
    ),
    *("max_window_layers", "bos_token_id", "eos_token_id"),
)


def convert_llava(source: Path, out: Path) -> None:
    """Write an authors' checkpoint as transformers' `LlavaForConditionalGeneration` with its processor.

    Args:
        source: The directory of the checkpoint.
        out: The directory to write into.

    Raises:
        CheckpointError: If the checkpoint is of another kind, or a tensor is missing, left over, of a wrong shape or
            not finite.
        ValueError: If it has no tokenizer.
    """
    import transformers

    classes: Any = transformers  # most of them have no type information

    checkpoint = read_llava(source)
    config = _config(checkpoint)
    with torch.device("meta"):
        model: Any = classes.LlavaForConditionalGeneration(config)
    weights = _rename(checkpoint, model, config)
    model.load_state_dict(weights, strict=True, assign=True)
    model.tie_weights()
    tokenizer = checkpoint.tokenizer
    added = [tokenizer.convert_tokens_to_ids(token) for token in checkpoint.added_tokens]
    model.generation_config = classes.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=added,
    )
    model.save_pretrained(out)
    _processor(checkpoint, config).save_pretrained(out)


def _config(checkpoint: LlavaCheckpoint) -> Any:
    """The configuration for transformers: Qwen from the file, the tower from the shapes of its weights."""
    import transformers

    weights, config = checkpoint.weights, checkpoint.config
    needed = (_PATCHES, _POSITIONS, _FC1, _EMBEDDING, *((_NEWLINE,) if checkpoint.has_newline else ()))
    missing = [key for key in needed if key not in weights]
    if missing:
        raise CheckpointError(
            f"The checkpoint {checkpoint.directory} must hold a SigLIP tower and Qwen, but"
            f" {describe_keys(missing=missing)}."
        )
    width, _, patch, _ = weights[_PATCHES].shape
    tokens = weights[_POSITIONS].shape[0]
    layers = {
        match[1]
        for key in weights
        if (match := re.match(re.escape(_TOWER) + r"encoder\.layers\.(\d+)\.", key))
    }
    embeddings = max(weights[_EMBEDDING].shape[0], len(checkpoint.tokenizer))
    config_class: Any = transformers.LlavaConfig
    return config_class(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": width,
            "intermediate_size": weights[_FC1].shape[0],
            "num_hidden_layers": len(layers),
            "num_attention_heads": _HEADS.get(width, max(1, width // 64)),
            "image_size": _image_size(checkpoint, patch, tokens),
            "patch_size": patch,
            "hidden_act": "gelu_pytorch_tanh",
            "vision_use_head": False,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": embeddings,
            **{name: config[name] for name in _QWEN_SETTINGS if config.get(name) is not None},
        },
        image_token_id=checkpoint.tokenizer.convert_tokens_to_ids(IMAGE),
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=tokens,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", _HEAD not in weights)),
        dtype=weights[_EMBEDDING].dtype,
    )


def _image_size(checkpoint: LlavaCheckpoint, patch: int, tokens: int) -> int:
    """The side of an image, which a tower's name ends with; not every side is a multiple of the patches'."""
    side = math.isqrt(tokens)
    named = re.search(r"(\d+)/?$", str(checkpoint.config["mm_vision_tower"]))
    size = int(named[1]) if named else side * patch
    if side**2 != tokens or size // patch != side:
        raise CheckpointError(
            f"The checkpoint {checkpoint.directory} must have a square of positions for images of {size} pixels in"
            f" patches of {patch}, but has {tokens}."
        )
    return size


def _rename(checkpoint: LlavaCheckpoint, model: Any, config: Any) -> dict[str, Tensor]:
    """The weights under transformers' names, exactly those of the model."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    renamed: dict[str, Tensor] = {}
    extra = []
    for key, tensor in checkpoint.weights.items():
        name = _new_name(key)
        if name in wanted:
            renamed[name] = tensor
        elif key != _NEWLINE and not _UNUSED.fullmatch(key):
            extra.append(key)
    if _HEAD not in renamed and config.tie_word_embeddings:
        renamed[_HEAD] = checkpoint.weights[_EMBEDDING]
    for name in (_new_name(_EMBEDDING), _HEAD):
        if name in renamed:
            renamed[name] = _with_rows(renamed[name], config.text_config.vocab_size)
    wrong = [
        f"{name}: {tuple(tensor.shape)} instead of {wanted[name]}"
        for name, tensor in renamed.items()
        if tuple(tensor.shape) != wanted[name]
    ]
    missing = wanted.keys() - renamed.keys()
    if missing or extra or wrong:
        raise CheckpointError(
            f"The checkpoint {checkpoint.directory} must hold exactly the model's tensors, but of {len(wanted)}"
            f" {describe_keys(missing=missing, extra=extra, of_a_wrong_shape=wrong)}."
        )
    invalid = [name for name, tensor in renamed.items() if not bool(torch.isfinite(tensor).all())]
    if invalid:
        raise CheckpointError(
            f"The checkpoint {checkpoint.directory} must hold finite weights, but {describe_keys(not_finite=invalid)}."
        )
    embedding = renamed[_new_name(_EMBEDDING)]
    if config.tie_word_embeddings and not torch.equal(embedding, renamed[_HEAD]):
        raise CheckpointError(
            f"The checkpoint {checkpoint.directory} must have one matrix for words in and out, as its configuration"
            " says (`tie_word_embeddings`), but has two."
        )
    if checkpoint.has_newline:
        row = checkpoint.tokenizer.convert_tokens_to_ids(NEWLINE_TOKEN)
        embedding = embedding.clone()
        embedding[row] = checkpoint.weights[_NEWLINE]
        renamed[_new_name(_EMBEDDING)] = embedding
        if config.tie_word_embeddings:
            renamed[_HEAD] = embedding
    return renamed


def _new_name(key: str) -> str:
    for old, new in _RENAMED:
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _with_rows(matrix: Tensor, rows: int) -> Tensor:
    """The matrix with zeros for tokens that it has no row for."""
    more = rows - matrix.shape[0]
    return matrix if more <= 0 else torch.cat([matrix, matrix.new_zeros(more, matrix.shape[1])])


def _processor(checkpoint: LlavaCheckpoint, config: Any) -> Any:
    import transformers

    classes: Any = transformers
    size = config.vision_config.image_size
    return classes.LlavaProcessor(
        classes.SiglipImageProcessor(size={"height": size, "width": size}, resample=3),
        checkpoint.tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="full",
        chat_template=qwen_template(checkpoint.tokenizer),
    )
