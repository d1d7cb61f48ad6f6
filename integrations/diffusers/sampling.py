"""How best-of-N and the optimisation of latents call a pipeline: checks, seeds, methods replaced for a while."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor

# What outputs call images: several of them, a single batch, or those beside a depth.
_IMAGES_FIRST = ("images", "image", "rgb")
_IMAGES = frozenset(_IMAGES_FIRST)
_VIDEOS = frozenset(("frames", "video"))

# Pipelines whose tensors (`output_type="pt"`) are black at −1 and not clipped, other than their arrays; by how their
# names begin.
_SIGNED = (
    "IF",
    "Kandinsky3Pipeline",
    "KandinskyCombined",
    "KandinskyInpaint",
    "KandinskyPipeline",
    "KandinskyV22Combined",
    "KandinskyV22ControlnetPipeline",
    "KandinskyV22Inpaint",
    "KandinskyV22Pipeline",
    "PRXPixel",
)


def check_makes_images(pipe: Any) -> None:
    """Check that a pipeline is one of diffusers, for images.

    Raises:
        TypeError: If it is no pipeline of diffusers.
        ValueError: If it makes no images.
    """
    if not isinstance(pipe, DiffusionPipeline):
        raise TypeError(
            f"Argument `pipe` must be a `DiffusionPipeline`, but got {type(pipe).__module__}.{type(pipe).__qualname__}."
        )
    outputs = _outputs(type(pipe))
    if not outputs or outputs & _IMAGES:
        return
    name = type(pipe).__name__
    if outputs & _VIDEOS:
        raise ValueError(
            f"Argument `pipe` must be a pipeline for images, but {name} makes videos:"
            " score their frames with `unisim_metrics.functional.unisim_score`."
        )
    raise ValueError(
        f"Argument `pipe` must be a pipeline for images, but {name} makes {', '.join(sorted(outputs))}:"
        " use the pipeline that makes images of them, if there is one."
    )


def _outputs(kind: type) -> set[str]:
    """What a class of pipelines returns, by the outputs that its module knows; nothing if it knows none."""
    modules = {base.__module__ for base in kind.__mro__} - {DiffusionPipeline.__module__}
    known = (value for name in modules for value in vars(sys.modules[name]).values())
    return {
        item.name
        for output in known
        if isinstance(output, type)
        and issubclass(output, BaseOutput)
        and ("pipeline_" in output.__module__ or output.__module__ in modules)
        for item in fields(output)
    }


def images_of(output: Any) -> Any:
    """The images that a call of a pipeline returned.

    Raises:
        ValueError: If it returned none.
    """
    for name in _IMAGES_FIRST:
        if hasattr(output, name):
            return getattr(output, name)
    raise ValueError(
        f"Argument `pipe` must be a pipeline for images, but it returned a {type(output).__name__}."
    )


def output_type_for(pipe: Any, wanted: str) -> str:
    """The output type to ask a pipeline for, so that `as_wanted` makes of it what is wanted."""
    return "np" if wanted == "pt" and type(pipe).__name__.startswith(_SIGNED) else wanted


def as_wanted(images: Any, wanted: str) -> Any:
    """Images as an output type says; some pipelines give arrays where tensors were asked for."""
    if wanted == "pt" and isinstance(images, np.ndarray):
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    return images


def check_call(
    pipe: Any, needed: tuple[str, ...], reserved: Mapping[str, str], arguments: Mapping[str, Any]
) -> None:
    """Check that a pipeline makes images and that it can be called as planned.

    Args:
        pipe: The pipeline.
        needed: The arguments that it must take.
        reserved: Arguments that the caller may not give, each with what to do instead.
        arguments: What the caller gave for the pipeline.

    Raises:
        TypeError: If it is no pipeline of diffusers.
        ValueError: If it makes videos, does not take an argument, or one is given that is reserved.
    """
    check_makes_images(pipe)
    name = type(pipe).__name__
    known = inspect.signature(type(pipe).__call__).parameters
    for argument in needed:
        if argument not in known:
            raise ValueError(
                f"Argument `pipe` must be a pipeline that takes `{argument}`, but {name} does not."
            )
    for argument, instead in reserved.items():
        if argument in arguments:
            raise ValueError(f"Argument `{argument}` must not be given: {instead}.")
    unknown = sorted(arguments.keys() - known.keys())
    if unknown:
        raise TypeError(f"Argument `{unknown[0]}` is taken neither here nor by {name}.")


def seeded(seed: int) -> torch.Generator:
    """The generator of a seed. It is on the CPU, so that a seed means the same noise on every device."""
    return torch.Generator().manual_seed(seed)


def resumed(state: Tensor) -> torch.Generator:
    """A generator that goes on from the state of another."""
    generator = torch.Generator()
    generator.set_state(state)
    return generator


@contextmanager
def replaced(
    owner: Any, name: str, replace: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Exchange a method of one instance, and put it back.

    Args:
        owner: The instance; its class stays as it is.
        name: The method.
        replace: Makes the new method from the one that was found.
    """
    method = getattr(owner, name)
    found = vars(owner).get(name)
    # Pipelines look at the signature.
    setattr(owner, name, functools.wraps(method)(replace(method)))
    try:
        yield
    finally:
        if found is None:
            vars(owner).pop(name, None)
        else:
            setattr(owner, name, found)
