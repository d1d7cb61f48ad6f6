"""What every set of the benchmark is: a short declaration, and the choices that its annotations hold."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar

from unisim_metrics.statistics.stream import Stream
from unisim_metrics.tasks import Task

from ..errors import TooFewSamplesError
from ..samples import Candidate, Sample, arrange, relative_name
from .hub_files import HubFiles

if TYPE_CHECKING:
    from PIL import Image

Split = Literal["test", "train"]

Protocol = Literal["paper", "authors"]
"""Whose choices a set follows where the paper and the authors' code differ: see docs/authors_code.md."""

Kind = Task | Literal["retrieval"]
"""What a set asks."""

Part = TypeVar("Part")


def splits(*, test: Part, train: Part | None = None) -> Mapping[Split, Part]:
    """Return what each split has; a set without training samples has no such split."""
    return {"test": test} if train is None else {"test": test, "train": train}


def both(*names: str) -> Mapping[Split, Sequence[str]]:
    """Return what both splits have."""
    return splits(test=names, train=names)


@dataclass(frozen=True)
class Status:
    """Whether the files of a split are there.

    Attributes:
        state: `"missing"` if nothing is there, `"incomplete"` if something is.
        missing: The files and folders that are not there, relative to the data root.
        images: How many images the samples show; None if they were not looked for.
        missing_images: Those of them that are not there, relative to the data root.
        problem: Why the samples cannot be listed, though the files are there.
    """

    state: Literal["present", "incomplete", "missing"]
    missing: tuple[str, ...] = ()
    images: int | None = None
    missing_images: tuple[str, ...] = ()
    problem: str | None = None


class Dataset(ABC):
    """One set, whose subclass draws its samples. Most list all that may be drawn: see `PooledDataset`.

    Only annotation files are read until an image is needed.

    Attributes:
        id: The name that `load_dataset` takes.
        task: The task, or `"retrieval"`.
        size: The number of test samples in the paper (Table 1).
        train_size: The number of training samples in the paper (Table 5); None if UniSim does not train on the set.
        files: The annotation files of each split, relative to the data root; `*` stands for anything.
        images: The folders with the images of each split, likewise.
        citation: Whom to cite.
        url: Where the set is described and published.
        licence: The terms of use, as far as its publisher states them.
        hub_id: The dataset's own name on the Hub, if its publisher put it there.
        hub: What can be fetched from the Hub for each split, by `unisim bench data get`.
        protocol: Whether samples and images are as the paper describes them, or as the authors' code makes them.
    """

    id: str
    task: Kind
    size: int
    train_size: int | None = None
    files: Mapping[Split, Sequence[str]]
    images: Mapping[Split, Sequence[str]]
    citation: str
    url: str
    licence: str = "as stated by its publisher"
    hub_id: str | None = None
    hub: Mapping[Split, HubFiles] = MappingProxyType({})
    protocol: Protocol = "paper"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, root={str(self.root)!r})"

    @abstractmethod
    def draw(self, split: Split, n: int | None, stream: Stream) -> Sequence[Candidate]:
        """Return `n` distinct choices, or as many as the split has by default, the right alternative first."""

    def samples(self, split: Split = "test", n: int | None = None, seed: int = 0) -> list[Sample]:
        """Return samples, the same for the same arguments on any machine.

        Nothing is drawn twice, and the samples of a smaller `n` are among those of a larger one (their alternatives
        in another order). A set that has fewer distinct samples than the paper reports gives all it has.

        Args:
            split: `"test"`, or `"train"` for the sets that UniSim trains on.
            n: How many; None for as many as in the paper (test), or for all (train).
            seed: Another seed gives another choice and order.

        Raises:
            ValueError: If the set has no such split, or fewer than `n` distinct samples.
            AnnotationError: If an annotation file is malformed. The message names file and line.
            FileNotFoundError: If an annotation file is not there.
        """
        self._check_split(split)
        if n is not None and n < 1:
            raise ValueError(f"Argument `n` must be at least 1, or None, but got {n}.")
        stream = Stream(self.id, split, seed)
        candidates = self.draw(split, n, stream)
        if not candidates:
            raise ValueError(f"Dataset {self.id!r} has no {split} sample in {self.root}.")
        return arrange(candidates, stream)

    def status(self, split: Split = "test", *, images: bool = False) -> Status:
        """Tell whether the files of a split are there.

        Args:
            split: Which samples.
            images: Look for every image that the samples show; otherwise folders count as there whatever they hold.
                This lists the samples, and each folder once.
        """
        self._check_split(split)
        wanted = [*self.files[split], *self.images[split]]
        missing = tuple(name for name in wanted if not self._exists(name))
        if missing and len(missing) == len(wanted):
            return Status("missing", missing)
        if not images or any(name in missing for name in self.files[split]):
            return Status("incomplete" if missing else "present", missing)
        try:
            shown = self.shown_images(split)
        except (ValueError, OSError, ImportError) as error:
            return Status("incomplete", missing, problem=str(error))
        absent = tuple(sorted(relative_name(image, self.root) for image in _absent(shown)))
        return Status("incomplete" if missing or absent else "present", missing, len(shown), absent)

    def shown_images(self, split: Split = "test") -> Sequence[Path]:
        """Return the image files that the samples of a split show, each once.

        Raises:
            ValueError: If the samples cannot be listed, as by `samples`.
            OSError: Likewise.
        """
        items = (item for sample in self.samples(split) for item in (sample.reference, *sample.alternatives))
        return list(dict.fromkeys(item for item in items if isinstance(item, Path)))

    def image(self, path: Path) -> Image.Image:
        """Return an image of the set as it is shown to a model.

        By the authors' protocol it is what Pillow's `convert("RGB")` makes of the file: not turned by its EXIF tag,
        without its transparency.

        Args:
            path: An image out of the samples. Not every set keeps its images as files of their own, so go
                through this method rather than open the path.

        Raises:
            ImageReadError: If the file cannot be read. The message names it.
        """
        # Here, not above: decoding needs torch, which listing samples does not.
        from unisim_metrics.images.decoding import DECODING_ERRORS, open_image, unreadable

        if self.protocol == "paper":
            return open_image(path)
        from PIL import Image

        try:
            with Image.open(path) as image:
                image.load()
                return _plain_rgb(image)
        except DECODING_ERRORS as error:
            raise unreadable(path, error) from error

    def draws_per_pass(self, split: Split) -> int | None:
        """Return how many samples of a split one pass over a mixture of sets takes: None for all of them."""
        return None

    def original(self, image: Path) -> Path:
        """Return the image of which this one is a copy, as far as samples do not tell: by default itself.

        Samples that show one original belong on one side of a split, whether or not they share an image.
        """
        return image

    def path(self, name: str) -> Path:
        """Return a file or folder of the set that must be there.

        Raises:
            FileNotFoundError: If it is not there.
        """
        path = self.root / name
        if not path.exists():
            raise FileNotFoundError(f"Dataset {self.id!r} needs {path}, which is not there. See {self.url}")
        return path

    def count(self, split: Split, n: int | None, available: int) -> int:
        """Return how many of the available samples to draw.

        Raises:
            TooFewSamplesError: If `n` are asked for and there are fewer.
        """
        if n is None:
            return available if split == "train" else min(self.size, available)
        if n > available:
            raise TooFewSamplesError(
                f"Argument `n` must be at most {available}, the number of distinct {split} samples of dataset"
                f" {self.id!r}, but got {n}.",
                available,
            )
        return n

    def _check_split(self, split: Split) -> None:
        if split not in self.files:
            raise ValueError(
                f"Argument `split` must be one of {tuple(self.files)} for dataset {self.id!r}, but got {split!r}."
            )

    def _exists(self, name: str) -> bool:
        return any(self.root.glob(name)) if "*" in name else (self.root / name).exists()


class PooledDataset(Dataset):
    """One set: a subclass declares it and lists, in `pool`, every choice that may be drawn."""

    @abstractmethod
    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all distinct choices of a split, the right alternative first, in an order that does not vary."""

    def draw(self, split: Split, n: int | None, stream: Stream) -> Sequence[Candidate]:
        """Return `n` choices of the pool, in its order."""
        pool = self.pool(split)
        count = self.count(split, n, len(pool))
        return pool if count == len(pool) else [pool[index] for index in stream.choose(count, len(pool))]


def _plain_rgb(image: Image.Image) -> Image.Image:
    converted = image.convert("RGB")
    # The tags go with the pixels that they are about: nobody shall turn the image later.
    converted.info.clear()
    return converted


def _absent(images: Sequence[Path]) -> Iterator[Path]:
    """Yield the images that are not there; one look at each folder costs less than one at each image."""
    names: dict[Path, set[str]] = {}
    for image in images:
        folder = image.parent
        if folder not in names:
            names[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        if image.name not in names[folder]:
            yield image
