"""What differs between versions of transformers and of torch, and which of them a kind of model needs."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

from unisim_metrics.models.hashing import plain_name

# The oldest that generative models, and the judges made of them, are tried with.
GENERATIVE_TRANSFORMERS = "5.20"

# From this version on CLIP's towers are not nested in a `VisionTextDualEncoderModel`.
_FLAT_TOWERS = "5.6"
_CLIP_TOWERS = {
    "text_model.": ("text_config", "clip_text_model"),
    "vision_model.": ("vision_config", "clip_vision_model"),
}


def require_transformers(what: str, version: str) -> None:
    """Refuse what an older transformers than the package's own floor does not serve.

    Args:
        what: What is asked for, as the first words of the error.
        version: The version that it needs, or newer.

    Raises:
        ImportError: If the one installed is older; the message names both.
    """
    installed = metadata.version("transformers")
    if Version(installed) < Version(version):
        raise ImportError(
            f"{what} needs transformers>={version}, but {installed} is installed: pip install"
            f" 'transformers>={version}'. Encoders and metrics run with the one that is installed."
        )


def stable_weights(model: Any) -> dict[str, Tensor]:
    """The weights of a model of two towers, by names that do not change with the version of transformers.

    They are the names in its files, to which newer versions change their own back when they save. Versions before
    5.6 nest CLIP's towers in a `VisionTextDualEncoderModel` once more, and old Swins save an index that follows from
    their sizes: neither counts.

    Args:
        model: A ``CLIPModel`` or ``VisionTextDualEncoderModel`` without an adapter.
    """
    model = getattr(model, "_orig_mod", model)  # of a compiled model
    weights: dict[str, Tensor] = {plain_name(name): weight for name, weight in model.state_dict().items()}
    if Version(metadata.version("transformers")) >= Version(_FLAT_TOWERS):
        loading: Any = import_module("transformers.core_model_loading")
        weights = loading.revert_weight_conversion(model, weights)
    for tower in _CLIP_TOWERS:
        weights = {
            tower + name.removeprefix(tower + tower) if name.startswith(tower + tower) else name: weight
            for name, weight in weights.items()
        }
    return {name: weight for name, weight in weights.items() if not name.endswith(".relative_position_index")}


def nested_weights(directory: Path, config: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The weights of a `VisionTextDualEncoderModel` that a newer transformers wrote, by the names that this one reads.

    Args:
        directory: As ``save_pretrained`` writes it.
        config: The content of its ``config.json``.

    Returns:
        The weights; None where this transformers reads the names in the files itself.
    """
    if config.get("model_type") != "vision-text-dual-encoder":
        return None
    if Version(metadata.version("transformers")) >= Version(_FLAT_TOWERS):
        return None
    from safetensors.torch import load_file

    towers = [
        tower
        for tower, (part, kind) in _CLIP_TOWERS.items()
        if (config.get(part) or {}).get("model_type") == kind
    ]
    # All that newer versions write.
    weights = {
        name: tensor
        for path in sorted(directory.glob("model*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    nested = {
        tower + name: name
        for tower in towers
        for name in weights
        if name.startswith(tower) and not name.startswith(tower + tower)
    }
    if not nested:
        return None
    old = {name: longer for longer, name in nested.items()}
    return {old.get(name, name): tensor for name, tensor in weights.items()}


@contextmanager
def allowed_globals(names: Sequence[Any | tuple[Callable[..., Any], str]]) -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` build more than tensors while a block runs.

    It is torch's ``safe_globals``, which torch 2.4 does not have.

    Args:
        names: Classes and functions, or pairs of one and the full name that files have for it.
    """
    if hasattr(torch.serialization, "safe_globals"):
        with torch.serialization.safe_globals(list(names)):
            yield
        return
    before = list(torch.serialization.get_safe_globals())
    # The bytes of NumPy's scalars, which newer versions allow by themselves, are texts that are encoded.
    named = [_by_name(*one) if isinstance(one, tuple) else one for one in names]
    torch.serialization.add_safe_globals([codecs.encode, *named])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _by_name(function: Callable[..., Any], full_name: str) -> Callable[..., Any]:
    """A function that is known by another name."""

    def named(*values: Any) -> Any:
        return function(*values)

    named.__module__, _, named.__name__ = full_name.rpartition(".")
    return named
