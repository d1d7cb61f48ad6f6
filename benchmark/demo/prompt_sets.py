"""Which of two images fits a text: ImageReward, HPDv2, AGIQA-3K, MagicBrush and HQ-Edit, with drawn scenes."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from unisim_metrics.installation import install_extra

from ..datasets.imagereward import METADATA
from .distortions import distort
from .files import write_csv, write_image, write_json
from .scenes import GROUNDS, Scene, paint, random_scenes, worsen

__all__ = ["write_agiqa", "write_hpdv2", "write_hq_edit", "write_imagereward", "write_magicbrush"]


def write_imagereward(root: Path, seed: int) -> None:
    """Write four images of each prompt, ranked by how much of it they show.

    Raises:
        ModuleNotFoundError: If `pyarrow` is missing.
    """
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`unisim bench demo` needs pyarrow: {install_extra('benchmark')}."
        ) from error
    records = []
    for number, scene in enumerate(random_scenes(16, seed + 1)):
        for mistakes in range(4):
            image = f"images/validation/validation_1/{number:04d}-{mistakes}.webp"
            shown = worsen(scene, mistakes, scene.seed * 10 + mistakes)
            write_image(root / "imagereward" / image, paint(shown))
            record = {"image_path": image, "prompt_id": f"{number:06d}-0000", "prompt": scene.caption}
            records.append({**record, "rank": mistakes + 1})
    parquet.write_table(pyarrow.Table.from_pylist(records), root / METADATA)


def write_hpdv2(root: Path, seed: int) -> None:
    """Write nine images of each prompt: one that shows all of it, and three, three and two that show less."""
    records = []
    for number, scene in enumerate(random_scenes(6, seed + 2)):
        mistakes = (0, 1, 1, 1, 2, 2, 2, 3, 3)
        order = np.random.default_rng([seed, 3, number]).permutation(len(mistakes)).tolist()
        names = [f"{number:05d}_{place}.jpg" for place in range(len(mistakes))]
        for name, place in zip(names, order, strict=True):
            shown = worsen(scene, mistakes[place], scene.seed * 10 + place)
            write_image(root / "hpdv2" / "test" / name, paint(shown))
        ranks = [mistakes[place] + 1 for place in order]
        records.append({"prompt": scene.caption, "image_path": names, "rank": ranks})
    write_json(root / "hpdv2" / "test.json", records)


def write_agiqa(root: Path, seed: int) -> None:
    """Write six images of each prompt: what they show decides the alignment score, how damaged they are the quality."""
    scored = ("mos_quality", "std_quality", "mos_align", "std_align")
    rows: list[list[object]] = [["name", "prompt", "adj1", "adj2", "style", *scored]]
    kinds = ("white noise", "pixelate", "gaussian blur", "jpeg", "white noise", "pixelate")
    for number, scene in enumerate(random_scenes(8, seed + 4)):
        for model, level in enumerate((0, 1, 2, 3, 4, 5)):
            mistakes = (0, 3, 1, 2, 0, 3)[(model + number) % 6]
            image = paint(worsen(scene, mistakes, scene.seed * 10 + model))
            image = distort(image, kinds[model], level, number) if level else image
            name = f"model{model}_normal_{number:03d}.jpg"
            write_image(root / "agiqa-3k" / "images" / name, image)
            rows.append([name, scene.caption, "", "", "", 4.5 - 0.6 * level, 0.3, 4.5 - 1.1 * mistakes, 0.3])
    write_csv(root / "agiqa-3k" / "data.csv", rows)


def write_magicbrush(root: Path, seed: int) -> None:
    """Write scenes before and after an edit, with the instruction."""
    records: list[dict[str, Any]] = []
    for number, (before, after) in enumerate(_edits(24, seed + 5)):
        names = [f"MagicBrush/images/{number:04d}-{part}.jpg" for part in ("input", "output1")]
        for name, scene in zip(names, (before, after), strict=True):
            write_image(root / name.replace("/images/", "/test/"), paint(scene))
        place = GROUNDS[after.ground][2]
        instruction = f"Make it a {after.colour} {after.object} {place}."
        records.append(_record(names, "MagicBrush", instruction))
    write_json(root / "MagicBrush" / "test.json", records)


def write_hq_edit(root: Path, seed: int) -> None:
    """Write scenes before and after an edit, with a description of each."""
    records: list[dict[str, Any]] = []
    for number, (before, after) in enumerate(_edits(20, seed + 6)):
        names = [f"HQ-Edit/images/{number:04d}_{part}.png" for part in ("input", "output")]
        for name, scene in zip(names, (before, after), strict=True):
            write_image(root / name, paint(scene))
        record = _record(names, "HQ-Edit", f"Turn it into {after.caption}.")
        records.append({**record, "input": before.caption, "output": after.caption})
    write_json(root / "HQ-Edit" / "test.json", records)


def _edits(count: int, seed: int) -> list[tuple[Scene, Scene]]:
    """Return scenes before and after an edit of the colour, the ground, or all."""
    edits = []
    for index, scene in enumerate(random_scenes(count, seed)):
        other = worsen(scene, 3, scene.seed)
        part = (("colour",), ("ground",), ("object", "colour", "ground"))[index % 3]
        edits.append((scene, replace(scene, **{name: getattr(other, name) for name in part})))
    return edits


def _record(names: list[str], dataset: str, instruction: str) -> dict[str, Any]:
    asked = {"from": "human", "value": "<image><image>What is the edit?"}
    turns = [asked, {"from": "gpt", "value": instruction}]
    return {"image": names, "conversations": turns, "metadata": {"dataset": dataset}}
