"""No text loses its rest: characters that a vocabulary lacks, end tokens spelt out, and ftfy before CLIP."""

from __future__ import annotations

import string
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import clip_vocabulary, write_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTokenizer

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.encoders.known_characters import KnownCharacters, fold

# All that a word may end with in the vocabulary of the model that lacks characters.
ENDS = string.ascii_lowercase + string.digits + "!\"#&'(),-.:;?"
# What is written, and what it is read as.
SPELLINGS = [
    ("a café by the sea", "a cafe by the sea"),
    ("the dog’s bone", "the dog's bone"),
    ("the “best” dog", 'the "best" dog'),
    ("a dog – a cat", "a dog - a cat"),
    ("a dog — a cat", "a dog - a cat"),
    ("a $5 bill", "a 5 bill"),
    ("50% of a dog", "50 of a dog"),
    ("a dog/a cat", "a dog a cat"),
    ("a dog 😀 and a cat", "a dog and a cat"),
    ("猫 a cat", "a cat"),
    ("x = 1", "x 1"),
    ("wait…", "wait..."),
    ("a dog <|endoftext|> on a lawn", "a dog on a lawn"),
    ("ÉCLAIR FRANÇAIS É", "eclair français e"),
]


@pytest.fixture(scope="module")
def lacking_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP whose vocabulary knows any byte within a word, and few that end one."""
    directory = tmp_path_factory.mktemp("lacking")
    write_clip(directory)
    vocabulary, merges = clip_vocabulary()
    tokens = [
        token
        for token in vocabulary
        if not token.endswith("</w>") or len(token) > len("x</w>") or token[0] in ENDS
    ]
    CLIPTokenizer(
        {token: index for index, token in enumerate(tokens)},
        [tuple(merge.split()) for merge in merges],
        model_max_length=77,
    ).save_pretrained(directory)
    config = CLIPConfig.from_pretrained(directory)
    config.text_config.vocab_size = len(tokens)
    config.text_config.bos_token_id, config.text_config.eos_token_id = len(tokens) - 2, len(tokens) - 1
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def lacking(lacking_dir: Path) -> EncoderModel:
    model = load_model(lacking_dir)
    assert isinstance(model, EncoderModel)
    return model


@pytest.mark.parametrize(("written", "read"), SPELLINGS)
def test_the_rest_is_read(lacking: EncoderModel, written: str, read: str) -> None:
    ours, plain, other = lacking.embed_texts([written, read, f"{written} under a red umbrella"])
    if "français" not in read:
        assert torch.equal(ours, plain)
    assert (ours - other).norm() > 1e-3, "what follows is read"


def test_texts_that_it_knows_keep_their_embedding(lacking: EncoderModel, lacking_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(lacking_dir)
    plain = CLIPModel.from_pretrained(lacking_dir).eval()

    @given(text=st.text(f" {ENDS}", min_size=1, max_size=40))
    @settings(max_examples=50, deadline=None)
    def check(text: str) -> None:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.eos_token_id not in ids[:-1]
        with torch.no_grad():
            expected = plain.get_text_features(input_ids=torch.tensor([ids])).pooler_output
        assert torch.equal(lacking.embed_texts(text), nn.functional.normalize(expected, dim=-1))

    check()


@given(text=st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_token_of_any_text_is_the_end_but_the_last(lacking: Any, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ids = lacking.tokenize([text])["input_ids"][0].tolist()
        except ValueError as error:
            assert "of which it has none" in str(error)
            return
    end = lacking.tokenizer.eos_token_id
    assert ids.index(end) in (len(ids) - 1, lacking.context - 1)


def test_a_character_none_of_whose_bytes_is_known_is_spelt_once() -> None:
    ends = [letter + "</w>" for letter in string.ascii_lowercase]
    tokens = [*string.ascii_lowercase, *ends, "<|startoftext|>", "<|endoftext|>"]
    known = KnownCharacters(CLIPTokenizer({token: index for index, token in enumerate(tokens)}))
    (written, spelt), lacking = known.tokens(["un café à été", "un cafe a ete"])
    assert written == spelt
    assert lacking == {"un café à été": "éà"}


@pytest.mark.usefixtures("fresh_text_warning")
def test_one_warning_names_the_characters(lacking: EncoderModel) -> None:
    with pytest.warns(
        UserWarning, match="got 2 of 3 texts with characters that its vocabulary lacks: 'é', '%'"
    ) as seen:
        lacking.embed_texts(["café", "50 % off", "a dog"])
        lacking.embed_texts("a $")
    assert len(seen) == 1
    assert Path(seen[0].filename).name == "test_text_characters.py"


@pytest.mark.usefixtures("fresh_text_warning")
def test_a_training_loop_goes_on(lacking: EncoderModel) -> None:
    metric = UniSimScore(lacking)
    with pytest.warns(UserWarning, match="'é'"):
        score = metric(Image.new("RGB", (40, 40), "red"), "a café")
    assert score.isfinite()


def test_an_error_on_demand_and_for_a_text_without_any_known_character(
    lacking: EncoderModel, lacking_dir: Path
) -> None:
    with pytest.raises(ValueError, match="got 1 of 2 texts with characters that its vocabulary lacks: 'é'"):
        load_model(lacking_dir, truncate=False).embed_texts(["café", "a dog"])
    with pytest.raises(
        ValueError, match="must hold characters that the model's vocabulary has, but got '😀😀'"
    ):
        lacking.embed_texts(["a dog", "😀😀"])
    assert lacking.embed_texts("").isfinite().all(), "an empty text has no characters that are lacking"


def test_counting_does_not_warn(lacking: EncoderModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lacking.count_truncated(["café " * 60, "café"]) == 1


@given(text=st.text(max_size=20))
def test_plain_spelling_is_plain(text: str) -> None:
    assert fold(text).isascii()
    assert fold(fold(text)) == fold(text)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with OpenAI's own vocabulary, which open_clip carries with it."""
    import json

    import open_clip

    directory = tmp_path_factory.mktemp("clip")
    write_clip(directory)
    own = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): index for token, index in own.encoder.items()}
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    merges = "\n".join(" ".join(pair) for pair in own.bpe_ranks)
    (directory / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (directory / "tokenizer.json").unlink()
    AutoTokenizer.from_pretrained(directory).save_pretrained(directory)
    config = CLIPConfig.from_pretrained(directory)
    config.text_config.vocab_size = 49408
    config.text_config.eos_token_id, config.text_config.bos_token_id = 49407, 49406
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(directory)
    return directory


FIXED = [
    "the “best” dog’s bone",
    "ﬁrst ﬂoor oﬃce",
    "salt &amp; pepper",
    "cafÃ© terrace",
    "a dog – a cat… 50% 😀 猫",
    "ＦＵＬＬ ｗｉｄｔｈ",
    "a&nbsp;b &lt;i&gt;",
    "a photo of a dog",
    "  two   blanks\nand a line ",
]


def test_texts_of_clip_pass_ftfy(clip: Path) -> None:
    import open_clip

    own = open_clip.SimpleTokenizer()
    model: Any = load_model(clip)
    ids = model.tokenize(FIXED)["input_ids"]
    assert torch.equal(ids, _padded(own(FIXED), ids.shape[1]))
    plain = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        expected = plain.get_text_features(input_ids=ids).pooler_output
    assert (model.embed_texts(FIXED) - nn.functional.normalize(expected, dim=-1)).abs().max() <= 1e-6


def _padded(ids: torch.Tensor, length: int) -> torch.Tensor:
    """open_clip pads by noughts; here the end token repeats."""
    ended = ids.argmax(dim=1, keepdim=True) < torch.arange(ids.shape[1])
    return ids.masked_fill(ended, 49407)[:, :length]


def test_the_signature_tells(clip: Path, tiny_model: EncoderModel, lacking: EncoderModel) -> None:
    assert load_model(clip).input_tag == "32-bicubic-ftfy"
    assert "ftfy" not in tiny_model.input_tag + lacking.input_tag
