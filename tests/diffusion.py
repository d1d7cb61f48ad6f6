"""Tiny pipelines for the tests of diffusers: the four text-to-image families, and what can be made of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from docs.experiments.tiny_pipelines import SIZE, TINY, tiny_inputs, tiny_unet

# The pipelines and how each is made: from the parts of which family, and by which class if not the family's own.
VARIANTS: dict[str, tuple[str, str | None]] = {
    "sd": ("sd", None),
    "sdxl": ("sdxl", None),
    "sd3": ("sd3", None),
    "flux": ("flux", None),
    "sd-img2img": ("sd", "StableDiffusionImg2ImgPipeline"),
    "sdxl-img2img": ("sdxl", "StableDiffusionXLImg2ImgPipeline"),
    "sd3-img2img": ("sd3", "StableDiffusion3Img2ImgPipeline"),
    "flux-img2img": ("flux", "FluxImg2ImgPipeline"),
    "sd-inpaint": ("sd", "StableDiffusionInpaintPipeline"),
    "sd-inpaint-9": ("sd", "StableDiffusionInpaintPipeline"),
    "flux-inpaint": ("flux", "FluxInpaintPipeline"),
}
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


class Tiny:
    """A pipeline with everything that a call of it needs but the callback."""

    def __init__(self, name: str, steps: int = 4, images: int = 2, **arguments: Any) -> None:
        self.kind, variant = VARIANTS[name]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.pipe: Any = TINY[self.kind]()
            if name == "sd-inpaint-9":
                self.pipe.register_modules(unet=tiny_unet(in_channels=9))
        if variant is not None:
            self.pipe = getattr(diffusers, variant)(
                **self.pipe.components, **({"requires_safety_checker": False} if self.kind == "sd" else {})
            )
        self.pipe.set_progress_bar_config(disable=True)
        self.images = images
        self.arguments = {
            **tiny_inputs(self.kind, images),
            "num_inference_steps": steps,
            "output_type": "pt",
            **arguments,
        }
        if variant is not None:
            generator = torch.Generator().manual_seed(7)
            self.arguments["image"] = torch.rand(images, 3, SIZE, SIZE, generator=generator)
            self.arguments["strength"] = 1.0 if "inpaint" in name else 0.75
        if "inpaint" in name:
            mask = torch.zeros(1, 1, SIZE, SIZE)
            mask[..., SIZE // 2 :, :] = 1  # the lower half is painted anew
            self.arguments["mask_image"] = mask
        elif variant is not None and self.kind in ("sd", "sdxl"):
            del self.arguments["height"], self.arguments["width"]

    def __call__(self, callback: Any = None, seed: int = 0, **arguments: Any) -> Tensor:
        """Images `[B, 3, 64, 64]`, each of its own seed."""
        arguments = {**self.arguments, **arguments}
        if callback is not None:
            arguments["callback_on_step_end"] = callback
        arguments.setdefault(
            "generator", [torch.Generator().manual_seed(seed + index) for index in range(self.images)]
        )
        images: Tensor = self.pipe(**arguments).images
        return images

    @property
    def denoiser(self) -> nn.Module:
        module: nn.Module = self.pipe.unet if hasattr(self.pipe, "unet") else self.pipe.transformer
        return module

    def state(self) -> dict[str, Any]:
        """Everything about the pipeline that a callback could leave changed."""
        modules = {name: part for name, part in self.pipe.components.items() if isinstance(part, nn.Module)}
        return {
            "pipe": sorted(set(vars(self.pipe)) - {"_interrupt"}),
            "scheduler": sorted(
                name for name in vars(self.pipe.scheduler) if callable(vars(self.pipe.scheduler)[name])
            ),
            "interrupt": getattr(self.pipe, "_interrupt", False),
            "modules": {
                f"{name}.{path}": (
                    module.training,
                    len(module._forward_hooks) + len(module._forward_pre_hooks),
                    vars(module).get("gradient_checkpointing"),
                    "_gradient_checkpointing_func" in vars(module),
                )
                for name, part in modules.items()
                for path, module in part.named_modules()
            },
            "weights": {
                f"{name}.{path}": (weight.requires_grad, weight.grad is None, weight.dtype, weight._version)
                for name, part in modules.items()
                for path, weight in part.named_parameters()
            },
        }


def scheduler(name: str, **config: Any) -> Any:
    """A scheduler with Stable Diffusion's noise schedule."""
    return getattr(diffusers, name)(**BETAS, **config)


def steps_taken(pipe: Any) -> list[int]:
    """How often the denoiser is called from now on: one entry a call."""
    calls: list[int] = []
    module = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    module.register_forward_hook(lambda *arguments: calls.append(len(calls)))
    return calls


def seeds(count: int, first: int = 0) -> Sequence[torch.Generator]:
    return [torch.Generator().manual_seed(first + index) for index in range(count)]
