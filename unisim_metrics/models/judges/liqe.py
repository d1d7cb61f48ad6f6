"""LIQE (Zhang et al. 2023): CLIP ViT-B/32 tuned to tell quality, scene and distortion of photographs.

Quality is a rating from 1 to 5: 15 windows of the photograph are held against a text for every scene, distortion and
level, and the rating is the expected level. All other tasks go by the mean embedding of the windows, and by its own
text tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from unisim_metrics.images import Images, Preprocessing, list_images
from unisim_metrics.images.decoding import pil_to_tensor
from unisim_metrics.images.inputs import CheckedImage, check_values
from unisim_metrics.images.preparation import read_pixels
from unisim_metrics.images.resizing import normalise
from unisim_metrics.models.evaluation import evaluation_mode, own_precision
from unisim_metrics.models.hashing import weights_state
from unisim_metrics.models.judges.base import Judge, JudgeSource
from unisim_metrics.models.judges.weights import build_clip, read_weights
from unisim_metrics.models.texts import handle_long_texts
from unisim_metrics.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unisim_metrics.models.answering import Way
    from unisim_metrics.tasks import Task

QUALITIES = ("bad", "poor", "fair", "good", "perfect")
SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")
DISTORTIONS = (
    "jpeg2000 compression",
    "jpeg compression",
    "noise",
    "blur",
    "color",
    "contrast",
    "overexposure",
    "underexposure",
    "spatial",
    "quantization",
    "other",
)
WINDOWS = 15
_PREFIX = "clip_model."


class LIQE(Judge):
    """Ratings of quality, and similarities of what the windows show.

    Images of any size are looked at in windows of the model's input size, large ones and small ones after a bilinear
    resize: Pillow's, or for float tensors torch's, which is differentiable.

    Args:
        backbone: ``open_clip.CLIP``.
        size: The side of a window, in pixels.
        source: What it was read from.
    """

    tasks: ClassVar[Mapping[Task, Way]] = {**dict.fromkeys(TASKS, "embeddings"), "quality": "scores"}
    rated: ClassVar[frozenset[Task]] = frozenset({"quality"})

    def __init__(self, backbone: nn.Module, size: int, source: JudgeSource) -> None:
        import open_clip

        super().__init__(backbone, source.name, Preprocessing(size=size), source.truncate)
        self.tokenizer: Any = open_clip.SimpleTokenizer()
        self._levels: tuple[object, Tensor] | None = None

    @property
    def input_tag(self) -> str:
        """How images are prepared, for the signature."""
        return f"{WINDOWS}x{self.preprocessing.size}-bilinear"

    def preparation(self, view: str = "main") -> None:
        """None: the windows of an image are more than one square."""
        return None

    def prepare(self, images: Images, view: str, dtype: torch.dtype) -> Tensor:
        """Cut images into normalised windows `[N, 15, 3, S, S]`; NaN stands where an image has fewer."""
        items = list_images(images)
        check_values([item for item in items if isinstance(item, Tensor)], "images")
        return torch.stack([self._cut(item, dtype) for item in items])

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """The mean of the windows' embeddings, `[N, D]`."""
        features, is_window = self._encode_windows(pixels)
        return features.sum(dim=1) / is_window.sum(dim=1, keepdim=True)

    def rate(self, pixels: Tensor) -> Tensor:
        """Ratings `[N]` from 1 to 5."""
        features, is_window = self._encode_windows(pixels)
        backbone: Any = self.backbone
        similarities = F.normalize(features, dim=-1) @ self._level_texts().to(features).T
        logits = backbone.logit_scale.exp() * similarities.sum(dim=1) / is_window.sum(dim=1, keepdim=True)
        shares = logits.softmax(dim=-1).view(len(logits), len(QUALITIES), -1).sum(dim=-1)
        ratings: Tensor = shares @ torch.arange(1, len(QUALITIES) + 1).to(shares)
        return ratings

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids `[N, L]`, padded to the context."""
        is_long = self.find_long_texts(texts)
        long_texts = [text for text, over in zip(texts, is_long, strict=True) if over]
        handle_long_texts(long_texts, self.tokenizer.context_length, self.truncate)
        ids: Tensor = self.tokenizer(list(texts))
        return {"text": ids}

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is longer than the context, so that its end is cut."""
        return [len(self.tokenizer.encode(text)) + 2 > self.tokenizer.context_length for text in texts]

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass token ids through the text tower: `[N, D]`, of any length."""
        backbone: Any = self.backbone
        features: Tensor = backbone.encode_text(tokens["text"].to(self.device))
        return features

    def _batch_size(self, batch_size: int | None) -> int:
        size = super()._batch_size(batch_size)
        return size if batch_size is not None else max(1, size // WINDOWS)

    def _cut(self, image: CheckedImage, dtype: torch.dtype) -> Tensor:
        """The windows of one image, `[15, 3, S, S]`."""
        pixels = _resized(image, self.device, dtype)
        side = self.preprocessing.size
        step = 48 if max(pixels.shape[-2:]) >= 1024 else 32
        windows = pixels.unfold(1, side, step).unfold(2, side, step).permute(1, 2, 0, 3, 4).flatten(0, 1)
        stride = max(1, len(windows) // WINDOWS)
        chosen = normalise(windows[::stride][:WINDOWS], self.preprocessing)
        return F.pad(chosen, (0, 0) * 3 + (0, WINDOWS - len(chosen)), value=torch.nan)

    def _encode_windows(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of windows `[N, 15, D]`, nought where there is none, and where there is one, `[N, 15]`."""
        is_window = pixels[:, :, 0, 0, 0].isfinite()
        backbone: Any = self.backbone
        encoded: Tensor = backbone.encode_image(pixels[is_window])
        features = encoded.new_zeros(*is_window.shape, encoded.shape[-1])
        return features.index_put((is_window,), encoded), is_window

    def _level_texts(self) -> Tensor:
        """Embeddings `[495, D]` of all scenes and distortions at each level, made once for these weights."""
        state = weights_state(self.backbone)
        if self._levels is None or self._levels[0] != state:
            texts = [
                f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
                for quality, scene, distortion in product(QUALITIES, SCENES, DISTORTIONS)
            ]
            # They take part in graphs later, whatever mode they are made in.
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                own_precision(),
                evaluation_mode(self.backbone),
            ):
                self._levels = (state, F.normalize(self.encode_tokens(self.tokenize(texts)), dim=-1))
        return self._levels[1]


def load(source: JudgeSource) -> LIQE:
    """Read the authors' file.

    Args:
        source: ``liqe_mix.pt``, or ``LIQE.pt`` with the same tensors bare.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    import open_clip

    weights = read_weights(source.path, key="params")
    sizes: dict[str, Any] = open_clip.get_model_config("ViT-B-32-quickgelu")
    plain = {name.removeprefix(_PREFIX): value for name, value in weights.items()}
    model = build_clip(plain, sizes, source.path)
    return LIQE(model, sizes["vision_cfg"]["image_size"], source)


def _resized(image: CheckedImage, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Pixels `[3, H, W]` in [0, 1] at the size at which they are cut into windows."""
    pixels = read_pixels(image)
    size = _size(*pixels.shape[-2:])
    if pixels.dtype == torch.uint8:
        if size != tuple(pixels.shape[-2:]):
            photo = Image.fromarray(pixels.permute(1, 2, 0).cpu().contiguous().numpy())
            pixels = pil_to_tensor(photo.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        return pixels.to(device, dtype) / 255
    pixels = pixels.to(device, dtype)
    if size == tuple(pixels.shape[-2:]):
        return pixels
    return F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]


def _size(height: int, width: int) -> tuple[int, int]:
    """Height and width after the resize: of large images, and of those with few windows."""
    short, long = sorted((height, width))
    if short >= 768:
        target = 768
    elif long <= 288 or short <= 311:
        target = 384
    else:
        return height, width
    if height <= width:
        return target, int(target * width / height)
    return int(target * height / width), target
