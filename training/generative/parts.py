"""The parts of a vision-language model, which learn at rates of their own, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import nn

Part = Literal["vision_tower", "projector", "language_model"]
PARTS: tuple[Part, ...] = get_args(Part)

# As the classes of transformers call them. Where the projector lies inside the tower's module, as the merger of
# Qwen2-VL, it is the projector all the same.
_PROJECTOR = re.compile(
    r"(^|\.)(multi_modal_projector|connector|merger|image_newline|modality_projection)(\.|$)"
)
_TOWER = re.compile(r"(^|\.)(vision_tower|vision_model|visual)\.")


def part_of(name: str) -> Part:
    """Return the part that the parameter of this name belongs to."""
    if _PROJECTOR.search(name):
        return "projector"
    return "vision_tower" if _TOWER.search(name) else "language_model"


def freeze(model: nn.Module, rates: Mapping[Part, float]) -> None:
    """Keep the parameters of the parts whose rate is 0 as they are.

    Raises:
        ValueError: If nothing is left to train.
    """
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and rates[part_of(name)] > 0)
        trained += parameter.requires_grad
    if not trained:
        raise ValueError(
            "Setting learning_rates must be above 0 for a part of the model, but nothing is left to train."
        )


def parameter_groups(
    model: nn.Module, rates: Mapping[Part, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Group the parameters that are trained by their part, for an optimizer.

    Args:
        model: The model.
        rates: The peak learning rate of each part.
        weight_decay: Of tensors of two and more dimensions; there is none on biases and gains.

    Returns:
        Groups with `params`, `lr`, `weight_decay`, and `name`: the part, or `part/no_decay`.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = part_of(name)
        decays = parameter.ndim > 1 and weight_decay > 0
        title = part if decays or weight_decay == 0 else f"{part}/no_decay"
        group = groups.setdefault(
            title,
            {"name": title, "lr": rates[part], "weight_decay": weight_decay if decays else 0.0, "params": []},
        )
        group["params"].append(parameter)
    return list(groups.values())


def still_modules(model: nn.Module, rates: Mapping[Part, float]) -> list[nn.Module]:
    """The modules that stay in evaluation mode while the model is trained.

    They are those of a frozen vision tower, and every batch normalisation: a batch of a few dialogues gives no
    statistics to normalise by.
    """
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        or (rates["vision_tower"] == 0 and part_of(f"{name}.") == "vision_tower")
    ]
