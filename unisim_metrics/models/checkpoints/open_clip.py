"""Loading models of open_clip by name, from a directory, a file or the Hub."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import nn

from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.images import Preprocessing
from unisim_metrics.models.checkpoints.open_clip_config import (
    preprocessing_of_file,
    read_hub_config,
    read_local_config,
    says_preprocessing,
)
from unisim_metrics.models.checkpoints.weight_checks import check_finite
from unisim_metrics.models.encoders.open_clip import OpenCLIPEncoder

PREFIX = "open_clip:"
_HUB_SCHEME = "hf-hub:"
_LOCAL_SCHEME = "local-dir:"
# The vocabulary of OpenAI's CLIP, whose tokenizer open_clip carries with it.
_CLIP_VOCABULARY = 49408


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where a model of open_clip comes from.

    Attributes:
        architecture: What ``open_clip.create_model`` takes as its first argument.
        weights: What it takes as ``pretrained``.
        local: Whether nothing of it is fetched.
        options: What else ``create_model`` takes.
        tokenizer: What ``open_clip.get_tokenizer`` takes.
        prepared: Whether it is known how images are prepared.
    """

    architecture: str
    weights: str | None
    local: bool
    options: dict[str, Any]
    tokenizer: dict[str, Any]
    prepared: bool


def load_open_clip(
    spec: str,
    *,
    name: str | None = None,
    truncate: bool = True,
    preprocessing: Preprocessing | None = None,
    tokenizer: Any = None,
    cache_dir: str | Path | None = None,
) -> OpenCLIPEncoder:
    """Load a model of open_clip.

    Args:
        spec: ``"ARCHITECTURE/PRETRAINED"`` where the latter is a tag of open_clip or a file of weights, or
            ``"hf-hub:org/name"``, or ``"local-dir:path"``.
        name: What the signature calls the model.
        truncate: Whether texts longer than the context are cut.
        preprocessing: How images are prepared, if not as open_clip says.
        tokenizer: The tokenizer, if not open_clip's.
        cache_dir: Where downloads go, if not where open_clip puts them.

    Raises:
        ValueError: If the architecture or the weights are unknown, or none are named.
        ValueError: If it is not known how images are prepared and ``preprocessing`` is not given.
        CheckpointError: If a directory's or repository's configuration asks for what it may not, or weights do not
            fit.
        ModelUnavailableError: If the weights cannot be fetched.
    """
    import open_clip
    from safetensors import SafetensorError

    cache = None if cache_dir is None else str(cache_dir)
    source = _find(spec, cache)
    if preprocessing is None and not source.prepared:
        raise ValueError(
            f"Argument `preprocessing` must be given for `{PREFIX}{spec}`: neither it nor the published weights of the"
            " architecture say with which mean and std its images are prepared. Pass"
            " `unisim_metrics.images.Preprocessing(size=..., mean=..., std=...)`."
        )
    if source.weights is not None and source.local and name is None:
        name = f"{PREFIX}{source.architecture}/{Path(source.weights).name}"
    try:
        model = open_clip.create_model(
            source.architecture,
            pretrained=source.weights,
            cache_dir=cache,
            require_pretrained=True,
            weights_only=True,
            **source.options,
        )
    except FileNotFoundError:
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
        if source.local:
            raise CheckpointError(
                f"The weights of `{PREFIX}{spec}` do not fit the architecture: {error}"
            ) from error
        raise _unavailable(spec, error) from error
    check_finite(f"`{PREFIX}{spec}`", model)
    if tokenizer is None:
        try:
            tokenizer = open_clip.get_tokenizer(source.architecture, cache_dir=cache, **source.tokenizer)
        except (OSError, RuntimeError, ValueError) as error:
            if source.local and source.weights is None:
                raise CheckpointError(f"The tokenizer of `{PREFIX}{spec}` cannot be read: {error}") from error
            raise _unavailable(spec, error) from error
    return wrap_open_clip(
        model, name=name or PREFIX + spec, truncate=truncate, preprocessing=preprocessing, tokenizer=tokenizer
    )


def _find(spec: str, cache: str | None) -> _Source:
    """Read what a specification names, and check what others wrote of it."""
    for scheme, local in ((_LOCAL_SCHEME, True), (_HUB_SCHEME, False)):
        if not spec.startswith(scheme):
            continue
        place = spec.removeprefix(scheme)
        if local:
            if not Path(place).is_dir():
                raise FileNotFoundError(
                    f"The model `{PREFIX}{spec}` must name a directory, but there is none."
                )
            config = read_local_config(Path(place))
        else:
            try:
                config = read_hub_config(place, cache)
            except OSError as error:
                raise _unavailable(spec, error) from error
        return _Source(
            spec, None, local, {}, _tokenizer_arguments(config["model_cfg"]), says_preprocessing(config)
        )
    return _find_by_name(spec)


def _tokenizer_arguments(model_config: dict[str, Any]) -> dict[str, Any]:
    """Tokenizers of transformers are told to run no code; open_clip's own do not know the word."""
    text = model_config["text_cfg"]
    return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}


def _unavailable(spec: str, error: Exception) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The weights or the tokenizer of `{PREFIX}{spec}` could not be fetched: {error}\n"
        "Ways out:\n"
        "  - connect to the network (and unset HF_HUB_OFFLINE) and load again;\n"
        f"  - name a file of weights: load_model('{PREFIX}ARCHITECTURE/path/to/weights.safetensors'), and"
        " pass `tokenizer=` where the tokenizer is on the Hub too;\n"
        "  - use the model that comes with the package: load_model('unisim-mini')."
    )


def wrap_open_clip(
    module: nn.Module,
    *,
    name: str,
    truncate: bool = True,
    preprocessing: Preprocessing | None = None,
    tokenizer: Any = None,
) -> OpenCLIPEncoder:
    """Wrap a model of open_clip; preprocessing and tokenizer are found from it where they can be.

    Raises:
        ValueError: If the tokenizer cannot be found from the model, or its preprocessing is not supported.
    """
    if preprocessing is None:
        preprocessing = _preprocessing(module)
    if tokenizer is None:
        tokenizer = _tokenizer(module)
    return OpenCLIPEncoder(module, tokenizer, name, preprocessing, truncate)


def _find_by_name(spec: str) -> _Source:
    """What ``ARCHITECTURE/PRETRAINED`` names, each known to open_clip."""
    import open_clip

    architecture, _, weights = spec.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(f'`{match}`' for match in close)}?" if close else ""
        raise ValueError(f"The architecture {architecture!r} is not known to open_clip.{hint}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not weights:
        raise ValueError(
            f"The model `{PREFIX}{spec}` must name its weights, since random ones measure nothing: write"
            f" `{PREFIX}{architecture}/PRETRAINED` with a file or one of {tags}."
        )
    config: dict[str, Any] = open_clip.get_model_config(architecture) or {}
    tag_config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, weights) or {}
    arguments = _tokenizer_arguments(config)
    if tag_config:
        # Where a tag's weights were trained with QuickGELU and the architecture has GELU, open_clip only warns, and
        # then computes something else than the model that was trained.
        force = bool(tag_config.get("quick_gelu")) and not config.get("quick_gelu")
        activation: dict[str, Any] = {"force_quick_gelu": True} if force else {}
        return _Source(architecture, weights, False, activation, arguments, prepared=True)
    if not Path(weights).is_file():
        raise ValueError(f"The weights {weights!r} of {architecture!r} must be a file or one of {tags}.")
    settings = preprocessing_of_file(architecture)
    images = {} if settings is None else {"force_preprocess_cfg": settings}
    return _Source(architecture, weights, True, images, arguments, prepared=settings is not None)


def _preprocessing(module: nn.Module) -> Preprocessing:
    import open_clip.model

    try:
        return Preprocessing.from_open_clip(open_clip.model.get_model_preprocess_cfg(module))
    except ValueError as error:
        raise ValueError(
            f"The model's preprocessing is not supported: {error} Pass `preprocessing=` to choose another."
        ) from error


def _tokenizer(module: nn.Module) -> Any:
    import open_clip
    import open_clip.model

    config: dict[str, Any] = open_clip.model.get_model_tokenize_cfg(module)
    if config.get("vocab_size") != _CLIP_VOCABULARY:
        raise ValueError(
            "Argument `tokenizer` must be given for this open_clip model, whose vocabulary of"
            f" {config.get('vocab_size')} tokens is not CLIP's: pass"
            " `tokenizer=open_clip.get_tokenizer(ARCHITECTURE)`."
        )
    return open_clip.SimpleTokenizer(context_length=config.get("context_length", 77))
