"""``count_truncated``: the number of texts that a model reads in part, whatever its tokenizer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models import Toy, letters
from torch import Tensor, nn

from unisim_metrics.images import Preprocessing
from unisim_metrics.models import EncoderModel, load_model

FITS = "a " * 75  # with start and end 77 tokens
CUT = "a " * 76


@pytest.fixture(scope="module")
def open_clip_model() -> nn.Module:
    import open_clip

    torch.manual_seed(0)
    tower = {"width": 16, "layers": 1}
    return open_clip.CLIP(
        8, {"image_size": 32, "patch_size": 16, "head_width": 8, **tower}, {"heads": 2, **tower}
    ).eval()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [([], 0), ("red", 0), (CUT, 1), ([FITS], 0), ([CUT, "red", CUT, FITS], 2), (["", " "], 0), ((CUT,), 1)],
)
def test_encoders(tiny_clip_dir: Path, open_clip_model: nn.Module, texts: Any, expected: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for truncate in (True, False):
            for model in (tiny_clip_dir, open_clip_model):
                encoder = load_model(model, truncate=truncate)
                assert isinstance(encoder, EncoderModel)
                assert encoder.count_truncated(texts) == expected


def test_bundled_model() -> None:
    model = load_model()
    assert isinstance(model, EncoderModel)
    room = model.context - 2  # its frame takes two tokens
    assert model.count_truncated(["a " * room, "a " * (room + 1), "a dog"]) == 1


@pytest.mark.usefixtures("fresh_text_warning")
def test_counting_keeps_the_warning_for_the_embedding(tiny_model: EncoderModel) -> None:
    assert tiny_model.count_truncated([CUT]) == 1
    with pytest.warns(UserWarning, match="longer than the model's context"):
        tiny_model.embed_texts(CUT)


def test_no_strings(tiny_model: EncoderModel) -> None:
    with pytest.raises(TypeError, match="must hold strings only, but got int at position 1"):
        tiny_model.count_truncated(["red", 3])  # type: ignore[list-item]


def words(texts: Sequence[str], length: int = 6) -> list[list[int]]:
    """Words and nothing else, at most ``length``."""
    rows = [[sum(map(ord, word.strip("."))) % 97 + 1 for word in text.split()] for text in texts]
    return [(row + [0] * length)[:length] for row in rows]


def refusing(texts: list[str]) -> Tensor:
    if any(len(text.split()) > 6 for text in texts):
        raise RuntimeError("a text is too long")
    return torch.tensor(words(texts))


TOKENIZERS: dict[str, tuple[Callable[[list[str]], Any], Callable[[str], bool]]] = {
    "letters": (letters, lambda text: len(text.rstrip(" ")) > 8),
    "words": (lambda texts: torch.tensor(words(texts)), lambda text: len(text.split()) > 6),
    "mapping": (lambda texts: {"tokens": torch.tensor(words(texts))}, lambda text: len(text.split()) > 6),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text("abcd .", max_size=24), max_size=3))
def test_callables_of_the_users(kind: str, texts: list[str]) -> None:
    tokenizer, is_cut = TOKENIZERS[kind]
    # A text of one word over and over looks the same however long it is.
    texts = [f"{text[:1]}x{text[1:]}" for text in texts if text.strip(" .")]
    model = load_model(Toy(), preprocessing=Preprocessing(size=8), tokenizer=tokenizer)
    assert isinstance(model, EncoderModel)
    assert model.count_truncated(texts) == sum(map(is_cut, texts))


def test_callable_that_refuses_long_texts() -> None:
    model = load_model(Toy(), preprocessing=Preprocessing(size=8), tokenizer=refusing)
    assert isinstance(model, EncoderModel)
    assert model.count_truncated(["one two three four five six", "a dog."]) == 0


def test_tokenizer_of_transformers_inside_a_callable(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path)
    inner = AutoTokenizer.from_pretrained(tmp_path)

    def tokenizer(texts: list[str]) -> dict[str, Tensor]:
        return dict(inner(texts, padding=True, truncation=True, max_length=8, return_tensors="pt"))

    model = load_model(Toy(), preprocessing=Preprocessing(size=8), tokenizer=tokenizer)
    assert isinstance(model, EncoderModel)
    assert model.count_truncated(["a " * 6, "a " * 7, "a photo of zzzz", "a photo of zzzzz", "a dog"]) == 2


def test_callable_for_a_model_of_open_clip(open_clip_model: nn.Module) -> None:
    import open_clip

    own = open_clip.SimpleTokenizer()
    model = load_model(open_clip_model, tokenizer=lambda texts: own(texts))
    assert isinstance(model, EncoderModel)
    assert model.count_truncated([FITS, CUT, "red"]) == 1
