"""Writes checkpoints as the authors' code does, from plain transformers and peft, without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def trained_model(base: Path, seed: int = 1) -> Any:
    """The authors' model after training: peft on the vision tower alone, every trained weight moved.

    It is an ordinary ``CLIPModel`` whose ``vision_model`` is a ``PeftModel``, and so the independent
    reference for the embeddings of the checkpoint.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(base)
    layers = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.2, bias="none", target_modules=layers)
    model.vision_model = get_peft_model(model.vision_model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or name == "visual_projection.weight":
                noise = torch.randn(parameter.shape, generator=generator) * 0.05
                parameter.add_(noise)
    return model.eval()


def authors_state_dict(model: Any, prefix: str = "module.") -> dict[str, Tensor]:
    """The state dict under the names that transformers 4.45 and peft 0.13 gave it, DDP prefix included."""
    return {
        prefix + name: tensor.clone() for name, tensor in model.state_dict().items() if name != "logit_scale"
    }


def write_checkpoint(path: Path, state_dict: dict[str, Any], **extra: Any) -> Path:
    """Save what the authors' training loop saves: the optimizer holds NumPy scalars from the schedule."""
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(16, 4)}},
        "param_groups": [{"lr": np.float64(5e-6), "betas": (0.9, 0.98), "eps": 1e-6, "params": [0]}],
    }
    content = {"epoch": 1, "name": "unisim", "state_dict": state_dict, "optimizer": optimizer, **extra}
    torch.save(content, path)
    return path


@torch.no_grad()
def reference_embeddings(model: Any, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-length embeddings of prepared images and token ids from a plain transformers model."""
    outputs = model.get_image_features(pixel_values=pixels), model.get_text_features(input_ids=ids)
    features = [output if isinstance(output, Tensor) else output.pooler_output for output in outputs]
    images, texts = (torch.nn.functional.normalize(feature, dim=-1) for feature in features)
    return images, texts
