"""A small Stable Diffusion XL of random weights with its text encoders, in the files that diffusers reads."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tokenizer

NAME = "stabilityai/stable-diffusion-xl-base-1.0"
_STEPS = 4
_WIDTH = 16  # of each text encoder: the denoiser sees both beside each other


def write_pipeline(folder: Path) -> None:
    """Write the pipeline."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from docs.experiments.tiny_pipelines import tiny_sdxl

    size = write_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=2 * _WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = tiny_sdxl()
        pipe.register_modules(
            text_encoder=CLIPTextModel(config),
            text_encoder_2=CLIPTextModelWithProjection(config),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
        )
    pipe.save_pretrained(folder)


def stay_small(patch: pytest.MonkeyPatch) -> None:
    """Keep pipelines that are sent to a GPU on the CPU, in its precision; few steps where nobody asks for many."""
    from diffusers import DiffusionPipeline, ModularPipeline, StableDiffusionXLPipeline

    sample, run = StableDiffusionXLPipeline.__call__, ModularPipeline.__call__

    def small(send: Any) -> Any:
        def to(self: Any, *arguments: Any, **settings: Any) -> Any:
            if "cuda" in arguments:
                return send(self, "cpu", torch.float32)
            return send(self, *arguments, **settings)

        return to

    @wraps(sample)
    def call(self: Any, *arguments: Any, **settings: Any) -> Any:
        self.set_progress_bar_config(disable=True)
        return sample(self, *arguments, **{"num_inference_steps": _STEPS, **settings})

    def run_blocks(self: Any, *arguments: Any, **settings: Any) -> Any:
        return run(self, *arguments, **{"num_inference_steps": _STEPS, **settings})

    call.__wrapped__ = sample.__wrapped__  # type: ignore[attr-defined]  # without gradients, as the pipeline's own
    for kind in (DiffusionPipeline, ModularPipeline):
        patch.setattr(kind, "to", small(kind.to))
    patch.setattr(ModularPipeline, "__call__", run_blocks)
    patch.setattr(StableDiffusionXLPipeline, "__call__", call)
