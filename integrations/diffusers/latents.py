"""From latents to pixels, as the pipeline itself decodes them, or by an autoencoder that may be another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.hooks.group_offloading import _get_group_onload_device
from torch import Tensor, nn

from .autoencoders import AUTOENCODERS, Autoencoder, as_they_are, autoencoder_of
from .components import autoencoder
from .families import Size, family_of
from .previews import Step


class LatentDecoder:
    """Decodes the latents of a pipeline as the pipeline itself does at the end.

    Args:
        pipe: The pipeline.
        vae: Another autoencoder for the same latents, such as an `AutoencoderTiny`; the pipeline's own if None.

    Raises:
        ValueError: If there is no autoencoder, one of a kind whose latents are not known here, or the latents of
            the pipeline are not those of one picture.
    """

    def __init__(self, pipe: DiffusionPipeline, vae: Any = None) -> None:
        self.pipe = pipe
        self.family = family_of(pipe)
        self._other = vae
        way_out = "score its images with `unisim_metrics.functional.unisim_score`."
        if self.family.refused is not None:
            raise ValueError(
                "Argument `pipe` must be a pipeline whose latents are those of one picture, but"
                f" {self.family.refused} with {type(pipe).__name__}: {way_out}"
            )
        if self.vae is None:
            raise ValueError(
                f"Argument `pipe` must have an autoencoder (`pipe.vae`), but got a {type(pipe).__name__} without one:"
                f" pass `vae=...` if it makes latents, else {way_out}"
            )
        if self._kind() is None:
            name = "pipe" if vae is None else "vae"
            raise ValueError(
                f"Argument `{name}` must {'have' if vae is None else 'be'} an autoencoder of images, one of"
                f" {', '.join(AUTOENCODERS)}, but got {type(self.vae).__name__}: {way_out}"
            )

    @property
    def vae(self) -> Any:
        """The autoencoder in use."""
        if self._other is not None:
            return self._other
        return _PIXELS if self.family.pixels else autoencoder(self.pipe)

    def decode(self, latents: Tensor, size: Size | None = None) -> Tensor:
        """Decode latents; gradients flow to latents that require them.

        Args:
            latents: As the scheduler steps them: `[B, C, h, w]` as a rule, packed `[B, L, 4·C]` as Flux has them.
            size: Height and width of the pictures in pixels; only packed latents need it.

        Returns:
            Pictures `[B, 3, H, W]` in float32, black at 0 and white at 1, not clipped.

        Raises:
            ValueError: If packed latents come without their size, or latents are not those of pictures.
        """
        laid_out = self.family.laid_out(self.pipe, latents, size)
        kind = self._kind()
        if kind is None or laid_out.ndim != 4 + (kind.frames and laid_out.ndim == 5):
            raise ValueError(
                f"Argument `latents` must be those of pictures, [B, C, h, w], but got shape {tuple(latents.shape)}."
            )
        denormalize = self.family.denormalize if self._other is None else None
        with self.precision():
            laid_out = (denormalize or kind.denormalize)(self.vae, laid_out)
            return kind.decode(self.vae, laid_out.to(_device(self.vae, laid_out), self.vae.dtype))

    def preview(self, step: Step, latents: Tensor) -> Tensor:
        """Decode latents that are shaped as those of a recorded step; see `decode`."""
        return self.decode(latents, step.size)

    def check(self, latents: Tensor, size: Size | None) -> None:
        """Check, without decoding, that latents can be decoded.

        Raises:
            ValueError: If they cannot.
        """
        self.family.laid_out(self.pipe, latents, size)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Hold the autoencoder in the precision that it decodes in, and put it back.

        SDXL's own overflows in float16; its pipeline decodes in float32 then. A backward pass must stay inside.
        """
        vae = self.vae
        own = self._other is None and hasattr(self.pipe, "upcast_vae")
        upcast = own and vae.dtype == torch.float16 and vae.config.get("force_upcast", False)
        if upcast:
            vae.to(dtype=torch.float32)
        try:
            yield
        finally:
            if upcast:
                vae.to(dtype=torch.float16)

    def _kind(self) -> Autoencoder | None:
        return _AS_PIXELS if self.vae is _PIXELS else autoencoder_of(self.vae)


class _Pixels(nn.Module):
    """Stands for the autoencoder of a pipeline whose latents are pixels."""

    dtype = torch.float32

    def decode(self, latents: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        return (latents,)


_PIXELS = _Pixels()
_AS_PIXELS = Autoencoder(as_they_are)


def _device(module: Any, latents: Tensor) -> torch.device:
    """Where a module computes; one that is offloaded has its weights elsewhere."""
    if next(module.parameters(), None) is None:
        return latents.device
    try:
        return torch.device(_get_group_onload_device(module))
    except ValueError:
        hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
        devices = (getattr(hook, "execution_device", None) for hook in hooks)
        return torch.device(next((device for device in devices if device is not None), module.device))
