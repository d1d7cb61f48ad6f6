"""Reading the authors' CLIP checkpoints (``.pt``), every tensor accounted for.

They are dictionaries saved by ``torch.save``: ``{"epoch", "name", "state_dict", "optimizer", ...}``. The
state dict has the keys of transformers 4.45 with a LoRA of peft 0.13 on the vision tower alone, whose names
start with ``vision_model.base_model.model.``, under a ``module.`` prefix where the model was trained in
several processes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import Base, load_base
from unisim_metrics.models.checkpoints.weight_checks import describe_keys
from unisim_metrics.models.lora import LORA_RANK, unisim_lora
from unisim_metrics.models.registry import BASES
from unisim_metrics.models.versions import allowed_globals

_DDP_PREFIX = "module."
_TOWER = "vision_model."
_PEFT_TOWER = "vision_model.base_model.model."
_POSITIONS = "vision_model.embeddings.position_embedding.weight"
_ADAPTED = re.compile(
    r"vision_model\.(encoder\.layers\.\d+\.(?:self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12]))\.(weight|bias)"
)
# How torch's weights-only reader names what it will not load.
_REFUSED = re.compile(r"(?:GLOBAL|Unsupported global: GLOBAL|Unsupported class|function) ([\w.]+)")
_PROJECTION = "visual_projection.weight"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the authors on its base.

    Attributes:
        model: ``peft.PeftModel`` of the full ``CLIPModel``, with the checkpoint's weights.
        base: The base; ``base.model`` has become part of ``model``.
        foreign: Names of the frozen weights that the file has otherwise than the base. With any, the LoRA
            alone is not the model: only merged weights are.
    """

    model: Any
    base: Base
    foreign: tuple[str, ...]


def load_checkpoint(
    path: str | Path,
    base: Any = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Checkpoint:
    """Read an authors' checkpoint.

    Args:
        path: The ``.pt`` file.
        base: Directory or Hub id of the base CLIP model; found from the rows of the position embedding by
            default (50: LAION's ViT-B/32, 257 and 577: OpenAI's ViT-L/14 at 224 and 336 px). From it come the
            configuration, the tokenizer and ``logit_scale``; every other weight comes from the file.
        revision: Of the base on the Hub.
        cache_dir: Where the Hub's cache is, if not where ``huggingface_hub`` puts it.
        token: For a private repository.

    Returns:
        The model with its adapter not yet merged, float32, on the CPU.

    Raises:
        CheckpointError: If the file cannot be read without running code from it, or if a tensor is missing,
            left over or of a wrong shape.
        ModelUnavailableError: If the base has to be fetched and cannot be.
    """
    weights = read_state_dict(path)
    loaded = load_base(
        base if base is not None else _find_base(path, weights),
        revision=revision,
        cache_dir=cache_dir,
        token=token,
    )
    plain, adapter = _split(path, weights, loaded)
    return _assemble(plain, adapter, loaded)


def read_state_dict(path: str | Path, key: str = "state_dict") -> dict[str, Tensor]:
    """Read the weights of a checkpoint, without the ``module.`` prefix and without ``position_ids``.

    Nothing in the file is run: what is no tensor or plain value is refused.

    Args:
        path: The file.
        key: Under which key it holds them, if not bare.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it holds anything else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"Argument `path` must be a file, but got {str(path)!r}, which is none.")
    try:
        with allowed_globals(_optimizer_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise CheckpointError(
                f"The checkpoint {path} cannot be read; it is no file of weights."
            ) from error
        raise CheckpointError(
            f"The checkpoint {path} is refused: besides weights it holds {refused.group(1)!r}, and loading"
            " such objects can run any code. Its author can save it again without:"
            ' `torch.save({"state_dict": model.state_dict()}, path)`.'
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read; it may be cut short: {error}"
        ) from error
    weights = content.get(key, content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise CheckpointError(f"The checkpoint {path} must hold a `{key}` of tensors, but holds none.")
    named: dict[str, Tensor] = {}
    for given, value in weights.items():
        if not isinstance(given, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"The checkpoint {path} must hold named tensors only, but has {type(value).__name__} under"
                f" {given!r}."
            )
        name = given.removeprefix(_DDP_PREFIX)
        if name in named:
            raise CheckpointError(
                f"The checkpoint {path} holds {name!r} twice, with and without `{_DDP_PREFIX}`."
            )
        if not name.endswith("position_ids"):
            named[name] = value
    return named


def _optimizer_globals() -> list[Any]:
    """The harmless names that NumPy scalars in an optimizer's state need, under their old and new modules."""
    core: Any = np._core if hasattr(np, "_core") else np.core
    scalar = core.multiarray.scalar
    return [
        np.dtype,
        np.float64,
        np.float32,
        np.int64,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
    ]


def _find_base(path: str | Path, weights: Mapping[str, Tensor]) -> str:
    positions = weights.get(_PEFT_TOWER + _POSITIONS.removeprefix(_TOWER))
    rows = None if positions is None or positions.ndim != 2 else positions.shape[0]
    if rows not in BASES:
        seen = "it has none" if rows is None else f"it has {rows} rows"
        raise CheckpointError(
            f"The base of the checkpoint {path} cannot be told from its position embedding: {seen}, and the"
            f" authors' models have {', '.join(map(str, BASES))}. Pass `base=` with the CLIP model that it"
            " was trained from."
        )
    return BASES[rows]


def _split(
    path: str | Path, weights: Mapping[str, Tensor], base: Base
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the plain model and of the adapter, under today's names and checked against the base."""
    layout: dict[str, tuple[str, tuple[int, ...], bool]] = {}
    for key, tensor in base.model.state_dict().items():
        if key == "logit_scale" or key.endswith("position_ids"):
            continue
        shape = tuple(tensor.shape)
        adapted = _ADAPTED.fullmatch(key)
        if adapted is None:
            old = _PEFT_TOWER + key.removeprefix(_TOWER) if key.startswith(_TOWER) else key
            layout[old] = (key, shape, False)
            continue
        layer, kind = adapted.groups()
        layout[f"{_PEFT_TOWER}{layer}.base_layer.{kind}"] = (key, shape, False)
        if kind == "weight":
            for factor, size in (("lora_A", (LORA_RANK, shape[1])), ("lora_B", (shape[0], LORA_RANK))):
                new = f"base_model.model.{_TOWER}{layer}.{factor}.weight"
                layout[f"{_PEFT_TOWER}{layer}.{factor}.default.weight"] = (new, size, True)

    wrong = [
        f"{key}: {tuple(weights[key].shape)} instead of {shape}"
        for key, (_, shape, _) in layout.items()
        if key in weights and tuple(weights[key].shape) != shape
    ]
    missing, extra = layout.keys() - weights.keys(), weights.keys() - layout.keys()
    if missing or extra or wrong:
        raise CheckpointError(
            f"The checkpoint {path} must hold exactly the authors' tensors on the base `{base.name}`, but of"
            f" {len(layout)} {describe_keys(missing=missing, extra=extra, of_a_wrong_shape=wrong)}."
        )
    invalid = [key for key in layout if not bool(torch.isfinite(weights[key]).all())]
    if invalid:
        raise CheckpointError(
            f"The checkpoint {path} must hold finite weights, but {describe_keys(not_finite=invalid)}."
        )
    plain: dict[str, Tensor] = {}
    adapter: dict[str, Tensor] = {}
    for old, (new, _, belongs_to_adapter) in layout.items():
        (adapter if belongs_to_adapter else plain)[new] = weights[old].to(torch.float32)
    return plain, adapter


def _assemble(plain: dict[str, Tensor], adapter: dict[str, Tensor], base: Base) -> Checkpoint:
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    adapter[f"base_model.model.{_PROJECTION}"] = plain.pop(_PROJECTION)
    original = base.model.state_dict()
    foreign = tuple(
        key for key, tensor in plain.items() if not torch.allclose(tensor, original[key], rtol=0.0, atol=1e-6)
    )
    # The adapter's own copy of the projection is trained; the base keeps its own, and its `logit_scale`.
    kept = {key: original[key] for key in original.keys() - plain.keys()}
    base.model.load_state_dict({**plain, **kept}, strict=True)
    model = get_peft_model(base.model, unisim_lora(base.name))
    result: Any = set_peft_model_state_dict(model, dict(adapter))  # old versions of peft rename in place
    names = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    if result.unexpected_keys or names != adapter.keys():
        raise CheckpointError(
            "This version of peft names the adapter's weights in another way than the one expected."
        )
    return Checkpoint(model.eval(), base, foreign)
