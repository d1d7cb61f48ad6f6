"""The trainer of UniSim's CLIP models, on Accelerate: one process or many, in any precision.

A step takes as many triplets of each task, passes every image once, and brings the hinge of Eq. 1 and 2 down.
The text tower is frozen: every text is embedded once, before the first step.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from tqdm import tqdm

from unisim_metrics.models import EncoderModel
from unisim_metrics.tasks import Task

from ..checkpoints import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from ..errors import TrainingError
from ..objective import Triplets, task_losses
from ..recipe import Recipe
from ..stream import TripletStream
from ..validation import Validator
from .batches import Batch, TextTable, TripletBatches
from .optimization import Schedule, adamw
from .tower import ImageTower

log = logging.getLogger(__name__)

_WAYS_OUT = "Lower `optimization.learning_rate`, or train with `optimization.precision` 'no'."


@dataclass(frozen=True)
class Report:
    """A step as the trackers see it.

    Attributes:
        step: Steps done.
        losses: The loss of each task, as the recipe reduces it.
        accuracies: The share of each task's triplets that the model got right.
    """

    step: int
    losses: dict[Task, float]
    accuracies: dict[Task, float]

    def flat(self) -> dict[str, float]:
        """Names and numbers for a tracker."""
        losses = {f"loss/{task}": value for task, value in self.losses.items()}
        return losses | {f"accuracy/{task}": value for task, value in self.accuracies.items()}


class Trainer:
    """A run of a recipe.

    Args:
        recipe: What is done.
        clip: The `CLIPModel`, or the `PeftModel` of one; what requires gradients is trained.
        texts: The embeddings `[T, D]` of the texts of `table`.
        stream: The triplets.
        table: Their texts.
        encoder: The encoder of the base model: how images are prepared.
        accelerator: Of Accelerate; its `gradient_accumulation_steps` stays 1, the recipe's are used.
        run: Where checkpoints are written.
        workers: Processes that prepare batches ahead.
        validator: Asks about held-out triplets, where there are any; over the weights of `clip`.

    Attributes:
        step: Steps done.
        unreadable: How many triplets were left out for each image that could not be read, over all processes, up to
            the last checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        clip: nn.Module,
        texts: Tensor,
        stream: TripletStream,
        table: TextTable,
        encoder: EncoderModel,
        accelerator: Accelerator,
        run: Path,
        workers: int = 0,
        validator: Validator | None = None,
    ) -> None:
        self.recipe = recipe
        self.accelerator = accelerator
        self.run = run
        self.workers = workers
        self.validator = validator
        self.texts = texts
        settings = recipe.optimization
        self.batches = TripletBatches(
            stream,
            table,
            encoder.preprocessing,
            accelerator.process_index,
            accelerator.num_processes,
            settings.accumulation,
        )
        self.tower = ImageTower(clip)
        schedule = Schedule(
            settings.learning_rate,
            settings.weight_decay,
            settings.warmup_steps,
            recipe.steps,
            settings.min_learning_rate,
        )
        optimizer, self.scheduler = adamw(self.tower.trained().values(), schedule)
        # The schedule is stepped here, once a step: Accelerate would step it once a process.
        self.distributed, self.optimizer = accelerator.prepare(self.tower, optimizer)
        self.step = 0
        self.unreadable: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def resume(self) -> bool:
        """Go on from the run's last checkpoint; False if there is none."""
        checkpoints = list_checkpoints(self.run)
        if not checkpoints:
            return False
        saved = load_checkpoint(checkpoints[-1])
        trained = self.tower.trained()
        if saved.weights.keys() != trained.keys():
            raise TrainingError(
                f"The checkpoint {checkpoints[-1]} must hold the weights that this recipe trains, but they differ"
                f" in {sorted(saved.weights.keys() ^ trained.keys())[:3]}."
            )
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(saved.weights[name])
        self.optimizer.load_state_dict(saved.optimizer)
        self.step = saved.step
        self.scheduler.last_epoch = saved.step
        self.unreadable = Counter(saved.state["unreadable"])
        if self.validator is not None:
            self.validator.rewind(saved.step)
        return True

    def save(self) -> None:
        """Write a checkpoint, from the main process.

        Raises:
            TrainingError: If a weight is not finite, or the checkpoint cannot be written.
        """
        trained = self.tower.trained()
        broken = [name for name, weight in trained.items() if not weight.isfinite().all()]
        if broken:
            raise TrainingError(
                f"The weights of step {self.step} must be finite, but those of {broken[0]} are not. Earlier"
                f" checkpoints stand. {_WAYS_OUT}"
            )
        for skipped in gather_object([self._skipped]):
            self.unreadable.update(skipped)
        self._skipped = Counter()
        if self.accelerator.is_main_process:
            state = {"unreadable": dict(self.unreadable)}
            checkpoint = Checkpoint(self.step, trained, self.optimizer.state_dict(), state)
            save_checkpoint(self.run, checkpoint, self.recipe.keep)
        self.accelerator.wait_for_everyone()

    def train(self, stop: int | None = None) -> Iterator[Report]:
        """Run up to step `stop`, or to the end, with a checkpoint every `save_every` steps and at the end.

        Losses, accuracies and validations go to the trackers of the accelerator.

        Yields:
            A report of every step.

        Raises:
            TrainingError: If a score or a weight is not finite, no image of a step can be read, or a checkpoint or
                a validation cannot be written. Checkpoints before stand.
        """
        stop = self.recipe.steps if stop is None else min(stop, self.recipe.steps)
        loader = self.batches.loader(self.step, stop, self.workers)
        bar = tqdm(
            range(self.step, stop),
            desc=self.recipe.name,
            initial=self.step,
            total=stop,
            disable=not self.accelerator.is_main_process,
        )
        self._validate(stop, bar)
        for _ in bar:
            report = self._step(loader)
            self.accelerator.log(report.flat(), step=report.step)
            bar.set_postfix(
                {task: f"{loss:.3f} ({report.accuracies[task]:.0%})" for task, loss in report.losses.items()}
            )
            if self.step % self.recipe.save_every == 0 or self.step == stop:
                self.save()
            self._validate(stop, bar)
            yield report

    def _validate(self, stop: int, bar: tqdm[int]) -> None:
        """Validate where it is due; after a checkpoint, so that a failure costs no step."""
        if self.validator is None or not self.validator.is_due(self.step, stop):
            return
        report = self.validator.validate(self.step)
        self.accelerator.log(report.flat(), step=self.step)
        if self.accelerator.is_main_process:
            shares = [*report.tasks().items(), ("mean", report.mean())]
            figures = ", ".join(f"{name} {share.value:.3f}" for name, share in shares)
            bar.write(f"held out, step {self.step}: {figures}", file=sys.stderr)

    def _step(self, loader: Iterator[Batch]) -> Report:
        settings = self.recipe.optimization
        seed = f"{self.recipe.seed}/{self.step}/{self.accelerator.process_index}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
        self.distributed.train()
        sums: dict[Task, Tensor] = {}
        for part in range(settings.accumulation):
            batch = next(loader)
            self._note_unreadable(batch)
            last = part == settings.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.distributed):
                for task, value in self._backward(batch).items():
                    sums[task] = sums[task] + value if task in sums else value
        if settings.max_norm is not None:
            self.accelerator.clip_grad_norm_(self.tower.trained().values(), settings.max_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.step += 1
        return self._report(sums)

    def _backward(self, batch: Batch) -> dict[Task, Tensor]:
        """Add the gradients of a batch; for each task `(loss, right, count)`."""
        settings = self.recipe.optimization
        if not batch.tasks:
            raise TrainingError(
                f"No triplet of step {self.step} can be used: {len(batch.unreadable)} images are unreadable, the"
                f" first: {next(iter(batch.unreadable.values()), '')}"
            )
        with self.accelerator.autocast():
            images = self.distributed(batch.pixels.to(self.accelerator.device))
        embedded: dict[Task, Triplets] = {
            task: indices.embed(images.float(), self.texts) for task, indices in batch.tasks.items()
        }
        # The hinge takes a score that is not a number for an alternative that is absent.
        finite = torch.stack([triplets.scores.isfinite().all() for triplets in embedded.values()]).tolist()
        if not all(finite):
            broken = [task for task, is_finite in zip(embedded, finite, strict=True) if not is_finite]
            raise TrainingError(
                f"The scores of step {self.step} must be finite, but they are not for {broken}. {_WAYS_OUT}"
            )
        losses = task_losses(embedded, settings.margin, "sum")
        total = torch.stack(list(losses.values())).sum()
        # Processes average their gradients; the objective adds over the triplets of all of them.
        scale = self.accelerator.num_processes
        self.accelerator.backward(total * (scale / self._triplets))
        return {
            task: torch.stack(
                [
                    losses[task].detach() / self._triplets,
                    triplets.accuracy().detach() * len(triplets.labels),
                    torch.tensor(float(len(triplets.labels)), device=images.device),
                ]
            )
            for task, triplets in embedded.items()
        }

    @property
    def _triplets(self) -> int:
        """What a sum over the triplets of a task is divided by."""
        settings = self.recipe.optimization
        return settings.batch_size if settings.reduction == "mean" else 1

    def _report(self, sums: dict[Task, Tensor]) -> Report:
        tasks = self.batches.stream.tasks
        values = torch.stack(
            [sums.get(task, torch.zeros(3, device=self.accelerator.device)) for task in tasks]
        )
        values = self.accelerator.reduce(values, "sum")
        losses = {task: value[0].item() for task, value in zip(tasks, values, strict=True)}
        accuracies = {task: (value[1] / value[2]).item() for task, value in zip(tasks, values, strict=True)}
        return Report(self.step, losses, accuracies)

    def _note_unreadable(self, batch: Batch) -> None:
        for path, reason in batch.unreadable.items():
            if str(path) not in self.unreadable and str(path) not in self._skipped:
                log.warning("skipped: %s", reason)
            self._skipped[str(path)] += batch.skipped[path]
