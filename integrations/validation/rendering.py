"""Pictures from a model in training, without a trace in it: random numbers, modes and schedulers stay as they were."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

Generate: TypeAlias = Callable[[list[str], list[torch.Generator]], Any]
"""Makes N images of N prompts and N generators, on the CPU, whose `initial_seed()` is the seed."""


@contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and PyTorch, and give them back the state that they had.

    Args:
        seed: What a model draws without a generator of its own begins here; below 2**32.
    """
    states = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=()))
        for kind in ("cuda", "xpu"):
            accelerator = getattr(torch, kind)
            if accelerator.is_available():
                devices = range(accelerator.device_count())
                stack.enter_context(torch.random.fork_rng(devices=devices, device_type=kind))
        if torch.backends.mps.is_available():
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put modules into evaluation mode, and every part of them back into the mode that it had."""
    parts = {part: part.training for module in modules for part in module.modules()}
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, training in parts.items():
            part.training = training


@contextmanager
def ready(generate: Generate) -> Iterator[Generate]:
    """Prepare a function to be called: a module, or the method of one, is in evaluation mode meanwhile."""
    owner = generate if isinstance(generate, nn.Module) else getattr(generate, "__self__", None)
    with evaluating([owner] if isinstance(owner, nn.Module) else []):
        yield generate


class PipelineCall:
    """A pipeline of diffusers as what makes the images of prompts.

    While it is entered with `with`, its modules are in evaluation mode, its schedulers are copies, since sampling sets
    their steps, and it shows no progress.

    Args:
        pipeline: The pipeline, with the modules that are trained: unwrapped, not those that a trainer wraps.
        arguments: What else it is called with. A text for another input (`negative_prompt`) is repeated.

    Raises:
        TypeError: If it is no pipeline of diffusers, or does not take an argument.
        ValueError: If it makes no images of prompts and generators, an argument is given that a validation sets, or a
            module is wrapped for several processes.
    """

    def __init__(self, pipeline: Any, arguments: Mapping[str, Any]) -> None:
        from ..diffusers.sampling import check_call

        reserved = {
            "prompt": "the prompts are those of the validation",
            "generator": "the seeds are those of the validation",
            "num_images_per_prompt": "set `seeds_per_prompt` of the validation",
        }
        check_call(pipeline, ("prompt", "generator"), reserved, arguments)
        self.pipeline = pipeline
        self.arguments = dict(arguments)
        self.modules = {
            name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)
        }
        for name, module in self.modules.items():
            if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
                raise ValueError(
                    f"Argument `pipeline` must hold the modules themselves, but its {name} is a"
                    f" {type(module).__name__}, in which a process by itself waits for the others: unwrap it, as by"
                    " `accelerator.unwrap_model`."
                )

    @property
    def device(self) -> torch.device:
        """Where the pipeline runs."""
        device: torch.device = self.pipeline._execution_device
        return device

    @contextmanager
    def ready(self) -> Iterator[Generate]:
        """Prepare the pipeline to be called, and leave it as it was."""
        schedulers = {
            name: part for name, part in self.pipeline.components.items() if hasattr(part, "set_timesteps")
        }
        shown = getattr(self.pipeline, "_progress_bar_config", None)
        with evaluating(self.modules.values()):
            try:
                for name, scheduler in schedulers.items():
                    setattr(self.pipeline, name, copy.deepcopy(scheduler))
                self.pipeline.set_progress_bar_config(**{**(shown or {}), "disable": True})
                yield self._generate
            finally:
                for name, scheduler in schedulers.items():
                    setattr(self.pipeline, name, scheduler)
                if shown is None:
                    del self.pipeline._progress_bar_config
                else:
                    self.pipeline._progress_bar_config = shown

    def _generate(self, prompts: list[str], generators: list[torch.Generator]) -> Any:
        from ..diffusers.sampling import images_of

        # Pipelines want as many texts of each kind as prompts.
        arguments = {
            name: [value] * len(prompts) if isinstance(value, str) and "prompt" in name else value
            for name, value in self.arguments.items()
        }
        return images_of(self.pipeline(prompt=prompts, generator=generators, **arguments))


def generators_of(seeds: Sequence[int]) -> list[torch.Generator]:
    """A generator for each seed. They are on the CPU, so that a seed means the same noise on every device."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]
