"""What differs between the versions of transformers, and which of them a kind of model needs."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

from packaging.version import Version
from torch import Tensor

from unisim_metrics.models.hashing import plain_name

# The oldest that generative models, and the judges made of them, are tried with.
GENERATIVE_TRANSFORMERS = "5.20"


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
    if Version(metadata.version("transformers")) >= Version("5.6"):
        loading: Any = import_module("transformers.core_model_loading")
        weights = loading.revert_weight_conversion(model, weights)
    for tower in ("text_model.", "vision_model."):
        weights = {
            tower + name.removeprefix(tower + tower) if name.startswith(tower + tower) else name: weight
            for name, weight in weights.items()
        }
    return {name: weight for name, weight in weights.items() if not name.endswith(".relative_position_index")}
