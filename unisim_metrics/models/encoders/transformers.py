"""What all two-tower models of transformers share, with or without a LoRA adapter of peft."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.base import EncoderModel
from unisim_metrics.models.lora import is_peft_model, merge_lora
from unisim_metrics.models.versions import stable_weights


class TransformersEncoder(EncoderModel):
    """An encoder over a model of transformers with two towers that pool, and a projection of each.

    A subclass says how texts pass through the text tower.

    Args:
        backbone: The model, or a ``peft.PeftModel`` of one. An adapter stays an adapter; ``load_model`` merges what it
            loads itself.
        tokenizer: The tokenizer of transformers that belongs to it.
        name: What the signature calls the model.
        preprocessing: How images are prepared. Where the image tower takes one size alone, ``preprocessing.size`` must
            be that.
        truncate: Whether texts longer than the context are cut (with one warning a process) or are an error.

    Raises:
        ValueError: If the tokenizer or the preprocessing does not fit the model.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Any,
        name: str,
        preprocessing: Preprocessing,
        truncate: bool = True,
    ) -> None:
        super().__init__(backbone, name, preprocessing, truncate)
        self.tokenizer = tokenizer
        size = _required_size(backbone)
        if size not in (None, preprocessing.size):
            raise ValueError(
                f"Argument `preprocessing` must prepare images of the model's {size} px,"
                f" but got {preprocessing.size} px."
            )
        config: Any = backbone.config
        if len(tokenizer) > config.text_config.vocab_size:
            raise ValueError(
                f"Argument `tokenizer` must have at most the model's {config.text_config.vocab_size} tokens,"
                f" but got {len(tokenizer)}."
            )

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images `[N, 3, S, S]` through the image tower: `[N, D]`, of any length."""
        backbone: Any = self.backbone
        # Not by `get_image_features`, which gives another type by version, and passes on what not every tower takes.
        features: Tensor = backbone.visual_projection(
            backbone.vision_model(pixel_values=pixels).pooler_output
        )
        return features

    def encode_inputs(self, **inputs: Tensor) -> Tensor:
        """Pass what the text tower takes through it: `[N, D]`, of any length."""
        backbone: Any = self.backbone
        features: Tensor = backbone.text_projection(backbone.text_model(**inputs).pooler_output)
        return features

    def merged_weights(self) -> Mapping[str, Any]:
        """The weights of the plain model that gives these embeddings, by the names in its files."""
        if not is_peft_model(self.backbone):
            return stable_weights(self.backbone)
        return stable_weights(merge_lora(copy.deepcopy(self.backbone).to("cpu")))


def _required_size(backbone: Any) -> int | None:
    """The one side in pixels that the image tower takes; None if it takes any.

    Position embeddings fix the size, and the towers that have them ask in ``forward`` whether to stretch them. For
    convolutions ``image_size`` is a note, if it is there at all: an EfficientNet's says 600 where nobody set it.
    """
    if "interpolate_pos_encoding" not in inspect.signature(backbone.vision_model.forward).parameters:
        return None
    size = backbone.config.vision_config.image_size
    return int(size if isinstance(size, int) else max(size))
