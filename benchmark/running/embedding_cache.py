"""Embeddings on disk, so that no image or text passes through the same model twice, whatever happens to a run.

    <folder>/<model>/<batch>.safetensors

Each batch is a file of its own, which appears under its name when it is whole. Any number of processes may write, also
over a network's file system, and a process that is killed leaves all its batches but the last. Items are known by the
hash of their content, models by all that determines an embedding. No task plays a part.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from unisim_metrics.models.answering import MAIN_VIEW
from unisim_metrics.models.sources.hub import cache_root
from unisim_metrics.version import __version__

if TYPE_CHECKING:
    from unisim_metrics.models import PerceptualModel

DEFAULT_MAX_BYTES = 8 * 2**30
DIGEST_BYTES = 32

_SUFFIX = ".safetensors"
_PARTIAL_PREFIX = ".partial-"
_ABANDONED_AFTER = 3600.0  # seconds; no batch takes as long to write
# Room is made in one go for many batches to come: listing all files takes a while.
_KEEP_SHARE = 0.9


def default_folder() -> Path:
    """Return where embeddings are kept: beside the converted models, see `UNISIM_CACHE`."""
    return cache_root() / "embeddings"


def identify(model: PerceptualModel, view: str = MAIN_VIEW) -> str:
    """Return a hash of all that determines an embedding beside the item: weights, their type, the preparation.

    Args:
        model: The model.
        view: In which of its spaces images are embedded.
    """
    made_of = [model.weights_hash(), model.input_tag, str(getattr(model, "dtype", None)), __version__]
    if view != MAIN_VIEW:
        made_of.append(view)
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


class EmbeddingCache:
    """The embeddings of one model.

    A cache that fails never fails a run: what cannot be read is dropped and encoded again, and what cannot be written
    is not kept. Either is told by a warning.

    Args:
        folder: Where the embeddings of all models are.
        model: The hash that `identify` gives.
        max_bytes: How much room all models may take; beyond, the files that were longest out of use go.
    """

    def __init__(self, folder: Path, model: str, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._own = folder / model
        self._size = 0
        self._is_writable = True

    def load(self) -> dict[bytes, Tensor]:
        """Return all embeddings of the model, by the hash of their content."""
        known: dict[bytes, Tensor] = {}
        damaged: list[Path] = []
        try:
            self._own.mkdir(parents=True, exist_ok=True)  # tells early what would fail later
            for path in sorted(self._own.glob(f"*{_SUFFIX}")):
                try:
                    known.update(_read(path))
                    os.utime(path)  # a model in use is the last to go
                except FileNotFoundError:  # another process has just made room
                    continue
                except (SafetensorError, ValueError, KeyError):
                    damaged.append(path)
                    path.unlink(missing_ok=True)
            self._size = self._clean()
        except OSError as error:
            self._give_up(error)
        if damaged:
            warnings.warn(
                f"Dropped {len(damaged)} damaged file(s) of the embedding cache, {damaged[0]} the first: what they"
                " held is encoded again.",
                UserWarning,
                stacklevel=2,
            )
        return known

    def store(self, digests: Sequence[bytes], embeddings: Tensor) -> None:
        """Keep a batch: `embeddings` `[N, D]` of N items, known by their hashes."""
        if not self._is_writable:
            return
        keys = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(-1, DIGEST_BYTES)
        embeddings = embeddings.contiguous()
        content = save({"keys": keys, "embeddings": embeddings, "checksum": _checksum(keys, embeddings)})
        try:
            _write(self._own, content)
            self._size += len(content)
            if self._size > self.max_bytes:
                self._size = self._make_room()
        except OSError as error:
            self._give_up(error)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Age, size and path of every file of every model; files that vanish meanwhile do not count."""
        files = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            files.append((state.st_mtime, state.st_size, path))
        return files

    def _clean(self) -> int:
        """Remove what killed processes left half written, and return the size of the rest."""
        for path in self.folder.glob(f"*/{_PARTIAL_PREFIX}*"):
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
                    path.unlink()
            except FileNotFoundError:
                continue
        return sum(size for _, size, _ in self._files())

    def _make_room(self) -> int:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total <= self.max_bytes:
            return total
        for _, size, path in files:
            if total <= self.max_bytes * _KEEP_SHARE:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _give_up(self, error: OSError) -> None:
        self._is_writable = False
        warnings.warn(
            f"The embedding cache in {self.folder} cannot be used: {error.strerror or error}. The run goes on without"
            " it.",
            UserWarning,
            stacklevel=3,
        )


def _write(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=folder, prefix=_PARTIAL_PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        # The name is random, so that no two processes meet.
        os.replace(partial, folder / f"{Path(partial).name.removeprefix(_PARTIAL_PREFIX)}{_SUFFIX}")
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[bytes, Tensor]:
    tensors = load(path.read_bytes())
    keys, embeddings = tensors["keys"], tensors["embeddings"]
    if not torch.equal(tensors["checksum"], _checksum(keys, embeddings)):
        raise ValueError(f"{path} is damaged")
    return {row.numpy().tobytes(): embedding for row, embedding in zip(keys, embeddings, strict=True)}


def _checksum(*tensors: Tensor) -> Tensor:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
