"""Prompts with images as the tensors of transformers' models, each image encoded once."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisim_metrics.models.generative.chat import Prompt
from unisim_metrics.models.generative.pictures import identify, prepare

Inputs = dict[str, Any]
Batches = Sequence[Sequence[Prompt]]

# Attention weights, or entries of a mask, that a batch may have: bounds its memory where prompts are long.
_MOST_PAIRS = 2**27
# Images that pass the vision tower at a time.
_IMAGES_AT_ONCE = 16

# Classes whose images are encoded apart from the text, as checked against their own forward pass.
_APART = ("llava", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "internvl", "idefics2")
# An image that is the only one of its conversation is cut into crops, one of several is not.
_CROPS_LONE_IMAGES = ("llava_onevision",)
# The processor writes an image's tokens without seeing it, and the text around them otherwise.
_FIXED_TOKENS = ("idefics2",)


@dataclass(frozen=True)
class EncodedImage:
    """An image as a language model takes it.

    Attributes:
        ids: The tokens that stand for it.
        features: What goes into the places of its image tokens, `[T, D]`.
        grid: Its size in patches, `[1, 3]`, for positions in space; None where the model has none.
    """

    ids: list[int]
    features: Tensor
    grid: Tensor | None


def encodes_apart(backbone: Any) -> bool:
    """Whether images can be encoded before, and apart from, the prompts that they stand in."""
    return (
        backbone.config.model_type in _APART
        and "mm_encoder_outputs" in inspect.signature(backbone.forward).parameters
    )


class SharedImages:
    """Encodes images once, and puts their features into as many prompts as they stand in.

    Args:
        backbone: The model of transformers, one for which `encodes_apart` holds.
        processor: Its processor.
        graph: Whether gradients are to reach the pixels of the images, all of which are float tensors then.
    """

    def __init__(self, backbone: Any, processor: Any, graph: bool = False) -> None:
        self.backbone = backbone
        self.processor = processor
        self.graph = graph
        kind = backbone.config.model_type
        self.crops_lone_images = kind in _CROPS_LONE_IMAGES
        self._fixed_tokens = kind in _FIXED_TOKENS
        self._takes = inspect.signature(backbone.get_image_features).parameters
        self._as_tensor = False

    def encode(self, images: Sequence[Any], alone: bool) -> list[EncodedImage]:
        """Pass images through the vision tower and the projector.

        Args:
            images: The images.
            alone: Whether each is the only one of its conversation.
        """
        token = self.processor.image_token
        together = self.crops_lone_images and not alone
        shown = list(images)
        if together:
            # Images of one conversation, of which there must be two to count as several.
            shown = shown if len(shown) > 1 else shown * 2
            texts, nested = [token * len(shown)], [shown]
        else:
            texts, nested = [token] * len(shown), [[image] for image in shown]
        inputs = prepare(self.processor, texts, nested, self.graph, padding=True, add_special_tokens=False)
        if together:
            rows = list(inputs["input_ids"].view(len(shown), -1))
        else:
            masks = inputs["attention_mask"].bool()
            rows = [ids[mask] for ids, mask in zip(inputs["input_ids"], masks, strict=True)]
        tensors = {name: self._move(value) for name, value in inputs.items() if name in self._takes}
        pooled = self.backbone.get_image_features(**tensors, return_dict=True).pooler_output
        self._as_tensor = isinstance(pooled, Tensor)
        features: Any = torch.cat([part.flatten(end_dim=-2) for part in pooled])
        counts = [int((row == self.processor.image_token_id).sum()) for row in rows]
        grids = inputs.get("image_grid_thw")
        return [
            EncodedImage(row.tolist(), part, None if grids is None else grids[index : index + 1])
            for index, (row, part) in enumerate(zip(rows, features.split(counts), strict=True))
        ][: len(images)]

    def read(self, batches: Batches) -> Iterator[tuple[Sequence[Prompt], Inputs]]:
        """Turn batches of prompts into what the model's forward pass takes, padded on the left.

        An image is encoded when it is first needed, and forgotten after the last batch that it stands in.

        Args:
            batches: The prompts.

        Returns:
            Pairs of prompts and their inputs; a batch of long prompts is cut into several.

        Raises:
            ValueError: If a prompt is longer than the model's context.
        """
        needs = [list(dict.fromkeys(self._keys(prompts))) for prompts in batches]
        last = {key: index for index, keys in enumerate(needs) for key in keys}
        encoded: dict[Hashable, EncodedImage] = {}
        for index, prompts in enumerate(batches):
            images = dict(zip(self._keys(prompts), _images(prompts), strict=True))
            self._encode_new({key: image for key, image in images.items() if key not in encoded}, encoded)
            shown = [[encoded[self._key(image, prompt)] for image in prompt.images] for prompt in prompts]
            rows = [self._tokens(prompt.text, images) for prompt, images in zip(prompts, shown, strict=True)]
            for prompt, row in zip(prompts, rows, strict=True):
                check_length(self.backbone, len(row), len(prompt.images))
            for part in _cut([len(row) for row in rows]):
                yield prompts[part], self._inputs(rows[part], [image for row in shown[part] for image in row])
            for key in needs[index]:
                if last[key] == index:
                    del encoded[key]

    def _encode_new(self, images: dict[Hashable, Any], encoded: dict[Hashable, EncodedImage]) -> None:
        for alone in (False, True):
            new = [key for key in images if key[1] == alone]  # type: ignore[index]
            for start in range(0, len(new), _IMAGES_AT_ONCE):
                keys = new[start : start + _IMAGES_AT_ONCE]
                encoded.update(zip(keys, self.encode([images[key] for key in keys], alone), strict=True))

    def _keys(self, prompts: Sequence[Prompt]) -> list[Hashable]:
        return [self._key(image, prompt) for prompt in prompts for image in prompt.images]

    def _key(self, image: Any, prompt: Prompt) -> Hashable:
        return identify(image), self.crops_lone_images and len(prompt.images) == 1

    def _inputs(self, rows: Sequence[Sequence[int]], images: Sequence[EncodedImage]) -> Inputs:
        ids, mask = _pad_left(rows, self.processor.tokenizer.pad_token_id)
        device = self.backbone.device
        inputs: Inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        grids = [image.grid for image in images if image.grid is not None]
        if grids:
            inputs["image_grid_thw"] = torch.cat(grids).to(device)
            inputs["mm_token_type_ids"] = (ids == self.processor.image_token_id).int().to(device)
        inputs["mm_encoder_outputs"] = {"image": self._output([image.features for image in images])}
        return inputs

    def _tokens(self, text: str, images: Sequence[EncodedImage]) -> list[int]:
        """The tokens of a prompt, an image's in the place of each image token."""
        special = adds_special_tokens(self.processor, text)
        if self._fixed_tokens:
            ids: list[int] = self.processor(text=[text], add_special_tokens=special)["input_ids"][0]
            return ids
        left = iter(images)
        written: list[int] = self.processor.tokenizer(text, add_special_tokens=special)["input_ids"]
        mark = self.processor.image_token_id
        return [token for one in written for token in (next(left).ids if one == mark else (one,))]

    def _output(self, features: list[Tensor]) -> Any:
        """Features in the form in which the model's own `get_image_features` gives them."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pooled: Any = torch.cat(features) if self._as_tensor else features
        return BaseModelOutputWithPooling(pooler_output=pooled)

    def _move(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(
            self.backbone.device, self.backbone.dtype if value.is_floating_point() else value.dtype
        )


class WholePrompts:
    """Passes prompts with their images through the processor and the model as they are, for any class.

    Args:
        backbone: The model of transformers.
        processor: Its processor.
        graph: Whether gradients are to reach the pixels of the images, all of which are float tensors then.
    """

    def __init__(self, backbone: Any, processor: Any, graph: bool = False) -> None:
        self.backbone = backbone
        self.processor = processor
        self.graph = graph

    def read(self, batches: Batches) -> Iterator[tuple[Sequence[Prompt], Inputs]]:
        """Turn batches of prompts into what the model's forward pass takes, padded on the left.

        Args:
            batches: The prompts.

        Raises:
            ValueError: If a prompt is longer than the model's context.
        """
        for prompts in batches:
            inputs = prepare(
                self.processor,
                [prompt.text for prompt in prompts],
                [prompt.images for prompt in prompts],
                self.graph,
                padding=True,
                padding_side="left",
                add_special_tokens=adds_special_tokens(self.processor, prompts[0].text),
            )
            for prompt, mask in zip(prompts, inputs["attention_mask"], strict=True):
                check_length(self.backbone, int(mask.sum()), len(prompt.images))
            yield prompts, dict(inputs.to(self.backbone.device, self.backbone.dtype))


def check_length(backbone: Any, length: int, images: int) -> None:
    """Raise a `ValueError` if a prompt is longer than a model's context."""
    context = getattr(backbone.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and length > context:
        raise ValueError(
            f"Argument `alternatives` must fit in the model's context of {context} tokens, but got a question of"
            f" {length} tokens with {images} images: ask about fewer images, or show fewer demonstrations."
        )


def _images(prompts: Sequence[Prompt]) -> list[Any]:
    return [image for prompt in prompts for image in prompt.images]


def _cut(lengths: Sequence[int]) -> Iterator[slice]:
    """Cut a batch of prompts of these lengths so that no part has too many pairs of tokens."""
    start = 0
    while start < len(lengths):
        stop, longest = start + 1, lengths[start]
        while stop < len(lengths):
            longest = max(longest, lengths[stop])
            if (stop + 1 - start) * longest**2 > _MOST_PAIRS:
                break
            stop += 1
        yield slice(start, stop)
        start = stop


def adds_special_tokens(processor: Any, text: str) -> bool:
    """Whether the tokenizer is to add its own: not where the template has begun the text already."""
    start = processor.tokenizer.bos_token
    return start is None or not text.startswith(start)


def _pad_left(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Token ids `[B, L]` and attention mask: the last column is the end of every row."""
    length = max(map(len, rows))
    ids = torch.tensor([[padding] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
