"""Gradients inside a sampling loop that runs without them, leaving every module as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


@contextmanager
def gradients(*modules: nn.Module, checkpointing: bool = False) -> Iterator[None]:
    """Compute with gradients, but none for the weights of some modules.

    Args:
        modules: Modules whose weights are held fixed.
        checkpointing: Whether those that can compute their activations again in the backward pass, which saves
            memory and costs time.
    """
    weights = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    parts = [part for module in modules for part in module.modules()] if checkpointing else []
    before = {part: dict(vars(part)) for part in parts if hasattr(part, "gradient_checkpointing")}
    for weight in weights:
        weight.requires_grad_(False)
    try:
        for module in modules if checkpointing else ():
            if getattr(module, "_supports_gradient_checkpointing", False):
                cast(Any, module).enable_gradient_checkpointing()
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
        for part, attributes in before.items():
            for name in ("gradient_checkpointing", "_gradient_checkpointing_func"):
                vars(part).pop(name, None)
                if name in attributes:
                    setattr(part, name, attributes[name])


def usable(value: Any) -> Any:
    """The same tensors, copied if they come from inference mode, which no gradient may pass; containers too."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, dict):
        return {key: usable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(usable(item) for item in value)
    return value


def unit(gradient: Tensor) -> Tensor:
    """Scale the gradient of each sample to a root mean square of one; a gradient of zero stays zero.

    Raises:
        ValueError: If a gradient is not finite.
    """
    gradient = gradient.float()
    size = rms(gradient)
    if not bool(size.isfinite().all()):
        raise ValueError(
            "The gradient of the reward is not finite, as happens in float16: load the pipeline in bfloat16 or its"
            " autoencoder in float32, or pass another by `vae=...`."
        )
    return gradient / size.clamp_min(torch.finfo(torch.float32).tiny)


def rms(values: Tensor) -> Tensor:
    """Root mean square of each sample of a batch, of a shape that broadcasts with it."""
    return values.square().mean(dim=tuple(range(1, values.ndim)), keepdim=True).sqrt()
