"""BLIP with ViT-L/16 (Li et al. 2022), as it was pretrained; the paper calls it ViT-L/14.

Texts are compared with images in the space of its contrastive loss, images with each other by the first token of the
image tower, before that space's projection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.judges.base import Judge, JudgeSource
from unisim_metrics.models.judges.weights import load_exactly, read_weights
from unisim_metrics.models.texts import handle_long_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from unisim_metrics.tasks import Task

VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
TEXT: dict[str, Any] = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "encoder_hidden_size": VISION["hidden_size"],
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "layer_norm_eps": 1e-12,
    "is_decoder": True,  # which gives its layers the attention to image tokens
}
PROJECTION = 256
CONTEXT = 35

# The published vocabulary and its rules; BLIP's own two tokens stand behind it and are of no use here.
_TOKENIZER = ("google-bert/bert-base-uncased", "tokenizer.json", "86b5e0934494bd15c9632b12f734a8a67f723594")

_VISION_NAMES = (
    (r"^cls_token", "embeddings.class_embedding"),
    (r"^pos_embed", "embeddings.position_embedding"),
    (r"^patch_embed\.proj", "embeddings.patch_embedding"),
    (r"^blocks", "encoder.layers"),
    (r"^norm", "post_layernorm"),
    (r"\.norm", ".layer_norm"),
    (r"\.attn\.proj", ".self_attn.projection"),
    (r"\.attn", ".self_attn"),
)
# What pretraining alone needs: the momentum copies, their queues, the other heads.
_OF_PRETRAINING = re.compile(r"\w+_m\.|\w*queue\w*$|itm_head\.|temp$|text_decoder\.")


class Towers(nn.Module):
    """The image tower and the text tower with its attention to image tokens."""

    def __init__(self) -> None:
        from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

        super().__init__()
        self.vision_model = BlipVisionModel(BlipVisionConfig(**VISION))
        self.text_model = BlipTextModel(BlipTextConfig(**TEXT), add_pooling_layer=False)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Image tokens `[N, L, D]`, normalised, the one that stands for the image first."""
        tokens: Tensor = self.vision_model(pixel_values=pixels).last_hidden_state
        return tokens

    def read(self, tokens: Mapping[str, Tensor], image_tokens: Tensor | None = None) -> Tensor:
        """The first token `[N, D]` of texts, alone or as they are read beside images."""
        shown: dict[str, Tensor] = {}
        if image_tokens is not None:
            mask = torch.ones(image_tokens.shape[:2], dtype=torch.long, device=image_tokens.device)
            shown = {"encoder_hidden_states": image_tokens, "encoder_attention_mask": mask}
        output = self.text_model(**tokens, **shown, is_decoder=False, use_cache=False)
        first: Tensor = output.last_hidden_state[:, 0]
        return first


class ContrastiveTowers(Towers):
    """The towers with the projections of the contrastive loss."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_proj = nn.Linear(VISION["hidden_size"], PROJECTION)
        self.text_proj = nn.Linear(TEXT["hidden_size"], PROJECTION)


class BLIPTexts(Judge):
    """What BLIP and its kin share: how images are prepared, and how texts become tokens.

    Args:
        backbone: The towers.
        tokenizer: The tokenizer of BERT.
        source: What they were read from.
    """

    def __init__(self, backbone: Towers, tokenizer: Tokenizer, source: JudgeSource) -> None:
        preprocessing = Preprocessing(size=VISION["image_size"], crop="round")
        super().__init__(backbone, source.name, preprocessing, source.truncate)
        self.towers = backbone
        self.tokenizer = tokenizer

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids `[N, L]` and their attention mask."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        long_texts = [text for text, row in zip(texts, rows, strict=True) if len(row) > CONTEXT]
        handle_long_texts(long_texts, CONTEXT, self.truncate)
        kept = [torch.tensor(row if len(row) <= CONTEXT else [*row[: CONTEXT - 1], row[-1]]) for row in rows]
        return {
            "input_ids": pad_sequence(kept, batch_first=True),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in kept], batch_first=True),
        }

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is longer than the context, so that its end is cut."""
        return [len(encoding.ids) > CONTEXT for encoding in self.tokenizer.encode_batch(list(texts))]


class BLIP(BLIPTexts):
    """BLIP as it was pretrained, on images and on texts alone."""

    views: ClassVar[Mapping[Task, str]] = {"image-image": "vision", "odd-one-out": "vision"}

    towers: ContrastiveTowers

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images through the image tower and its projection: `[N, D]`, of any length."""
        projected: Tensor = self.towers.vision_proj(self.encode_view(pixels, "vision"))
        return projected

    def encode_view(self, pixels: Tensor, view: str) -> Tensor:
        """Pass prepared images through the image tower: `[N, D]`, of any length."""
        return self.towers.image_tokens(pixels)[:, 0]

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass tokens through the text tower and its projection: `[N, D]`, of any length."""
        projected: Tensor = self.towers.text_proj(self.towers.read(on_device(tokens, self.device)))
        return projected


def load(source: JudgeSource) -> BLIP:
    """Read the authors' file.

    Args:
        source: ``model_large.pth``.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
        ModelUnavailableError: If the tokenizer cannot be fetched.
    """
    weights = read_weights(source.path, key="model")
    towers = ContrastiveTowers()
    load_exactly(towers, rename(weights), source.path)
    return BLIP(towers.eval(), read_tokenizer(source), source)


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of BLIP by the names of transformers, without what pretraining alone needs."""
    renamed = {}
    for name, tensor in weights.items():
        if _OF_PRETRAINING.match(name):
            continue
        if name.startswith("visual_encoder."):
            inner = name.removeprefix("visual_encoder.")
            for old, new in _VISION_NAMES:
                inner = re.sub(old, new, inner)
            name = f"vision_model.{inner}"
        elif name.startswith("text_encoder."):
            name = f"text_model.{name.removeprefix('text_encoder.')}"
        renamed[name] = tensor
    return renamed


def read_tokenizer(source: JudgeSource) -> Tokenizer:
    """The tokenizer of BERT, from the Hub or its cache."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(source.fetch(*_TOKENIZER)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def on_device(tokens: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tokens, moved."""
    return {key: value.to(device) for key, value in tokens.items()}
