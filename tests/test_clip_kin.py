"""CLIP's kin in transformers: equal to the class's own features with its own processor, or a refusal that says so.

Each case is a row of the table "Models" in docs/compatibility.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from conftest import write_clip, write_preprocessor, write_tokenizer
from pillow_processors import CLIPImageProcessorPil
from test_models import TEXTS, photos, unit
from transformers import AutoTokenizer, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from unisim_metrics import load_model
from unisim_metrics.models import EncoderModel

PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
_VISION = {**_TOWER, "image_size": 32, "patch_size": 16}
_TEXT = {**_TOWER, "vocab_size": 100, "max_position_embeddings": 20}
_VOCABULARY = 548  # of the tokenizer that `write_tokenizer` writes


def kin(name: str, vision: dict[str, Any] | None = None, **settings: Any) -> Callable[[], Any]:
    """A class with its configuration: random weights."""

    def build() -> Any:
        config = getattr(transformers, f"{name}Config")(
            text_config=settings.pop("text", _TEXT), vision_config=vision or _VISION, **settings
        )
        return getattr(transformers, f"{name}Model")(config)

    return build


def dual(vision: str, text: str, **settings: Any) -> Callable[[], Any]:
    """Two towers joined by `VisionTextDualEncoderModel`."""

    def build() -> Any:
        config = VisionTextDualEncoderConfig.from_vision_text_configs(
            getattr(transformers, f"{vision}Config")(**_vision(vision)),
            getattr(transformers, f"{text}Config")(**settings),
            projection_dim=8,
        )
        return VisionTextDualEncoderModel(config)

    return build


def _vision(kind: str) -> dict[str, Any]:
    return (
        {"image_size": 32, "depth_multiplier": 0.35, "hidden_size": 1280}
        if kind.startswith("MobileNet")
        else _VISION
    )


_CLIP_TEXT = {
    **_TOWER,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": 77,
    "eos_token_id": _VOCABULARY - 1,
    "bos_token_id": _VOCABULARY - 2,
    "pad_token_id": _VOCABULARY - 1,
}


class Case(NamedTuple):
    """One row."""

    tried: str
    build: Callable[[], Any]
    loads: bool


CASES = [
    Case(
        "`VisionTextDualEncoderModel`, ViT and CLIP's text tower", dual("ViT", "CLIPText", **_CLIP_TEXT), True
    ),
    Case(
        "`VisionTextDualEncoderModel`, CLIP's image and text towers",
        dual("CLIPVision", "CLIPText", **_CLIP_TEXT),
        True,
    ),
    Case(
        "`VisionTextDualEncoderModel`, MobileNet v2 and CLIP's text tower",
        dual("MobileNetV2", "CLIPText", **_CLIP_TEXT),
        True,
    ),
    Case("`SiglipModel`", kin("Siglip"), False),
    Case("`Siglip2Model`", kin("Siglip2", {**_TOWER, "num_patches": 4, "patch_size": 16}), False),
    Case("`MetaClip2Model`", kin("MetaClip2", projection_dim=16), False),
    Case("`AltCLIPModel`", kin("AltCLIP", text={**_TEXT, "project_dim": 16}, projection_dim=16), False),
    Case("`ChineseCLIPModel`", kin("ChineseCLIP", projection_dim=16), False),
    Case(
        "`AlignModel`",
        kin(
            "Align", {"image_size": 64, "width_coefficient": 0.1, "depth_coefficient": 0.1}, projection_dim=16
        ),
        False,
    ),
    Case("`BlipModel`", kin("Blip", projection_dim=16), False),
    Case("`CLIPSegModel`", kin("CLIPSeg", projection_dim=16), False),
]
_EQUAL = "equal to the class's own features with its own processor, within 1e-4"
_REFUSED = "refused as a directory and as a module; the message names the ways out"


@pytest.mark.parametrize("case", CASES, ids=[case.tried for case in CASES])
def test_kin(case: Case, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = case.build().eval()
    write_tokenizer(tmp_path)
    write_preprocessor(tmp_path, 32)
    model.save_pretrained(tmp_path)
    if not case.loads:
        for target in (tmp_path, model, str(tmp_path)):
            with pytest.raises(ValueError, match=r"must .* a CLIP model.* of type .*load through open_clip"):
                load_model(target)
        return
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
    with torch.no_grad():
        images = unit(model.get_image_features(**processor(photos(), return_tensors="pt")))
        texts = unit(model.get_text_features(**tokenizer(TEXTS, padding=True, return_tensors="pt")))
    for target in (tmp_path, type(model).from_pretrained(tmp_path)):
        ours = load_model(target, resample="pil")
        assert isinstance(ours, EncoderModel)
        assert (ours.embed_images(photos()) - images).abs().max() <= 1e-4
        assert (ours.embed_texts(TEXTS) - texts).abs().max() <= 1e-4


def test_clip_itself(tmp_path: Path) -> None:
    """The first row, over both activations and both ways to say which token ends a text."""
    for activation, end in (("quick_gelu", None), ("gelu", 2)):
        directory = write_clip(tmp_path / activation, activation=activation, eos_token_id=end)
        plain = transformers.CLIPModel.from_pretrained(directory).eval()
        tokens = AutoTokenizer.from_pretrained(directory)(TEXTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            texts = unit(plain.get_text_features(**tokens))
        ours = load_model(directory)
        assert isinstance(ours, EncoderModel)
        assert (ours.embed_texts(TEXTS) - texts).abs().max() <= 1e-4


_OTHERS = "equal to the class's own forward over its own tokenizer (`tests/test_dual_encoder.py`)"
OTHER_ROWS = [
    (
        "`VisionTextDualEncoderModel`, ViT, CLIP's image tower, MobileNet v2, EfficientNet, ConvNeXt or Swin and BERT,"
        " RoBERTa, XLM-RoBERTa, MPNet or ALBERT",
        _OTHERS,
    ),
    (
        "`VisionTextDualEncoderModel`, DistilBERT, ELECTRA and other text towers that do not pool, or take no attention"
        " mask (FNet)",
        "refused: the class itself cannot embed texts with the former, and with the latter a text's neighbours would"
        " count",
    ),
    (
        "`VisionTextDualEncoderModel`, ResNet and other image towers without a `hidden_size`",
        "refused: the class itself cannot be built over them",
    ),
    (
        "a text that spells a special token (`[SEP]`, `</s>`) for another text tower than CLIP's",
        "its letters are read, never the token",
    ),
    (
        "images of EfficientNet's processor",
        "squashed; divided by the deviation twice where `include_top` says so; `rescale_offset` is refused",
    ),
    (
        "images of ConvNeXt's, LeViT's or PoolFormer's processor",
        "refused: they resize to another size than they name; pass `preprocessing=`",
    ),
    (
        "open_clip, each of the published tags (`tests/test_open_clip_tags.py`)",
        "equal to open_clip's own factory and transform within 1e-5, the activation as the tag says; tags with bilinear"
        " images are refused",
    ),
    (
        "open_clip, an architecture with weights in a file",
        "prepared as all published tags of the architecture; where they differ, or there are none, `preprocessing=` is"
        " asked for. The activation is the architecture's: `ViT-B-32-quickgelu` for OpenAI's weights",
    ),
    ("open_clip, a directory whose configuration has no `preprocess_cfg`", "`preprocessing=` is asked for"),
    (
        "texts with characters that a vocabulary lacks, whose unknown token ends the text",
        "spelt plainly (é as e) or left out, with one warning a process; an error with `truncate=False`, or where"
        " nothing is left",
    ),
    (
        "curly quotes, ligatures, `&amp;` for a model with CLIP's own vocabulary",
        "pass ftfy, as in CLIP's own tokenizer; the signature says `ftfy`",
    ),
]


def test_page() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Models")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    wanted = [("`CLIPModel`, with or without an adapter of peft", _EQUAL)]
    wanted += [(case.tried, _EQUAL if case.loads else _REFUSED) for case in CASES]
    assert rows == [f"| {tried} | {happens} |" for tried, happens in wanted + OTHER_ROWS]
