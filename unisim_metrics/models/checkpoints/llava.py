"""Reading checkpoints in the layout of the LLaVA-NeXT code, the authors' `unisim-ll-n-0.5b` among them.

The layout is LLaVA-NeXT-interleave's: a directory with `config.json`, the tokenizer, and shards of weights
(safetensors, or pickles that are read as weights only). It is a SigLIP tower without its last layer and head, a
projector of two layers, and Qwen1.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import read_json, read_tokenizer
from unisim_metrics.models.generative.chat import NEWLINE_TOKEN
from unisim_metrics.models.generative.instructions import IMAGE


@dataclass(frozen=True)
class LlavaCheckpoint:
    """A checkpoint as it was read.

    Attributes:
        directory: Where it is.
        config: Its configuration.
        weights: Its weights under the authors' names.
        tokenizer: Its tokenizer, with a token for images and, if it has one, for the vector that ends them.
    """

    directory: Path
    config: Mapping[str, Any]
    weights: dict[str, Tensor]
    tokenizer: Any

    @property
    def has_newline(self) -> bool:
        """Whether a learnt vector follows each image."""
        return "unpad" in str(self.config.get("mm_patch_merge_type", "flat"))

    @property
    def added_tokens(self) -> list[str]:
        """The tokens for images, and for that vector, which the authors' tokenizer lacks."""
        return [IMAGE, NEWLINE_TOKEN] if self.has_newline else [IMAGE]


def is_llava_checkpoint(directory: Path) -> bool:
    """Whether a directory holds a model in the layout of the LLaVA-NeXT code."""
    config = directory / "config.json"
    return config.is_file() and "mm_vision_tower" in read_json(config)


def read_llava(source: Path) -> LlavaCheckpoint:
    """Read a checkpoint; its weights are not looked at yet.

    Raises:
        CheckpointError: If it is of another kind, or a file cannot be read without running code from it.
        ValueError: If it has no tokenizer.
    """
    config = read_json(source / "config.json")
    projector = config.get("mm_projector_type", "linear")
    if projector != "mlp2x_gelu":
        raise CheckpointError(
            f"The checkpoint {source} must have a projector of type 'mlp2x_gelu', as LLaVA-NeXT-interleave has, but has"
            f" {projector!r}."
        )
    weights: dict[str, Tensor] = {}
    for file, key, tensor in _tensors(source):
        if key in weights:
            raise CheckpointError(
                f"The checkpoint {source} holds {key!r} twice, the second time in {file.name}."
            )
        weights[key] = tensor
    with _without_warnings():
        checkpoint = LlavaCheckpoint(source, config, weights, read_tokenizer(source))
    tokenizer = checkpoint.tokenizer
    tokenizer.add_tokens(checkpoint.added_tokens, special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return checkpoint


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep transformers from wondering at a model type that it does not know, while it reads the tokenizer."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _tensors(source: Path) -> Iterator[tuple[Path, str, Tensor]]:
    """The tensors of all shards; safetensors are preferred where both are there."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = sorted(source.glob("*.safetensors")) or sorted(source.glob("pytorch_model*.bin"))
    if not files:
        raise CheckpointError(
            f"The directory {source} must hold weights (`*.safetensors` or `pytorch_model*.bin`), but has none."
        )
    for file in files:
        try:
            if file.suffix == ".safetensors":
                content = load_file(file)
            else:
                content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
            raise CheckpointError(f"The file {file} cannot be read; it may be cut short: {error}") from error
        for key, tensor in content.items():
            if not isinstance(tensor, Tensor):
                raise CheckpointError(f"The file {file} must hold tensors only, but has {key!r}.")
            yield file, key, tensor
