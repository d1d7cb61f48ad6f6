"""The LoRA of UniSim's CLIP models, and a merge that gives the same weights on every machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from peft import LoraConfig

LORA_RANK = 16
LORA_ALPHA = 32
LORA_DROPOUT = 0.2
# The linear layers of the vision tower, as the authors adapt them; a plain list would also hit the text
# tower.
LORA_LAYERS = r".*vision_model\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"

_WEIGHTS = "adapter_model.safetensors"
_BASE_HASH = "unisim_base_sha256"

# Bits of a float64's significand: an integer of as many bits is held exactly.
_EXACT_BITS = 53


def unisim_lora(base_name: str | None = None) -> LoraConfig:
    """The adapter of UniSim's CLIP models, for a full ``CLIPModel``.

    Rank 16, alpha 32, dropout 0.2 on every linear layer of the vision tower; the visual projection is trained
    densely (the authors' released code; paper, Appendix B).

    Args:
        base_name: The base model's Hub id or directory. Without it a saved adapter cannot find its base.

    Returns:
        A ``peft.LoraConfig``.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=LORA_DROPOUT,
        bias="none",
        target_modules=LORA_LAYERS,
        modules_to_save=["visual_projection"],
        base_model_name_or_path=base_name,
    )


def write_base_hash(directory: Path, digest: str) -> None:
    """Note with a saved adapter's weights, where peft passes over it, from which base they were trained.

    Only the header is written anew: safetensors itself would put its entries in another order each time.
    """
    file = directory / _WEIGHTS
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header.setdefault("__metadata__", {})[_BASE_HASH] = digest
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)
    file.write_bytes(len(written).to_bytes(8, "little") + written + content[end:])


def read_base_hash(directory: Path) -> str | None:
    """What ``write_base_hash`` noted; None for adapters that others wrote."""
    from safetensors import safe_open

    file = directory / _WEIGHTS
    if not file.is_file():
        return None
    with safe_open(file, "pt") as weights:
        return (weights.metadata() or {}).get(_BASE_HASH)


def is_peft_model(module: nn.Module) -> bool:
    """Whether ``module`` is a ``peft.PeftModel``; peft is not imported to find out."""
    return any(
        kind.__name__ == "PeftModel" and kind.__module__.startswith("peft") for kind in type(module).__mro__
    )


def merge_lora(model: Any) -> nn.Module:
    """Merge the adapter of a ``PeftModel`` into its base, in place.

    The product of the two low-rank matrices is rounded in another way by each matrix-multiplication kernel,
    so merging on two kinds of machine gives weights that differ in a last bit here and there, and with them
    another hash. Here the factors are first put on a grid on which the whole product is exact in float64.

    Args:
        model: The ``peft.PeftModel``; it is used up.

    Returns:
        The base model with the adapter merged.
    """
    from peft.tuners.lora import Linear

    for layer in model.get_base_model().modules():
        if isinstance(layer, Linear) and _is_plain(layer):
            _merge_layer(layer)
    merged: nn.Module = model.merge_and_unload()
    return merged


def _is_plain(layer: Any) -> bool:
    """Whether a layer is W + scaling·B·A and no more: other variants are left to peft."""
    active = layer.active_adapters
    return (
        len(active) == 1
        and active[0] in layer.lora_A
        and not layer.merged
        and not layer.use_dora.get(active[0], False)
        and not layer.fan_in_fan_out
        and type(layer.lora_A[active[0]]) is nn.Linear
        and type(layer.base_layer) is nn.Linear
        and layer.lora_B[active[0]].bias is None
    )


@torch.no_grad()
def _merge_layer(layer: Any) -> None:
    """Merge one layer, and leave nothing for peft to add."""
    (adapter,) = layer.active_adapters
    down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    bits = (_EXACT_BITS - math.ceil(math.log2(max(down.shape[0], 2)))) // 2
    update = _on_grid(up, bits) @ _on_grid(down, bits)
    weight: Tensor = layer.base_layer.weight
    weight.copy_(weight.double() + update * float(layer.scaling[adapter]))
    up.zero_()


def _on_grid(matrix: Tensor, bits: int) -> Tensor:
    """Round to ``bits`` binary digits below the largest entry's power of two, in float64."""
    matrix = matrix.double()
    _, exponent = torch.frexp(matrix.abs().max())
    step = 2.0 ** (int(exponent) - bits)
    return torch.round(matrix / step) * step
