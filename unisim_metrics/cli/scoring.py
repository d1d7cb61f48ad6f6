"""From options to a loaded model, and to what is ready to be scored, with a progress bar."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from unisim_metrics.cli.options import DEFAULT_MODEL
from unisim_metrics.cli.tables import is_unicode
from unisim_metrics.cli.terminal import errors, print_note, print_warning

if TYPE_CHECKING:
    from unisim_metrics.cli.files import FileModel
    from unisim_metrics.images import Resample
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task


@dataclass(frozen=True)
class Scoring:
    """The options that say how to score, as they were typed."""

    model: str
    task: str | None
    method: str
    device: str | None
    batch_size: int | None
    resample: str
    wording: str = "authors"

    @property
    def prompts(self) -> PromptsLike:
        """The texts of quality and attributes, as the metrics take them."""
        return cast("PromptsLike", self.wording)

    @property
    def place(self) -> str:
        """The device to use, as torch names it; a `ValueError` if there is no such one."""
        return pick_device(self.device)

    @property
    def resampling(self) -> Resample:
        """How images are resized, as `load_model` takes it."""
        return cast("Resample", self.resample)

    def check(self) -> tuple[Task | None, Method]:
        """Check what can be checked before a model is loaded, and return task and method.

        Raises:
            ValueError: If task, method or wording is unknown.
        """
        from unisim_metrics.prompts import WORDINGS
        from unisim_metrics.tasks import check_method, check_task

        if self.wording not in WORDINGS:
            raise ValueError(f"Option --wording must be one of {tuple(WORDINGS)}, but got {self.wording!r}.")
        return check_task(self.task), check_method(self.method)

    def tell_of_model(self) -> None:
        """Say so where the model is the small one that comes with the package."""
        if self.model == DEFAULT_MODEL:
            print_note(
                f"{DEFAULT_MODEL} is small: for scores to publish take a full-size model (--model; `unisim models`)."
            )

    def open(self, task: Task) -> FileModel:
        """Load the model, to be asked a task about files.

        Raises:
            ValueError: If there is no such model, device or resampling, or the model does not answer the task.
            OSError: If its weights cannot be reached.
        """
        from unisim_metrics.cli.files import FileModel
        from unisim_metrics.models import load_model

        warnings.showwarning = lambda message, *_, **__: print_warning(str(message))
        self.tell_of_model()
        return FileModel(
            load_model(self.model, device=self.place, resample=self.resampling),
            self.batch_size,
            task,
        )

    @staticmethod
    def stream(model: FileModel, groups: Sequence[Sequence[Path | str]]) -> Iterator[range]:
        """Let a model read files and texts, with a progress bar, and yield which groups are ready, run by run.

        Args:
            model: What `open` gave.
            groups: What is asked about together; see `FileModel.stream`.
        """
        files = len({item for group in groups for item in group if isinstance(item, Path)})
        # A bar for what is done at once would only flicker.
        if files <= model.batch_size or not errors.is_terminal:
            yield from model.stream(groups)
        else:
            with typer.progressbar(length=files, label="Encoding images", file=sys.stderr) as bar:
                yield from model.stream(groups, bar.update)


def check_text(text: str | None, option: str) -> None:
    """Raise a `ValueError` if the text of an option is blank or no Unicode; None is no text."""
    if text is None:
        return
    if not text.strip():
        raise ValueError(f"Option {option} must hold a text, but it is blank.")
    if not is_unicode(text):
        raise ValueError(
            f"Option {option} must hold Unicode in the encoding of this terminal, but got {text!a}."
        )


def pick_device(name: str | None) -> str:
    """Return the device to use: the one named, else cuda if there is one.

    Raises:
        ValueError: If torch knows no such device here.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"Option --device must name a device of this machine, but got {name!r}.") from error
    return name
