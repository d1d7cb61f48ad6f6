"""The authors' published checkpoints by name: from the cache, the Hub, or the authors' own files."""

from __future__ import annotations

import functools
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.installation import install_extra
from unisim_metrics.models.checkpoints.conversion import convert
from unisim_metrics.models.registry import ModelEntry
from unisim_metrics.models.sources.hub import cache_root, fetch_file, fetch_snapshot, is_offline
from unisim_metrics.models.sources.torch_hub import fetch_url

# The organisation on the Hub that hosts converted copies. There is none yet, and a name that nobody owns must
# not be asked for: whoever claimed it could hand out other weights.
HUB_ORG: str | None = None


def find_published(
    entry: ModelEntry, cache_dir: str | Path | None = None, token: str | bool | None = None
) -> Path:
    """The directory that holds a published model, made or fetched if need be.

    In order: a converted copy in the cache; the repository ``$UNISIM_HUB_ORG/NAME`` on the Hub; the authors'
    file, which is fetched from Google Drive with gdown, converted and kept in the cache.

    Args:
        entry: The model.
        cache_dir: Another place for the cache.
        token: For a private repository.

    Raises:
        ModelUnavailableError: If none of these can be had. The message tells each way out.
    """
    copy = cache_root(cache_dir) / entry.name
    if copy.is_dir():
        return copy
    reasons = [f"there is no converted copy at {copy}"]

    cause: BaseException | None = None
    organisation = os.environ.get("UNISIM_HUB_ORG") or HUB_ORG
    if organisation:
        repository = f"{organisation}/{entry.name}"
        try:
            return fetch_snapshot(repository, cache_dir=cache_dir, token=token)
        except ModelUnavailableError as error:
            reasons.append(str(error).splitlines()[0])
            cause = error
    else:
        reasons.append("no organisation of the Hub is configured (UNISIM_HUB_ORG is not set)")

    checkpoint = copy.with_name(_file_name(entry))
    try:
        if not checkpoint.is_file():
            _fetch_from_drive(entry, checkpoint)
        convert(checkpoint, copy, merged=True, cache_dir=cache_dir, token=token)
    except ModelUnavailableError as error:
        reasons.append(f"the base of the authors' file is out of reach: {str(error).splitlines()[0]}")
        cause = error
    except CheckpointError as error:
        reasons.append(f"the file {checkpoint} is not the authors' checkpoint (remove it): {error}")
        cause = error
    except (ImportError, OSError) as error:
        if copy.is_dir():  # another process has just written it
            return copy
        reasons.append(str(error))
        cause = error
    else:
        checkpoint.unlink(missing_ok=True)
        return copy
    raise _unavailable(entry, copy, reasons) from cause


def find_converted(
    entry: ModelEntry,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """The directory of a model that the Hub has in its authors' layout alone: converted before, or now, in the cache.

    Args:
        entry: The model.
        revision: A branch, tag or commit, if not the one of the registry; it is converted to a place of its own.
        cache_dir: Another place for the cache.
        token: For a private repository.

    Raises:
        ModelUnavailableError: If it, or the processor, cannot be fetched.
        CheckpointError: If it is not in that layout.
    """
    copy = cache_root(cache_dir) / (entry.name if revision is None else f"{entry.name}@{revision}")
    if not copy.is_dir():
        hub: dict[str, Any] = {"cache_dir": cache_dir, "token": token}
        source = fetch_snapshot(entry.source, revision, **hub)
        try:
            convert(source, copy, entry.processor, **hub)
        except OSError:
            if not copy.is_dir():  # else another process has just written it
                raise
    return copy


def find_weights(
    entry: ModelEntry,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """The file or folder of a judge's weights: put in the cache by hand, or fetched from the Hub or from torchvision.

    Args:
        entry: The judge.
        revision: A branch, tag or commit, if not the one of the registry.
        cache_dir: Another place for the cache.
        token: For a private repository.

    Raises:
        ModelUnavailableError: If it cannot be had. The message tells each way out.
    """
    by_hand = cache_root(cache_dir) / (entry.file or entry.name)
    if by_hand.exists():
        return by_hand
    if not entry.file:
        return fetch_snapshot(entry.source, revision or entry.revision, cache_dir=cache_dir, token=token)
    reason = "its authors offer it by hand alone"
    if entry.source:
        try:
            return fetch_file(
                entry.source, entry.file, revision or entry.revision, cache_dir=cache_dir, token=token
            )
        except OSError as error:
            reason = str(error)
    elif entry.checksum:
        try:
            return fetch_url(entry.link, entry.checksum)
        except OSError as error:
            reason = str(error)
    origin = entry.link or f"`hf download {entry.source} {entry.file}`"
    raise ModelUnavailableError(
        f"The weights of `{entry.name}`, {entry.file}, are not on this machine and could not be fetched: {reason}.\n"
        "Ways out:\n"
        f"  - fetch {entry.file} ({origin}), here or on a machine with a network, and name it:"
        f" load_model('{entry.name}:path/to/{entry.file}');\n"
        f"  - or put it where it is looked for: {by_hand};\n"
        "  - use the model that comes with the package: load_model('unisim-mini')."
    )


@functools.cache
def tell_terms(entry: ModelEntry) -> None:
    """Say, once a process, what the licence of a model's weights forbids."""
    if entry.terms:
        warnings.warn(f"The weights of `{entry.name}`: {entry.terms}.", UserWarning, stacklevel=2)


def _file_name(entry: ModelEntry) -> str:
    """What the authors' file is called here."""
    return f"{entry.name}.{'zip' if entry.archive else 'pt'}"


def _fetch_from_drive(entry: ModelEntry, target: Path) -> None:
    """Fetch the authors' file; ``target`` appears when it is whole."""
    if is_offline():
        raise OSError("HF_HUB_OFFLINE is set, so the authors' file was not asked for")
    try:
        import gdown
    except ImportError as error:
        raise ImportError(
            f"fetching the authors' file needs gdown, which is not installed: `{install_extra('drive')}`"
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        fetched = gdown.download(id=entry.drive_id, output=str(part), quiet=False)
        if fetched is None or not part.is_file():
            raise OSError("Google Drive did not give the authors' file")
        os.replace(part, target)
    except _errors_of(gdown) as error:
        raise OSError(f"the authors' file could not be fetched from Google Drive: {error}") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _errors_of(gdown: Any) -> tuple[type[Exception], ...]:
    """What a download by gdown raises: errors of its own, and those of its HTTP library, which are ``OSError``."""
    exceptions = vars(gdown.exceptions).values() if hasattr(gdown, "exceptions") else ()
    own = [kind for kind in exceptions if isinstance(kind, type) and issubclass(kind, Exception)]
    return (OSError, ValueError, RuntimeError, *own)


def _unavailable(entry: ModelEntry, copy: Path, reasons: list[str]) -> ModelUnavailableError:
    tried = "\n".join(f"  - {reason}" for reason in reasons)
    file = _file_name(entry)
    if entry.archive:
        by_hand = (
            "  - without one, fetch the file elsewhere:\n"
            f"      gdown {entry.drive_id} -O {file}\n"
            "    copy it here and convert it:\n"
            f"      unisim convert {file} {copy}\n"
        )
    else:
        by_hand = (
            "  - without one, fetch the file and its base elsewhere:\n"
            f"      gdown {entry.drive_id} -O {file}\n"
            f"      hf download {entry.base} --local-dir base\n"
            "    copy both here and convert them:\n"
            f"      unisim convert {file} {copy} --base base --merged\n"
        )
    return ModelUnavailableError(
        f"The model `{entry.name}` is not on this machine and could not be fetched:\n{tried}\n"
        "Ways out:\n"
        "  - with a network, let the package fetch and convert the authors' file: unset HF_HUB_OFFLINE, run"
        f" `{install_extra('drive')}` and load again;\n"
        f"{by_hand}"
        f"  - use a copy that somebody has put on the Hub as ORG/{entry.name}: `export UNISIM_HUB_ORG=ORG`;\n"
        "  - use the model that comes with the package: load_model('unisim-mini')."
    )
