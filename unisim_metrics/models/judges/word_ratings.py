"""The base of judges that rate a picture by the words with which mPLUG-Owl2 would go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NoReturn, cast

import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.images import Images, Preprocessing, list_images, preprocess
from unisim_metrics.images.decoding import pil_to_rgb
from unisim_metrics.images.inputs import CheckedImage, check_values
from unisim_metrics.images.preparation import read_pixels
from unisim_metrics.models.answering import MAIN_VIEW
from unisim_metrics.models.judges.base import Judge, JudgeSource
from unisim_metrics.models.judges.mplug_owl2 import MPLUGOwl2
from unisim_metrics.models.judges.mplug_owl2_files import Words
from unisim_metrics.tasks import ATTRIBUTES

if TYPE_CHECKING:
    from unisim_metrics.models.answering import Way
    from unisim_metrics.tasks import Task

IMAGE = "<|image|>"
_BATCH_ON_CPU = 4
_BATCH_ON_ACCELERATOR = 32


class WordRating(Judge):
    """Ratings of pictures, for quality and for attributes alike, as the paper's authors take them.

    Args:
        backbone: The network.
        words: The tokens of texts.
        source: What both were read from.
        prompt: What the network goes on from, with `<|image|>` for each image.
        answers: The words that it may go on with.

    Raises:
        ValueError: If the batch size is below 1.
    """

    embeds = False
    keeps_type = True
    tasks: ClassVar[Mapping[Task, Way]] = dict.fromkeys(("quality", *ATTRIBUTES), "scores")
    rated: ClassVar[frozenset[Task]] = frozenset(tasks)

    def __init__(
        self, backbone: MPLUGOwl2, words: Words, source: JudgeSource, prompt: str, answers: tuple[str, ...]
    ) -> None:
        size = backbone.sizes.vision.image_size
        super().__init__(backbone, source.name, Preprocessing(size, resize="squash"), source.truncate)
        self.batch_size = source.options.batch_size
        self._batch_size(self.batch_size)
        self.pieces = words.pieces(prompt, IMAGE)
        self.answers = words.firsts(answers)

    @property
    def network(self) -> MPLUGOwl2:
        """The backbone by its type."""
        return cast(MPLUGOwl2, self.backbone)

    @property
    def input_tag(self) -> str:
        """How images are prepared, for the signature."""
        return f"{self.preprocessing.size}-{self.preprocessing.resample}-square"

    def preparation(self, view: str = MAIN_VIEW) -> None:
        """None: images become squares before they are resized."""
        return None

    def prepare(self, images: Images, view: str, dtype: torch.dtype) -> Tensor:
        """Put images of any size on squares in the mean colour, resize and normalise them: `[N, 3, S, S]`."""
        items = list_images(images)
        check_values([item for item in items if isinstance(item, Tensor)], "images")
        squares = [_square(item, self.preprocessing.mean) for item in items]
        return preprocess(squares, self.preprocessing, device=self.device, dtype=dtype)

    def embed_images(self, images: Images, batch_size: int | None = None, view: str = MAIN_VIEW) -> NoReturn:
        """Refuse: it rates pictures.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"Model {self.name!r} embeds nothing: it rates pictures, in `score`.")

    def embed_texts(self, texts: str | Sequence[str], batch_size: int | None = None) -> NoReturn:
        """Refuse: it reads no texts.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"Model {self.name!r} embeds nothing: it rates pictures, in `score`.")

    def _expect(self, images: Sequence[Tensor], weights: Sequence[float], temperature: float = 1) -> Tensor:
        """The mean weight of the answers where these encoded images stand in the prompt: `[N]`."""
        logits = self.network(self.pieces, images, self.answers)
        shares = (
            (logits.float() if logits.dtype != torch.float64 else logits).div(temperature).softmax(dim=-1)
        )
        expected: Tensor = shares @ torch.tensor(weights).to(shares)
        return expected

    def _batch_size(self, batch_size: int | None) -> int:
        chosen = batch_size if batch_size is not None else self.batch_size
        if chosen is None:
            return _BATCH_ON_CPU if self.device.type == "cpu" else _BATCH_ON_ACCELERATOR
        return super()._batch_size(chosen)


def _square(image: CheckedImage, mean: Sequence[float]) -> Image.Image | Tensor:
    """The image in the middle of a square whose sides are as long as its longer one."""
    colour = [int(255 * value) for value in mean]
    if isinstance(image, Image.Image):
        shown = pil_to_rgb(image)
        side = max(shown.size)
        canvas = Image.new("RGB", (side, side), tuple(colour))
        canvas.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
        return canvas
    pixels = read_pixels(image)
    height, width = pixels.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    levels = torch.tensor(colour, device=pixels.device).view(3, 1, 1)
    filling = levels if pixels.dtype == torch.uint8 else levels / 255
    square = filling.to(pixels.dtype).repeat(1, side, side)
    square[:, top : top + height, left : left + width] = pixels
    return square
