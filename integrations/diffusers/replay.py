"""The denoiser's passes of a recorded step once more, from moved latents: the predicted image as a function of them.

A pipeline turns latents into the denoiser's input and its outputs into one prediction in its own way:
classifier-free guidance doubles the batch or calls twice, rescales, or skips layers; inpainting adds channels.
None of it has to be known. The input is linear in the latents with the scheduler's scale, so that a move of the
latents is added to what the denoiser was given. The prediction is a weighted sum of the outputs, and the weights
of the recorded step follow from its outputs and its prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .gradients import usable
from .previews import DenoiserCall, Step

_INPUTS = ("sample", "hidden_states")


class Replay:
    """A recorded step as a function of its latents.

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
        # Latents come first among the channels; what a pipeline adds to them follows.
        axis = 1 if given.ndim == 4 else 2
        move = move * self._step.level.input_scale
        padding = [0, 0] * (given.ndim - 1 - axis) + [0, given.shape[axis] - move.shape[axis]]
        if axis == 2:
            padding += [0, given.shape[1] - move.shape[1]]  # so do the patches of a picture to be edited
        move = nn.functional.pad(move, padding).repeat(len(given) // len(move), *(1,) * (move.ndim - 1))
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
    raise ValueError(
        "Argument `through_denoiser` must be False for this pipeline: its prediction is no weighted sum of the"
        " outputs of its denoiser."
    )


def _usable(call: DenoiserCall) -> DenoiserCall:
    return DenoiserCall(usable(call.args), usable(call.kwargs), usable(call.output))


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0]
    return tensor
