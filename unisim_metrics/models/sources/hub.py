"""Fetching a model's files from the Hugging Face Hub, and what to say when that cannot be done."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from unisim_metrics.errors import ModelUnavailableError
from unisim_metrics.models.registry import pinned_revision

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
_FILE_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

# Repositories often hold the same weights for several libraries: fetch one copy, and nothing that runs code.
_SMALL_FILES = [
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
]
_SAFE_WEIGHTS = [
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
]
_OLD_WEIGHTS = [
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
]


def is_hub_id(name: str) -> bool:
    """Whether ``name`` reads as ``org/name`` and not as a path on this machine."""
    return (
        _HUB_ID.fullmatch(name) is not None
        and not name.endswith(_FILE_SUFFIXES)
        and not Path(name).exists()
        and not Path(name).parent.is_dir()
    )


def is_offline() -> bool:
    """Whether the user told Hugging Face's libraries to stay off the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Where converted checkpoints are kept: ``cache_dir``, ``$UNISIM_CACHE`` or ``~/.cache/unisim_metrics``."""
    chosen = cache_dir or os.environ.get("UNISIM_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "unisim_metrics"


def hub_errors() -> tuple[type[Exception], ...]:
    """What the Hub's client raises where a network, a server, a cache or a name fails.

    Most of it is an ``OSError`` or ``ValueError``. The errors of its HTTP library, which changes with its version, are
    neither; one of them is the base of the client's own. A ``RuntimeError`` comes of a broken stream, and of the
    transfer of large files.
    """
    from huggingface_hub import errors

    own = ("EntryNotFoundError", "RevisionResolutionError", "XetDownloadError", "CorruptedCacheException")
    known = [getattr(errors, name) for name in own if hasattr(errors, name)]
    return (OSError, ValueError, RuntimeError, *errors.HfHubHTTPError.__bases__, *known)


def fetch_snapshot(
    repository: str,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    weights: bool = True,
) -> Path:
    """Fetch a model's files, with a progress bar, and give the directory they are in.

    Files already in the cache are not fetched again, and need no network. Weights come as safetensors where
    the repository has them.

    Args:
        repository: The Hub id.
        revision: A branch, tag or commit; by default the commit that the registry pins, else the main branch.
        cache_dir: Where the Hub's cache is, if not where ``huggingface_hub`` puts it.
        token: For a private or gated repository.
        weights: Whether the weights are fetched, or what stands beside them alone.

    Raises:
        ModelUnavailableError: If the repository cannot be reached, or holds no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    revision = revision or pinned_revision(repository)

    def fetch(patterns: list[str]) -> Path:
        path: str = snapshot_download(
            repository, revision=revision, cache_dir=cache_dir, token=token, allow_patterns=patterns
        )
        return Path(path)

    try:
        directory = fetch(_SMALL_FILES + (_SAFE_WEIGHTS if weights else []))
        if weights and not any(directory.glob("*.safetensors")):
            directory = fetch(_SMALL_FILES + _OLD_WEIGHTS)
    except GatedRepoError as error:
        reason = "its owner grants access to it on request, and this machine's token has none"
        raise _unavailable(repository, reason) from error
    except RepositoryNotFoundError as error:
        raise _unavailable(repository, "the Hub has no such repository, or it is private") from error
    except RevisionNotFoundError as error:
        raise _unavailable(repository, f"it has no revision {revision!r}") from error
    except HFValidationError as error:
        raise _unavailable(repository, f"that is no valid id: {error}") from error
    except hub_errors() as error:
        raise _unavailable(repository, _network_reason(error)) from error
    has_config = any((directory / name).is_file() for name in ("config.json", "adapter_config.json"))
    if not has_config or not any((*directory.glob("*.safetensors"), *directory.glob("*.bin"))):
        if is_offline():
            raise _unavailable(
                repository, "HF_HUB_OFFLINE is set and the local cache holds only a part of it"
            )
        reason = "it holds neither a model of transformers nor an adapter of peft"
        raise _unavailable(
            repository, f"{reason}; for a model of open_clip write `open_clip:hf-hub:{repository}`"
        )
    return directory


def fetch_file(
    repository: str,
    file: str,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """Fetch one file of a repository, with a progress bar, unless it is in the cache.

    Args:
        repository: The Hub id.
        file: The file's path in it.
        revision: A branch, tag or commit.
        cache_dir: Where the Hub's cache is, if not where ``huggingface_hub`` puts it.
        token: For a private or gated repository.

    Raises:
        OSError: If it cannot be had; the message says why.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(repository, file, revision=revision, cache_dir=cache_dir, token=token)
    except hub_errors() as error:
        raise OSError(_network_reason(error)) from error
    return Path(path)


def fetch_dataset(
    repository: str,
    patterns: Sequence[str],
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """Fetch files of a data set, with a progress bar, unless they are in the cache.

    Args:
        repository: The data set's id on the Hub.
        patterns: Which of its files.
        cache_dir: Where the Hub's cache is, if not where ``huggingface_hub`` puts it.
        token: For a private or gated repository.

    Returns:
        The folder that they are in.

    Raises:
        OSError: If they cannot be had; the message says why.
    """
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            repository, repo_type="dataset", cache_dir=cache_dir, token=token, allow_patterns=list(patterns)
        )
    except hub_errors() as error:
        raise OSError(_network_reason(error)) from error
    return Path(path)


def _network_reason(error: Exception) -> str:
    if is_offline():
        return "HF_HUB_OFFLINE is set and it is not in the local cache"
    return f"the Hub cannot be reached and it is not in the local cache ({type(error).__name__}: {error})"


def _unavailable(repository: str, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The model `{repository}` could not be fetched from the Hub: {reason}.\n"
        "Ways out:\n"
        "  - connect to the network, unset HF_HUB_OFFLINE, and load again (for a private repository run"
        " `hf auth login` or pass `token=`);\n"
        f"  - on a machine with a network run `hf download {repository} --local-dir DIRECTORY`, copy the"
        " directory here and load it: load_model('DIRECTORY');\n"
        "  - use the model that comes with the package: load_model('unisim-mini')."
    )
