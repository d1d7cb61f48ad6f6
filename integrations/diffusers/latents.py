"""From latents to pixels: scaling, shift, packed latents, and an autoencoder that may be another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
)
from diffusers.hooks.group_offloading import _get_group_onload_device
from torch import Tensor

from .previews import Step

AUTOENCODERS = (AutoencoderKL, AutoencoderTiny, AsymmetricAutoencoderKL, AutoencoderDC)
"""The autoencoders whose scaling of latents is known; their subclasses too."""


class LatentDecoder:
    """Decodes the latents of a pipeline as the pipeline itself does at the end.

    Args:
        pipe: The pipeline.
        vae: Another autoencoder for the same latents, such as an `AutoencoderTiny`; the pipeline's own if None.

    Raises:
        ValueError: If there is no autoencoder, or one of a kind whose latents are not known here.
    """

    def __init__(self, pipe: DiffusionPipeline, vae: Any = None) -> None:
        self.pipe = pipe
        self._other = vae
        if self.vae is None:
            raise ValueError(
                f"Argument `pipe` must have an autoencoder (`pipe.vae`), but got a {type(pipe).__name__} without one:"
                " pass `vae=...` if it makes latents, else score its images with"
                " `unisim_metrics.functional.unisim_score`."
            )
        if not isinstance(self.vae, AUTOENCODERS):
            name = "pipe" if vae is None else "vae"
            raise ValueError(
                f"Argument `{name}` must {'have' if vae is None else 'be'} an autoencoder of images, one of"
                f" {', '.join(kind.__name__ for kind in AUTOENCODERS)}, but got {type(self.vae).__name__}:"
                " score the finished images with `unisim_metrics.functional.unisim_score`."
            )

    @property
    def vae(self) -> Any:
        """The autoencoder in use."""
        return getattr(self.pipe, "vae", None) if self._other is None else self._other

    @property
    def packed(self) -> bool:
        """Whether the pipeline's latents are sequences of 2 × 2 patches, as Flux's are."""
        return callable(getattr(self.pipe, "_unpack_latents", None))

    def decode(self, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        """Decode latents; gradients flow to latents that require them.

        Args:
            latents: `[B, C, h, w]`, or packed `[B, L, 4·C]`.
            height: Of the pictures in pixels; only packed latents need it.
            width: Likewise.

        Returns:
            Pictures `[B, 3, H, W]` in float32, black at 0 and white at 1, not clipped.

        Raises:
            ValueError: If packed latents come without their size, or latents are not those of pictures.
        """
        if latents.ndim == 3 and self.packed:
            if height is None or width is None:
                raise ValueError("Arguments `height` and `width` must be given for packed latents.")
            latents = self.pipe._unpack_latents(latents, height, width, self.pipe.vae_scale_factor)
        if latents.ndim != 4:
            raise ValueError(
                f"Argument `latents` must be those of pictures, [B, C, h, w], but got shape {tuple(latents.shape)}."
            )
        with self.precision():
            latents = _unscaled(latents, self.vae.config)
            images = self.vae.decode(latents.to(_device(self.vae), self.vae.dtype), return_dict=False)[0]
        return cast(Tensor, images).float() / 2 + 0.5

    def preview(self, step: Step, latents: Tensor) -> Tensor:
        """Decode latents that are shaped as those of a recorded step; see `decode`.

        Args:
            step: The step; of packed latents with the calls of the denoiser, which tell the pictures' size.
            latents: To be decoded.
        """
        if latents.ndim == 3 and self.packed:
            return self.decode(latents, *self._size(step))
        return self.decode(latents)

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

    def _size(self, step: Step) -> tuple[int, int]:
        """Pixels of the pictures of packed latents, by the position that the denoiser was told of each patch."""
        ids = next((call.kwargs["img_ids"] for call in step.calls if "img_ids" in call.kwargs), None)
        if ids is None:
            raise ValueError(
                f"Argument `pipe` must tell its denoiser the positions of packed latents (`img_ids`),"
                f" but the {type(self.pipe).__name__} does not."
            )
        # A picture to be edited may follow the latents.
        rows, columns = (ids.reshape(-1, ids.shape[-1])[: step.sample.shape[1], 1:].amax(0) + 1).tolist()
        patch = 2 * self.pipe.vae_scale_factor
        return int(rows) * patch, int(columns) * patch


def _unscaled(latents: Tensor, config: Any) -> Tensor:
    """Latents as the autoencoder made them, from those that the denoiser is trained on."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        latents = latents * torch.tensor(std).view(1, -1, 1, 1).to(latents) / config.scaling_factor
        return latents + torch.tensor(mean).view(1, -1, 1, 1).to(latents)
    return latents / float(config.scaling_factor) + float(config.get("shift_factor") or 0)


def _device(module: Any) -> torch.device:
    """Where a module computes; one that is offloaded has its weights elsewhere."""
    try:
        return torch.device(_get_group_onload_device(module))
    except ValueError:
        hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
        devices = (getattr(hook, "execution_device", None) for hook in hooks)
        return torch.device(next((device for device in devices if device is not None), module.device))
