"""Fixtures that several test modules share: tiny models in the ecosystem's formats, made without a network."""

from __future__ import annotations

import os

# The suite must never reach for the network, whatever the machine allows.
os.environ["HF_HUB_OFFLINE"] = "1"

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from browser import NO_BROWSER, find_browser
from oracle import PlainClip, one_by_one

if TYPE_CHECKING:
    from unisim_metrics.models import EncoderModel


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep embeddings and converted models out of the user's cache; subprocesses inherit it."""
    os.environ["UNISIM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to write into the documentation what its code prints, rather than to compare it."""
    parser.addoption(
        "--write-docs", action="store_true", help="write the outputs of the documentation's code"
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in the last lines how many tests were left out for want of a browser."""
    if find_browser() is not None:
        return
    left_out = [
        report for report in terminalreporter.stats.get("skipped", []) if NO_BROWSER in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.write_sep("=", "no browser", red=True, bold=True)
        terminalreporter.write_line(
            f"{len(left_out)} browser tests did not run: {NO_BROWSER}. Install it: apt-get install chromium",
            red=True,
            bold=True,
        )


WORDS = ["a", "photo", "of", "dog", "cat", "red", "high", "quality", "low", "bright", "dark", "image"]


def clip_vocabulary(words: list[str] = WORDS) -> tuple[dict[str, int], list[str]]:
    """A byte-level BPE vocabulary in CLIP's layout: bytes, bytes ending a word, merges, special tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = list(bytes_to_unicode().values())
    vocabulary = symbols + [symbol + "</w>" for symbol in symbols]
    merges: list[str] = []
    for word in words:
        left = word[0]
        for position, letter in enumerate(word[1:], start=1):
            right = letter + ("</w>" if position == len(word) - 1 else "")
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
                vocabulary.append(left + right)
            left += letter
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(vocabulary)}, merges


def write_tokenizer(directory: Path) -> int:
    """Write a small CLIP tokenizer in transformers' files and return the size of its vocabulary."""
    from transformers import AutoTokenizer

    vocabulary, merges = clip_vocabulary()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 77,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    AutoTokenizer.from_pretrained(directory).save_pretrained(directory)
    return len(vocabulary)


def write_preprocessor(directory: Path, size: int) -> None:
    """Write ``preprocessor_config.json`` as the CLIP checkpoints on the Hub carry it."""
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": size, "width": size},
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": {"shortest_edge": size},
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_clip(
    directory: Path,
    *,
    image_size: int = 32,
    patch_size: int = 8,
    width: int = 32,
    vision_layers: int = 2,
    text_layers: int = 2,
    eos_token_id: int | None = None,
    activation: str = "quick_gelu",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a random CLIP model with its tokenizer and processor as a transformers directory."""
    from transformers import CLIPConfig, CLIPModel

    vocabulary = write_tokenizer(directory)
    write_preprocessor(directory, image_size)
    tower: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "hidden_act": activation,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "num_hidden_layers": text_layers,
            "vocab_size": vocabulary,
            "max_position_embeddings": 77,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1 if eos_token_id is None else eos_token_id,
            "pad_token_id": vocabulary - 1,
        },
        vision_config={
            **tower,
            "num_hidden_layers": vision_layers,
            "image_size": image_size,
            "patch_size": patch_size,
        },
        projection_dim=16,
    )
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = CLIPModel(config)
    # Random weights at their usual scale give nearly equal embeddings: make every item tell apart.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=0.2 if "embedding" in name else 0.15)
            elif name.endswith("bias"):
                parameter.normal_(std=0.05)
    torch.set_rng_state(generator_state)
    model.to(dtype).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer CLIP at 32 px with a small tokenizer, as ``CLIPModel.save_pretrained`` writes it."""
    return write_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="session")
def tiny_model(tiny_clip_dir: Path) -> EncoderModel:
    """The model of ``tiny_clip_dir``, loaded once. Tests must not change it."""
    from unisim_metrics.models import load_model

    return load_model(tiny_clip_dir)  # type: ignore[return-value]


@pytest.fixture(scope="session")
def plain(tiny_clip_dir: Path) -> PlainClip:
    """The model of ``tiny_clip_dir``, read and run without this package."""
    return PlainClip(tiny_clip_dir)


@pytest.fixture(scope="session")
def exact() -> EncoderModel:
    """A model whose embeddings do not depend on the batch in a single bit. Tests must not change it."""
    return one_by_one()


@pytest.fixture
def fresh_text_warning(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the warnings about texts, which are given once a process, be given again in this test."""
    from unisim_metrics.models import texts

    monkeypatch.setattr(texts, "_warned", False)
    monkeypatch.setattr(texts, "_warned_of_characters", False)
    yield
