"""Fetching weights by their addresses, into the cache that torch has for them."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import torch

from unisim_metrics.models.sources.hub import is_offline


def fetch_url(url: str, checksum: str = "") -> Path:
    """Fetch a file, with a progress bar, unless it is in torch's cache.

    Args:
        url: Its address; its last part names the file.
        checksum: How the file's SHA-256, in hex, begins.

    Raises:
        OSError: If it cannot be had, or is another file; the message says why.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    if path.is_file():
        return path
    if is_offline():
        raise OSError(f"HF_HUB_OFFLINE is set and it is not in torch's cache, {path.parent}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), checksum)
    except (OSError, HTTPException, RuntimeError) as error:  # the last where the checksum is another
        raise OSError(f"{url} gave no such file ({type(error).__name__}: {error})") from error
    return path
