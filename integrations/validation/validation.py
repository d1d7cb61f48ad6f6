"""A generator that is being fine-tuned, validated every so often: fixed prompts and seeds, judges, intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from unisim_metrics.images import list_images
from unisim_metrics.models.generative.pictures import to_rgb
from unisim_metrics.statistics.intervals import check_confidence

from .history import History, Record
from .judging import JudgeLike, Judges, as_images
from .plan import Plan, check_count
from .plotting import plot_curve
from .processes import gather, place_of_process
from .rendering import Generate, PipelineCall, generators_of, ready, undisturbed
from .results import Figures, Flatness, Picture, ValidationResult, compare_records, find_flatness


class UniSimValidation:
    """Validates a generator while it is fine-tuned: the same prompts and seeds at every step, scored by judges.

    A step's pictures are held against those of the validation before and of the first one, the base, picture by
    picture: a paired difference is free of what a prompt and a seed bring with them. Pictures of one prompt count as
    one group in every interval and test. With a single prompt each seed counts by itself, and intervals speak of
    further pictures of this prompt.

    It is called with the step and a function, or with the step and a pipeline of diffusers:

    - `validation(step, generate)`, where `generate(prompts, generators)` makes N images of N prompts, of any kind that
      rewards take; each generator is on the CPU, and its `initial_seed()` is the seed;
    - `validation.run(pipeline, step, **arguments)`.

    The training goes on as if nothing had happened: random numbers of Python, NumPy and PyTorch, the modes of the
    pipeline's modules and its schedulers are what they were. Pictures are made and scored batch by batch; of past
    validations only scores stay in memory.

    In a distributed run nothing is sent between processes unless `share` is set. So it may be called on the main
    process alone, with unwrapped modules, while the others wait at the next gradient or barrier; mind the time that
    the process group lets them wait.

    **When a curve is flat.** The last K = `patience` validations are held against the one before them. The curve is
    flat unless the paired difference of one of them is above 0 by a one-sided t-test at the level
    `(1 - confidence) / K`. Where nothing changes any more, a check errs, and finds a gain, in at most `1 - confidence`
    of cases (Bonferroni). The other error, flat although the curve rises, depends on how fast it rises: a gain of
    `flatness().detectable` goes unseen by a single one of the K tests in a fifth of cases, a smaller one more often.
    The documentation has a table of both errors.

    Args:
        prompts: The P texts. Many prompts tell more than many seeds.
        judges: By name, a model for the task that the name says (`{"image-text": "unisim-vit-l-14"}`), a
            `PointwiseReward`, or a function that is called as rewards are, `judge(images, prompts, metadata)`, and
            returns N scores, or them first; each of the metadata has the `seed` and a list of `references`.
        references: For each prompt an image, or a list, for judges of `image-image`. Against several images a picture
            has the mean of its scores.
        subject: Photos of one subject in the place of `references`, for all prompts.
        seeds_per_prompt: How many pictures each prompt has.
        seed: The seed of the first picture; every further picture has the next one.
        batch_size: How many pictures are made and scored at once.
        best_by: The judge that decides which step is the best; the first one if None.
        patience: How many validations without a gain make a curve flat.
        confidence: How often each interval holds the true mean, in (0, 1).
        shown: How many pictures a result keeps, for trackers: the first one of each of the first prompts.
        share: Whether the processes of a distributed run share the pictures. All of them have to call it then, and
            all have the same result.
        path: A file of JSON lines that holds the history. One that is there is gone on with.
        device: Where the judges' models run; where the pipeline runs, or where tensors are, if None.

    Raises:
        ValueError: If an argument is out of its range, a judge does not score the task that its name says, or has no
            references, or the file holds the history of something else.
        TypeError: If something is neither image nor text, or a judge is none.

    Examples:
        >>> import torch
        >>> from unisim_metrics.integrations.validation import UniSimValidation
        >>> def generate(prompts, generators):
        ...     return torch.stack([torch.rand(3, 64, 64, generator=generator) for generator in generators])
        >>> validation = UniSimValidation(["a cat", "a dog"], {"image-text": "unisim-mini"})
        >>> base, result = validation(0, generate), validation(100, generate)
        >>> result.figures["image-text"].gain.mean.value  # the same pictures
        0.0
    """

    def __init__(
        self,
        prompts: Sequence[str],
        judges: Mapping[str, JudgeLike],
        *,
        references: Sequence[Any] | None = None,
        subject: Any = None,
        seeds_per_prompt: int = 4,
        seed: int = 0,
        batch_size: int = 4,
        best_by: str | None = None,
        patience: int = 3,
        confidence: float = 0.95,
        shown: int = 16,
        share: bool = False,
        path: str | os.PathLike[str] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        check_count("batch_size", batch_size, 1)
        check_count("patience", patience, 1)
        check_count("shown", shown, 0)
        check_confidence(confidence)
        if subject is not None:
            if references is not None:
                raise ValueError(
                    "Argument `subject` must be None beside `references`: a picture is held against one set."
                )
            photos = list_images(subject, "subject")
            references = [photos] * len(prompts)
        self.plan = Plan(prompts, references, seeds_per_prompt, seed)
        self.judges = Judges(judges)
        self.judges.check(self.plan.samples)
        if best_by is not None and best_by not in self.judges.names:
            raise ValueError(f"Argument `best_by` must be one of {self.judges.names}, but got {best_by!r}.")
        self.best_by = self.judges.names[0] if best_by is None else best_by
        self.batch_size = batch_size
        self.patience = patience
        self.confidence = confidence
        self.shown = shown
        self.share = share
        self.device = None if device is None else torch.device(device)
        self.signatures = self.judges.signatures
        self._clusters = self.plan.clusters
        self._history = History(
            {**self.plan.describe(), "judges": self.signatures},
            len(self.plan),
            None if path is None else Path(path),
        )

    def __call__(self, step: int, generate: Generate) -> ValidationResult:
        """Validate what a function makes.

        Args:
            step: The step of the training, 0 or more. One that was passed already means that the training went back:
                what came after it is dropped from the history.
            generate: Makes N images of N prompts and N generators, without gradients. A module, or the method of one,
                is in evaluation mode meanwhile.

        Raises:
            ValueError: If the step is none, the function does not make one image for each prompt, or a judge gives a
                score that is not finite. The history stays as it is.
            TypeError: If it does not make images.
            RuntimeError: If another process could not score its share.
        """
        if not callable(generate):
            raise TypeError(f"Argument `generate` must be a function, but got {type(generate).__name__}.")
        return self._validate(step, ready(generate), self.device)

    def run(self, pipeline: Any, step: int, **arguments: Any) -> ValidationResult:
        """Validate what a pipeline of diffusers makes.

        Args:
            pipeline: A pipeline that takes prompts and generators, with the modules in training, unwrapped. Its modules
                stay where they are; while it samples they are in evaluation mode.
            step: As in a call.
            arguments: What else the pipeline is called with, at every step the same: `num_inference_steps=30`. A text
                for another input (`negative_prompt`) is meant for all prompts.

        Raises:
            TypeError: If it is no pipeline of diffusers, or does not take one of the arguments.
            ValueError: As in a call; or if the pipeline makes no images of prompts, or holds a module that is wrapped
                for several processes.
            RuntimeError: As in a call.
        """
        call = PipelineCall(pipeline, arguments)
        return self._validate(step, call.ready(), self.device or call.device)

    @property
    def steps(self) -> list[int]:
        """The steps that were validated."""
        return [record.step for record in self._history]

    @property
    def best_step(self) -> int | None:
        """The step of the highest mean by the judge that decides, the first of equals; None before the first.

        Its mean is the largest of several, and so a little too high: ask of it on other prompts.
        """
        if not len(self._history):
            return None
        means = [float(record.scores[self.best_by].mean()) for record in self._history]
        return self.steps[means.index(max(means))]

    @property
    def is_flat(self) -> bool:
        """Whether the judge that decides saw no gain over the last validations; False while that cannot be told."""
        flatness = self.flatness()
        return flatness is not None and flatness.is_flat

    def flatness(self, judge: str | None = None) -> Flatness | None:
        """Test whether the curve of a judge has risen over the last validations; see the class.

        Args:
            judge: The judge; the one that decides if None.

        Returns:
            None while there are no `patience` + 1 validations, or a single picture tells nothing.

        Raises:
            ValueError: If there is no such judge.
        """
        name = self._name(judge)
        curve = [(record.step, record.scores[name]) for record in self._history]
        return find_flatness(curve, self.patience, self._clusters, self.confidence)

    def curve(self, judge: str | None = None) -> dict[int, Figures]:
        """Return what a judge says of every step.

        Args:
            judge: The judge; the one that decides if None.

        Raises:
            ValueError: If there is no such judge.
        """
        name = self._name(judge)
        return {record.step: self._compare(place)[name] for place, record in enumerate(self._history.records)}

    def scores(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Return the scores of every picture of a step, `[n]` by judge: all seeds of a prompt, then the next prompt's.

        Raises:
            ValueError: If the step was not validated.
        """
        for record in self._history:
            if record.step == step:
                return {name: values.copy() for name, values in record.scores.items()}
        raise ValueError(f"Argument `step` must be one of {self.steps}, but got {step!r}.")

    def plot(self, judge: str | None = None, ax: _AX_TYPE | None = None) -> _PLOT_OUT_TYPE:
        """Plot the mean score of every step with its interval, and mark the best.

        Args:
            judge: The judge; the one that decides if None.
            ax: Matplotlib axes to draw on; None makes a figure.

        Returns:
            Figure and axes.

        Raises:
            ModuleNotFoundError: If matplotlib is missing.
            ValueError: If there is no such judge.
        """
        name = self._name(judge)
        curve = self.curve(name)
        best = max(curve, key=lambda step: curve[step].mean.value, default=None)
        return plot_curve({step: figures.mean for step, figures in curve.items()}, best, name, ax)

    def state_dict(self) -> dict[str, Any]:
        """Return the history in plain numbers, texts, lists and dictionaries, for a checkpoint."""
        return self._history.state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a history that `state_dict` gave; a file that holds this one's follows.

        Raises:
            ValueError: If it is of other prompts, seeds, references or judges, or none. The history stays as it is.
        """
        self._history.load(state_dict)

    def _validate(
        self, step: int, entered: AbstractContextManager[Generate], device: torch.device | None
    ) -> ValidationResult:
        check_count("step", step, 0)
        rank, count = place_of_process() if self.share else (0, 1)
        samples = self.plan.samples
        part: _Part | None = None
        try:
            with torch.no_grad(), entered as generate:
                part = self._render(generate, list(range(len(samples)))[rank::count], device)
        finally:
            # The others wait for this process also where it fails.
            parts = gather(part) if self.share else [part]
        scores = {name: np.empty(len(samples)) for name in self.judges.names}
        pictures: dict[int, Picture] = {}
        for place, found in enumerate(parts):
            if found is None:
                raise RuntimeError(f"Process {place} could not score its share of step {step}.")
            pictures |= found.pictures
            for name, values in found.scores.items():
                scores[name][found.rows] = values
        self._history.add(Record(step, scores))
        return ValidationResult(
            step=step,
            base_step=self.steps[0],
            figures=self._compare(len(self._history) - 1),
            is_best=self.best_step == step,
            pictures=[pictures[row] for row in sorted(pictures)],
            signatures=self.signatures,
        )

    def _render(self, generate: Generate, rows: list[int], device: torch.device | None) -> _Part:
        """Make and score some of the pictures."""
        samples = self.plan.samples
        if device is not None:
            self.judges.to(device)
        shown = range(0, len(samples), self.plan.seeds_per_prompt)[: self.shown]
        scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self.judges.names}
        pictures: dict[int, Picture] = {}
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            wanted = [samples[row] for row in batch]
            with undisturbed(wanted[0].seed):
                generators = generators_of([sample.seed for sample in wanted])
                made = generate([sample.prompt for sample in wanted], generators)
                images = as_images(made, len(batch))
                found = self.judges.score(images, wanted)
            for name, values in found.items():
                scores[name].append(values)
            listed = list_images(images)
            for place, row in enumerate(batch):
                if row in shown:
                    sample = samples[row]
                    pictures[row] = Picture(
                        to_rgb(listed[place]),
                        sample.prompt,
                        sample.seed,
                        {name: float(values[place]) for name, values in found.items()},
                    )
        return _Part(
            rows,
            {name: np.concatenate([np.empty(0), *values]) for name, values in scores.items()},
            pictures,
        )

    def _compare(self, place: int) -> dict[str, Figures]:
        """The figures of a validation of the history."""
        records = self._history.records
        before, base = (records[place - 1], records[0]) if place else (None, None)
        return compare_records(records[place], before, base, self._clusters, self.confidence)

    def _name(self, judge: str | None) -> str:
        if judge is not None and judge not in self.judges.names:
            raise ValueError(f"Argument `judge` must be one of {self.judges.names}, but got {judge!r}.")
        return self.best_by if judge is None else judge


class _Part(NamedTuple):
    """What one process has made: places of pictures, their scores by judge, and those to be shown."""

    rows: list[int]
    scores: dict[str, NDArray[np.float64]]
    pictures: dict[int, Picture]
