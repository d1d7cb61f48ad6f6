"""Data for a run of the whole benchmark without any download: small, and in the layouts of the real sets.

The pictures are photographs that come with scikit-image, and drawn scenes. Nobody judged them: what is right follows
from how they were made. So the figures tell whether the benchmark works, and little about a model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ..datasets import load_dataset
from ..provenance import mark_as_demo
from .caption_sets import write_cd_coco, write_polaris
from .image_sets import write_bapps, write_nights, write_pieapp
from .odd_sets import write_cifar, write_imagenet, write_revisitop
from .prompt_sets import write_agiqa, write_hpdv2, write_hq_edit, write_imagereward, write_magicbrush
from .quality_sets import write_kadid, write_koniq, write_pipal, write_sice

__all__ = ["write_demo"]

_WRITERS: dict[Callable[[Path, int], None], tuple[str, ...]] = {
    write_nights: ("nights",),
    write_bapps: ("bapps",),
    write_pieapp: ("pieapp-2afc", "pieapp-iqa"),
    write_imagereward: ("imagereward",),
    write_hpdv2: ("hpdv2",),
    write_agiqa: ("agiqa-3k-alignment", "agiqa-3k-quality"),
    write_magicbrush: ("magicbrush",),
    write_hq_edit: ("hq-edit-images", "hq-edit-captions"),
    write_cd_coco: ("cd-coco",),
    write_polaris: ("polaris",),
    write_kadid: ("kadid-10k",),
    write_koniq: tuple(
        f"koniq-{kind}" for kind in ("10k", "brightness", "colorfulness", "contrast", "sharpness")
    ),
    write_pipal: ("pipal",),
    write_sice: ("sice-brightness",),
    write_cifar: ("cifar-100-ooo",),
    write_imagenet: ("imagenet-ooo",),
    write_revisitop: ("roxford", "rparis"),
}


def write_demo(root: str | Path, seed: int = 0, datasets: Collection[str] | None = None) -> Path:
    """Write the test samples of all 25 sets under a data root, or of some: the same files for the same seed.

    The folders are marked, so that results of them are never taken for those of the real sets.

    Args:
        root: The data root; made if it is not there.
        seed: Another seed makes other pictures.
        datasets: Ids of the sets; None for all. Those that share their files come together.

    Returns:
        The data root.

    Raises:
        ValueError: If the paper has no such set.
        ModuleNotFoundError: If scikit-image or `pyarrow` is missing.
    """
    root = Path(root)
    known = tuple(name for names in _WRITERS.values() for name in names)
    wanted = set(known if datasets is None else datasets)
    if not wanted <= set(known):
        raise ValueError(
            f"Argument `datasets` must hold some of {known}, but got {sorted(wanted - set(known))}."
        )
    for write, names in _WRITERS.items():
        if not wanted.isdisjoint(names):
            write(root, seed)
            for dataset in (load_dataset(name, root) for name in names):
                mark_as_demo(root, (*dataset.files["test"], *dataset.images["test"]))
    return root
