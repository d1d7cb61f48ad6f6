"""What each image pipeline of diffusers is made of, and called with: found by its name, filled in by its signature."""

from __future__ import annotations

import inspect
import re
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from ..tiny_pipelines import SIZE
from .case import TOKENS, WIDTH, Case
from .families import CASES
from .networks import tiny_network

_WITH_IMAGE = re.compile(
    "Img2Img|Inpaint|Fill|Kontext|StableDiffusion(XL)?ControlNet(PAG|XS)?Pipeline|Edit|Refiner|I2I|Pix2Pix|Depth2Img"
)


def _picture(seed: int = 7) -> Image.Image:
    """A picture of noise."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def _mask() -> Image.Image:
    """A mask whose lower half is painted anew."""
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, SIZE // 2, SIZE, SIZE))
    return mask


def case_of(kind: type[DiffusionPipeline]) -> Case | None:
    """How a class of pipelines is made and called in small; None if it is not told here."""
    return next((case for pattern, case in CASES.items() if re.match(pattern, kind.__name__)), None)


def tiny_pipeline(kind: type[DiffusionPipeline]) -> DiffusionPipeline:
    """A pipeline with random weights; its text encoders are missing."""
    case = case_of(kind)
    if case is None:
        raise ValueError(
            f"Argument `kind` must be a pipeline that `CASES` tells of, but got {kind.__name__}."
        )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, Any] = {}
        for name, (network, config) in case.networks.items():
            networks[name] = tiny_network(network, networks.get("unet"), **config)
    scheduler, settings = case.scheduler
    given: dict[str, Any] = {
        **networks,
        "scheduler": getattr(diffusers, scheduler)(**settings),
        "requires_safety_checker": False,
        "add_watermarker": False,
        **case.components,
    }
    wanted = inspect.signature(kind.__init__).parameters
    missing = {
        name: None
        for name, parameter in wanted.items()
        if name not in given
        and parameter.default is inspect.Parameter.empty
        and name not in ("self", "kwargs")
    }
    pipe = kind(**{name: value for name, value in given.items() if name in wanted}, **missing)
    pipe.set_progress_bar_config(disable=True)
    if case.prepare is not None:
        case.prepare(pipe)
    return pipe


def tiny_call(
    kind: type[DiffusionPipeline], steps: int = 3, images: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Arguments for a call of a tiny pipeline: all but the generator and the callback.

    Args:
        kind: The class of the pipeline.
        steps: How many steps it takes.
        images: How many prompts it gets, no more than its case has; as many as that if None.
        seed: Of the embeddings in the place of the prompts.
    """
    case = case_of(kind)
    if case is None:
        raise ValueError(
            f"Argument `kind` must be a pipeline that `CASES` tells of, but got {kind.__name__}."
        )
    wanted = inspect.signature(kind.__call__).parameters
    prompt, count = "prompt" in case.call, images or case.images
    shapes = {
        name: None if prompt else _shape(name) for name in wanted if re.search("prompt.*(embeds|mask)", name)
    }
    generator = torch.Generator().manual_seed(seed)
    arguments: dict[str, Any] = {
        name: torch.ones(count, *shape, dtype=torch.bool)
        if "mask" in name
        else torch.randn(count, *shape, generator=generator)
        for name, shape in {**shapes, **case.embeddings}.items()
        if shape is not None
    }
    if case.lists:
        arguments = {name: list(value) for name, value in arguments.items()}
    arguments.update({"height": SIZE, "width": SIZE, "num_inference_steps": steps, "output_type": "np"})
    if _WITH_IMAGE.search(kind.__name__):
        arguments.update(
            image=_picture(), mask_image=_mask(), strength=1.0 if "Inpaint" in kind.__name__ else 0.75
        )
    arguments.update(control_image=_picture(8), control_mask=_mask(), use_resolution_binning=False)
    arguments.update(case.call)
    return {name: value for name, value in arguments.items() if name in wanted}


def _shape(name: str) -> tuple[int, ...] | None:
    if "ip_adapter" in name:
        return None
    if "mask" in name:
        return (TOKENS,)
    return (WIDTH,) if "pooled" in name else (TOKENS, WIDTH)
