"""Which of two captions fits a photograph: CD-COCO and Polaris."""

from __future__ import annotations

from pathlib import Path

from ..datasets.cd_coco import CAPTIONS, MACHINES, PHOTOS, SCORES
from .files import write_csv, write_image
from .photos import PHOTOS as CAPTIONS_OF
from .photos import crops

__all__ = ["write_cd_coco", "write_polaris"]

_SIDE = 160


def write_cd_coco(root: Path, seed: int) -> None:
    """Write photographs with six captions each: the fullest is chosen, those of other photographs never are."""
    captions: list[list[object]] = [["fname", *MACHINES.values()]]
    scores: list[list[object]] = [["Image_URL", *MACHINES, "max_score"]]
    for number, crop in enumerate(crops(24, _SIDE, seed + 1)):
        name = f"COCO_val2014_{number + 1:012d}.jpg"
        write_image(root / PHOTOS / name, crop.image)
        wrong = _others(crop.name, number, 3)
        offered = (crop.captions[1], wrong[0], crop.captions[0], wrong[1], crop.captions[1], wrong[2])
        votes = (1, 0, 3 + number % 3, 0, 1, 0)
        captions.append([name, *offered])
        scores.append([name, *votes, max(votes)])
    write_csv(root / CAPTIONS, captions)
    write_csv(root / SCORES, scores)


def write_polaris(root: Path, seed: int) -> None:
    """Write photographs with people's captions, and a candidate's: poor ones are of other photographs."""
    rows: list[list[object]] = [["imgid", "refs", "cand", "human_score"]]
    for number, crop in enumerate(crops(24, _SIDE, seed + 2)):
        name = f"{number:06d}.jpg"
        write_image(root / "polaris" / "images" / name, crop.image)
        for candidate, score in ((_others(crop.name, number, 1)[0], 0.0), (crop.captions[0], 1.0)):
            rows.append([name, repr(list(crop.captions)), candidate, score])
    write_csv(root / "polaris" / "polaris_test.csv", rows)


def _others(name: str, number: int, count: int) -> list[str]:
    """Return captions of other photographs."""
    others = [captions[0] for photo, captions in CAPTIONS_OF.items() if photo != name]
    return [others[(number + 4 * step) % len(others)] for step in range(count)]
