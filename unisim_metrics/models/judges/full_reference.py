"""The base of judges that hold two images of one size against each other: LPIPS and DISTS.

They compare the features of a classifier of torchvision, whose weights they are read from; what was trained on top of
them comes with torchmetrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unisim_metrics.images import Images, Preprocessing, list_images
from unisim_metrics.images.inputs import check_values
from unisim_metrics.images.preparation import read_pixels
from unisim_metrics.models.answering import MAIN_VIEW, check_answers
from unisim_metrics.models.encoders.base import EncoderModel, default_batch_size
from unisim_metrics.models.judges.weights import load_exactly, read_weights

if TYPE_CHECKING:
    from unisim_metrics.models.answering import Way
    from unisim_metrics.models.judges.base import JudgeSource
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task

# The layers of torchvision's features, cut where a judge looks: behind a ReLU.
ALEXNET = (slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 10), slice(10, 12))
VGG_16 = (slice(0, 4), slice(4, 9), slice(9, 16), slice(16, 23), slice(23, 30))

# Of both images of all pairs that pass at a time, for the features of large ones take much memory.
_PIXELS_AT_ONCE = 2**21


class FullReference(EncoderModel):
    """Scores of pairs of images: less their distance, 0 for an image and itself.

    Images are compared at their own size. If that of an image is not that of its target, the image is brought to it,
    bilinearly.

    Args:
        backbone: What gives the distances `[N]` of images `[N, 3, H, W]` in [0, 1] from as many others.
        source: What it was read from.
        smallest: How many pixels each side needs, so that something is left behind all its layers.
    """

    embeds = False
    tasks: ClassVar[Mapping[Task, Way]] = {"image-image": "scores", "odd-one-out": "scores"}

    def __init__(self, backbone: nn.Module, source: JudgeSource, smallest: int = 1) -> None:
        super().__init__(backbone, source.name, Preprocessing(), source.truncate)
        self.smallest = smallest

    @property
    def input_tag(self) -> str:
        """How images are prepared, for the signature."""
        return "own-size-bilinear"

    def preparation(self, view: str = MAIN_VIEW) -> None:
        """None: images are of no one size."""
        return None

    def prepare(self, images: Images, view: str, dtype: torch.dtype) -> Tensor:
        """Stack tensors, of which the second half has one size, and the first is brought to it."""
        pixels = [self._floats(image, dtype) for image in cast("Sequence[Tensor]", images)]
        size = tuple(pixels[-1].shape[-2:])
        return torch.stack(
            [image if tuple(image.shape[-2:]) == size else _resize(image, size) for image in pixels]
        )

    def embed_images(self, images: Images, batch_size: int | None = None, view: str = MAIN_VIEW) -> NoReturn:
        """Refuse: an image is compared with another.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"Model {self.name!r} embeds nothing: it compares two images, in `score`.")

    def embed_texts(self, texts: str | Sequence[str], batch_size: int | None = None) -> NoReturn:
        """Refuse: it reads no texts.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"Model {self.name!r} embeds nothing: it compares two images, in `score`.")

    def score(
        self,
        preds: Any,
        target: Any,
        task: Task,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N images against as many others.

        Args:
            preds: N images.
            target: N images.
            task: `"image-image"`.
            method: Does not apply.
            prompts: Does not apply.

        Returns:
            Distances with a minus `[N]`, float32 (float64 for a model in float64), on the model's device. They carry a
            graph only if images require gradients and gradients are enabled.

        Raises:
            ValueError: If the model does not answer the task, or an image is too small.
            TypeError: If something is no image.
        """
        check_answers(self, task, ("scores",))
        images, others = list_images(preds, "preds"), list_images(target, "target")
        check_values([item for item in images if isinstance(item, Tensor)], "preds")
        check_values([item for item in others if isinstance(item, Tensor)], "target")
        pairs = (
            (self._read(image, "preds"), self._read(other, "target"))
            for image, other in zip(images, others, strict=True)
        )
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        parts = []
        for batch in self._batches(pairs):
            one_behind_the_other = [pair[side] for side in (0, 1) for pair in batch]
            parts.append(self._pass(one_behind_the_other, MAIN_VIEW, self._closeness).to(dtype))
        return torch.cat(parts)

    def _closeness(self, pixels: Tensor) -> Tensor:
        images, others = pixels.chunk(2)
        distances: Tensor = self.backbone(images, others)
        return -distances

    def _read(self, image: Any, name: str) -> Tensor:
        pixels = read_pixels(image)
        height, width = pixels.shape[-2:]
        if min(height, width) < self.smallest:
            raise ValueError(
                f"Argument `{name}` must hold images of at least {self.smallest} × {self.smallest} pixels for model"
                f" {self.name!r}, but got {width} × {height}."
            )
        return pixels

    def _batches(self, pairs: Iterator[tuple[Tensor, Tensor]]) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Pairs that follow each other and have targets of one size, as many as memory allows."""
        batch: list[tuple[Tensor, Tensor]] = []
        for pair in pairs:
            height, width = pair[1].shape[-2:]
            room = min(default_batch_size(self), max(1, _PIXELS_AT_ONCE // (2 * height * width)))
            if batch and (len(batch) >= room or batch[0][1].shape != pair[1].shape):
                yield batch
                batch = []
            batch.append(pair)
        yield batch

    def _floats(self, image: Tensor, dtype: torch.dtype) -> Tensor:
        pixels = image.to(self.device, dtype)
        return pixels / 255 if image.dtype == torch.uint8 else pixels


def read_features(architecture: str, source: JudgeSource) -> nn.Sequential:
    """The convolutions of a classifier from the file that torchvision publishes; the classifier itself is dropped.

    Args:
        architecture: What torchvision calls it.
        source: The file.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    import torchvision

    with torch.device("meta"):  # nothing to draw at random
        model: Any = getattr(torchvision.models, architecture)(weights=None)
    unused = {name for name in model.state_dict() if not name.startswith("features.")}
    weights = {name: value for name, value in read_weights(source.path).items() if name not in unused}
    features: nn.Sequential = model.features.to_empty(device="cpu")
    load_exactly(nn.ModuleDict({"features": features}), weights, source.path)
    return features.eval()


def read_bundled(*parts: str) -> tuple[Path, dict[str, Tensor]]:
    """What torchmetrics brings along below its `functional.image`: where it lies, and the weights in it."""
    path = Path(str(resources.files("torchmetrics.functional.image").joinpath(*parts)))
    return path, read_weights(path)


def _resize(image: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
