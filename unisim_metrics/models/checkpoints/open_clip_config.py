"""What a configuration of open_clip may say: it is data, and no option for another library's loader."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import read_json

CONFIG_NAME = "open_clip_config.json"

_MODEL_KEYS = frozenset(
    {
        "embed_dim",
        "vision_cfg",
        "text_cfg",
        "multimodal_cfg",
        "custom_text",
        "quick_gelu",
        "init_logit_scale",
        "init_logit_bias",
        "nonscalar_logit_scale",
    }
)
# The rest of what a tokenizer's constructor takes names files, draws at random, or lets code of the directory run.
_TOKENIZER_KEYS = frozenset({"clean", "strip_sep_token", "language"})


def read_local_config(directory: Path) -> dict[str, Any]:
    """Read and check the configuration in a directory.

    Raises:
        CheckpointError: If there is none, or it asks for what it may not.
    """
    file = directory / CONFIG_NAME
    if not file.is_file():
        raise CheckpointError(f"The directory {directory} must hold `{CONFIG_NAME}`, but has none.")
    config = read_json(file)
    check_config(config, str(file), may_fetch=False)
    return config


def read_hub_config(repository: str, cache_dir: str | None) -> dict[str, Any]:
    """Fetch and check the configuration of a repository on the Hub.

    Raises:
        CheckpointError: If it asks for what it may not.
        OSError: If it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download

    config = read_json(Path(hf_hub_download(repository, CONFIG_NAME, cache_dir=cache_dir)))
    check_config(config, f"{repository}/{CONFIG_NAME}", may_fetch=True)
    tower = config["model_cfg"]["text_cfg"].get("hf_model_name")
    if tower:
        _check_text_tower(tower, f"{repository}/{CONFIG_NAME}", cache_dir)
    return config


def check_config(config: Mapping[str, Any], source: str, *, may_fetch: bool) -> None:
    """Refuse whatever is not a plain description of two towers.

    Args:
        config: The configuration as it was read.
        source: What error texts call it.
        may_fetch: Whether it may name repositories of the Hub that are fetched for it.

    Raises:
        CheckpointError: If it holds a key that is not known to be harmless, or names a tower that would be fetched.
    """
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    model = config.get("model_cfg")
    if not isinstance(model, dict):
        raise CheckpointError(f"The file {source} must hold an object `model_cfg`, but holds none.")
    _check_keys(model, _MODEL_KEYS, source, "model_cfg")
    towers = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg, "multimodal_cfg": MultimodalCfg}
    for name, kind in towers.items():
        tower = model.get(name, {} if name == "multimodal_cfg" else None)
        if not isinstance(tower, dict):
            raise CheckpointError(
                f"The file {source} must hold an object `model_cfg.{name}`, but holds none."
            )
        _check_keys(tower, {field.name for field in dataclasses.fields(kind)}, source, name)
        if tower.get("hf_model_name") and not may_fetch:
            raise CheckpointError(
                f"The file {source} names the text tower {tower['hf_model_name']!r}, which would be fetched from"
                " elsewhere. If you trust it, create the model with open_clip and pass it to `load_model`."
            )
        _check_timm_name(tower.get("timm_model_name"), source)
    tokenizer_options(model, source)


def tokenizer_options(model: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What the configuration says of the tokenizer, checked.

    Raises:
        CheckpointError: If it says what it may not.
    """
    options = model["text_cfg"].get("tokenizer_kwargs") or {}
    if not isinstance(options, dict):
        raise CheckpointError(
            f"The file {source} must hold an object `tokenizer_kwargs`, but has {options!r}."
        )
    _check_keys(options, _TOKENIZER_KEYS, source, "tokenizer_kwargs")
    return options


def says_preprocessing(config: Mapping[str, Any]) -> bool:
    """Whether a configuration says how images are prepared."""
    settings = config.get("preprocess_cfg")
    return isinstance(settings, dict) and {"mean", "std"} <= settings.keys()


def preprocessing_of_file(architecture: str) -> dict[str, Any] | None:
    """How images are prepared for weights in a file: as for all published weights of the architecture.

    Returns:
        Mean, std, interpolation and resize mode; None if the published weights differ, or there are none.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg

    standard = dataclasses.asdict(PreprocessCfg())
    wanted = ("mean", "std", "interpolation", "resize_mode")
    found = {
        json.dumps(
            {
                name: (open_clip.get_pretrained_cfg(architecture, tag) or {}).get(name, standard[name])
                for name in wanted
            }
        )
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    }
    settings: dict[str, Any] | None = json.loads(found.pop()) if len(found) == 1 else None
    return settings


def _check_keys(found: Mapping[str, Any], known: frozenset[str] | set[str], source: str, name: str) -> None:
    unknown = sorted(found.keys() - known)
    if unknown:
        raise CheckpointError(
            f"The file {source} must have in `{name}` none but {sorted(known)}, but has {unknown}: what a file says is"
            " data, and is not passed on to other libraries."
        )


def _check_text_tower(name: str, source: str, cache_dir: str | None) -> None:
    """Refuse a text tower whose class transformers would take from the Hub; open_clip would ask at the terminal."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(name, cache_dir=cache_dir, trust_remote_code=False)
    except ValueError as error:
        raise CheckpointError(f"The text tower {name!r} that {source} names is refused: {error}") from error


def _check_timm_name(name: Any, source: str) -> None:
    if not name:
        return
    import timm

    if not isinstance(name, str) or not timm.is_model(name):
        raise CheckpointError(
            f"The file {source} must name an image tower that timm has, but names {name!r}."
        )
