"""`unisim demo`: a tour over real photographs that come with scikit-image."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import figure
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Result, print_table
from unisim_metrics.cli.scoring import pick_device
from unisim_metrics.cli.terminal import print_note
from unisim_metrics.installation import install_extra

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
# More of them: with these a prompt has twelve photographs to choose from.
MORE_PHOTOS = {
    "camera.png": "a photographer with a camera on a tripod",
    "coins.png": "a collection of ancient coins",
    "moon.png": "craters on the surface of the moon",
    "brick.png": "a brick wall",
    "retina.jpg": "the retina of a human eye",
    "page.png": "printed text on a page",
}
# Two photographs with something in common, and a last one without.
ODD_ONES = (
    ("moon", "hubble_deep_field", "chelsea"),
    ("motorcycle_left", "rocket", "chelsea"),
    ("astronaut", "camera", "brick"),
    ("astronaut", "camera", "coffee"),
)
# Texts that differ in a count, a place or written words; the first is right.
TEXT_PAIRS = {
    "coins": ("four rows of coins", "one row of coins"),
    "coffee": ("a spoon on the right of a cup", "a spoon on the left of a cup"),
    "astronaut": ("a flag on the left of a woman", "a flag on the right of a woman"),
    "page": ("a page that says region-based segmentation", "a page that says happy birthday"),
    "rocket": ("one rocket", "three rockets"),
    "motorcycle_left": ("a motorcycle facing to the right", "a motorcycle facing to the left"),
}
# What the picture shows of it all.
_PROMPTS_DRAWN, _PHOTOS_DRAWN, _QUALITY_DRAWN, _ODD_ONES_DRAWN = 4, 4, 1, 1
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
    photos = read_photos(PHOTOS)
    all_photos = photos | read_photos(MORE_PHOTOS)
    loaded = load_model(model, device=pick_device(device))
    versions = {name: distort(photo) for name, photo in photos.items()}
    prompts = list(PHOTOS.values())
    by_prompt = rank_for_prompts(loaded, photos, prompts)
    among_more = rank_for_prompts(loaded, all_photos, [*prompts, *MORE_PHOTOS.values()])
    by_quality = rank_by_quality(loaded, versions)
    nearest = rank_by_similarity(loaded, photos)
    odd_ones = find_odd_ones(loaded, all_photos)
    texts = choose_texts(loaded, all_photos)
    for result in (by_prompt, among_more, by_quality, nearest, odd_ones, texts):
        print_table(result)
        typer.echo()
    print_note(
        "Counts, places and written words are beyond a model of embeddings, and rare words beyond a small one: for"
        " these take a larger one, see `unisim models`."
    )
    draw(output, by_prompt, by_quality, odd_ones, all_photos, versions)
    print_note(f"Wrote {output}")


def read_photos(names: Iterable[str] = tuple(PHOTOS)) -> dict[str, Image.Image]:
    """Return photographs by name.

    Raises:
        ImportError: If scikit-image is missing, or came without them.
    """
    from PIL import Image

    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"`unisim demo` needs scikit-image: {install_extra('demo')}.")
    folder = Path(package.origin).parent / "data"
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModuleNotFoundError(f"This scikit-image came without {', '.join(missing)}: reinstall it.")
    return {Path(name).stem: Image.open(folder / name).convert("RGB") for name in names}


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


def rank_for_prompts(
    model: PerceptualModel, photos: Mapping[str, Image.Image], prompts: Sequence[str]
) -> Result:
    """Rank all photographs for each prompt; the first prompt is the first photograph's, and so on."""
    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature

    scores = unisim_rank([list(photos.values())] * len(prompts), prompts, model).tolist()
    rows = [
        {"prompt": prompt} | _ranked(dict(zip(photos, row, strict=True)))
        for prompt, row in zip(prompts, scores, strict=True)
    ]
    right = sum(row["1"].startswith(name) for row, name in zip(rows, photos, strict=True))
    return Result(
        rows,
        title=f"{len(photos)} photographs ranked for a prompt",
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


def find_odd_ones(model: PerceptualModel, photos: Mapping[str, Image.Image]) -> Result:
    """Find the photograph of three that has nothing in common with the others."""
    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature

    groups = [[photos[name] for name in names] for names in ODD_ONES]
    scores = unisim_rank(groups, None, model, task="odd-one-out").tolist()
    rows = [
        {"photographs": ", ".join(names), "odd one": names[row.index(max(row))]}
        for names, row in zip(ODD_ONES, scores, strict=True)
    ]
    right = sum(row["odd one"] == names[-1] for row, names in zip(rows, ODD_ONES, strict=True))
    return Result(
        rows,
        title="The odd one of three",
        signature=signature(model, "odd-one-out"),
        summary={"right": right, "of": len(rows)},
        details={"scores": scores},
    )


def choose_texts(model: PerceptualModel, photos: Mapping[str, Image.Image]) -> Result:
    """Choose between texts that differ in what such a model cannot see."""
    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature

    scores = unisim_rank(
        list(TEXT_PAIRS.values()), [photos[name] for name in TEXT_PAIRS], model, task="caption"
    ).tolist()
    rows = [
        {
            "photograph": name,
            "right": texts[0],
            "wrong": texts[1],
            "chosen": "right" if row[0] > row[1] else "wrong",
        }
        for (name, texts), row in zip(TEXT_PAIRS.items(), scores, strict=True)
    ]
    return Result(
        rows,
        title="Counts, places and written words",
        signature=signature(model, "caption"),
        summary={"right": sum(row["chosen"] == "right" for row in rows), "of": len(rows)},
    )


def draw(
    file: Path,
    by_prompt: Result,
    by_quality: Result,
    odd_ones: Result,
    photos: Mapping[str, Image.Image],
    versions: Mapping[str, Mapping[str, Image.Image]],
) -> None:
    """Draw each prompt's best photographs, below them a photograph's versions by quality and the odd one of three."""
    names = [Path(name).stem for name in PHOTOS]
    rows: list[tuple[str, list[tuple[Image.Image, float, str]]]] = []
    drawn = list(zip(by_prompt.rows, by_prompt.details["scores"], strict=True))[:_PROMPTS_DRAWN]
    for row, scores in drawn:
        best = sorted(zip(names, scores, strict=True), key=lambda item: -item[1])[:_PHOTOS_DRAWN]
        rows.append((f"“{row['prompt']}”", [(photos[name], score, name) for name, score in best]))
    for row in by_quality.rows[:_QUALITY_DRAWN]:
        group = versions[row["photograph"]]
        best = sorted(((name, row[name]) for name in group), key=lambda item: -item[1])
        rows.append(("quality", [(group[name], score, name) for name, score in best]))
    for triplet, scores in list(zip(ODD_ONES, odd_ones.details["scores"], strict=True))[:_ODD_ONES_DRAWN]:
        best = sorted(zip(triplet, scores, strict=True), key=lambda item: -item[1])
        rows.append(("the odd one", [(photos[name], score, name) for name, score in best]))
    signature = "\n".join(result.signature for result in (by_prompt, by_quality, odd_ones))
    figure.save_grid(file, rows, "unisim demo: photographs ranked for a prompt and by quality", signature)


def _as_jpeg(photo: Image.Image, quality: int) -> Image.Image:
    from PIL import Image

    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _ranked(scores: Mapping[str, float], shown: int = 3) -> dict[str, Any]:
    best: Sequence[str] = sorted(scores, key=lambda name: -scores[name])[:shown]
    return {str(place): f"{name} {scores[name]:.3f}" for place, name in enumerate(best, start=1)}
