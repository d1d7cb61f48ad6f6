"""Reading the published folders of models tuned from mPLUG-Owl2: weights in one file or in several, words and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unisim_metrics.errors import CheckpointError
from unisim_metrics.installation import install_extra
from unisim_metrics.models.checkpoints.directories import read_json
from unisim_metrics.models.checkpoints.weight_checks import check_finite, describe_keys
from unisim_metrics.models.judges.mplug_owl2 import MPLUGOwl2, Sizes
from unisim_metrics.models.judges.weights import read_weights
from unisim_metrics.models.versions import GENERATIVE_TRANSFORMERS, require_transformers

if TYPE_CHECKING:
    from unisim_metrics.models.judges.base import JudgeSource

# The names under which transformers writes weights, the safe ones first.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_FILE_NAME = re.compile(r"[\w.-]+\.(?:safetensors|bin)")
# A buffer that older versions of transformers saved.
_OLD_BUFFER = "rotary_emb.inv_freq"


def read_network(source: JudgeSource) -> MPLUGOwl2:
    """Read the weights of a folder, file by file: besides the model one file of them is in memory at a time.

    Args:
        source: The folder. Without a `dtype` weights keep the file's own on an accelerator, and are float32 on a CPU.

    Returns:
        The model on the source's device, in evaluation mode, without gradients.

    Raises:
        CheckpointError: If a file is missing or cannot be read, or the weights are not exactly the model's.
        ImportError: If transformers is too old for generative models.
    """
    require_transformers(f"`{source.name}`", GENERATIVE_TRANSFORMERS)
    folder = source.path
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"The folder {folder} must hold a config.json, but has none.")
    sizes = Sizes.read(read_json(folder / "config.json"), str(folder / "config.json"))
    device = torch.device(source.options.device or "cpu")
    dtype = source.options.dtype or (torch.float32 if device.type == "cpu" else None)
    files, told = _find_weights(folder)
    with torch.device("meta"):  # nothing to draw at random
        model = MPLUGOwl2(sizes)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    read: set[str] = set()
    extra: set[str] = set()
    misshapen: list[str] = []
    for file in files:
        weights = {
            name: tensor for name, tensor in read_weights(file).items() if not name.endswith(_OLD_BUFFER)
        }
        extra |= (weights.keys() - wanted.keys()) | (weights.keys() & read)
        fitting = {
            name: tensor for name, tensor in weights.items() if wanted.get(name) == tuple(tensor.shape)
        }
        misshapen += [
            f"{name}: {tuple(weights[name].shape)} instead of {wanted[name]}"
            for name in weights.keys() & wanted.keys() - fitting.keys()
        ]
        read |= weights.keys()
        dtype = dtype or next((value.dtype for value in fitting.values() if value.is_floating_point()), None)
        placed = {name: tensor.to(device, dtype) for name, tensor in fitting.items()}
        model.load_state_dict(placed, strict=False, assign=True)
    if read != wanted.keys() or extra or misshapen:
        described = describe_keys(missing=wanted.keys() - read, extra=extra, of_a_wrong_shape=misshapen)
        raise CheckpointError(f"The weights in {told} must be exactly the model's, but {described}.")
    check_finite(str(told), model)
    return model.eval().requires_grad_(False)


class Words:
    """The tokens of texts, as sentencepiece has them.

    Args:
        folder: Where `tokenizer.model` is.
        size: How many tokens the model knows.

    Raises:
        CheckpointError: If the file is missing, is none of sentencepiece, or has more tokens than the model.
        ModuleNotFoundError: If sentencepiece is not installed.
    """

    def __init__(self, folder: Path, size: int) -> None:
        try:
            import sentencepiece
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Models tuned from mPLUG-Owl2 need sentencepiece, which reads their words:"
                f" {install_extra('owl')}."
            ) from error
        self._file = file = folder / "tokenizer.model"
        if not file.is_file():
            raise CheckpointError(f"The folder {folder} must hold a tokenizer.model, but has none.")
        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(file.read_bytes())
        except (RuntimeError, OSError) as error:
            raise CheckpointError(
                f"The file {file} cannot be read as a model of sentencepiece: {error}"
            ) from error
        if self._processor.vocab_size() > size:
            raise CheckpointError(
                f"The file {file} must hold at most the {size} tokens of the model, but has"
                f" {self._processor.vocab_size()}."
            )

    def pieces(self, prompt: str, image: str) -> list[list[int]]:
        """The token ids of the texts around images, each tokenised by itself, with one beginning before the first.

        Args:
            prompt: The text.
            image: What stands for an image in it.
        """
        parts: list[list[int]] = [
            self._processor.encode(part) if part else [] for part in prompt.split(image)
        ]
        return [[self._processor.bos_id(), *parts[0]], *parts[1:]]

    def firsts(self, words: tuple[str, ...]) -> list[int]:
        """The first token of each word, by which the models tell them apart.

        Raises:
            CheckpointError: If two words have one first token.
        """
        tokens: list[int] = [self._processor.encode(word)[0] for word in words]
        if len(set(tokens)) < len(words):
            raise CheckpointError(
                f"The file {self._file} must begin the words {words} with a token each, but begins them with {tokens}."
            )
        return tokens


def _find_weights(folder: Path) -> tuple[list[Path], Path]:
    """The files of a folder that hold its weights, and what to call them all."""
    for name in _WEIGHTS:
        whole, index = folder / name, folder / f"{name}.index.json"
        if index.is_file():
            named = read_json(index).get("weight_map")
            if not isinstance(named, Mapping) or not named:
                raise CheckpointError(f"The file {index} must hold a `weight_map`, but has {named!r}.")
            files = sorted({str(file) for file in named.values()})
            for file in files:
                if not _FILE_NAME.fullmatch(file) or not (folder / file).is_file():
                    raise CheckpointError(f"The file {index} must name files beside it, but names {file!r}.")
            return [folder / file for file in files], index
        if whole.is_file():
            return [whole], whole
    raise CheckpointError(
        f"The folder {folder} must hold {' or '.join(_WEIGHTS)}, in one piece or with an index, but has none."
    )
