"""The cache on disk: whole files only, any number of writers, bounded, and never in the way of a run."""

from __future__ import annotations

import errno
import os
import resource
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from oracle import one_by_one

from unisim_metrics.benchmark.running.embedding_cache import (
    DIGEST_BYTES,
    EmbeddingCache,
    default_folder,
    identify,
)

BATCH = 16


def digests(start: int, count: int = BATCH) -> list[bytes]:
    return [number.to_bytes(DIGEST_BYTES, "big") for number in range(start, start + count)]


def embeddings(start: int, count: int = BATCH) -> torch.Tensor:
    return torch.arange(start, start + count, dtype=torch.float32)[:, None] + torch.arange(8) / 8


def store(folder: Path, start: int, model: str = "model") -> None:
    EmbeddingCache(folder, model).store(digests(start), embeddings(start))


def files(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    cache = EmbeddingCache(tmp_path, "model")
    assert cache.load() == {}
    return cache


def test_what_was_stored_is_found_to_the_bit(cache: EmbeddingCache, tmp_path: Path) -> None:
    for start in (0, 100):
        cache.store(digests(start), embeddings(start))
    cache.store(digests(200, 1), embeddings(200, 1).double())
    known = EmbeddingCache(tmp_path, "model").load()
    assert len(known) == 2 * BATCH + 1
    for start in (0, 100):
        for digest, row in zip(digests(start), embeddings(start), strict=True):
            assert torch.equal(known[digest], row)
    assert known[digests(200, 1)[0]].dtype == torch.float64
    assert EmbeddingCache(tmp_path, "another").load() == {}


def write_many(folder: Path, number: int) -> None:
    cache = EmbeddingCache(folder, "model")
    cache.load()
    for batch in range(40):
        # Every second batch is one that the other process writes, too.
        start = BATCH * (batch if batch % 2 else 1000 * number + batch)
        cache.store(digests(start), embeddings(start))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_many, [tmp_path] * 2, [1, 2]))
    known = EmbeddingCache(tmp_path, "model").load()
    assert len(known) == BATCH * (20 + 2 * 20)
    for digest, row in known.items():
        assert torch.equal(row, embeddings(int.from_bytes(digest, "big"), 1)[0])
    assert all(path.suffix == ".safetensors" for path in files(tmp_path))


@pytest.mark.parametrize("damage", ["half", "empty", "rubbish", "other pixels", "other file"])
def test_a_damaged_file_is_dropped_with_a_warning(cache: EmbeddingCache, tmp_path: Path, damage: str) -> None:
    cache.store(digests(0), embeddings(0))
    [broken] = files(tmp_path)
    cache.store(digests(100), embeddings(100))
    content = broken.read_bytes()
    changed = bytearray(content)
    changed[-1] ^= 1
    broken.write_bytes(
        {
            "half": content[: len(content) // 2],
            "empty": b"",
            "rubbish": bytes(range(256)) * 8,
            "other pixels": bytes(changed),
            "other file": torch.randn(4).numpy().tobytes(),
        }[damage]
    )
    with pytest.warns(UserWarning, match=r"Dropped 1 damaged file\(s\) of the embedding cache"):
        known = EmbeddingCache(tmp_path, "model").load()
    assert sorted(known) == digests(100)
    assert not broken.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(EmbeddingCache(tmp_path, "model").load()) == BATCH


def test_what_a_killed_process_left_half_written_goes_in_time(cache: EmbeddingCache, tmp_path: Path) -> None:
    old, new = (tmp_path / "model" / f".partial-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert EmbeddingCache(tmp_path, "model").load() == {}
    assert new.exists() and not old.exists()  # a batch that is just being written stays


def test_the_cache_stays_within_its_bound(tmp_path: Path) -> None:
    store(tmp_path, 0)
    [first] = files(tmp_path)
    size = first.stat().st_size
    cache = EmbeddingCache(tmp_path, "model", max_bytes=5 * size)
    cache.load()
    for number in range(1, 20):
        cache.store(digests(100 * number), embeddings(100 * number))
        found = files(tmp_path)
        for age, path in enumerate(found):  # the clock may be coarse
            os.utime(path, (number + age / 100,) * 2)
        assert sum(path.stat().st_size for path in found) <= 5 * size
    kept = {int.from_bytes(digest, "big") // 100 for digest in cache.load()}
    assert max(kept) == 19 and min(kept) >= 15  # the oldest went


def test_the_model_that_was_longest_out_of_use_goes_first(tmp_path: Path) -> None:
    for model in ("old", "used"):
        store(tmp_path, 0, model)
        os.utime(files(tmp_path / model)[0], (100, 100))
    size = files(tmp_path)[0].stat().st_size
    assert len(EmbeddingCache(tmp_path, "used").load()) == BATCH
    cache = EmbeddingCache(tmp_path, "new", max_bytes=int(2.5 * size))
    cache.load()
    cache.store(digests(0), embeddings(0))
    assert [model for model in ("old", "used", "new") if files(tmp_path / model)] == ["used", "new"]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """A disk that takes no file larger than 100 bytes, as far as this process can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_refuses_ends_the_cache_and_not_the_run(
    cache: EmbeddingCache, tmp_path: Path, full_disk: None
) -> None:
    with pytest.warns(
        UserWarning, match="The embedding cache in .* cannot be used: File too large"
    ) as caught:
        for number in range(3):
            cache.store(digests(100 * number), embeddings(100 * number))
    assert len(caught) == 1
    assert files(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_cache_and_not_the_run(
    cache: EmbeddingCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    def open_full(**arguments: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "model" / ".partial-full")

    monkeypatch.setattr(tempfile, "mkstemp", open_full)
    with pytest.warns(UserWarning, match=os.strerror(errno.ENOSPC)) as caught:
        for number in range(3):
            cache.store(digests(100 * number), embeddings(100 * number))
    assert len(caught) == 1


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file", "model")
    with pytest.warns(UserWarning, match="cannot be used: Not a directory"):
        assert cache.load() == {}
    cache.store(digests(0), embeddings(0))  # no second warning, no error


def test_models_differ_by_what_determines_an_embedding() -> None:
    model = one_by_one()
    same, other = identify(one_by_one()), identify(one_by_one(seed=1))
    assert identify(model) == same != other
    model.preprocessing = model.preprocessing.__class__(size=8, resample="pil")
    assert identify(model) != same
    assert identify(one_by_one().double()) not in (same, other)


def test_the_default_folder_follows_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "embeddings"
