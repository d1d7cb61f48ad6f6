"""Reading directories in the formats of transformers and peft, strictly."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from unisim_metrics.errors import CheckpointError
from unisim_metrics.images import Preprocessing
from unisim_metrics.models.checkpoints.config_checks import check_adapter_config, check_model_config
from unisim_metrics.models.checkpoints.weight_checks import check_finite, check_keys
from unisim_metrics.models.hashing import hash_weights
from unisim_metrics.models.lora import read_base_hash
from unisim_metrics.models.registry import REGISTRY
from unisim_metrics.models.sources.hub import fetch_snapshot, is_hub_id
from unisim_metrics.models.versions import nested_weights, stable_weights

__all__ = [
    "PROCESSOR_FILES",
    "Base",
    "dual_encoder_class",
    "find_base",
    "has_clip_texts",
    "is_adapter",
    "load_adapter",
    "load_base",
    "no_progress_bar",
    "other_ways",
    "read_dual_encoder",
    "read_json",
    "read_preprocessing",
    "read_tokenizer",
]

PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model")


@dataclass(frozen=True)
class Base:
    """The model that an adapter or checkpoint was trained from.

    Attributes:
        model: The model of transformers; a ``CLIPModel`` or ``VisionTextDualEncoderModel`` in float32, on the CPU.
        directory: Where its tokenizer and processor are.
        name: Its Hub id or the directory as the user gave it.
    """

    model: Any
    directory: Path
    name: str

    def weights_hash(self) -> str:
        """SHA-256 of the weights as they are now."""
        is_dual = dual_encoder_class(self.model.config.to_dict()) is not None
        return hash_weights(stable_weights(self.model) if is_dual else self.model.state_dict())


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar for reading or writing a local file."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter of peft."""
    return (directory / "adapter_config.json").is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: If the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"The file {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"The file {path} must hold a JSON object, but holds {type(content).__name__}.")
    return content


def read_dual_encoder(directory: Path) -> Any:
    """Read a full CLIP model, or any image tower that is joined to a text tower.

    Args:
        directory: As ``save_pretrained`` of ``CLIPModel`` or ``VisionTextDualEncoderModel`` writes it.

    Returns:
        That model in float32, whatever the file stores, on the CPU.

    Raises:
        ValueError: If the directory holds another kind of model, or none.
        CheckpointError: If weights are missing, left over or of a wrong shape.
    """
    from safetensors import SafetensorError

    config = directory / "config.json"
    if not config.is_file():
        raise ValueError(
            f"The directory {directory} must hold a model's `config.json` or an adapter's"
            " `adapter_config.json`, but has neither."
        )
    settings = read_json(config)
    check_model_config(settings, str(config))
    kind = dual_encoder_class(settings)
    if kind is None:
        raise ValueError(
            f"The directory {directory} must hold a CLIP model of transformers or a `VisionTextDualEncoderModel`, but"
            f" holds one of type {settings.get('model_type')!r}. {other_ways()}"
        )
    try:
        weights = nested_weights(directory, settings)
        source: dict[str, Any] = {"pretrained_model_name_or_path": directory}
        if weights is not None:
            source = {
                "pretrained_model_name_or_path": None,
                "config": kind.config_class.from_pretrained(directory, local_files_only=True),
                "state_dict": weights,
            }
        with no_progress_bar(), torch.device("cpu"):  # whatever `torch.set_default_device` says
            read: Any = kind.from_pretrained(
                **source,
                output_loading_info=True,
                local_files_only=True,
                weights_only=True,
                trust_remote_code=False,
            )
            model, report = read
    except (OSError, RuntimeError, ValueError, AttributeError, SafetensorError, UnpicklingError) as error:
        raise CheckpointError(f"The model in {directory} cannot be read: {error}") from error
    check_keys(
        str(directory),
        missing=report["missing_keys"],
        extra=[key for key in report["unexpected_keys"] if not key.endswith("position_ids")],
    )
    check_finite(str(directory), model)
    # Images keep their layout through convolutions whose weights have the channels last: on CPUs an
    # EfficientNet is faster so, and a tower with one convolution no slower.
    return model.to(dtype=torch.float32, memory_format=torch.channels_last).eval()


def dual_encoder_class(config: Mapping[str, Any]) -> Any:
    """The class of transformers for a configuration of CLIP or of two towers that are joined; else None."""
    import transformers

    if config.get("model_type") == "clip":
        return transformers.CLIPModel
    if config.get("model_type") == "vision-text-dual-encoder":
        return transformers.VisionTextDualEncoderModel
    return None


def has_clip_texts(config: Mapping[str, Any]) -> bool:
    """Whether texts pass CLIP's text tower, given a configuration for which there is a ``dual_encoder_class``."""
    text = config.get("text_config") or {}
    return config.get("model_type") == "clip" or text.get("model_type") == "clip_text_model"


def other_ways() -> str:
    """How models that are no CLIP of transformers can be used."""
    return (
        "SigLIP, SigLIP 2 and MetaCLIP 2 load through open_clip: `open_clip:ARCHITECTURE/PRETRAINED`. For another"
        " pass a module with `encode_image` and `encode_text`, with `preprocessing=` and `tokenizer=`."
    )


def load_base(
    base: Any,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Base:
    """Load the model that an adapter or checkpoint was trained from; for the arguments see ``find_base``."""
    directory, name = find_base(base, revision=revision, cache_dir=cache_dir, token=token)
    return Base(read_dual_encoder(directory), directory, name)


def find_base(
    base: Any,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> tuple[Path, str]:
    """Find the model that an adapter or checkpoint was trained from.

    Args:
        base: A directory, a Hub id or a registry name.
        revision: For a Hub id.
        cache_dir: Where the Hub's cache is, if not where ``huggingface_hub`` puts it.
        token: For a private repository.

    Returns:
        Its directory, and its Hub id or the directory as it was given.

    Raises:
        ValueError: If ``base`` is none of these.
        ModelUnavailableError: If it cannot be fetched.
    """
    name = str(base)
    entry = REGISTRY.get(name)
    if entry is not None and entry.kind == "clip":
        name = entry.source
    directory = Path(base).expanduser()
    if not directory.is_dir():
        if not is_hub_id(name):
            raise ValueError(
                f"Argument `base` must be the directory or the Hub id of a model, but got {name!r}, which is neither."
            )
        directory = fetch_snapshot(name, revision, cache_dir, token)
    return directory, name


def load_adapter(directory: Path, base: Base) -> Any:
    """Put an adapter on its base.

    Args:
        directory: As ``PeftModel.save_pretrained`` writes it.
        base: Its base; the model is changed.

    Returns:
        The ``PeftModel``.

    Raises:
        CheckpointError: If the adapter's weights are not exactly those that its configuration asks for on
            this base. peft only warns of some, and leaves the model without them. Also if the adapter says that
            it was trained from other weights.
    """
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
    from safetensors import SafetensorError

    config = directory / "adapter_config.json"
    check_adapter_config(read_json(config), str(config))
    try:
        trained_from = read_base_hash(directory)
        if trained_from is not None and trained_from != base.weights_hash():
            raise CheckpointError(
                f"The adapter in {directory} was trained from other weights than those of `{base.name}`, on which"
                " it would give other scores: pass its own base."
            )
        weights = load_peft_weights(str(directory), device="cpu")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error below
            model = PeftModel.from_pretrained(base.model, str(directory), torch_device="cpu")
    except CheckpointError:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        SafetensorError,
        UnpicklingError,
    ) as error:
        raise CheckpointError(
            f"The adapter in {directory} does not fit the base `{base.name}`: {error}"
        ) from error
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    check_keys(str(directory), missing=sorted(wanted - weights.keys()), extra=sorted(weights.keys() - wanted))
    return model.to(base.model.dtype).eval()


def read_preprocessing(directory: Path, model: Any) -> Preprocessing:
    """How a model's images are prepared: as its processor's file says, else CLIP's way at a CLIP model's size.

    Raises:
        ValueError: If the file asks for something that is not supported, or there is none and the model is no CLIP.
    """
    settings: Any = None
    if (directory / "preprocessor_config.json").is_file():
        settings = read_json(directory / "preprocessor_config.json")
    elif (directory / "processor_config.json").is_file():
        settings = read_json(directory / "processor_config.json").get("image_processor")
    if settings is None and not has_clip_texts(model.config.to_dict()):
        raise ValueError(
            f"The directory {directory} must hold the image processor (`preprocessor_config.json`), but has none. Save"
            " it beside the model with `processor.save_pretrained(directory)`, or pass `preprocessing=`."
        )
    if settings is None:
        return Preprocessing(size=int(model.config.vision_config.image_size))
    try:
        return Preprocessing.from_transformers(settings)
    except ValueError as error:
        raise ValueError(
            f"The processor in {directory} is not supported: {error} Pass `preprocessing=` to choose another."
        ) from error


def read_tokenizer(*directories: Path) -> Any:
    """The tokenizer in the first of the directories that has one.

    Raises:
        ValueError: If none has.
    """
    from transformers import AutoTokenizer

    for directory in directories:
        if any((directory / name).is_file() for name in _TOKENIZER_FILES):
            try:
                return AutoTokenizer.from_pretrained(
                    directory, local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
                raise CheckpointError(f"The tokenizer in {directory} cannot be read: {error}") from error
    raise ValueError(
        f"The directory {directories[0]} must hold the model's tokenizer (`tokenizer.json`, `vocab.json` or"
        " `vocab.txt`), but has none. Save it beside the model with `tokenizer.save_pretrained(directory)`, or pass"
        " `tokenizer=`."
    )
