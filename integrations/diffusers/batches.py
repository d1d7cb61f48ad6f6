"""Several images of one prompt in one call of a pipeline: what it has to be given for each of them.

A pipeline repeats a prompt by itself. What it gets in the place of a prompt it repeats or does not, and some draw the
noise of a picture that they start from once for the whole batch: then an image would not be that of its seed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LAYERS_FIRST = ("_llama3",)
"""How the names of embeddings end that have the layers of their encoder in the first dimension and then the batch."""

# What pipelines take in the place of a prompt, with a row or an entry for each.
_PER_PROMPT = re.compile("prompt|^(negative_)?(image_embed|attention_mask|prior_token_ids)")

# The pictures that pipelines encode once, unless they get one for each image. By how their names begin.
_ENCODED_ONCE: dict[str, tuple[str, ...]] = {
    "ChromaImg2Img": ("image",),
    "ChromaInpaint": ("image",),
    "FluxControlImg2Img": ("image",),
    "FluxControlInpaint": ("image",),
    "FluxControlNetImg2Img": ("image",),
    "FluxControlNetInpaint": ("image",),
    "FluxFill": ("image",),
    "FluxImg2Img": ("image",),
    "FluxInpaint": ("image",),
    "HunyuanImageRefiner": ("image",),
    "Kandinsky5I2I": ("image",),
    "KandinskyV22Inpaint": ("image", "mask_image"),
    "QwenImageImg2Img": ("image",),
    "QwenImageInpaint": ("image",),
    "StableDiffusion3Img2Img": ("image",),
    "StableDiffusion3Inpaint": ("image",),
    "StableDiffusion3PAGImg2Img": ("image",),
    "StableDiffusionControlNetInpaint": ("image",),
    "StableDiffusionControlNetPAGInpaint": ("image",),
    "StableDiffusionInpaint": ("image",),
    "StableDiffusionPAGInpaint": ("image",),
    "StableDiffusionXLControlNetInpaint": ("image",),
    "StableDiffusionXLControlNetUnionInpaint": ("image",),
    "StableDiffusionXLInpaint": ("image",),
    "StableDiffusionXLPAGInpaint": ("image",),
    "ZImageControlNetInpaint": ("image", "mask_image", "control_image"),
    "ZImageImg2Img": ("image",),
    "ZImageInpaint": ("image", "mask_image"),
}

# The same where embeddings stand in the place of a prompt; with a prompt these pipelines repeat the picture themselves.
_ENCODED_ONCE_BESIDE_EMBEDDINGS = {"Kandinsky3Img2Img": ("image",), "KandinskyV22Img2Img": ("image",)}

# Pipelines that make something else of a batch than of each of its images.
_MIXED = {
    "AltDiffusionImg2Img": "it lays out several pictures otherwise in memory than one, and rounds them otherwise",
    "StableDiffusionPanorama": "it mixes the views of one image with those of others",
}


def check_batch(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Check that the images of one call are those of their seeds.

    Args:
        pipe: The pipeline.
        arguments: What it will be called with.

    Raises:
        ValueError: If they are not.
    """
    name = type(pipe).__name__
    why = next((why for begin, why in _MIXED.items() if name.startswith(begin)), None)
    if (
        why is None
        and arguments.get("padding_mask_crop") is not None
        and _encoded_once(name, "prompt" in arguments)
    ):
        why = "with `padding_mask_crop` it takes but one picture"
    if why is not None:
        raise ValueError(
            f"Arguments `prune` and `batch_size` must be None and 1 for {name}, whose candidates cannot be told apart:"
            f" {why}."
        )


def repeated(pipe: Any, arguments: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Arguments for `count` images of one prompt."""
    pictures = _encoded_once(type(pipe).__name__, "prompt" in arguments)
    given = {
        name: _pictures(value, count) if name in pictures and value is not None else value
        for name, value in arguments.items()
    }
    if "prompt" in given:
        return {**given, "num_images_per_prompt": count}
    # Some pipelines repeat embeddings that they get, others do not; none repeats where there is one for each image.
    return {
        name: _embeddings(name, value, count) if _PER_PROMPT.search(name) else value
        for name, value in given.items()
    }


def _encoded_once(name: str, has_prompt: bool) -> tuple[str, ...]:
    pipelines = _ENCODED_ONCE if has_prompt else _ENCODED_ONCE | _ENCODED_ONCE_BESIDE_EMBEDDINGS
    return next((names for begin, names in pipelines.items() if name.startswith(begin)), ())


def _pictures(value: Any, count: int) -> Any:
    """A picture as often as there are images; several are left as they are."""
    if isinstance(value, Tensor):
        batch = value if value.ndim == 4 else value.unsqueeze(0)
        return batch.repeat(count, 1, 1, 1) if len(batch) == 1 else value
    if isinstance(value, list | tuple):
        return list(value) * count if len(value) == 1 else value
    return [value] * count


def _embeddings(name: str, value: Any, count: int) -> Any:
    """What stands in the place of a single prompt, in a batch or in a list, for `count` images of it."""
    if not isinstance(value, Tensor):
        return value * count if isinstance(value, list) else value
    if name.endswith("cu_seqlens"):  # where the tokens of each begin and end
        return value[-1] * torch.arange(count + 1, dtype=value.dtype, device=value.device)
    return value.repeat_interleave(count, dim=1 if name.endswith(LAYERS_FIRST) else 0)
