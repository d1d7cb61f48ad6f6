"""The pipelines that keep their latents in a way of their own: one declaration a family.

What is not declared here keeps its latents as pictures `[B, C, h, w]`, or as a sequence of patches that its own
`_unpack_latents` lays out, in the scale of its autoencoder.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import diffusers
from torch import Tensor

from .autoencoders import Denormalize, by_batch_norm, by_channel, by_factor
from .components import denoiser

Size = tuple[int, int]
"""Height and width in pixels."""

Layout = Callable[[Any, Tensor, Size | None], Tensor]
"""From a pipeline, latents of it and the size of the pictures to the same latents, laid out otherwise."""


def laid_out(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    """Latents as pictures `[B, C, h, w]`, or `[B, C, 1, h, w]`, by the pipeline's own `_unpack_latents` if packed.

    Raises:
        ValueError: If they are packed, and their size is not known or the pipeline does not tell how.
    """
    unpack = _unpacking(pipe)
    if latents.ndim != 3 or unpack is None:
        return latents
    height, width = _known(size)
    known = {
        "latents": latents,
        "height": height,
        "width": width,
        "vae_scale_factor": getattr(pipe, "vae_scale_factor", None),
        "patch_size": getattr(getattr(denoiser(pipe), "config", None), "patch_size", None),
    }
    wanted = inspect.signature(unpack).parameters
    unknown = [name for name in wanted if known.get(name) is None]
    if unknown:
        raise ValueError(
            f"Argument `pipe` must lay out its packed latents by their size, but {type(pipe).__name__} asks"
            f" `{unknown[0]}` too: score its finished images with `unisim_metrics.functional.unisim_score`."
        )
    return unpack(**{name: known[name] for name in wanted})


def _unpacking(pipe: Any) -> Callable[..., Tensor] | None:
    """The method that lays out packed latents: a pipeline's own, or of the plain pipeline whose modular form it is."""
    own = getattr(pipe, "_unpack_latents", None)
    if callable(own):
        return cast(Callable[..., Tensor], own)
    plain = getattr(diffusers, type(pipe).__name__.replace("ModularPipeline", "Pipeline"), None)
    method = inspect.getattr_static(plain, "_unpack_latents", None)
    return None if method is None else cast(Callable[..., Tensor], method.__get__(pipe))


def _known(size: Size | None) -> Size:
    if size is None:
        raise ValueError("Arguments `height` and `width` must be given for packed latents.")
    return size


def _unpatched(latents: Tensor) -> Tensor:
    """`[B, 4·C, h, w]`, each channel followed by its places in a 2 × 2 patch, as `[B, C, 2·h, 2·w]`."""
    batch, channels, rows, columns = latents.shape
    patches = latents.reshape(batch, channels // 4, 2, 2, rows, columns).permute(0, 1, 4, 2, 5, 3)
    return patches.reshape(batch, channels // 4, 2 * rows, 2 * columns)


def _unchanged(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    return latents


def _grid(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    height, width = _known(size)
    patch = 2 * pipe.vae_scale_factor
    grid: Tensor = latents.transpose(1, 2).unflatten(2, (height // patch, width // patch))
    return grid


def _flux2(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    return _unpatched(_grid(pipe, latents, size))


def _ideogram(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    height, width = _known(size)
    side = pipe.patch_size
    grid = [extent // (side * pipe.vae_scale_factor) for extent in (height, width)]
    patches = latents.reshape(len(latents), *grid, side, side, -1).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(len(latents), -1, grid[0] * side, grid[1] * side)


def _fibo(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    if latents.shape[-1] != pipe.vae.config.z_dim:
        return laid_out(pipe, latents, size)
    height, width = _known(size)
    return cast(Tensor, pipe._unpack_latents_no_patch(latents, height, width, pipe.vae_scale_factor))


def _of_unit_data(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    return latents / float(pipe.scheduler.config.sigma_data)


def _channels_last(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    return latents[:, 0].permute(0, 3, 1, 2)


def _with_a_picture(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    raise ValueError(
        f"Argument `pipe` must take as `latents` what it draws itself, but those of {type(pipe).__name__} hold the"
        " picture to be edited too: use `best_of_n`."
    )


def _frames_apart(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    return cast(Tensor, pipe._restore_image_tokens_order(latents))


def _last_of_several(pipe: Any, latents: Tensor, size: Size | None) -> Tensor:
    return latents[:, -1]


@dataclass(frozen=True)
class Family:
    """How a family of pipelines keeps its latents.

    Attributes:
        laid_out: From pipeline, latents as its scheduler steps them, and the size of the pictures, to the latents
            of pictures.
        denormalize: How the pipeline undoes the scale; None where it does what its autoencoder is known for.
        taken: From the latents that the pipeline draws to those that it takes as its argument `latents`.
        pixels: Whether its latents are pixels, black at −1, and there is no autoencoder.
        deaf: Whether the pipeline does not heed what its callback returns, so that latents are changed in place.
        refused: Why its latents are not those of one picture; None if they are.
    """

    laid_out: Layout = laid_out
    denormalize: Denormalize | None = None
    taken: Layout = _unchanged
    pixels: bool = False
    deaf: bool = False
    refused: str | None = None


FAMILIES: dict[str, Family] = {
    "BriaFibo2": Family(),
    "BriaFibo": Family(_fibo),
    "Cosmos2TextToImage": Family(_of_unit_data),
    "ErnieImage": Family(
        lambda pipe, latents, size: _unpatched(latents), functools.partial(by_batch_norm, eps=1e-5)
    ),
    "Flux2": Family(_flux2, taken=_grid),
    "GlmImage": Family(denormalize=by_channel),
    "HunyuanImageRefiner": Family(_frames_apart),
    "Ideogram4": Family(_ideogram, functools.partial(by_batch_norm, places_first=True)),
    "JoyImageEditPlus": Family(refused="its latents are patches of several pictures of different sizes"),
    "JoyImageEdit": Family(_last_of_several),
    "Kandinsky5I2I": Family(_channels_last, by_factor, taken=_with_a_picture),
    "Kandinsky5": Family(_channels_last, by_factor),
    "PRXPixel": Family(pixels=True, deaf=True),
    "PRX": Family(deaf=True),
    "QwenImageLayered": Family(refused="its latents are the layers of a picture"),
    "SanaSprint": Family(_of_unit_data),
    "StableDiffusion3Inpaint": Family(denormalize=by_factor),
    "StableDiffusionLDM3D": Family(refused="its autoencoder decodes depth beside colours"),
    "VisualCloze": Family(refused="its latents are a grid of pictures"),
}
"""By how the name of the pipeline begins; the first that fits. Subclasses are of their family."""


def family_of(pipe: Any) -> Family:
    """The declaration of a pipeline; the common form if it has none."""
    names = [kind.__name__ for kind in type(pipe).__mro__]
    return next(
        (family for begin, family in FAMILIES.items() if any(name.startswith(begin) for name in names)),
        Family(),
    )
