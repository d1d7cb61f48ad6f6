"""Files of weights as their authors published them, read strictly; or none, and weights that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.clip import read_state_dict
from unisim_metrics.models.checkpoints.weight_checks import check_finite, describe_keys

# Numbers that OpenAI's files hold beside the weights.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")

RANDOM = Path("random weights")
"""In place of a file: the model is built as for its own file, and its weights are drawn."""


def read_weights(path: Path, key: str = "state_dict") -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a pickle, of which nothing is run; nothing of `RANDOM`.

    Args:
        path: The file.
        key: Under which key a pickle holds them, if not bare.

    Raises:
        CheckpointError: If it cannot be read, or holds anything else.
    """
    if path is RANDOM:
        return {}
    if path.suffix != ".safetensors":
        return read_state_dict(path, key)
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read: {error}") from error


def load_exactly(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model, which must be exactly its own; for `RANDOM` draw them.

    Args:
        model: The model.
        weights: The weights, by the model's own names; none for `RANDOM`.
        path: What error texts call the file.

    Raises:
        CheckpointError: If a tensor is missing, left over, of another shape, or not finite.
    """
    if path is RANDOM:
        weights = draw_weights(model)
    check_exactly(model.state_dict(), weights, path)
    model.load_state_dict(dict(weights))
    check_finite(str(path), model)


def draw_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of a model drawn at random, the same on every machine, of the variance that keeps that of a layer.

    Matrices and kernels are normal with the variance 1 / fan-in, single numbers and biases 0, other vectors, which are
    gains, 1.

    Args:
        model: The model; what stands in it plays no part.
    """
    drawn = {}
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            drawn[name] = tensor
        elif tensor.ndim > 1:
            fan_in = tensor[0].numel()
            drawn[name] = torch.randn(tensor.shape, generator=generator).to(tensor.dtype) / fan_in**0.5
        elif tensor.ndim == 0 or name.endswith("bias"):
            drawn[name] = torch.zeros_like(tensor)
        else:
            drawn[name] = torch.ones_like(tensor)
    return drawn


def check_exactly(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not exactly a model's own.

    Args:
        wanted: The model's, of any device: their shapes count.
        weights: The weights, by the model's own names.
        path: What error texts call the file.

    Raises:
        CheckpointError: If a tensor is missing, left over, or of another shape.
    """
    misshapen = [
        f"{key}: {tuple(weights[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    missing, extra = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or extra or misshapen:
        told = describe_keys(missing=missing, extra=extra, of_a_wrong_shape=misshapen)
        raise CheckpointError(f"The weights in {path} must be exactly the model's, but {told}.")


def build_clip(weights: Mapping[str, Tensor], architecture: Mapping[str, Any], path: Path) -> nn.Module:
    """Build a CLIP of open_clip from weights in the layout that it shares with OpenAI's.

    Args:
        weights: The weights.
        architecture: The sizes, as ``open_clip.get_model_config`` gives them.
        path: What error texts call the file.

    Returns:
        The model in float32, on the CPU.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    import open_clip

    model: nn.Module = open_clip.CLIP(**architecture)
    load_exactly(model, {key: tensor for key, tensor in weights.items() if key not in _NO_WEIGHTS}, path)
    return model.eval()
