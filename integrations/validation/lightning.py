"""A validation as a callback of Lightning, of `lightning` as of `pytorch_lightning`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch

from unisim_metrics.installation import install_extra

from .plan import check_count
from .rendering import Generate, evaluating
from .results import ValidationResult
from .trackers import log_validation
from .validation import UniSimValidation

if find_spec("lightning") is not None:
    from lightning.pytorch.callbacks import Callback
elif find_spec("pytorch_lightning") is not None:
    from pytorch_lightning.callbacks import Callback  # type: ignore[assignment]  # the same class by another name
else:
    raise ModuleNotFoundError(
        f"`unisim_metrics.integrations.validation.lightning` needs Lightning: {install_extra('lightning')}."
    )

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

ModuleGenerate: TypeAlias = "Callable[[LightningModule, list[str], list[torch.Generator]], Any]"


class UniSimValidationCallback(Callback):
    """Validates what a `LightningModule` generates, before the training and every so often.

    Every validation is logged to the trainer's loggers, curves and pictures, by the trainer's step. The means stand
    among the trainer's metrics, where other callbacks find them:
    `ModelCheckpoint(monitor="validation/image-text/mean", mode="max")`. The history goes with the trainer's
    checkpoints, and a training that is resumed goes on with it.

    On several devices the first process makes all pictures, and the others wait, unless the validation has `share`. The
    module that generates is the plain one, not that which is wrapped for several processes.

    Args:
        validation: What is rendered, and who judges. Its judges run where the module is, if it has no `device`.
        generate: Makes images, `generate(module, prompts, generators)`; the module's own
            `generate(prompts, generators)` if neither this nor `pipeline` is given.
        pipeline: Makes a pipeline of diffusers of the module's parts, `pipeline(module)`, once for each validation.
        every_n_steps: After how many steps of the optimizer; at the end of every epoch if None.
        stop_when_flat: Whether to end the training when the curve is flat; see `UniSimValidation`.
        prefix: What all names begin with.
        arguments: What else the pipeline is called with, such as `num_inference_steps=30`.

    Raises:
        ValueError: If both ways to generate are given, arguments without a pipeline, or a number is out of its range.
        TypeError: If the validation is none.
    """

    def __init__(
        self,
        validation: UniSimValidation,
        *,
        generate: ModuleGenerate | None = None,
        pipeline: Callable[[LightningModule], Any] | None = None,
        every_n_steps: int | None = None,
        stop_when_flat: bool = False,
        prefix: str = "validation",
        **arguments: Any,
    ) -> None:
        if not isinstance(validation, UniSimValidation):
            raise TypeError(
                f"Argument `validation` must be a `UniSimValidation`, but got {type(validation).__name__}."
            )
        if generate is not None and pipeline is not None:
            raise ValueError(
                "Argument `generate` must be None beside `pipeline`: pictures are made in one way."
            )
        if arguments and pipeline is None:
            raise ValueError(f"Argument `{next(iter(arguments))}` is for a pipeline, but `pipeline` is None.")
        if every_n_steps is not None:
            check_count("every_n_steps", every_n_steps, 1)
        self.validation = validation
        self.generate = generate
        self.pipeline = pipeline
        self.every_n_steps = every_n_steps
        self.stop_when_flat = stop_when_flat
        self.prefix = prefix
        self.arguments = arguments
        self.result: ValidationResult | None = None
        """The last result; None on a process that waited."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the model as it is, unless the training goes on with a history."""
        if trainer.global_step not in self.validation.steps:
            self._validate(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Validate after so many steps of the optimizer."""
        step = trainer.global_step
        # Where gradients accumulate, the step stays for several batches.
        is_due = self.every_n_steps is not None and step % self.every_n_steps == 0
        if is_due and step not in self.validation.steps:
            self._validate(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate after an epoch."""
        if self.every_n_steps is None and trainer.global_step not in self.validation.steps:
            self._validate(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, for a checkpoint."""
        return self.validation.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the history of a checkpoint."""
        self.validation.load_state_dict(state_dict)

    def _validate(self, trainer: Trainer, module: LightningModule) -> None:
        validation = self.validation
        if validation.device is None:
            validation.device = module.device
        self.result = None
        if validation.share or trainer.is_global_zero:
            precision = getattr(trainer, "precision_plugin", None)
            with evaluating([module]), nullcontext() if precision is None else precision.forward_context():
                self.result = self._run(module, trainer.global_step)
        means: dict[str, float] = {}
        if self.result is not None:
            means = {
                f"{self.prefix}/{name}/mean": figures.mean.value
                for name, figures in self.result.figures.items()
            }
            log_validation(trainer.loggers, self.result, self.prefix)
        if not validation.share and trainer.world_size > 1:
            state, means = trainer.strategy.broadcast((validation.state_dict(), means))
            if not trainer.is_global_zero:
                validation.load_state_dict(state)
        # `module.log` would have means of one epoch averaged.
        trainer.callback_metrics.update({name: torch.tensor(mean) for name, mean in means.items()})
        if self.stop_when_flat and validation.is_flat:
            trainer.should_stop = True

    def _run(self, module: LightningModule, step: int) -> ValidationResult:
        if self.pipeline is not None:
            return self.validation.run(self.pipeline(module), step, **self.arguments)
        if self.generate is None:
            return self.validation(step, cast(Generate, module.generate))
        generate = self.generate
        return self.validation(step, lambda prompts, generators: generate(module, prompts, generators))
