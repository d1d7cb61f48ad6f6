"""What is trained of a CLIP model, and what is not: the adapted image tower, and texts that are embedded once."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unisim_metrics.models import EncoderModel

from ..errors import TrainingError
from ..recipe import Recipe
from .batches import TextTable


class ImageTower(nn.Module):
    """The image side of a CLIP model as a module of its own, whose forward DDP can follow."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed prepared images `[N, 3, S, S]`: `[N, D]`, of any length."""
        features: Tensor = self.clip.get_image_features(pixel_values=pixels).pooler_output  # type: ignore[operator]
        return features

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


def adapt(clip: Any, recipe: Recipe, base_name: str) -> nn.Module:
    """Put the recipe's adapter on a `CLIPModel`, in place; nothing else is trained.

    Raises:
        TrainingError: If the adapter's layers are none of the model's.
    """
    from peft import get_peft_model

    from unisim_metrics.models.lora import unisim_lora

    config = unisim_lora(base_name)
    config.r, config.lora_alpha, config.lora_dropout = (
        recipe.lora.rank,
        recipe.lora.alpha,
        recipe.lora.dropout,
    )
    config.target_modules = recipe.lora.layers
    config.modules_to_save = ["visual_projection"] if recipe.train_projection else None
    torch.manual_seed(recipe.seed)
    try:
        model: nn.Module = get_peft_model(clip, config)
    except ValueError as error:
        raise TrainingError(f"The adapter does not fit the base {base_name!r}: {error}") from error
    return model


def embed_texts(
    encoder: EncoderModel, table: TextTable, accelerator: Accelerator, batch_size: int = 256
) -> Tensor:
    """Embed the texts of a table once, each in one of the processes.

    Args:
        encoder: The model.
        table: The texts.
        accelerator: Which processes there are.
        batch_size: How many texts pass through the tower at a time.

    Returns:
        Unit length `[T, D]`, the same in all processes, on the model's device; a single zero row for no texts.
    """
    texts = table.texts
    if not texts:
        return torch.zeros(1, 1, device=encoder.device)
    share = -(-len(texts) // accelerator.num_processes)
    first = accelerator.process_index * share
    # The last process may have fewer: all gather as many rows.
    mine = (texts[first : first + share] + [texts[-1]] * share)[:share]
    gathered: Tensor = accelerator.gather(encoder.embed_texts(mine, batch_size))
    return gathered[: len(texts)]
