"""`unisim demo`: a tour over real photographs that come with scikit-image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import figure
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Result, print_table
from unisim_metrics.cli.scoring import pick_device
from unisim_metrics.cli.terminal import print_note

if TYPE_CHECKING:
    from PIL import Image

    from unisim_metrics.models import PerceptualModel

# Photographs inside scikit-image's wheel, each with a prompt that only it fits.
PHOTOS = {
    "astronaut.png": "a smiling woman in an orange suit",
    "chelsea.png": "a close-up of a cat",
    "coffee.png": "a cup of coffee on a wooden table",
    "rocket.jpg": "a rocket on its launch pad at night",
    "motorcycle_left.png": "a motorcycle in a garage",
    "hubble_deep_field.jpg": "stars in the night sky",
}
# What the picture shows of it all.
_PROMPTS_DRAWN, _PHOTOS_DRAWN, _QUALITY_DRAWN = 4, 4, 2
_GRAIN = 40
_SEED = 0


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")] = Path("demo.png"),
    model: opt.ModelOption = opt.DEFAULT_MODEL,
    device: opt.DeviceOption = None,
) -> None:
    r"""Rank real photographs for prompts and by quality, print tables, draw a picture.

    The photographs come with scikit-image; nothing is downloaded. It needs unisim-metrics\[demo].
    """
    from unisim_metrics.models import load_model

    output.parent.mkdir(parents=True, exist_ok=True)
    figure.check(output)
    photos = read_photos()
    loaded = load_model(model, device=pick_device(device))
    versions = {name: distort(photo) for name, photo in photos.items()}
    by_prompt = rank_for_prompts(loaded, photos)
    by_quality = rank_by_quality(loaded, versions)
    nearest = rank_by_similarity(loaded, photos)
    for result in (by_prompt, by_quality, nearest):
        print_table(result)
        typer.echo()
    draw(output, by_prompt, by_quality, photos, versions)
    print_note(f"Wrote {output}")


def read_photos() -> dict[str, Image.Image]:
    """Return the photographs by name.

    Raises:
        ImportError: If scikit-image is missing, or came without them.
    """
    from PIL import Image

    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("`unisim demo` needs scikit-image: pip install 'unisim-metrics[demo]'.")
    folder = Path(package.origin).parent / "data"
    missing = [name for name in PHOTOS if not (folder / name).is_file()]
    if missing:
        raise ModuleNotFoundError(f"This scikit-image came without {', '.join(missing)}: reinstall it.")
    return {Path(name).stem: Image.open(folder / name).convert("RGB") for name in PHOTOS}


def distort(photo: Image.Image) -> dict[str, Image.Image]:
    """Return a photograph and three damaged versions of it, by name."""
    import numpy as np
    from PIL import Image, ImageFilter

    pixels = np.asarray(photo, dtype=np.float32)
    noise = np.random.default_rng(_SEED).normal(0, _GRAIN, pixels.shape)
    return {
        "original": photo,
        "blurred": photo.filter(ImageFilter.GaussianBlur(max(photo.size) / 100)),
        "noisy": Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)),
        "JPEG 5": _as_jpeg(photo, 5),
    }


def rank_for_prompts(model: PerceptualModel, photos: Mapping[str, Image.Image]) -> Result:
    """Rank all photographs for each prompt."""
    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature

    prompts = list(PHOTOS.values())
    scores = unisim_rank([list(photos.values())] * len(prompts), prompts, model).tolist()
    rows = [
        {"prompt": prompt} | _ranked(dict(zip(photos, row, strict=True)))
        for prompt, row in zip(prompts, scores, strict=True)
    ]
    right = sum(row["1"].startswith(name) for row, name in zip(rows, photos, strict=True))
    return Result(
        rows,
        title="Photographs ranked for a prompt",
        signature=signature(model, "image-text"),
        summary={"right photograph first": right, "of": len(rows)},
        details={"scores": scores},
    )


def rank_by_quality(model: PerceptualModel, versions: Mapping[str, Mapping[str, Image.Image]]) -> Result:
    """Score each photograph and its damaged versions by quality."""
    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature

    groups = [list(group.values()) for group in versions.values()]
    scores = unisim_rank(groups, None, model, task="quality").tolist()
    rows = [
        {"photograph": name} | dict(zip(group, row, strict=True))
        for (name, group), row in zip(versions.items(), scores, strict=True)
    ]
    pairs = [(row[0], damaged) for row in scores for damaged in row[1:]]
    return Result(
        rows,
        title="Quality of a photograph and of damaged versions of it",
        signature=signature(model, "quality"),
        summary={"original above damaged": sum(best > worse for best, worse in pairs), "of": len(pairs)},
    )


def rank_by_similarity(model: PerceptualModel, photos: Mapping[str, Image.Image]) -> Result:
    """Compare a mild and a strong distortion of each photograph with the original."""
    from PIL import ImageFilter

    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature

    originals = list(photos.values())
    groups = [
        [
            photo.filter(ImageFilter.GaussianBlur(max(photo.size) / 250)),
            photo.filter(ImageFilter.GaussianBlur(max(photo.size) / 60)),
            _as_jpeg(photo, 30),
            _as_jpeg(photo, 4),
        ]
        for photo in originals
    ]
    scores = unisim_rank(groups, originals, model).tolist()
    columns = ("mild blur", "strong blur", "mild JPEG", "strong JPEG")
    rows = [
        {"photograph": name} | dict(zip(columns, row, strict=True))
        for name, row in zip(photos, scores, strict=True)
    ]
    return Result(
        rows,
        title="Similarity of damaged versions to the original",
        signature=signature(model, "image-image"),
        summary={
            "mild above strong": sum((row[0] > row[1]) + (row[2] > row[3]) for row in scores),
            "of": 2 * len(scores),
        },
    )


def draw(
    file: Path,
    by_prompt: Result,
    by_quality: Result,
    photos: Mapping[str, Image.Image],
    versions: Mapping[str, Mapping[str, Image.Image]],
) -> None:
    """Draw each prompt's best photographs, and below each photograph's versions by quality."""
    names = list(photos)
    rows: list[tuple[str, list[tuple[Image.Image, float, str]]]] = []
    drawn = list(zip(by_prompt.rows, by_prompt.details["scores"], strict=True))[:_PROMPTS_DRAWN]
    for row, scores in drawn:
        best = sorted(zip(names, scores, strict=True), key=lambda item: -item[1])[:_PHOTOS_DRAWN]
        rows.append((f"“{row['prompt']}”", [(photos[name], score, name) for name, score in best]))
    for row in by_quality.rows[:_QUALITY_DRAWN]:
        group = versions[row["photograph"]]
        best = sorted(((name, row[name]) for name in group), key=lambda item: -item[1])
        rows.append(("quality", [(group[name], score, name) for name, score in best]))
    signature = f"{by_prompt.signature}\n{by_quality.signature}"
    figure.save_grid(file, rows, "unisim demo: photographs ranked for a prompt and by quality", signature)


def _as_jpeg(photo: Image.Image, quality: int) -> Image.Image:
    from PIL import Image

    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _ranked(scores: Mapping[str, float], shown: int = 3) -> dict[str, Any]:
    best: Sequence[str] = sorted(scores, key=lambda name: -scores[name])[:shown]
    return {str(place): f"{name} {scores[name]:.3f}" for place, name in enumerate(best, start=1)}
