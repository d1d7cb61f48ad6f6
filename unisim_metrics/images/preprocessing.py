"""How one model wants its images: size, crop, resampling and normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
# Processors of transformers that first resize to more than the size they name, or to both of its sides.
_OTHER_RESIZES = ("convnext", "levit", "poolformer")

Resample = Literal["bicubic", "pil"]
Resize = Literal["shortest", "squash", "pad"]
Crop = Literal["floor", "round"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """What happens between an image and the pixels that a model sees.

    Attributes:
        size: Side of the square input, in pixels.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel, for pixels in [0, 1].
        resize: ``"shortest"`` brings the short side to ``size`` and crops the centre (CLIP); ``"squash"``
            resizes straight to ``size`` × ``size`` (SigLIP); ``"pad"`` brings the long side to ``size`` and puts
            black around (HPSv2).
        crop: How half a pixel of the centre crop is rounded: ``"floor"`` as transformers does, ``"round"``
            (half to even) as torchvision and open_clip do. One pixel of shift is visible in an embedding.
        resample: ``"bicubic"`` resizes tensors and files with torch's antialiased bicubic kernels, within one
            or two of 255 levels of Pillow; ``"pil"`` sends every image through Pillow itself: exact, slower,
            without gradients. Pillow images always go through Pillow.

    Raises:
        ValueError: If a value is out of its range.
    """

    size: int = 224
    mean: Triple = OPENAI_CLIP_MEAN
    std: Triple = OPENAI_CLIP_STD
    resize: Resize = "shortest"
    crop: Crop = "floor"
    resample: Resample = "bicubic"

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"Argument `size` must be a positive integer, but got {self.size!r}.")
        for name, choices in (("resize", Resize), ("crop", Crop), ("resample", Resample)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise ValueError(f"Argument `{name}` must be one of {get_args(choices)}, but got {value!r}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"Argument `{name}` must hold three finite numbers, but got {values!r}.")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        if min(self.std) <= 0:
            raise ValueError(f"Argument `std` must hold positive numbers, but got {self.std!r}.")

    def __str__(self) -> str:
        """The tag of a signature: ``224-bicubic``, then whatever differs from CLIP's own preprocessing."""
        parts = [f"{self.size}-{self.resample}"]
        if self.resize != "shortest":
            parts.append(self.resize)
        elif self.crop == "round":
            parts.append("round")
        if self.mean != OPENAI_CLIP_MEAN:
            parts.append("mean" + _numbers(self.mean))
        if self.std != OPENAI_CLIP_STD:
            parts.append("std" + _numbers(self.std))
        return "-".join(parts)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that an image has after the resize and before the crop.

        The long side is cut down to an integer, as transformers and torchvision both do; a short side is rounded.
        """
        if self.resize == "squash":
            return self.size, self.size
        if self.resize == "pad":
            scale = self.size / max(height, width)
            return max(1, round(height * scale)), max(1, round(width * scale))
        if width <= height:
            return int(self.size * height / width), self.size
        return self.size, int(self.size * width / height)

    def offset(self, length: int) -> int:
        """Where the centre crop begins along a resized side of ``length`` pixels; below 0 it is padded so far."""
        margin = length - self.size
        if margin < 0:
            return -(-margin // 2)
        return margin // 2 if self.crop == "floor" else round(margin / 2)

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Reads the ``preprocessor_config.json`` of a CLIP, SigLIP, ViT or EfficientNet model, or of one alike.

        Args:
            config: The dictionary of the file, or ``processor.to_dict()``.

        Raises:
            ValueError: If the processor does what this package does not reproduce: another resampling, an
                input that is not square, a crop smaller than the resized image, no resize, no normalisation,
                padding, channels in another order.
        """
        kind = str(config.get("image_processor_type", "")).lower()
        siglip, efficientnet = "siglip" in kind, "efficientnet" in kind
        if any(name in kind for name in _OTHER_RESIZES):
            raise ValueError(
                "Preprocessor setting `image_processor_type` must be of a processor that resizes to the size it names,"
                f" but got {config['image_processor_type']!r}."
            )
        for step in ("do_pad", "do_flip_channel_order", "rescale_offset"):
            if config.get(step):
                raise ValueError(f"Preprocessor setting `{step}` must be false, but got {config[step]!r}.")
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if config.get(step) is False:
                raise ValueError(f"Preprocessor setting `{step}` must be true, but got False.")
        factor = config.get("rescale_factor")
        if factor is not None and not math.isclose(factor, 1 / 255, rel_tol=1e-6):
            raise ValueError(f"Preprocessor setting `rescale_factor` must be 1/255, but got {factor!r}.")
        _check_bicubic("resample", config.get("resample"))

        size = config.get("size")
        size = (346 if efficientnet else 224) if size is None else size
        crop = config.get("crop_size")
        cropped = config.get("do_center_crop")
        # EfficientNet's processor names a crop that it does not take by default.
        default = (crop is not None or not siglip) and not efficientnet
        cropped = default if cropped is None else bool(cropped)
        if isinstance(size, Mapping) and size.get("shortest_edge"):
            if not cropped or size.get("longest_edge"):
                raise ValueError(
                    "Preprocessor setting `size` must lead to a square input, but got "
                    f"{dict(size)!r} with `do_center_crop` {cropped}."
                )
            side, squash = int(size["shortest_edge"]), False
        elif isinstance(size, Mapping):
            side, squash = _square("size", size), True
        else:
            side, squash = _square("size", size), not cropped
        if cropped and crop is not None and _square("crop_size", crop) != side:
            raise ValueError(
                f"Preprocessor setting `crop_size` must equal the size {side}, but got {crop!r}."
            )
        halved = siglip or efficientnet
        mean = _triple("image_mean", config.get("image_mean"), _HALF if halved else OPENAI_CLIP_MEAN)
        std = _triple("image_std", config.get("image_std"), _HALF if halved else OPENAI_CLIP_STD)
        if efficientnet and config.get("include_top", True):
            # It divides by the standard deviation once more, as the classifier's weights were trained.
            std = (std[0] ** 2, std[1] ** 2, std[2] ** 2)
        return cls(
            size=side,
            mean=mean,
            std=std,
            resize="squash" if squash else "shortest",
        )

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Reads an open_clip preprocessing configuration (``model.visual.preprocess_cfg``).

        Args:
            config: The dictionary with ``size``, ``mean``, ``std``, ``interpolation`` and ``resize_mode``.

        Raises:
            ValueError: If the resampling is not bicubic, the input not square, or the resize mode another
                one.
        """
        _check_bicubic("interpolation", config.get("interpolation"))
        mode: Any = config.get("resize_mode") or "shortest"
        if mode not in get_args(Resize):
            raise ValueError(
                f"Preprocessor setting `resize_mode` must be one of {get_args(Resize)}, but got {mode!r}."
            )
        size = config.get("size")
        return cls(
            size=_square("size", 224 if size is None else size),
            mean=_triple("mean", config.get("mean"), OPENAI_CLIP_MEAN),
            std=_triple("std", config.get("std"), OPENAI_CLIP_STD),
            resize=mode,
            crop="round",
        )


def _numbers(values: Triple) -> str:
    """``0.5`` for three equal values, else the three with commas between."""
    return ",".join(f"{value:.6g}" for value in (values[:1] if len(set(values)) == 1 else values))


def _check_bicubic(name: str, value: Any) -> None:
    """Accepts Pillow's number 3, the word, an enum member of either, or nothing."""
    if value is None or value == 3 or str(getattr(value, "value", value)).lower() == "bicubic":
        return
    raise ValueError(f"Preprocessor setting `{name}` must be bicubic (3), but got {value!r}.")


def _square(name: str, size: Any) -> int:
    """The side of a square given as a number, a pair or ``{"height": …, "width": …}``."""
    if isinstance(size, Mapping):
        sides = [size.get("height"), size.get("width")]
    elif isinstance(size, Sequence) and not isinstance(size, str):
        sides = list(size) * (2 if len(size) == 1 else 1)
    else:
        sides = [size, size]
    if len(sides) != 2 or not isinstance(sides[0], int) or sides[0] != sides[1]:
        raise ValueError(f"Preprocessor setting `{name}` must be square, but got {size!r}.")
    return sides[0]


def _triple(name: str, values: Any, default: Triple) -> Triple:
    """Three numbers, one number for all three channels, or the default for nothing."""
    if values is None:
        return default
    if isinstance(values, int | float):
        values = [values] * 3
    if len(values) != 3:
        raise ValueError(f"Preprocessor setting `{name}` must hold three numbers, but got {values!r}.")
    red, green, blue = (float(value) for value in values)
    return red, green, blue
