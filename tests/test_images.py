"""Images of every kind against the reference processors, and every message for what is no image."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pillow_processors import CLIPImageProcessorPil, EfficientNetImageProcessorPil, SiglipImageProcessorPil
from skimage import data
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import (
    Preprocessing,
    count_images,
    is_image,
    list_images,
    load_image,
    open_images,
    preprocess,
)
from unisim_metrics.images.resizing import flatten_alpha, resize_bytes, resize_floats

CLIP = Preprocessing()
SMALL = Preprocessing(size=32)
SIGLIP = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="squash")
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "page")


def photo(name: str = "rocket", size: tuple[int, int] | None = None) -> Image.Image:
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    return image if size is None else image.resize(size, Image.Resampling.LANCZOS)


def as_tensor(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array[..., None] if array.ndim == 2 else array).permute(2, 0, 1).contiguous()


def reference(image: Image.Image, size: int = 224) -> Tensor:
    # transformers does so by itself from some 5.x on; versions before drop the transparency.
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size)
    return processor(images=image, return_tensors="pt")["pixel_values"]


def levels(pixels: Tensor, preprocessing: Preprocessing = CLIP) -> Tensor:
    """Normalised pixels back on the scale of 0 to 255."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels.double() * std + mean) * 255


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tower() -> nn.Module:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        patch_size=32,
    )
    return CLIPVisionModelWithProjection(config).eval()


def cosine(tower: nn.Module, ours: Tensor, theirs: Tensor) -> float:
    with torch.no_grad():
        one, other = (tower(pixels.float()).image_embeds for pixels in (ours, theirs))
    return torch.cosine_similarity(one, other).min().item()


# --- Pillow images: bit for bit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        (640, 427),
        (427, 640),
        (113, 112),
        (112, 113),
        (224, 224),
        (224, 300),
        (225, 224),
        (32, 32),
        (50, 31),
        (1000, 90),
    ],
)
@pytest.mark.parametrize("side", [224, 112])
def test_pil_is_exact(size: tuple[int, int], side: int) -> None:
    image = photo("rocket", size)
    assert torch.equal(preprocess(image, Preprocessing(size=side)), reference(image, side))


def with_alpha(mode: str) -> Image.Image:
    image = photo("coffee", (90, 71)).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(np.arange(90 * 71, dtype=np.uint32).astype(np.uint8).reshape(71, 90)))
    return image


def transparent_palette() -> Image.Image:
    image = photo("coffee", (90, 71)).convert("P", palette=Image.Palette.ADAPTIVE)
    image.info["transparency"] = 3
    return image


@pytest.mark.parametrize(
    "image",
    [
        photo("coffee", (90, 71)).convert("L"),
        photo("coffee", (90, 71)).convert("1"),
        photo("coffee", (90, 71)).convert("P", palette=Image.Palette.ADAPTIVE),
        photo("coffee", (90, 71)).convert("CMYK"),
        photo("coffee", (90, 71)).convert("YCbCr"),
        with_alpha("RGBA"),
        with_alpha("LA"),
        transparent_palette(),
    ],
    ids=["L", "1", "P", "CMYK", "YCbCr", "RGBA", "LA", "P-transparent"],
)
def test_pil_modes_are_exact(image: Image.Image) -> None:
    assert torch.equal(preprocess(image, SMALL), reference(image, 32))


def test_premultiplied_alpha_is_flattened_like_plain_alpha() -> None:
    image = with_alpha("RGBA")
    difference = levels(preprocess(image.convert("RGBa"), SMALL)) - levels(preprocess(image, SMALL))
    assert difference.abs().median() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    photo("coffee", (90, 60)).save(path, exif=exif, quality=95)
    turned = Image.open(path)
    upright = ImageOps.exif_transpose(turned)
    assert torch.equal(preprocess(turned, SMALL), reference(upright, 32))
    assert torch.equal(load_image(path), as_tensor(upright))


def test_broken_exif_is_ignored() -> None:
    image = photo("coffee", (90, 60))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=b"Exif\x00\x00not a TIFF header")
    assert preprocess(Image.open(buffer), SMALL).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("kind", ["array", "png", "ppm"])
def test_sixteen_bit_grey_equals_its_eight_bits(kind: str, tmp_path: Path) -> None:
    grey = photo("chelsea", (80, 60)).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    if kind != "array":
        path = tmp_path / f"deep.{kind}"
        deep.save(path)
        assert torch.equal(load_image(path), as_tensor(grey.convert("RGB")))
        deep = Image.open(path)
    assert torch.equal(preprocess(deep, SMALL), reference(grey, 32))


@pytest.mark.parametrize("size", [(640, 427), (384, 224), (40, 500)])
def test_squash_is_exact(size: tuple[int, int]) -> None:
    image = photo("rocket", size)
    processor = SiglipImageProcessorPil()
    assert torch.equal(
        preprocess(image, SIGLIP), processor(images=image, return_tensors="pt")["pixel_values"]
    )
    assert Preprocessing.from_transformers(processor.to_dict()) == SIGLIP


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (301, 224), (64, 35), (224, 224)])
def test_open_clip_is_exact(size: tuple[int, int]) -> None:
    open_clip = pytest.importorskip("open_clip")
    transform = open_clip.image_transform(224, is_train=False)
    image = photo("rocket", size)
    ours = preprocess(image, Preprocessing(crop="round"))
    assert torch.equal(ours[0], transform(image))


# --- tensors: within a few levels of the reference, the same embedding ----------------------------------------

FORMS = {
    "uint8": lambda pixels: preprocess(pixels, CLIP),
    "uint8-interleaved": lambda pixels: preprocess(
        pixels.contiguous(memory_format=torch.channels_last), CLIP
    ),
    "uint8-accelerator": lambda pixels: (resize_floats(pixels, CLIP, torch.float32), "unit"),
    "float32": lambda pixels: preprocess(pixels / 255, CLIP),
    "float64": lambda pixels: preprocess(pixels.double() / 255, CLIP, dtype=torch.float64),
    "float16": lambda pixels: preprocess((pixels / 255).half(), CLIP),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PHOTOS)
def test_tensors_follow_the_reference(name: str, form: str, tower: nn.Module) -> None:
    image = photo(name)
    result = FORMS[form](as_tensor(image).unsqueeze(0))
    if isinstance(result, tuple):
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP.mean, CLIP.std))
        result = (result[0] - mean) / std
    expected = reference(image)
    assert result.shape == expected.shape
    assert result.is_contiguous()
    assert (levels(result) - levels(expected)).abs().max() < (2.01 if form.startswith("uint8") else 3)
    assert cosine(tower, result, expected) >= 0.9999


@pytest.mark.parametrize("size", [(640, 427), (113, 240), (224, 224), (32, 32), (300, 224)])
def test_sizes_of_tensors(size: tuple[int, int], tower: nn.Module) -> None:
    image = photo("astronaut", size)
    expected = reference(image)
    for pixels, limit in ((as_tensor(image), 2.01), (as_tensor(image) / 255, 3)):
        result = preprocess(pixels, CLIP)
        assert (levels(result) - levels(expected)).abs().max() < limit
        assert cosine(tower, result, expected) >= 0.9999


@pytest.mark.parametrize(
    ("preprocessing", "size"), [(SIGLIP, (640, 427)), (SIGLIP, (300, 640)), (CLIP, (266, 598))]
)
def test_tall_and_squashed_tensors(
    preprocessing: Preprocessing, size: tuple[int, int], tower: nn.Module
) -> None:
    image = photo("coffee", size)
    expected = preprocess(image, preprocessing)
    for pixels in (as_tensor(image), as_tensor(image) / 255):
        assert cosine(tower, preprocess(pixels, preprocessing), expected) >= 0.9999


def test_both_uint8_kernels_agree_and_planes_change_nothing() -> None:
    pixels = as_tensor(photo("coffee")).unsqueeze(0)
    planes = resize_bytes(pixels, CLIP)
    interleaved = resize_bytes(pixels.contiguous(memory_format=torch.channels_last), CLIP)
    assert torch.equal(planes, interleaved)
    assert (resize_floats(pixels, CLIP, torch.float32) * 255 - planes).abs().max() <= 1.001


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_planes_of_any_number_are_resized_as_each_alone(
    count: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.randint(0, 256, (count, channels, 90, 71), dtype=torch.uint8)
    expected = torch.cat([resize_bytes(image.expand(3, -1, -1)[None], SMALL) for image in pixels])
    for at_once in (1, 2 * 90 * 71, 2**20):
        monkeypatch.setattr("unisim_metrics.images.resizing._PACKED_AT_ONCE", at_once)
        assert torch.equal(resize_bytes(pixels, SMALL), expected)
    apart = torch.stack([pixels, pixels], dim=-1)[..., 0]  # a view that is not contiguous
    assert torch.equal(resize_bytes(apart, SMALL), expected)
    if channels == 3:
        interleaved = pixels.contiguous(memory_format=torch.channels_last)
        assert torch.equal(resize_bytes(interleaved, SMALL), expected)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
@pytest.mark.parametrize("scale", [1, 255])
def test_grey_and_alpha_tensors(mode: str, scale: int) -> None:
    image = photo("coffee", (90, 71)).convert("L") if mode == "L" else with_alpha("RGBA")
    pixels = as_tensor(image)
    result = preprocess(pixels if scale == 1 else pixels / scale, SMALL)
    assert (levels(result) - levels(reference(image, 32))).abs().max() < (2.01 if scale == 1 else 3)


def test_alpha_is_composited_as_pillow_does() -> None:
    grid = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).astype(np.uint8)
    pixels = np.concatenate([grid[..., :1]] * 3 + [grid[..., 1:]], axis=-1)
    white = Image.new("RGBA", (256, 256), "white")
    expected = Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB")
    ours = flatten_alpha(torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0))
    assert torch.equal(ours[0], as_tensor(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_result_has_the_dtype_asked_for(dtype: torch.dtype) -> None:
    for image in (photo(), as_tensor(photo()), as_tensor(photo()) / 255):
        result = preprocess(image, SMALL, dtype=dtype)
        assert result.dtype == dtype
        torch.testing.assert_close(result.double(), preprocess(image, SMALL).double(), atol=0.02, rtol=0.01)


def test_float64_is_computed_in_float64() -> None:
    pixels = torch.rand(3, 50, 40, dtype=torch.float64)
    result = preprocess(pixels, SMALL, dtype=torch.float64)
    assert (result - preprocess(pixels.float(), SMALL).double()).abs().max() > 1e-9


@pytest.mark.parametrize("make", [photo, lambda: as_tensor(photo()), lambda: as_tensor(photo()) / 255])
def test_resample_pil_is_exact_for_tensors(make) -> None:
    pil = Preprocessing(resample="pil")
    assert torch.equal(preprocess(make(), pil), reference(photo()))


def test_input_is_left_alone() -> None:
    for pixels in (
        noise(1, 3, 32, 32),
        noise(2, 3, 50, 40),
        torch.rand(1, 3, 32, 32),
        torch.rand(1, 3, 50, 40),
    ):
        before = pixels.clone()
        preprocess(pixels, SMALL)
        assert torch.equal(pixels, before)


# --- gradients ----------------------------------------------------------------------------------------------


def test_gradcheck() -> None:
    preprocessing = Preprocessing(size=4)
    for shape in ((1, 3, 6, 5), (1, 4, 5, 7), (1, 1, 3, 4)):
        pixels = (torch.rand(shape, dtype=torch.float64) * 0.4 + 0.3).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: preprocess(x, preprocessing, dtype=torch.float64), pixels)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_gradient_reaches_plain_black_and_white(value: float) -> None:
    pixels = torch.full((1, 3, 51, 47), value, requires_grad=True)
    preprocess(pixels, SMALL).sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad[..., 5:40, 5:40] > 0).all()


def test_gradient_reaches_every_image_of_a_mixed_list() -> None:
    floats = [
        torch.rand(3, 40, 50, requires_grad=True),
        torch.rand(3, 33, 33, dtype=torch.float64, requires_grad=True),
    ]
    result = preprocess([floats[0], photo(), floats[1], noise(3, 40, 40)], SMALL)
    result.sum().backward()
    assert all(image.grad is not None and image.grad.abs().sum() > 0 for image in floats)


def test_graph_after_inference_mode() -> None:
    preprocessing = Preprocessing(size=16, mean=(0.1, 0.2, 0.3))  # constants not met before
    pixels = torch.rand(3, 20, 20)
    with torch.inference_mode():
        preprocess([pixels, noise(3, 20, 20)], preprocessing)
    pixels.requires_grad_()
    preprocess(pixels, preprocessing).sum().backward()
    assert pixels.grad is not None


# --- batches and lists ----------------------------------------------------------------------------------------

sides = st.integers(min_value=1, max_value=70)
kinds = st.sampled_from(["uint8", "float", "double", "pil", "grey", "alpha", "batch"])


def build(kind: str, height: int, width: int, seed: int) -> Tensor | Image.Image:
    channels = {"grey": 1, "alpha": 4}.get(kind, 3)
    pixels = noise(channels, height, width, seed=seed)
    if kind == "pil":
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())
    if kind in ("float", "double"):
        return pixels.to(torch.float32 if kind == "float" else torch.float64) / 255
    return torch.stack([pixels, pixels.flip(-1)]) if kind == "batch" else pixels


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(kinds, sides, sides, st.integers(0, 999)), min_size=1, max_size=6), st.randoms())
def test_a_list_is_its_images_in_any_order(specs: list[tuple[str, int, int, int]], random) -> None:
    images = [build(*spec) for spec in specs]
    alone = [preprocess(image, SMALL) for image in images]
    torch.testing.assert_close(preprocess(images, SMALL), torch.cat(alone), atol=1e-5, rtol=0)
    order = list(range(len(images)))
    random.shuffle(order)
    shuffled = preprocess([images[index] for index in order], SMALL)
    torch.testing.assert_close(shuffled, torch.cat([alone[index] for index in order]), atol=1e-5, rtol=0)
    assert count_images(images) == len(list_images(images)) == len(shuffled)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), sides, sides, st.sampled_from([torch.uint8, torch.float32]))
def test_a_batch_is_its_images(count: int, height: int, width: int, dtype: torch.dtype) -> None:
    batch = noise(count, 3, height, width, seed=count)
    batch = batch if dtype == torch.uint8 else batch / 255
    together = preprocess(batch, SMALL)
    assert together.shape == (count, 3, 32, 32)
    for form in (list(batch), list_images(batch), batch.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(preprocess(form, SMALL), together, atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["shortest", "squash"]),
    st.sampled_from(["floor", "round"]),
)
def test_pil_of_any_size(height: int, width: int, resize, crop) -> None:
    preprocessing = Preprocessing(size=24, resize=resize, crop=crop)
    image = Image.fromarray(noise(height, width, 3).numpy())
    result = preprocess(image, preprocessing)
    assert result.shape == (1, 3, 24, 24)
    # Pillow 13 takes the columns of tall images first, and clips other pixels of pure noise.
    if height <= (2 if resize == "shortest" else 1) * width:
        tensor = preprocess(as_tensor(image), preprocessing)
        assert (levels(result) - levels(tensor)).abs().max() < 2.01
    if (resize, crop) == ("shortest", "floor"):
        assert torch.equal(result, reference(image, 24))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [noise(7, 3, 300, 420), photo(), noise(3, 500, 500, seed=1), photo("coffee")]
    expected = preprocess(images, CLIP)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(preprocess(images, CLIP), expected)
    with torch.inference_mode():
        assert torch.equal(preprocess(images, CLIP), expected)


def test_a_repeated_image_is_worked_on_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    photo("coffee", (64, 48)).save(path)
    lazy = Image.open(path)
    decoded = []
    load = load_image
    monkeypatch.setattr(
        "unisim_metrics.images.preparation.load_image", lambda name: decoded.append(name) or load(name)
    )
    result = preprocess([lazy, path, lazy, str(path), lazy], SMALL)
    assert len(decoded) == 1
    assert torch.equal(result[0], result[4])


def test_types_and_counts() -> None:
    assert (
        is_image(photo())
        and is_image(Path("a.png"))
        and is_image(torch.rand(3, 4, 4))
        and is_image(noise(2, 3, 4, 4))
        and all(is_image(np.zeros(shape)) for shape in ((4, 4), (4, 4, 3), (2, 4, 4, 3)))
    )
    assert not any(
        is_image(value) for value in ("a.png", torch.rand(4, 4), 3, None, [photo()], np.array(["a.png"]))
    )
    assert count_images(noise(5, 3, 4, 4)) == 5
    assert count_images([noise(3, 4, 4), noise(2, 3, 4, 4), "a.png", photo()]) == 5
    assert count_images([np.zeros((5, 4, 4, 3)), np.zeros((4, 4)), np.zeros((4, 4, 3))]) == 7
    assert count_images("a.png") == count_images(noise(3, 4, 4)) == 1
    assert count_images([]) == 0
    assert list_images(["a.png", photo()])[0] == Path("a.png")


# --- files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [
        ("jpg", "RGB", {"quality": 90}),
        ("jpg", "RGB", {"quality": 80, "progressive": True}),
        ("jpg", "L", {}),
        ("jpg", "CMYK", {}),
        ("png", "RGB", {}),
        ("png", "RGBA", {}),
        ("png", "P", {}),
        ("png", "LA", {}),
        ("webp", "RGB", {}),
        ("gif", "P", {}),
        ("bmp", "RGB", {}),
        ("tif", "RGB", {}),
    ],
)
def test_files_equal_what_pillow_opens(suffix: str, mode: str, options: dict, tmp_path: Path) -> None:
    path = tmp_path / f"photo.{suffix}"
    (with_alpha(mode) if "A" in mode else photo("coffee", (90, 71)).convert(mode)).save(path, **options)
    opened = Image.open(path)
    expected = reference(opened, 32)
    assert load_image(path).dtype == torch.uint8
    assert load_image(str(path)).shape == (3, 71, 90)
    assert (levels(preprocess(path, SMALL)) - levels(expected)).abs().max() < 2.01
    assert torch.equal(preprocess(path, Preprocessing(size=32, resample="pil")), expected)
    assert torch.equal(preprocess(opened, SMALL), expected)


def test_jpeg_without_torchvision_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    photo("coffee", (90, 71)).save(path)
    expected = load_image(path)
    monkeypatch.setattr("unisim_metrics.images.decoding._decode_jpeg", lambda data: None)
    assert torch.equal(load_image(path), expected)


def test_open_images_keeps_order(tmp_path: Path) -> None:
    paths = []
    for index in range(5):
        paths.append(tmp_path / f"{index}.png")
        Image.new("RGB", (4 + index, 3), (index, 0, 0)).save(paths[-1])
    images = open_images(paths)
    assert [image.shape[-1] for image in images] == [4, 5, 6, 7, 8]
    assert [image[0, 0, 0].item() for image in images] == list(range(5))


def truncated(path: Path, suffix: str) -> Path:
    buffer = io.BytesIO()
    photo("coffee").save(buffer, {"jpg": "JPEG", "png": "PNG"}[suffix])
    path = path / f"half.{suffix}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_files_are_named(suffix: str, tmp_path: Path) -> None:
    path = truncated(tmp_path, suffix)
    for argument in (path, str(path), Image.open(path)):
        with pytest.raises(
            ImageReadError, match=rf"half\.{suffix}' could not be read: .*(truncated|incomplete)"
        ):
            preprocess([photo("coffee", (9, 9)), argument], SMALL)
    assert issubclass(ImageReadError, ValueError) and issubclass(ImageReadError, OSError)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path, reason in (
        (text, "not an image of a known format"),
        (empty, "not an image of a known format"),
        (tmp_path / "missing.png", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ImageReadError, match=f"{path.name}' could not be read: {reason}"):
            load_image(path)
        with ThreadPoolExecutor(1), pytest.raises(ImageReadError, match=path.name):
            open_images([path, path])


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "Argument `pics` must hold at least one image, but got none"),
        (torch.rand(0, 3, 8, 8), ValueError, "must hold at least one image, but got an empty batch"),
        (torch.rand(3, 0, 8), ValueError, r"must have pixels, but got a tensor of shape \(3, 0, 8\)"),
        (Image.new("RGB", (0, 5)), ValueError, r"must have pixels, but got a Pillow image of size \(0, 5\)"),
        (torch.rand(8, 8), ValueError, r"must have shape \[C, H, W\] or \[N, C, H, W\].*unsqueeze\(0\)"),
        (torch.rand(1, 1, 3, 8, 8), ValueError, r"must have shape \[C, H, W\] or \[N, C, H, W\]"),
        (torch.rand(8, 9, 3), ValueError, r"must have 1, 3 or 4 channels.*permute\(2, 0, 1\)"),
        (torch.rand(2, 8, 9, 3), ValueError, r"must have 1, 3 or 4 channels.*permute\(0, 3, 1, 2\)"),
        (torch.rand(2, 8, 9), ValueError, r"must have 1, 3 or 4 channels, but got shape \(2, 8, 9\)\."),
        (
            torch.zeros(3, 8, 8, dtype=torch.int64),
            TypeError,
            "uint8 pixels in 0–255 or float.*got torch.int64",
        ),
        (torch.zeros(3, 8, 8, dtype=torch.bool), TypeError, "got torch.bool"),
        (torch.rand(3, 8, 8) * 255, ValueError, "got float values from .* to .*look like 0–255"),
        (torch.rand(3, 8, 8) * 2 - 1, ValueError, r"they look like -1–1, so pass `\(images \+ 1\) / 2`"),
        (torch.rand(3, 8, 8) * 2000 - 1000, ValueError, r"got float values from -\d+\.?\d* to \d+\.?\d*\.$"),
        (torch.full((3, 8, 8), float("nan")), ValueError, "must hold finite pixels, but got NaN or infinite"),
        (torch.tensor([0.5, float("nan")]).repeat(3, 8, 4), ValueError, "must hold finite pixels"),
        (torch.full((3, 8, 8), float("inf")), ValueError, "must hold finite pixels"),
        ([torch.rand(3, 8, 8), torch.rand(3, 9, 9).sub(9)], ValueError, "Argument `pics` must hold uint8"),
        ([[photo()]], TypeError, r"Argument `pics\[0\]` must be .* got builtins.list: .*must not be nested"),
        (
            7,
            TypeError,
            "must be a Pillow image, a path, a tensor, an array or a sequence of these, but got builtins.int",
        ),
        ([photo(), None], TypeError, r"Argument `pics\[1\]`.*NoneType"),
        (Image.new("F", (8, 8)), ValueError, "got mode 'F', whose range is not known"),
        (Image.new("I", (8, 8)), ValueError, "got mode 'I'"),
    ],
)
def test_refused(images, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        preprocess(images, SMALL, argument="pics")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rounding_outside_the_range_is_accepted(dtype: torch.dtype) -> None:
    pixels = torch.tensor([-5e-4, 1 + 5e-4], dtype=torch.float64).repeat(3, 8, 4).to(dtype)
    assert preprocess(pixels, SMALL).isfinite().all()
    with pytest.raises(ValueError, match="float pixels in 0–1"):
        preprocess(pixels + 0.1, SMALL)


def test_resample_pil_refuses_gradients() -> None:
    preprocessing = Preprocessing(size=32, resample="pil")
    pixels = torch.rand(3, 40, 40, requires_grad=True)
    with pytest.raises(ValueError, match='must not require a gradient with `resample="pil"`'):
        preprocess(pixels, preprocessing)
    with torch.no_grad():
        assert preprocess(pixels, preprocessing).shape == (1, 3, 32, 32)


# --- what a model asks for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preprocessing", "tag"),
    [
        (Preprocessing(size=112), "112-bicubic"),
        (Preprocessing(resample="pil", crop="round"), "224-pil-round"),
        (SIGLIP, "224-bicubic-squash-mean0.5-std0.5"),
        (Preprocessing(mean=(0.485, 0.456, 0.406)), "224-bicubic-mean0.485,0.456,0.406"),
        (Preprocessing(resize="squash", crop="round"), "224-bicubic-squash"),
    ],
)
def test_tag(preprocessing: Preprocessing, tag: str) -> None:
    assert str(preprocessing) == tag


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 0}, "`size` must be a positive integer, but got 0"),
        ({"size": True}, "`size` must be a positive integer"),
        ({"resize": "longest"}, "`resize` must be one of"),
        ({"crop": "ceil"}, "`crop` must be one of"),
        ({"resample": "bilinear"}, r"`resample` must be one of \('bicubic', 'pil'\), but got 'bilinear'"),
        ({"mean": (0.5, 0.5)}, "`mean` must hold three finite numbers"),
        ({"mean": (0.5, 0.5, float("nan"))}, "`mean` must hold three finite numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "`std` must hold positive numbers"),
    ],
)
def test_bad_preprocessing(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**setting)


def test_from_transformers() -> None:
    read = Preprocessing.from_transformers
    assert read(CLIPImageProcessorPil().to_dict()) == CLIP
    assert read(CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=336).to_dict()).size == 336
    assert read({"size": 224, "crop_size": 224, "resample": 3, "do_center_crop": True}) == CLIP
    assert read({"size": {"shortest_edge": 112}, "crop_size": {"height": 112, "width": 112}}).size == 112
    assert read({"size": 384, "image_processor_type": "SiglipImageProcessor"}) == Preprocessing(
        size=384, mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash"
    )
    assert read({"image_mean": 0.5, "image_std": [0.1, 0.2, 0.3]}).std == (0.1, 0.2, 0.3)
    assert read(EfficientNetImageProcessorPil(include_top=False).to_dict()) == Preprocessing(
        size=346, mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash"
    )
    # The classifier's images are divided by their deviation twice; that is the processor's default.
    assert read({"image_processor_type": "EfficientNetImageProcessor"}) == Preprocessing(
        size=346, mean=(0.5,) * 3, std=(0.25,) * 3, resize="squash"
    )
    assert read({}) == CLIP


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"resample": 2}, r"`resample` must be bicubic \(3\), but got 2"),
        ({"do_resize": False}, "`do_resize` must be true"),
        ({"do_normalize": False}, "`do_normalize` must be true"),
        ({"rescale_factor": 1.0}, "`rescale_factor` must be 1/255"),
        ({"size": {"height": 224, "width": 336}}, "`size` must be square"),
        (
            {"size": {"shortest_edge": 256}, "crop_size": 224},
            "`crop_size` must equal the size 256, but got 224",
        ),
        ({"size": {"shortest_edge": 224}, "do_center_crop": False}, "must lead to a square input"),
        ({"image_mean": [0.5, 0.5]}, "`image_mean` must hold three numbers"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "processor that resizes to the size it names"),
        ({"image_processor_type": "LevitImageProcessorFast"}, "processor that resizes to the size it names"),
        ({"do_pad": True}, "`do_pad` must be false"),
        ({"do_flip_channel_order": True}, "`do_flip_channel_order` must be false"),
        ({"rescale_offset": True}, "`rescale_offset` must be false"),
    ],
)
def test_from_transformers_refuses(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_transformers(config)


def test_from_open_clip() -> None:
    read = Preprocessing.from_open_clip
    assert read({"size": (224, 224), "interpolation": "bicubic", "resize_mode": "shortest"}) == Preprocessing(
        crop="round"
    )
    siglip = {
        "size": 384,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    assert str(read(siglip)) == "384-bicubic-squash-mean0.5-std0.5"
    for setting, message in (
        ({"interpolation": "bilinear"}, "`interpolation` must be bicubic"),
        ({"resize_mode": "longest"}, "`resize_mode` must be one of"),
        ({"size": (224, 336)}, "`size` must be square"),
    ):
        with pytest.raises(ValueError, match=message):
            read(setting)
