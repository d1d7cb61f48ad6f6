"""The autoencoders whose latents are known: how each normalises them, and how it decodes one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

Denormalize = Callable[[Any, Tensor], Tensor]
"""From an autoencoder and latents `[B, C, h, w]` of a denoiser to latents as the autoencoder made them."""


@dataclass(frozen=True)
class Autoencoder:
    """How a kind of autoencoder takes latents and gives pictures.

    Attributes:
        denormalize: Undoes the scale that denoisers are trained in.
        frames: Whether it decodes videos, a picture being one of one frame.
        arguments: What else its `decode` is called with.
        unit: Whether its pictures are black at 0, like those here; else at −1.
    """

    denormalize: Denormalize
    frames: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unit: bool = False

    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, black at 0 and white at 1, of latents `[B, C, h, w]` or of one frame of them."""
        if self.frames and latents.ndim == 4:
            latents = latents.unsqueeze(2)
        decoded = cast(Tensor, vae.decode(latents, return_dict=False, **self.arguments)[0]).float()
        if self.frames:
            decoded = decoded[:, :, 0]
        return decoded if self.unit else decoded / 2 + 0.5


def as_they_are(vae: Any, latents: Tensor) -> Tensor:
    """Latents that nothing was done to."""
    return latents


def by_factor(vae: Any, latents: Tensor) -> Tensor:
    """Undo the scaling factor alone."""
    scale = float(vae.config.scaling_factor)
    return latents / scale


def by_factor_and_shift(vae: Any, latents: Tensor) -> Tensor:
    """Undo scaling factor and shift, or mean and deviation of each channel where there are some."""
    if vae.config.get("latents_mean") is not None and vae.config.get("latents_std") is not None:
        mean, std = _of_channels(vae, latents)
        return latents * std / float(vae.config.scaling_factor) + mean
    return by_factor(vae, latents) + float(vae.config.get("shift_factor") or 0)


def by_channel(vae: Any, latents: Tensor) -> Tensor:
    """Undo mean and deviation of each channel."""
    mean, std = _of_channels(vae, latents)
    return latents * std + mean


def by_batch_norm(
    vae: Any, latents: Tensor, *, eps: float | None = None, places_first: bool = False
) -> Tensor:
    """Undo the batch norm of 2 × 2 patches.

    Args:
        vae: The autoencoder; its batch norm has a channel for each channel of latents and place in the patch.
        latents: `[B, C, h, w]`, h and w even.
        eps: What the pipeline adds to the variance; the autoencoder's own if None.
        places_first: Whether its channels go by the places in the patch first, and by the channels of latents then.
    """
    norm = getattr(vae, "bn", None)
    if norm is None:  # a small autoencoder for previews takes the latents as they are
        return latents
    eps = float(vae.config.batch_norm_eps) if eps is None else eps
    mean, std = (
        (values.view(2, 2, -1).permute(2, 0, 1) if places_first else values.view(-1, 2, 2))
        .repeat(1, latents.shape[2] // 2, latents.shape[3] // 2)
        .to(latents)
        for values in (norm.running_mean, (norm.running_var + eps).sqrt())
    )
    moved: Tensor = latents * std + mean
    return moved


def _of_channels(vae: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, -1, *(1,) * (latents.ndim - 2))
    mean, std = (torch.tensor(vae.config[name]).view(shape) for name in ("latents_mean", "latents_std"))
    return mean.to(latents), std.to(latents)


AUTOENCODERS: dict[str, Autoencoder] = {
    "AutoencoderKL": Autoencoder(by_factor_and_shift),
    "AutoencoderTiny": Autoencoder(by_factor_and_shift),
    "AsymmetricAutoencoderKL": Autoencoder(by_factor_and_shift),
    "AutoencoderDC": Autoencoder(by_factor_and_shift),
    "AutoencoderKLHunyuanImage": Autoencoder(by_factor),
    "AutoencoderKLHunyuanImageRefiner": Autoencoder(by_factor, frames=True),
    "AutoencoderKLFlux2": Autoencoder(by_batch_norm),
    "AutoencoderKLQwenImage": Autoencoder(by_channel, frames=True),
    "AutoencoderKLQwenImage21": Autoencoder(by_channel, frames=True),
    "AutoencoderKLWan": Autoencoder(by_channel, frames=True),
    "VQModel": Autoencoder(as_they_are, arguments={"force_not_quantize": True}),
    "PaellaVQModel": Autoencoder(lambda vae, latents: latents * vae.config.scale_factor, unit=True),
}
"""By the name of the class, so that no version of diffusers need have them all; subclasses are of their kind."""


def autoencoder_of(vae: Any) -> Autoencoder | None:
    """The declaration of an autoencoder; None if its latents are not known here."""
    names = (kind.__name__ for kind in type(vae).__mro__)
    return next((AUTOENCODERS[name] for name in names if name in AUTOENCODERS), None)
