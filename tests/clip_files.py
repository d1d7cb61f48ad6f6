"""Files of weights in CLIP's own layout, random and tiny, and the model that transformers makes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def architecture(width: int, head_width: int, **options: Any) -> dict[str, Any]:
    """The sizes of a tiny CLIP, as open_clip writes them."""
    vision = {"image_size": 32, "layers": 2, "width": width, "head_width": head_width, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    return {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, **options}


def random_weights(sizes: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Weights of half precision, as the published files hold them."""
    import open_clip

    generator = torch.Generator().manual_seed(seed)
    state = open_clip.CLIP(**sizes).state_dict()
    return {
        name: (
            0.15 * torch.randn(tensor.shape, generator=generator) + ("ln_" in name and "weight" in name)
        ).half()
        for name, tensor in state.items()
    }


def write(path: Path, weights: Mapping[str, Tensor]) -> Path:
    torch.save({"state_dict": dict(weights)}, path)
    return path


_NAMES = (
    (r"^visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1", "vision_model.embeddings.patch_embedding"),
    (r"^visual\.ln_pre", "vision_model.pre_layrnorm"),
    (r"^visual\.ln_post", "vision_model.post_layernorm"),
    (r"^visual\.transformer\.resblocks", "vision_model.encoder.layers"),
    (r"^visual\.proj", "visual_projection.weight"),
    (r"^transformer\.resblocks", "text_model.encoder.layers"),
    (r"^token_embedding", "text_model.embeddings.token_embedding"),
    (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final", "text_model.final_layer_norm"),
    (r"^text_projection", "text_projection.weight"),
    (r"\.ln_", ".layer_norm"),
    (r"\.attn\.", ".self_attn."),
    (r"\.c_fc", ".fc1"),
    (r"\.c_proj", ".fc2"),
)


class PlainCLIP:
    """`CLIPModel` of transformers with such weights; texts by OpenAI's tokenizer, pixels by Pillow."""

    def __init__(self, weights: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> None:
        from transformers import CLIPConfig, CLIPModel

        vision, text = sizes["vision_cfg"], sizes["text_cfg"]
        activation = "quick_gelu" if sizes.get("quick_gelu") else "gelu"
        shared = {"hidden_act": activation}
        config = CLIPConfig(
            vision_config={
                **shared,
                "hidden_size": vision["width"],
                "intermediate_size": 4 * vision["width"],
                "num_attention_heads": vision["width"] // vision["head_width"],
                "num_hidden_layers": vision["layers"],
                "image_size": vision["image_size"],
                "patch_size": vision["patch_size"],
            },
            text_config={
                **shared,
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "num_attention_heads": text["heads"],
                "num_hidden_layers": text["layers"],
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
                "bos_token_id": 49406,
                "eos_token_id": 49407,
            },
            projection_dim=sizes["embed_dim"],
        )
        self.model = CLIPModel(config).eval()
        self.model.load_state_dict(dict(self._renamed(weights)), strict=True)

    @staticmethod
    def _renamed(weights: Mapping[str, Tensor]) -> Any:
        for name, tensor in weights.items():
            is_projection = name in ("visual.proj", "text_projection")
            for old, new in _NAMES:
                name = re.sub(old, new, name)
            tensor = tensor.float().T if is_projection else tensor.float()
            if "in_proj_" in name:
                for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                    yield name.replace("in_proj_", f"{part}_proj."), rows
            else:
                yield name, tensor

    @torch.no_grad()
    def images(self, pixels: Tensor) -> np.ndarray:
        return _unit(self.model.get_image_features(pixel_values=pixels).pooler_output)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        import open_clip

        return _unit(self.model.get_text_features(input_ids=open_clip.tokenize(list(texts))).pooler_output)


def normalised(image: Image.Image, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    pixels = (np.asarray(image, dtype=np.float64) / 255 - mean) / std
    return torch.from_numpy(pixels).permute(2, 0, 1).float()


def _unit(features: Tensor) -> np.ndarray:
    vectors = features.double().numpy()
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
