"""Optimisation of the initial latents by gradients of a reward through the whole of sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pag.pag_utils import PAGMixin
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .augmentation import Augmentation
from .components import denoiser
from .families import Size
from .gradients import gradients, rms, unit, usable
from .latents import LatentDecoder
from .listening import SizeListener, wrapped
from .rewards import UniSimReward
from .sampling import check_call, images_of, replaced, resumed, seeded

_RESERVED = {
    "generator": "pass `seed`",
    "return_dict": "the result is an `OptimizedLatents`",
}


@dataclass(frozen=True)
class OptimizedLatents:
    """The best latents that were met, and the way there.

    Attributes:
        images: What the pipeline makes of `latents`: PIL images, or what `output_type` says.
        latents: For each image the initial latents of the highest reward, for `pipe(latents=...)`.
        rewards: Rewards `[S + 1, B]` before the first step and after each, float32 on the CPU.
        noise_state: State of the generator of the noise that a stochastic scheduler adds; see `generator`.
    """

    images: Any
    latents: Tensor
    rewards: Tensor
    noise_state: Tensor = field(repr=False)

    @property
    def best_steps(self) -> list[int]:
        """For each image after how many steps its latents were found; 0 are those of the seed."""
        return [int(step) for step in self.rewards.argmax(dim=0)]

    def generator(self) -> torch.Generator:
        """A generator for `pipe(prompt, latents=result.latents, generator=result.generator())`: the images again.

        Only schedulers that add noise while they sample need it.
        """
        generator: torch.Generator = resumed(self.noise_state)
        return generator


def optimize_latents(
    pipe: DiffusionPipeline,
    prompt: str | Sequence[str] | None,
    reward: UniSimReward | Callable[[Tensor], Tensor] | str | Sequence[str],
    steps: int = 20,
    *,
    learning_rate: float = 0.02,
    momentum: float = 0.9,
    latents: Tensor | None = None,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    checkpointing: bool = True,
    vae: Any = None,
    **pipe_kwargs: Any,
) -> OptimizedLatents:
    """Look for initial noise from which a pipeline makes images of a higher reward.

    Gradients of the reward pass the autoencoder and every step of sampling, as in DOODL (Wallace et al. 2023)
    and ReNO (Eyring et al. 2024). The latents of an image keep the norm that they start with, since noise of
    another norm is none that the denoiser knows. The gradient is scaled to unit size for each image, so that its
    path does not depend on its neighbours. Weights stay as they are.

    Pipelines of few steps are the place for it: a step of ascent costs about four calls of the pipeline.

    Args:
        pipe: The pipeline.
        prompt: The prompts; None if embeddings are passed instead.
        reward: What to raise: a function from pictures `[B, 3, H, W]` with values around [0, 1] to `[B]`; texts
            stand for their alignment.
        steps: How many steps of gradient ascent (Nesterov's momentum).
        learning_rate: Length of a step without momentum, as a share of the latents' own root mean square.
        momentum: How much of the step before goes into the next.
        latents: Where to start; the noise of `seed` if None.
        seed: Of the latents and of the noise that a scheduler adds, drawn on the CPU.
        augmentation: The views that gradients are averaged over; None takes the picture alone.
        checkpointing: Whether activations are computed again in the backward pass rather than kept. Without it
            those of all the steps stand in memory together.
        vae: Another autoencoder for the gradient, such as an `AutoencoderTiny`; the pipeline's own if None.
        pipe_kwargs: What else the pipeline is called with.

    Returns:
        For each image the best of all latents, those of the start included.

    Raises:
        TypeError: If `pipe` is no pipeline of diffusers, or does not take one of `pipe_kwargs`.
        ValueError: If an argument is out of its range, the pipeline has no autoencoder or keeps gradients from
            its latents, or the reward has no gradient to the pixels.

    Examples:
        ```python
        from diffusers import DiffusionPipeline
        from unisim_metrics.integrations.diffusers import UniSimReward, optimize_latents

        pipe = DiffusionPipeline.from_pretrained("stabilityai/stable-diffusion-xl-base-1.0")
        prompt = "a red fox in the snow"
        result = optimize_latents(pipe, prompt, UniSimReward(prompt, quality=0.5), num_inference_steps=4)
        result.images[0].save("fox.png")
        result.rewards  # [steps + 1, images]
        ```
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"Argument `steps` must be an integer of at least 1, but got {steps!r}.")
    if not learning_rate > 0:
        raise ValueError(f"Argument `learning_rate` must be above 0, but got {learning_rate}.")
    if not 0 < momentum < 1:
        raise ValueError(f"Argument `momentum` must be between 0 and 1, but got {momentum}.")
    check_call(pipe, ("generator", "latents", "output_type"), _RESERVED, pipe_kwargs)
    rewarded: Callable[[Tensor], Tensor] = reward if callable(reward) else UniSimReward(reward)
    if prompt is not None:
        pipe_kwargs["prompt"] = prompt
    sampler = _Sampler(pipe, pipe_kwargs, vae, seed, checkpointing)
    if latents is not None and latents.shape != sampler.drawn.shape:
        raise ValueError(
            f"Argument `latents` must have the shape of those of the pipeline, {tuple(sampler.drawn.shape)},"
            f" but got {tuple(latents.shape)}."
        )
    start = sampler.drawn if latents is None else latents.to(sampler.drawn)
    if isinstance(rewarded, UniSimReward):
        rewarded.check(len(start))
    with sampler.differentiable():
        best, rewards = _ascend(sampler, start, rewarded, steps, learning_rate, momentum, augmentation)
    images = images_of(pipe(**pipe_kwargs, latents=best, generator=resumed(sampler.noise_state)))
    return OptimizedLatents(images, best, rewards, sampler.noise_state)


def _ascend(
    sampler: _Sampler,
    start: Tensor,
    reward: Callable[[Tensor], Tensor],
    steps: int,
    learning_rate: float,
    momentum: float,
    augmentation: Augmentation | None,
) -> tuple[Tensor, Tensor]:
    """The best latents that were met, and the rewards `[S + 1, B]` of all."""
    start = usable(start)
    latents = start.float().clone()
    size = rms(latents)
    optimizer = torch.optim.SGD([latents], learning_rate, momentum, nesterov=True, maximize=True)
    best, highest, history = start, torch.tensor(-torch.inf), []
    for step in range(steps + 1):
        given = latents.to(start.dtype).detach().requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            final = sampler.sample(given)
            values, direction = _rise(sampler, final, reward, augmentation, step)
        chosen = (values > highest).view(-1, *(1,) * (start.ndim - 1)).to(start.device)
        best, highest = torch.where(chosen, given.detach(), best), values.maximum(highest)
        history.append(values)
        if direction is not None:
            try:
                (gradient,) = torch.autograd.grad(final, given, direction)
            except RuntimeError as error:
                if "inplace" in str(error):
                    raise _no_way_through(sampler.pipe) from error
                raise
            latents.grad = unit(gradient) * size
            optimizer.step()
            latents *= size / rms(latents)
    return best, torch.stack(history)


def _rise(
    sampler: _Sampler,
    final: Tensor,
    reward: Callable[[Tensor], Tensor],
    augmentation: Augmentation | None,
    number: int,
) -> tuple[Tensor, Tensor | None]:
    """Rewards `[B]` of final latents, and with gradients the direction in which they rise, of unit size for each."""
    with sampler.decoder.precision():
        leaf = final.detach().requires_grad_(torch.is_grad_enabled())
        decoded = sampler.decode(leaf)
        pictures = decoded.detach().requires_grad_(torch.is_grad_enabled())
        values = _values(reward, pictures)
        if not torch.is_grad_enabled():
            return values.cpu(), None
        rises = [values] if augmentation is None else map(reward, augmentation(pictures, number))
        gradient = torch.zeros_like(pictures)
        for rise in rises:
            gradient += torch.autograd.grad(rise.sum(), pictures)[0]
        # Of unit size before it passes the autoencoder too: in float16 it would vanish there.
        (direction,) = torch.autograd.grad(decoded, leaf, unit(gradient))
    return values.detach().cpu(), unit(direction)


def _values(reward: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    values = reward(pictures)
    if values.shape != pictures.shape[:1]:
        raise ValueError(
            f"Argument `reward` must return one value a picture, shape {tuple(pictures.shape[:1])},"
            f" but got {tuple(values.shape)}."
        )
    if pictures.requires_grad and not values.requires_grad:
        raise ValueError(
            "Argument `reward` must have a gradient to the pictures, but has none: use `best_of_n` for rewards"
            " without one."
        )
    return values.float()


class _Sampler:
    """A pipeline as a differentiable function from initial latents to final ones, and from these to pictures.

    Args:
        pipe: The pipeline.
        arguments: What it is called with.
        vae: Another autoencoder; the pipeline's own if None.
        seed: Of the initial latents and of the noise that is added on the way.
        checkpointing: Whether activations are computed again in the backward pass.

    Attributes:
        noise_state: State of the generator once the initial latents are drawn.
    """

    def __init__(
        self, pipe: DiffusionPipeline, arguments: dict[str, Any], vae: Any, seed: int, checkpointing: bool
    ) -> None:
        self.pipe = pipe
        self.checkpointing = checkpointing
        self.decoder = LatentDecoder(pipe, vae)
        self._arguments = {**arguments, "output_type": "latent"}
        self._size: Size | None = None
        # diffusers runs pipelines without gradients; this is the method before it was told to.
        self._call: Any = getattr(type(pipe).__call__, "__wrapped__", None)
        if self._call is None or not hasattr(pipe, "prepare_latents") or denoiser(pipe) is None:
            raise _no_way_through(pipe)
        if checkpointing and isinstance(pipe, PAGMixin):
            raise ValueError(
                f"Argument `checkpointing` must be False for {type(pipe).__name__}, which has other attention while it"
                " samples than when activations are computed again."
            )
        generator = seeded(seed)
        found = self._draw(generator=generator)
        if found is None:
            raise _no_way_through(pipe)
        self.noise_state = generator.get_state()
        self.drawn = self._as_taken(found)

    def sample(self, latents: Tensor) -> Tensor:
        """Final latents from initial ones."""
        arguments = {**usable(self._arguments), "latents": latents, "generator": resumed(self.noise_state)}
        # For each call anew: at the end of one, a pipeline that offloads its models sets their `forward` back.
        spared = (
            replaced(denoiser(self.pipe), "forward", _checkpointed) if self.checkpointing else nullcontext()
        )
        with spared, SizeListener(self.pipe) as listener:
            try:
                final = self._final(arguments)
            except AttributeError as error:
                # Parts that were never trained may ask a setting that they lack once there are gradients.
                if "gradient_checkpointing" in str(error):
                    raise _no_way_through(self.pipe) from error
                raise
            self._size = listener.size
        if latents.requires_grad and not final.requires_grad:
            raise _no_way_through(self.pipe)
        return final

    def decode(self, final: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` from final latents."""
        pictures: Tensor = self.decoder.decode(final, self._size)
        return pictures

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        """Let gradients through, to latents alone."""
        parts = [part for part in self.pipe.components.values() if isinstance(part, nn.Module)]
        with gradients(*parts), gradients(self.decoder.vae, checkpointing=self.checkpointing):
            yield

    def _final(self, arguments: dict[str, Any]) -> Tensor:
        """The latents of a call after its last step, as the scheduler steps them."""
        # What `output_type="latent"` gives is not always that.
        if "latents" not in getattr(self.pipe, "_callback_tensor_inputs", ()):
            output: Tensor = images_of(self._call(self.pipe, **arguments))
            return output
        theirs = arguments.get("callback_on_step_end")
        wanted = getattr(theirs, "tensor_inputs", None) or arguments.get(
            "callback_on_step_end_tensor_inputs", ()
        )
        final: list[Tensor] = []

        def keep(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            changed: dict[str, Any] = tensors if theirs is None else theirs(pipe, index, timestep, tensors)
            final[:] = [changed.get("latents", tensors["latents"])]
            return changed

        inputs = list(dict.fromkeys(("latents", *wanted)))
        keeping = {"callback_on_step_end": keep, "callback_on_step_end_tensor_inputs": inputs}
        self._call(self.pipe, **{**arguments, **keeping})
        return final[0]

    def _as_taken(self, drawn: _Drawn) -> Tensor:
        """Initial latents that the pipeline draws, as it takes them."""
        taken = self.decoder.family.taken
        # Pipelines scale the latents that they get; those of flow matching have no scale.
        scale = getattr(self.pipe.scheduler, "init_noise_sigma", 1.0)
        latents = taken(self.pipe, drawn.latents / scale, drawn.size)
        name = type(self.pipe).__name__
        try:
            found = self._draw(generator=resumed(self.noise_state), latents=latents)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"Argument `pipe` must take as `latents` what it draws itself, but {name} fails with them,"
                f" {str(error)!r}: use `best_of_n`."
            ) from error
        if found is None:  # it uses them as they are
            return taken(self.pipe, drawn.latents, drawn.size)
        # Some return fewer values where they get latents than where they draw them, and then stumble over it.
        if found.count != drawn.count or not _are_close(found.latents, drawn.latents):
            raise ValueError(
                f"Argument `pipe` must take as `latents` what it draws itself, but {name} makes something else of"
                " them: use `best_of_n`."
            )
        return latents

    def _draw(self, **given: Any) -> _Drawn | None:
        """What a call prepares before its first step; None if it prepares no latents."""

        def stop(arguments: dict[str, Any], result: Any) -> None:
            values = (result,) if isinstance(result, Tensor) else result
            raise _Drawn(values[0], len(values), listener.size)

        try:
            with (
                SizeListener(self.pipe) as listener,
                wrapped(self.pipe, "prepare_latents", lambda arguments: None, stop),
            ):
                self.pipe(**self._arguments, **given)
        except _Drawn as drawn:
            return drawn
        return None


class _Drawn(Exception):
    """Ends a call of a pipeline once the initial latents are drawn.

    Attributes:
        latents: The initial latents.
        count: How many values the pipeline prepared, these among them.
        size: Height and width of the pictures in pixels, if the pipeline told them before.
    """

    def __init__(self, latents: Tensor, count: int, size: Size | None) -> None:
        super().__init__()
        self.latents = latents
        self.count = count
        self.size = size


def _are_close(latents: Tensor, others: Tensor) -> bool:
    return latents.shape == others.shape and torch.allclose(latents, others, rtol=1e-3, atol=1e-3)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def again(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return again


def _no_way_through(pipe: DiffusionPipeline) -> ValueError:
    return ValueError(
        f"Argument `pipe` must let gradients through to its initial latents, but {type(pipe).__name__} does not:"
        " use `best_of_n`."
    )
