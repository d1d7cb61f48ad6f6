"""Damaged, turned, closed and enormous image files, and strips: what each door makes of them."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from unisim_metrics import UniSimScore
from unisim_metrics.benchmark.data.image_reading import ImageKey, ImageReader
from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import Preprocessing, preprocess
from unisim_metrics.images.decoding import load_image, open_image, pil_to_rgb
from unisim_metrics.images.resizing import resize_pil
from unisim_metrics.integrations.evaluate.files import NamedFiles
from unisim_metrics.integrations.evaluate.inputs import store_items
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.generative.pictures import to_rgb

SMALL = Preprocessing(size=32)


def photo(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(data.coffee()).resize((width, height))


def pixels_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.fixture
def corrupt(tmp_path: Path) -> Path:
    """A PNG with one byte of its compressed data changed."""
    path = tmp_path / "corrupt.png"
    photo().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with Image.open(path) as image, pytest.raises(OSError):
        image.load()
    return path


DOORS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: preprocess(path, SMALL),
    "string": lambda path: preprocess(str(path), SMALL),
    "opened": lambda path: preprocess(Image.open(path), SMALL),
    "load_image": load_image,
    "open_image": open_image,
    "generative models": lambda path: to_rgb(Image.open(path)),
    "evaluate, image": lambda path: store_items([Image.open(path)], "image", "images", NamedFiles()),
    "evaluate, bytes": lambda path: store_items(
        [{"bytes": path.read_bytes(), "path": None}], "image", "images", NamedFiles()
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_corrupt_png_is_refused_at_every_door(door: str, corrupt: Path) -> None:
    name = "images" if door == "evaluate, bytes" else corrupt.name
    with pytest.raises(ImageReadError, match=rf"{name}.* could not be read: "):
        DOORS[door](corrupt)


def test_a_corrupt_png_is_named_by_the_benchmark(corrupt: Path) -> None:
    read = ImageReader(SMALL, known=()).read(ImageKey(corrupt), None)  # type: ignore[arg-type]
    assert read.pixels is None and corrupt.name in str(read.error)


@pytest.mark.parametrize("suffix", ["png", "icns"])
def test_an_image_that_failed_once_is_not_shown_half_the_next_time(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{suffix}"
    photo(64, 64).save(path)
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    image = Image.open(path)
    for _ in range(3):
        with pytest.raises(ImageReadError, match="image"):
            preprocess(image, SMALL)


def test_a_metric_stays_as_it_was_where_an_image_is_corrupt(corrupt: Path, tiny_model: EncoderModel) -> None:
    metric = UniSimScore(tiny_model)
    metric.update([photo()], ["a dog"])
    before = metric.compute()
    for bad in (corrupt, Image.open(corrupt)):
        with pytest.raises(ImageReadError, match=r"corrupt\.png"):
            metric.update([photo(), bad], ["a dog", "a cat"])
    assert torch.equal(metric.compute(), before)


def test_a_closed_image_is_refused(tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as image:
        pass
    with pytest.raises(
        ImageReadError, match=r"photo\.png' could not be read: it was closed before its pixels"
    ):
        preprocess(image, SMALL)
    with Image.open(tmp_path / "photo.png") as image:
        image.load()
        image.close()
    with pytest.raises(ImageReadError, match=r"could not be read: Operation on closed image"):
        preprocess(image, SMALL)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_decompression_bomb_is_refused_and_a_large_image_warned_of(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"large.{suffix}"
    photo().save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 // 2 - 1)
    for read in (load_image, open_image):
        with pytest.raises(ImageReadError, match=rf"large\.{suffix}.*exceeds limit.*decompression bomb"):
            read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        load_image(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageReadError, match="decompression bomb"):
            load_image(path)


@pytest.mark.parametrize("name", ["missing.png", "folder.png", "nul\0.png", "n" * 300 + ".png"])
def test_names_that_open_nothing_are_refused_without_a_number(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for read in (load_image, open_image, lambda path: preprocess([path], SMALL)):
        with pytest.raises(ImageReadError, match="could not be read") as caught:
            read(tmp_path / name)
        assert "Errno" not in str(caught.value)


# --- which way up ---------------------------------------------------------------------------------------------------


def block(orientation: int, kind: int = 3, order: str = "<", odd: bool = False) -> bytes:
    """An EXIF block: the orientation as SHORT (3) or LONG (4), and a tag whose value has another type than its own."""
    value = struct.pack(order + ("H" if kind == 3 else "L"), orientation).ljust(4, b"\0")
    entries = [struct.pack(order + "HHL", 0x0112, kind, 1) + value]
    if odd:
        entries.append(struct.pack(order + "HHL", 0x011A, 7, 4) + b"\0\1\2\3")  # XResolution as UNDEFINED
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    return b"Exif\0\0" + head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


XMP = (
    b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description "
    b'tiff:Orientation="%d"/></x:xmpmeta>'
)

JPEG_BLOCKS: dict[str, Callable[[int], bytes]] = {
    "SHORT": lambda turn: segment(0xE1, block(turn)),
    "big-endian SHORT": lambda turn: segment(0xE1, block(turn, order=">")),
    "LONG": lambda turn: segment(0xE1, block(turn, kind=4)),
    "big-endian LONG": lambda turn: segment(0xE1, block(turn, kind=4, order=">")),
    "after another APP1": lambda turn: segment(0xE1, b"other\0data") + segment(0xE1, block(turn)),
    "XMP alone": lambda turn: segment(0xE1, XMP % turn),
    "XMP before EXIF": lambda turn: segment(0xE1, XMP % 1) + segment(0xE1, block(turn)),
    "odd tag": lambda turn: segment(0xE1, block(turn, odd=True)),
}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", JPEG_BLOCKS)
def test_a_jpeg_is_turned_alike_as_path_and_as_opened_image(kind: str, turn: int, tmp_path: Path) -> None:
    file = io.BytesIO()
    photo().save(file, "JPEG", quality=95)
    plain = file.getvalue()
    path = tmp_path / "turned.jpg"
    path.write_bytes(plain[:2] + JPEG_BLOCKS[kind](turn) + plain[2:])
    expected = by_hand(np.asarray(Image.open(io.BytesIO(plain))), turn)
    assert np.array_equal(load_image(path).permute(1, 2, 0).numpy(), expected)
    assert np.array_equal(np.asarray(open_image(path)), expected)
    assert np.array_equal(np.asarray(pil_to_rgb(Image.open(path))), expected)


def by_hand(pixels: np.ndarray[Any, Any], turn: int) -> np.ndarray[Any, Any]:
    straight = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    sideways = {5: pixels, 6: pixels[::-1], 7: pixels[::-1, ::-1], 8: pixels[:, ::-1]}
    return straight[turn] if turn in straight else sideways[turn].swapaxes(0, 1)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "mpo", "avif"])
def test_other_formats_are_turned_too(suffix: str, turn: int, tmp_path: Path) -> None:
    if suffix == "avif":
        pytest.importorskip("PIL._avif")
    options: dict[str, Any] = {"webp": {"lossless": True}, "mpo": {"quality": 95}}.get(suffix, {})
    photo().save(tmp_path / f"plain.{suffix}", **options)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / f"turned.{suffix}"
    photo().save(path, exif=exif, **options)
    expected = by_hand(np.asarray(Image.open(tmp_path / f"plain.{suffix}").convert("RGB")), turn)
    assert np.array_equal(np.asarray(pil_to_rgb(Image.open(path))), expected)
    assert np.array_equal(load_image(path).permute(1, 2, 0).numpy(), expected)


# --- strips ---------------------------------------------------------------------------------------------------------

STRIPS = [
    (1, 400),
    (400, 1),
    (3, 1000),
    (1000, 3),
    (17, 301),
    (2255, 15),
    (20, 1999),
    (640, 20),
    (1, 129),
    (128, 7),
]


def by_pillow(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """All of the image resized, then the crop."""
    height, width = preprocessing.resized(image.height, image.width)
    left, top, side = preprocessing.offset(width), preprocessing.offset(height), preprocessing.size
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return pixels_of(resized.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize("crop", ["floor", "round"])
@pytest.mark.parametrize("size", STRIPS)
def test_strips_have_the_pixels_of_the_whole_resize(size: tuple[int, int], crop: Any, tmp_path: Path) -> None:
    preprocessing = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1), crop=crop)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = by_pillow(image, preprocessing)
    assert torch.equal(resize_pil(image, preprocessing), expected)
    image.save(tmp_path / "strip.png")
    tensor = pixels_of(image)
    for value, apart in ((tmp_path / "strip.png", 1.01), (tensor, 1.01), (tensor / 255, 4.01), (noise, 1.01)):
        assert (preprocess(value, preprocessing)[0] * 255 - expected).abs().max() <= apart


@pytest.mark.parametrize("tall", [False, True])
def test_the_memory_of_a_strip_is_bounded(tall: bool, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 20_000, 3), dtype=np.uint8)
    image = Image.fromarray(noise.swapaxes(0, 1) if tall else noise)
    image.save(tmp_path / "strip.png")
    tensor = pixels_of(image)
    results = []
    for value in (image, tmp_path / "strip.png", tensor, tensor / 255):
        before = peak_memory()
        results.append(preprocess(value, Preprocessing()))
        assert peak_memory() - before < 256 * 2**20
    assert all((result - results[0]).abs().max() < 0.07 for result in results)


def peak_memory() -> int:
    resource = pytest.importorskip("resource")
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


def test_gradients_reach_the_kept_part_of_a_strip() -> None:
    pixels = torch.rand(1, 3, 200, 2, dtype=torch.float64).requires_grad_()
    preprocess(pixels, Preprocessing(size=4), dtype=torch.float64).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad[..., 98:102, :].abs().sum() > 0 and pixels.grad[..., :90, :].abs().sum() == 0


def test_a_compiled_step_scores_bytes_as_an_eager_one(tiny_model: EncoderModel) -> None:
    images = pixels_of(photo())[None]

    def step(images: torch.Tensor) -> torch.Tensor:
        mirrored = images.flip(-1)
        return tiny_model.embed_images(mirrored) * 1

    torch._dynamo.reset()
    compiled = torch.compile(step, backend="eager")(images)
    torch._dynamo.reset()
    torch.testing.assert_close(compiled, step(images), atol=1e-6, rtol=0)
