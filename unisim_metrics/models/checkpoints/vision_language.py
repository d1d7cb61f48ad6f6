"""Reading directories with vision-language models of transformers, strictly."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from unisim_metrics.errors import CheckpointError
from unisim_metrics.images import Resample
from unisim_metrics.models.checkpoints.config_checks import check_model_config
from unisim_metrics.models.checkpoints.directories import Base, load_adapter, no_progress_bar, read_json
from unisim_metrics.models.checkpoints.weight_checks import check_finite, check_keys
from unisim_metrics.models.generative.model import GenerativeModel
from unisim_metrics.models.lora import merge_lora
from unisim_metrics.models.versions import GENERATIVE_TRANSFORMERS, require_transformers

# Buffers that older versions of transformers saved.
_OLD_BUFFERS = ("position_ids", "inv_freq")


def is_generative(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a model which writes text about images and text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    # transformers counts BLIP among them; it embeds, or describes a single image, and answers no questions.
    return (
        config.get("model_type") != "blip"
        and config.get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    )


def load_generative(
    directory: Path,
    name: str,
    *,
    adapter: Path | None = None,
    processor: Any = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    device_map: Any = None,
    resample: Resample = "bicubic",
    **judging: Any,
) -> GenerativeModel:
    """Load a directory as a perceptual model, for now on the CPU if there is no `device_map`.

    Args:
        directory: As `save_pretrained` of the model and of its processor writes it.
        name: What the signature calls the model.
        adapter: Directory of an adapter of peft for this model; it is merged. Its processor, if there is one, is taken.
        processor: The processor, if not the directory's own.
        device: Where the model will go.
        dtype: Type of the weights; by default float32 on a CPU, the file's own on an accelerator.
        device_map: How the weights are spread over devices instead.
        resample: How images are resized, for the directory's own processor.
        judging: What else ``GenerativeModel`` takes.

    Raises:
        ValueError: If the processor is missing or does not fit.
        CheckpointError: If weights are not exactly the model's, or the adapter's.
        ImportError: If transformers is too old for generative models.
    """
    if dtype is None and device_map is None and torch.device(device or "cpu").type == "cpu":
        dtype = torch.float32
    if processor is None:
        beside = adapter if adapter and (adapter / "processor_config.json").is_file() else directory
        processor = read_processor(beside, resample)
    backbone = read_generative(directory, dtype, device_map)
    if adapter is not None:
        backbone = merge_lora(load_adapter(adapter, Base(backbone, directory, str(directory))))
    return GenerativeModel(backbone.requires_grad_(False), processor, name, **judging)


def wrap_generative(
    module: Any, processor: Any = None, resample: Resample = "bicubic", **judging: Any
) -> GenerativeModel:
    """Use a user's own model of transformers.

    Args:
        module: The model.
        processor: Its processor; by default that of the directory which the model was read from.
        resample: How images are resized, for that default.
        judging: What else ``GenerativeModel`` takes.

    Raises:
        ValueError: If there is no processor.
        ImportError: If transformers is too old for generative models.
    """
    require_transformers("A generative model", GENERATIVE_TRANSFORMERS)
    kind = type(module).__name__
    if processor is None:
        source = Path(str(getattr(module, "name_or_path", "") or ""))
        if not (source / "config.json").is_file():
            raise ValueError(
                f"Argument `processor` must be given for a {kind} that was not read from a directory: pass"
                " `transformers.AutoProcessor.from_pretrained(...)`."
            )
        processor = read_processor(source, resample)
    return GenerativeModel(module, processor, kind, **judging)


def read_generative(directory: Path, dtype: torch.dtype | None = None, device_map: Any = None) -> Any:
    """Read a model of `AutoModelForImageTextToText`.

    Args:
        directory: As `save_pretrained` writes it.
        dtype: Type of the weights; the file's own if None.
        device_map: How the weights are spread over devices, as transformers takes it; on the CPU if None.

    Returns:
        The model, in evaluation mode, without gradients.

    Raises:
        CheckpointError: If weights are missing, left over, of a wrong shape, or do not fit the devices.
        ModuleNotFoundError: If `device_map` is given and accelerate is not installed.
        ImportError: If transformers is too old for generative models.
    """
    require_transformers("A generative model", GENERATIVE_TRANSFORMERS)
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    check_device_map(device_map)
    check_model_config(read_json(directory / "config.json"), str(directory / "config.json"))
    try:
        with no_progress_bar():
            read: Any = AutoModelForImageTextToText.from_pretrained(
                directory,
                dtype="auto" if dtype is None else dtype,
                device_map=device_map,
                output_loading_info=True,
                local_files_only=True,
                weights_only=True,
                trust_remote_code=False,
            )
            backbone, report = read
    except (OSError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        raise CheckpointError(f"The model in {directory} cannot be read: {error}") from error
    check_keys(
        str(directory),
        missing=report["missing_keys"],
        extra=[key for key in report["unexpected_keys"] if not key.endswith(_OLD_BUFFERS)],
    )
    check_loaded(str(directory), backbone)
    return backbone.eval().requires_grad_(False)


def check_device_map(device_map: Any) -> None:
    """Raise a `ModuleNotFoundError` if weights are to be spread over devices, and accelerate is not installed."""
    if device_map is not None and importlib.util.find_spec("accelerate") is None:
        raise ModuleNotFoundError(
            "Argument `device_map` needs accelerate, which is not installed: `pip install accelerate`."
        )


def check_loaded(source: str, backbone: Any) -> None:
    """Raise a `CheckpointError` if a weight lies on a disk, for want of room, or is not finite."""
    if any(weight.is_meta for weight in backbone.parameters()):
        raise CheckpointError(
            f"The model in {source} does not fit the devices of `device_map`, and weights that lie on a disk are not"
            " supported: take a smaller `dtype`, or more devices."
        )
    check_finite(source, backbone)


def read_processor(directory: Path, resample: Resample = "bicubic") -> Any:
    """The processor beside a model.

    Args:
        directory: The model's.
        resample: ``"bicubic"`` for the image processor that transformers prefers, ``"pil"`` for Pillow's.

    Raises:
        ValueError: If there is none that prepares images and text.
        ImportError: If transformers is too old for generative models.
    """
    require_transformers("A generative model", GENERATIVE_TRANSFORMERS)
    import transformers

    auto: Any = transformers
    try:
        processor = auto.AutoProcessor.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
        if resample == "pil" and hasattr(processor, "image_processor"):
            processor.image_processor = auto.AutoImageProcessor.from_pretrained(
                directory, backend="pil", local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ValueError(
            f"The directory {directory} must hold the model's processor, but it cannot be read: {error}"
        ) from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ValueError(
            f"The directory {directory} must hold the processor of a vision-language model (`processor_config.json`,"
            f" `preprocessor_config.json`), but holds only a {type(processor).__name__}."
        )
    return processor
