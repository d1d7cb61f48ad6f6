"""One hash for the weights of a model, the same on every machine and device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_state(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """What changes when a weight of ``module`` does: addresses and versions.

    It is cheap to take and compare, for every update of a metric takes it. Writing through
    ``parameter.data`` is the one change it does not see.
    """
    return tuple(
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        # `parameters()` would put together a name for each of them.
        for part in module.modules()
        for tensors in (part._parameters, part._buffers)
        for tensor in tensors.values()
        if tensor is not None
    )


# What wrappers put between the names of a module and of its weights: `torch.compile`, activation checkpointing, FSDP.
_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}


def hash_weights(weights: Mapping[str, object]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes, in the order of the names.

    Args:
        weights: A ``state_dict()``, of a compiled module too: names of wrappers do not count. Entries that are no
            tensors are left out.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    named = {plain_name(name): tensor for name, tensor in weights.items()}
    for name in sorted(named):
        tensor = named[name]
        if not isinstance(tensor, Tensor):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def plain_name(name: str) -> str:
    """A weight's name without those of wrappers."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
