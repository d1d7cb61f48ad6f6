"""Data for a run of the whole benchmark without any download: small, and in the layouts of the real sets.

The pictures are photographs that come with scikit-image, and drawn scenes. Nobody judged them: what is right follows
from how they were made. So the figures tell whether the benchmark works, and little about a model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..datasets import load_dataset
from ..provenance import mark_as_demo
from ..tasks import TASKS
from .caption_sets import write_cd_coco, write_polaris
from .image_sets import write_bapps, write_nights, write_pieapp
from .odd_sets import write_cifar, write_imagenet, write_revisitop
from .prompt_sets import write_agiqa, write_hpdv2, write_hq_edit, write_imagereward, write_magicbrush
from .quality_sets import write_kadid, write_koniq, write_pipal, write_sice

__all__ = ["write_demo"]

_WRITERS: tuple[Callable[[Path, int], None], ...] = (
    *(write_nights, write_bapps, write_pieapp),
    *(write_imagereward, write_hpdv2, write_agiqa, write_magicbrush, write_hq_edit),
    *(write_cd_coco, write_polaris),
    *(write_kadid, write_koniq, write_pipal, write_sice),
    *(write_cifar, write_imagenet, write_revisitop),
)


def write_demo(root: str | Path, seed: int = 0) -> Path:
    """Write the test samples of all 25 sets under a data root: the same files for the same seed.

    Args:
        root: The data root; made if it is not there.
        seed: Another seed makes other pictures.

    Returns:
        The data root.

    Raises:
        ModuleNotFoundError: If scikit-image or `pyarrow` is missing.
    """
    root = Path(root)
    for write in _WRITERS:
        write(root, seed)
    for dataset in (load_dataset(name, root) for task in TASKS for name in task.datasets):
        mark_as_demo(root, (*dataset.files["test"], *dataset.images["test"]))
    return root
