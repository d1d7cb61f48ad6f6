"""Two thousand random images of mixed kinds against plain transformers and Pillow on the bundled directory.

Every one either gives the pixels that the reference gives, or is refused, in which case the reference must fail too
or the kind be one that is documented as refused.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_processors import CLIPImageProcessorPil
from torch import Tensor
from transformers import AutoModel

import unisim_metrics
from unisim_metrics import load_model
from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import Preprocessing, preprocess

BUNDLED = Path(unisim_metrics.__file__).parent / "assets" / "unisim-mini"
PROCESSOR = CLIPImageProcessorPil.from_pretrained(BUNDLED)
MINI = Preprocessing.from_transformers(PROCESSOR.to_dict())
STD = np.array(MINI.std).reshape(3, 1, 1)

# Levels of 255: Pillow images are equal to the bit, the integer kernel rounds once more, floats are not rounded.
TOLERANCES = {"pillow": 0.0, "file": 2.01, "uint8": 2.01, "float": 3.0}

EXAMPLES = 185
FORMATS = {
    "png": ("PNG", ["RGB", "RGBA", "L", "LA", "P", "1"]),
    "jpg": ("JPEG", ["RGB", "L", "CMYK", "YCbCr"]),
    "webp": ("WEBP", ["RGB", "RGBA"]),
    "tif": ("TIFF", ["RGB", "RGBA", "L", "CMYK", "LAB", "P"]),
    "bmp": ("BMP", ["RGB", "L", "P", "1"]),
    "gif": ("GIF", ["P", "L"]),
}
TURNS = (
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a[::-1],
)  # 1 to 4; then transposed


def turned(pixels: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    if orientation < 5:
        return TURNS[orientation - 1](pixels)
    # 5 to 8: rows for columns, then the mirrored, both, and upside-down turns of that.
    return TURNS[orientation - 5](pixels.swapaxes(0, 1))


def reference(pixels: np.ndarray[Any, Any]) -> Tensor:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return PROCESSOR(images=image, return_tensors="pt")["pixel_values"][0]


def on_white(image: Image.Image) -> np.ndarray[Any, Any]:
    """RGB of an image that Pillow has decoded, by Pillow's conversions alone."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def levels_apart(ours: Tensor, theirs: Tensor) -> float:
    return float(np.abs((ours - theirs).numpy().astype(np.float64) * STD * 255).max())


def picture(seed: int, width: int, height: int, mode: str) -> Image.Image:
    """A smooth or noisy picture of a mode; a transparency of every level where the mode has one."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (2 + seed % 9, 2 + seed % 7, 4), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(
        (width, height), Image.Resampling.BILINEAR if seed % 3 else Image.Resampling.NEAREST
    )
    if mode == "LAB":
        return Image.frombytes("LAB", (width, height), np.asarray(image)[..., :3].tobytes())
    return image if mode == "RGBA" else image.convert("LA" if mode == "LA" else "RGB").convert(mode)


def exif_block(orientation: int, endian: str, odd: bool, kind: str) -> bytes:
    """An EXIF block by hand: the orientation as SHORT or LONG, and a tag whose type does not fit its value."""
    order = {"<": "little", ">": "big"}[endian]

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    entries = []
    if odd:
        entries.append(number(0x010E, 2) + number(9, 2) + number(1, 4) + b"\xff\xff\xff\xff")
    size = {"short": 2, "long": 4}[kind]
    value = number(orientation, size).ljust(4, b"\0")
    entries.append(number(0x0112, 2) + number({2: 3, 4: 4}[size], 2) + number(1, 4) + value)
    if odd:
        entries.append(number(0x8298, 2) + number(7, 2) + number(3, 4) + b"\0\1\2\0")
    head = (b"II*\0" if endian == "<" else b"MM\0*") + number(8, 4)
    return b"Exif\0\0" + head + number(len(entries), 2) + b"".join(entries) + number(0, 4)


sides = st.integers(1, 70)
seeds = st.integers(0, 2**16)
fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def check_file(path: Path, expected: np.ndarray[Any, Any]) -> None:
    theirs = reference(expected)
    assert levels_apart(preprocess(path, MINI)[0], theirs) <= TOLERANCES["file"]
    with Image.open(path) as opened:
        assert levels_apart(preprocess(opened, MINI)[0], theirs) <= TOLERANCES["pillow"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_of_every_format_turned_and_with_odd_metadata(suffix: str, tmp_path: Path) -> None:
    name, modes = FORMATS[suffix]
    path = tmp_path / f"image.{suffix}"
    blocks = st.one_of(
        st.none(),
        st.builds(
            exif_block,
            st.integers(1, 8),
            st.sampled_from("<>"),
            st.booleans(),
            st.sampled_from(["short", "long"]),
        ),
        st.binary(max_size=60).map(lambda rest: b"Exif\0\0" + rest),
    )

    @fuzz
    @given(seeds, sides, sides, st.sampled_from(modes), blocks)
    def run(seed: int, width: int, height: int, mode: str, block: bytes | None) -> None:
        image = picture(seed, width, height, mode)
        options: dict[str, Any] = {"exif": block} if block and name in {"PNG", "JPEG", "WEBP"} else {}
        image.save(path, name, **options)
        with Image.open(path) as opened:
            opened.load()
            pixels = on_white(opened)
        orientation = written_orientation(block) if options and block else 1
        check_file(path, turned(pixels, orientation))

    run()


def written_orientation(block: bytes) -> int:
    """What `exif_block` was given, read by hand; 1 for any other block."""
    if block[6:10] not in (b"II*\0", b"MM\0*"):
        return 1
    order: Any = "little" if block[6:8] == b"II" else "big"
    count = int.from_bytes(block[14:16], order)
    for index in range(min(count, 8)):
        entry = block[16 + 12 * index : 28 + 12 * index]
        if len(entry) == 12 and int.from_bytes(entry[:2], order) == 0x0112:
            value = int.from_bytes(entry[8 : {3: 10, 4: 12}.get(int.from_bytes(entry[2:4], order), 8)], order)
            return value if value in range(1, 9) else 1
    return 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_files_are_refused_or_read_as_pillow_reads_them(suffix: str, tmp_path: Path) -> None:
    name, modes = FORMATS[suffix]
    path = tmp_path / f"damaged.{suffix}"

    @fuzz
    @given(
        seeds,
        st.sampled_from(modes),
        st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
        st.floats(0.05, 1.5),
    )
    def run(seed: int, mode: str, changes: list[tuple[float, int]], kept: float) -> None:
        file = io.BytesIO()
        picture(seed, 40, 33, mode).save(file, name)
        data = bytearray(file.getvalue())
        for place, value in changes:
            data[int(place * len(data))] = value
        path.write_bytes(data[: int(kept * len(data))])
        expected = None
        try:
            with Image.open(path) as opened:
                opened.load()
                expected = on_white(opened)
        except Exception:
            pass
        if expected is not None:
            check_file(path, expected)
            return
        for _ in range(2):  # a second try shows nothing either
            with pytest.raises(ImageReadError, match=path.name):
                preprocess(path, MINI)
        try:
            opened = Image.open(path)
        except Exception:
            return
        for _ in range(2):
            with pytest.raises(ImageReadError):
                preprocess(opened, MINI)

    run()


ELEMENTS = {
    "uint8": torch.uint8,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_tensors_and_arrays_of_every_type_and_shape(kind: str) -> None:
    @fuzz
    @given(
        seeds, sides, sides, st.sampled_from([0, 1, 3, 4]), st.sampled_from(list(ELEMENTS)), st.integers(0, 3)
    )
    def run(seed: int, width: int, height: int, channels: int, element: str, count: int) -> None:
        modes = {0: "L", 1: "L", 3: "RGB", 4: "RGBA"}
        images = [picture(seed + index, width, height, modes[channels]) for index in range(max(count, 1))]
        arrays = [np.asarray(image) for image in images]
        arrays = [array[..., None] if channels == 1 else array for array in arrays]
        batch = np.stack(arrays) if count and channels else arrays[0]
        if element != "uint8":
            batch = (batch / 255).astype(element)
        value: Any = batch
        if kind == "tensor":
            value = torch.from_numpy(np.array(batch[..., None] if batch.ndim == 2 else batch)).movedim(-1, -3)
        ours = preprocess(value, MINI)
        tolerance = TOLERANCES["uint8" if element == "uint8" else "float"]
        if element != "uint8" and channels == 4:
            tolerance += 1  # the reference rounds what lies on white
        for pixels, image in zip(ours, images if batch.ndim == 4 else images[:1], strict=True):
            assert levels_apart(pixels, reference(on_white(image))) <= tolerance

    run()


def test_embeddings_are_those_of_plain_transformers(tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(BUNDLED).eval()
    images = [
        picture(seed, 20 + seed, 90 - seed, mode)
        for seed, mode in enumerate(["RGB", "RGBA", "L", "CMYK"] * 8)
    ]
    pixels = torch.stack([reference(on_white(image)) for image in images])
    with torch.no_grad():
        features = model.get_image_features(pixel_values=pixels)
        theirs = torch.nn.functional.normalize(getattr(features, "pooler_output", features), dim=-1)
    ours = load_model("unisim-mini").embed_images(images)  # type: ignore[union-attr]
    assert (ours - theirs).abs().max() < 1e-5


def test_the_number_of_random_inputs() -> None:
    assert EXAMPLES * (len(FORMATS) + 3 + 2) >= 2000
