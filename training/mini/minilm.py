"""The text tower: MiniLM with a seventh layer, in transformers' own `BertModel`.

all-MiniLM-L6-v2 embeds a text as the mean of its tokens, `BertModel` as what its pooler makes of the first token. A
seventh layer brings them together: its attention is uniform (zero query and key) and hands on what it reads (identity
value), so its first token is the mean of all tokens under the mask; its output is so large that the residual beside
it drowns. What follows in that layer, a feed-forward network, the pooler and the projection, is the bridge from
MiniLM's space to that of the images, and is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, VisionTextDualEncoderModel

_DROWNING = 1000.0
_LINEAR = 0.01  # so small that the pooler's tanh changes nothing at first
BATCH = 64


@torch.no_grad()
def build_text_tower(folder: Path) -> BertModel:
    """Read MiniLM from its folder and add the seventh layer, in evaluation mode."""
    inner = BertModel.from_pretrained(folder, trust_remote_code=False, add_pooling_layer=False)
    config = BertConfig(
        **{
            **inner.config.to_diff_dict(),
            "num_hidden_layers": inner.config.num_hidden_layers + 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
    )
    tower: Any = BertModel(config)
    missing = tower.load_state_dict(inner.state_dict(), strict=False)
    if missing.unexpected_keys:
        raise ValueError(f"MiniLM in {folder} has weights that BERT lacks: {missing.unexpected_keys}.")
    layer, identity = tower.encoder.layer[-1], torch.eye(config.hidden_size)
    for linear, weight in (
        (layer.attention.self.query, 0 * identity),
        (layer.attention.self.key, 0 * identity),
        (layer.attention.self.value, identity),
        (layer.attention.output.dense, _DROWNING * identity),
        (tower.pooler.dense, _LINEAR * identity),
    ):
        linear.weight.copy_(weight)
        linear.bias.zero_()
    nn.init.zeros_(layer.output.dense.weight)
    built: BertModel = tower.eval()
    return built


@torch.inference_mode()
def pooled_tokens(tower: BertModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """The mean of each text's tokens, normalised, as the bridge reads it: `[N, D]`.

    Args:
        tower: As `build_text_tower` built it: before the bridge is trained, that is what its first token becomes.
        tokenizer: Its tokenizer.
        texts: The texts.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    rows = torch.empty(len(texts), tower.config.hidden_size)
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        tokens = tokenizer(
            [texts[index] for index in part], padding=True, truncation=True, return_tensors="pt"
        )
        rows[part] = tower(**tokens).last_hidden_state[:, 0]
    return rows


def bridge(model: VisionTextDualEncoderModel, pooled: Tensor, dropout: float = 0.0) -> Tensor:
    """Pass what `pooled_tokens` gave through the trainable rest of the text tower: unit length, `[N, D]`."""
    tower: Any = model.text_model
    layer = tower.encoder.layer[-1]
    inner = F.dropout(layer.intermediate(pooled), dropout, training=dropout > 0)
    hidden = torch.tanh(tower.pooler.dense(layer.output(inner, pooled)))
    return F.normalize(model.text_projection(hidden), dim=-1)


def bridge_modules(model: VisionTextDualEncoderModel) -> list[nn.Module]:
    """The trainable rest of the text tower."""
    tower: Any = model.text_model
    layer = tower.encoder.layer[-1]
    return [layer.intermediate, layer.output, tower.pooler, model.text_projection]
