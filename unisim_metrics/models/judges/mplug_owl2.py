"""mPLUG-Owl2 (Ye et al. 2023), in the layout of its authors' files: what DeQA-Score and Compare2Score were tuned from.

A CLIP tower looks at an image, an abstractor sums its tokens up, and Llama reads them among the words: words and images
each have keys, values and norms of their own. transformers has no such model; Llama's plain parts are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from unisim_metrics.errors import CheckpointError


@dataclass(frozen=True)
class VisionSizes:
    """The sizes of the image tower, by their names in `config.json`; those published are the defaults."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 448
    patch_size: int = 14


@dataclass(frozen=True)
class AbstractorSizes:
    """The sizes of the abstractor, likewise."""

    num_learnable_queries: int = 64
    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 6
    num_attention_heads: int = 16


@dataclass(frozen=True)
class LanguageSizes:
    """The sizes of the language model, likewise."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model, and Llama's two constants."""

    vision: VisionSizes = VisionSizes()
    abstractor: AbstractorSizes = AbstractorSizes()
    language: LanguageSizes = LanguageSizes()
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @classmethod
    def read(cls, config: Mapping[str, Any], source: str) -> Sizes:
        """Read a `config.json`; what it leaves out is as published.

        Args:
            config: The content.
            source: What error texts call the file.

        Raises:
            CheckpointError: If a size is no positive number, or sizes do not fit each other.
        """
        visual = config.get("visual_config") or {}
        if not isinstance(visual, Mapping):
            raise CheckpointError(
                f"The file {source} must hold a mapping as `visual_config`, but has {visual!r}."
            )
        sizes = cls(
            _read(VisionSizes, visual.get("visual_model"), source),
            _read(AbstractorSizes, visual.get("visual_abstractor"), source),
            _read(LanguageSizes, config, source),
            _number(config, "rms_norm_eps", cls.rms_norm_eps, source),
            _number(config, "rope_theta", cls.rope_theta, source),
        )
        for name, part in (
            ("visual_model", sizes.vision),
            ("visual_abstractor", sizes.abstractor),
            ("the language model", sizes.language),
        ):
            if part.hidden_size % part.num_attention_heads:
                raise CheckpointError(
                    f"The file {source} must give {name} a `hidden_size` that is a multiple of its"
                    f" `num_attention_heads`, but has {part.hidden_size} and {part.num_attention_heads}."
                )
        if sizes.vision.hidden_size != sizes.abstractor.hidden_size:
            raise CheckpointError(
                f"The file {source} must give visual_model and visual_abstractor one `hidden_size`, but has"
                f" {sizes.vision.hidden_size} and {sizes.abstractor.hidden_size}."
            )
        return sizes


def _read(kind: Any, config: Any, source: str) -> Any:
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise CheckpointError(f"The file {source} must hold mappings of sizes, but has {config!r}.")
    sizes = {field.name: config.get(field.name, field.default) for field in fields(kind)}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise CheckpointError(
                f"The file {source} must hold a positive integer as `{name}`, but has {size!r}."
            )
    return kind(**sizes)


def _number(config: Mapping[str, Any], name: str, default: float, source: str) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CheckpointError(
            f"The file {source} must hold a positive number as `{name}`, but has {value!r}."
        )
    return float(value)


class Places:
    """Which places of a sequence hold words, and which hold what stands for images.

    Args:
        is_image: `[L]`, true where an image is.
    """

    def __init__(self, is_image: Tensor) -> None:
        self.of = ((~is_image).nonzero()[:, 0], is_image.nonzero()[:, 0])
        self.order = torch.cat(self.of).argsort()


class Multiway(nn.Module):
    """Two modules of one kind, one for words and one for images.

    Args:
        build: Makes one of them.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([build(), build()])

    def forward(self, states: Tensor, places: Places) -> Tensor:
        """Pass each place of `[N, L, D]` through the module of its kind."""
        parts = [module(states[:, rows]) for module, rows in zip(self.multiway, places.of, strict=True)]
        return torch.cat(parts, dim=1)[:, places.order]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, is_causal: bool = False) -> Tensor:
    """Attention of heads `[N, H, L, D]`, the heads joined again: `[N, L, H · D]`."""
    found: Tensor = F.scaled_dot_product_attention(queries, keys, values, is_causal=is_causal)
    return found.transpose(1, 2).flatten(2)


def _heads(states: Tensor, count: int) -> Tensor:
    apart: Tensor = states.unflatten(-1, (count, -1))
    return apart.transpose(1, 2)


class _VisionEmbeddings(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width, side = sizes.hidden_size, sizes.image_size // sizes.patch_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.patch_embed = nn.Conv2d(3, width, sizes.patch_size, sizes.patch_size, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(1, 1 + side**2, width))
        self.pre_layernorm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches], dim=1)
        normed: Tensor = self.pre_layernorm(tokens + self.position_embedding)
        return normed


class _VisionAttention(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.heads = sizes.num_attention_heads
        self.query_key_value = nn.Linear(sizes.hidden_size, 3 * sizes.hidden_size)
        self.dense = nn.Linear(sizes.hidden_size, sizes.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        # Each head's query, key and value follow each other.
        mixed = self.query_key_value(states).unflatten(-1, (self.heads, 3, -1))
        found: Tensor = self.dense(_attend(*mixed.permute(3, 0, 2, 1, 4)))
        return found


class _VisionMLP(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.hidden_size, sizes.intermediate_size)
        self.fc2 = nn.Linear(sizes.intermediate_size, sizes.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        inner = self.fc1(states)
        found: Tensor = self.fc2(inner * torch.sigmoid(1.702 * inner))
        return found


class _VisionLayer(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.self_attn = _VisionAttention(sizes)
        self.input_layernorm = nn.LayerNorm(sizes.hidden_size, eps=1e-6)
        self.mlp = _VisionMLP(sizes)
        self.post_attention_layernorm = nn.LayerNorm(sizes.hidden_size, eps=1e-6)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.self_attn(self.input_layernorm(states))
        found: Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return found


class _Layers(nn.Module):
    """A stack, which the layout calls `encoder.layers`."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class VisionTower(nn.Module):
    """CLIP's image tower, with a norm behind all its tokens.

    Args:
        sizes: Its sizes.
    """

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.embeddings = _VisionEmbeddings(sizes)
        self.encoder = _Layers([_VisionLayer(sizes) for _ in range(sizes.num_hidden_layers)])
        self.post_layernorm = nn.LayerNorm(sizes.hidden_size, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        """The tokens `[N, 1 + patches, D]` of pixels `[N, 3, S, S]`."""
        states = self.embeddings(pixels)
        for layer in self.encoder.layers:
            states = layer(states)
        normed: Tensor = self.post_layernorm(states)
        return normed


class _AbstractorAttention(nn.Module):
    def __init__(self, sizes: AbstractorSizes, tokens: int) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.heads = sizes.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.q_pos_embed: Tensor
        self.k_pos_embed: Tensor
        self.register_buffer("q_pos_embed", torch.empty(sizes.num_learnable_queries, width))
        self.register_buffer("k_pos_embed", torch.empty(tokens, width))

    def forward(self, queries: Tensor, others: Tensor) -> Tensor:
        places = torch.cat([self.q_pos_embed, self.k_pos_embed])
        keys, values = self.key(others + places), self.value(others)
        asked = self.query(queries + self.q_pos_embed)
        return _attend(_heads(asked, self.heads), _heads(keys, self.heads), _heads(values, self.heads))


class _AbstractorMLP(nn.Module):
    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.w1 = nn.Linear(sizes.hidden_size, sizes.intermediate_size)
        self.w2 = nn.Linear(sizes.intermediate_size, sizes.hidden_size)
        self.w3 = nn.Linear(sizes.hidden_size, sizes.intermediate_size)
        self.ffn_ln = nn.LayerNorm(sizes.intermediate_size, eps=1e-6)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.w2(self.ffn_ln(F.silu(self.w1(states)) * self.w3(states)))
        return found


class _AbstractorOutput(nn.Module):
    def __init__(self, sizes: AbstractorSizes) -> None:
        super().__init__()
        self.out_proj = nn.Linear(sizes.hidden_size, sizes.hidden_size)
        self.norm2 = nn.LayerNorm(sizes.hidden_size)
        self.mlp = _AbstractorMLP(sizes)

    def forward(self, found: Tensor, queries: Tensor) -> Tensor:
        states = queries + self.out_proj(found)
        changed: Tensor = states + self.mlp(self.norm2(states))
        return changed


class _CrossAttention(nn.Module):
    def __init__(self, sizes: AbstractorSizes, tokens: int) -> None:
        super().__init__()
        self.attention = _AbstractorAttention(sizes, tokens)
        self.output = _AbstractorOutput(sizes)
        self.norm1 = nn.LayerNorm(sizes.hidden_size)
        self.normk = nn.LayerNorm(sizes.hidden_size)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        queries = self.norm1(queries)
        found = self.attention(queries, torch.cat([queries, self.normk(tokens)], dim=1))
        changed: Tensor = self.output(found, queries)
        return changed


class _AbstractorLayer(nn.Module):
    def __init__(self, sizes: AbstractorSizes, tokens: int) -> None:
        super().__init__()
        self.crossattention = _CrossAttention(sizes, tokens)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        changed: Tensor = self.crossattention(queries, tokens)
        return changed


class VisualAbstractor(nn.Module):
    """Sums the tokens of an image up in a few, as wide as the language model's, with an end behind them.

    Args:
        sizes: Its sizes.
        tokens: How many tokens an image has.
        width: The width of the language model.
    """

    def __init__(self, sizes: AbstractorSizes, tokens: int, width: int) -> None:
        super().__init__()
        self.query_embeds = nn.Parameter(torch.empty(1, sizes.num_learnable_queries, sizes.hidden_size))
        self.encoder = _Layers([_AbstractorLayer(sizes, tokens) for _ in range(sizes.num_hidden_layers)])
        self.visual_fc = nn.Linear(sizes.hidden_size, width)
        self.vit_eos = nn.Parameter(torch.empty(1, 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Sum up tokens `[N, T, D]`: `[N, queries + 1, width]`."""
        queries: Tensor = self.query_embeds.expand(len(tokens), -1, -1)
        for layer in self.encoder.layers:
            queries = layer(queries, tokens)
        return torch.cat([self.visual_fc(queries), self.vit_eos.expand(len(tokens), -1, -1)], dim=1)


class _LanguageAttention(nn.Module):
    def __init__(self, sizes: LanguageSizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.heads = sizes.num_attention_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = Multiway(lambda: nn.Linear(width, width, bias=False))
        self.v_proj = Multiway(lambda: nn.Linear(width, width, bias=False))
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, states: Tensor, places: Places, rotation: tuple[Tensor, Tensor]) -> Tensor:
        projected = self.q_proj(states), self.k_proj(states, places), self.v_proj(states, places)
        queries, keys, values = (_heads(part, self.heads) for part in projected)
        found = _attend(_rotated(queries, *rotation), _rotated(keys, *rotation), values, is_causal=True)
        mixed: Tensor = self.o_proj(found)
        return mixed


class _LanguageLayer(nn.Module):
    def __init__(self, sizes: LanguageSizes, eps: float, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = _LanguageAttention(sizes)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = Multiway(lambda: LlamaRMSNorm(sizes.hidden_size, eps=eps))
        self.post_attention_layernorm = Multiway(lambda: LlamaRMSNorm(sizes.hidden_size, eps=eps))

    def forward(self, states: Tensor, places: Places, rotation: tuple[Tensor, Tensor]) -> Tensor:
        states = states + self.self_attn(self.input_layernorm(states, places), places, rotation)
        found: Tensor = states + self.mlp(self.post_attention_layernorm(states, places))
        return found


class _Body(nn.Module):
    """All but the last projection, which the layout calls `model`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        language, vision = sizes.language, sizes.vision
        config = LlamaConfig(
            hidden_size=language.hidden_size,
            intermediate_size=language.intermediate_size,
            num_attention_heads=language.num_attention_heads,
        )
        self.embed_tokens = nn.Embedding(language.vocab_size, language.hidden_size)
        self.layers = nn.ModuleList(
            [_LanguageLayer(language, sizes.rms_norm_eps, config) for _ in range(language.num_hidden_layers)]
        )
        self.norm = LlamaRMSNorm(language.hidden_size, eps=sizes.rms_norm_eps)
        self.vision_model = VisionTower(vision)
        tokens = 1 + (vision.image_size // vision.patch_size) ** 2
        self.visual_abstractor = VisualAbstractor(sizes.abstractor, tokens, language.hidden_size)


class MPLUGOwl2(nn.Module):
    """The model; its parameters are named as the published files name them.

    Args:
        sizes: Its sizes.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.model = _Body(sizes)
        self.lm_head = nn.Linear(sizes.language.hidden_size, sizes.language.vocab_size, bias=False)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """What the language model reads of images `[N, 3, S, S]`: `[N, queries + 1, D]`."""
        summary: Tensor = self.model.visual_abstractor(self.model.vision_model(pixels))
        return summary

    def forward(
        self, pieces: Sequence[Sequence[int]], images: Sequence[Tensor], words: Sequence[int]
    ) -> Tensor:
        """The logits of some words behind texts with images in between.

        Args:
            pieces: The token ids of the texts, one more than there are images.
            images: For each place of an image what `encode_images` made of `N` images.
            words: The token ids of the words.

        Returns:
            `[N, words]`, in the type of the weights.
        """
        embed, device = self.model.embed_tokens, images[0].device
        count, parts = len(images[0]), []
        for index, piece in enumerate(pieces):
            tokens = embed(torch.tensor(piece, dtype=torch.long, device=device))
            parts.append((tokens.expand(count, -1, -1), False))
            parts += [(image, True) for image in images[index : index + 1]]
        joined = torch.cat([part for part, _ in parts], dim=1)
        shown = [torch.full(part.shape[1:2], is_image, device=device) for part, is_image in parts]
        places = Places(torch.cat(shown))
        head_width = self.sizes.language.hidden_size // self.sizes.language.num_attention_heads
        rotation = _rotation(joined, head_width, self.sizes.rope_theta)
        for layer in self.model.layers:
            joined = layer(joined, places, rotation)
        last = self.model.norm(joined[:, -1])
        logits: Tensor = F.linear(last, self.lm_head.weight[torch.tensor(words, device=device)])
        return logits


def _rotation(states: Tensor, width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[L, D]` of the places of `[N, L, ...]`, made in float32 whatever the weights are."""
    frequencies = theta ** -(torch.arange(0, width, 2, device=states.device, dtype=torch.float32) / width)
    angles = torch.outer(
        torch.arange(states.shape[1], device=states.device, dtype=torch.float32), frequencies
    )
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(states.dtype), angles.sin().to(states.dtype)


def _rotated(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    return states * cosines + torch.cat([-second, first], dim=-1) * sines
