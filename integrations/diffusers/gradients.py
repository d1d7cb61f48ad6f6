"""Gradients inside a sampling loop that runs without them, also through the denoiser of a recorded step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from .previews import DenoiserCall, Step

_INPUTS = ("sample", "hidden_states")


@contextmanager
def gradients(*modules: nn.Module, checkpointing: bool = False) -> Iterator[None]:
    """Compute with gradients, but none for the weights of some modules.

    Args:
        modules: Modules whose weights are held fixed.
        checkpointing: Whether those that can compute their activations again in the backward pass, which saves
            memory and costs time.
    """
    weights = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    parts = [part for module in modules for part in module.modules()] if checkpointing else []
    before = {part: dict(vars(part)) for part in parts if hasattr(part, "gradient_checkpointing")}
    for weight in weights:
        weight.requires_grad_(False)
    try:
        for module in modules if checkpointing else ():
            if getattr(module, "_supports_gradient_checkpointing", False):
                cast(Any, module).enable_gradient_checkpointing()
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
        for part, attributes in before.items():
            for name in ("gradient_checkpointing", "_gradient_checkpointing_func"):
                vars(part).pop(name, None)
                if name in attributes:
                    setattr(part, name, attributes[name])


def usable(value: Any) -> Any:
    """The same tensors, copied if they come from inference mode, which no gradient may pass; containers too."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, dict):
        return {key: usable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(usable(item) for item in value)
    return value


def unit(gradient: Tensor) -> Tensor:
    """Scale the gradient of each sample to a root mean square of one; a gradient of zero stays zero.

    Raises:
        ValueError: If a gradient is not finite.
    """
    gradient = gradient.float()
    size = rms(gradient)
    if not bool(size.isfinite().all()):
        raise ValueError(
            "The gradient of the reward is not finite, as happens in float16: load the pipeline in bfloat16 or its"
            " autoencoder in float32, or pass another by `vae=...`."
        )
    return gradient / size.clamp_min(torch.finfo(torch.float32).tiny)


def rms(values: Tensor) -> Tensor:
    """Root mean square of each sample of a batch, of a shape that broadcasts with it."""
    return values.square().mean(dim=tuple(range(1, values.ndim)), keepdim=True).sqrt()


def padded(move: Tensor, given: Tensor) -> Tensor:
    """A move of latents as one of what holds more: other channels, or patches of a picture to be edited, after them.

    Raises:
        ValueError: If it does not hold the latents at all.
    """
    rest = [there - here for here, there in zip(move.shape[1:], given.shape[1:], strict=False)]
    if move.ndim != given.ndim or min(rest) < 0:
        raise _no_way_back()
    return nn.functional.pad(move, [part for more in reversed(rest) for part in (0, more)])


class Replay:
    """The denoiser's passes of a recorded step once more, from moved latents: the predicted image as their function.

    A pipeline turns latents into the denoiser's input and its outputs into one prediction in its own way:
    classifier-free guidance doubles the batch or calls twice, rescales, or skips layers; inpainting adds channels.
    None of it has to be known. The input is linear in the latents with the scheduler's scale, so that a move of the
    latents is added to what the denoiser was given. The prediction is a weighted sum of the outputs, and the weights
    of the recorded step follow from its outputs and its prediction.

    Args:
        step: The step, with the calls of the denoiser.
        module: The denoiser.

    Raises:
        ValueError: If the step's prediction is no weighted sum of the denoiser's outputs.
    """

    def __init__(self, step: Step, module: nn.Module) -> None:
        self._step = step
        self._module = module
        self._calls = [_usable(call) for call in step.calls]
        if not all(isinstance(call.output, Tensor) for call in self._calls):
            raise _no_way_back()  # it takes and gives a list of pictures
        self._weights = _weights(self._outputs(call.output for call in self._calls), step.model_output)

    def x0(self, move: Tensor) -> Tensor:
        """The predicted image if the latents had been moved by `move`; differentiable."""
        outputs = self._outputs(self._pass(call, move) for call in self._calls)
        shape = (-1, *(1,) * (move.ndim - 1))
        pairs = zip(self._weights.to(move.device).unbind(1), outputs, strict=True)
        prediction = torch.stack([weight.view(shape) * output.float() for weight, output in pairs]).sum(0)
        return self._step.x0_from(usable(self._step.sample) + move, prediction)

    def _outputs(self, outputs: Any) -> list[Tensor]:
        """The denoiser's outputs, each of one batch."""
        batch = len(self._step.sample)
        return [part for output in outputs for part in output.split(batch)]

    def _pass(self, call: DenoiserCall, move: Tensor) -> Tensor:
        name = next((name for name in _INPUTS if name in call.kwargs), None)
        given = call.args[0] if name is None else call.kwargs[name]
        move = padded(move * self._step.level.input_scale, given)
        move = move.repeat(len(given) // len(move), *(1,) * (move.ndim - 1))
        moved = (given.float() + move).to(given.dtype)
        if name is None:
            return _first(self._module(moved, *call.args[1:], **call.kwargs))
        return _first(self._module(*call.args, **{**call.kwargs, name: moved}))


def _weights(outputs: Sequence[Tensor], prediction: Tensor) -> Tensor:
    """Weights `[B, n]` of the n outputs in the prediction, for each sample by least squares."""
    flat = torch.stack([output.detach().flatten(1).double().cpu() for output in outputs], dim=1)
    target = prediction.detach().flatten(1).double().cpu()
    if flat.shape[-1] == target.shape[-1]:
        gram = flat @ flat.transpose(1, 2)
        # Equal outputs share their weight.
        weights = (torch.linalg.pinv(gram, hermitian=True) @ (flat @ target.unsqueeze(-1))).squeeze(-1)
        rest = target - torch.einsum("bn,bnd->bd", weights, flat)
        # The prediction is rounded in its dtype, several times under strong classifier-free guidance.
        tolerance = max(1e-3, 6 * torch.finfo(prediction.dtype).eps)
        if bool((rest.norm(dim=1) <= tolerance * target.norm(dim=1)).all()):
            shares: Tensor = weights.float()
            return shares
    raise _no_way_back()


def _no_way_back() -> ValueError:
    return ValueError(
        "Argument `through_denoiser` must be False for this pipeline: its prediction is no weighted sum of the"
        " outputs of its denoiser."
    )


def _usable(call: DenoiserCall) -> DenoiserCall:
    return DenoiserCall(usable(call.args), usable(call.kwargs), usable(call.output))


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0]
    return tensor
