"""The trainer of generative models: that of transformers, with rates by part and an eye on what goes wrong.

It runs on one process or many, under FSDP or DeepSpeed, as `accelerate config` says.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState

from unisim_metrics.models.checkpoints.vision_language import read_generative

from ..errors import TrainingError
from ..validation import Validator
from .dataset import LEFT_OUT, Conversations
from .parts import freeze, parameter_groups, still_modules
from .recipe import Recipe

log = logging.getLogger(__name__)


class GenerativeTrainer(Trainer):
    """A run of a recipe.

    Args:
        model: The model, or a `PeftModel` of one.
        recipe: What is done.
        conversations: The dialogues, in the order in which they are seen.
        run: Where checkpoints are written.
        workers: Processes that prepare batches ahead.
        trackers: Of transformers: `"tensorboard"`, `"wandb"`, ...

    Attributes:
        left_out: The dialogues that were left out, with the reasons.
        validator: What asks about held-out triplets, if anything does.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        conversations: Conversations,
        run: Path,
        workers: int = 0,
        trackers: tuple[str, ...] = (),
    ) -> None:
        self.recipe = recipe
        rates = recipe.learning_rates.by_part()
        freeze(model, rates)
        self.validator: Validator | None = None
        self._still = still_modules(model, rates)
        self.left_out = LeftOut(round(recipe.data.max_unreadable * recipe.dialogues))
        super().__init__(
            model=model,
            args=_arguments(recipe, run, workers, trackers),
            train_dataset=conversations,
            data_collator=conversations.collate,
            processing_class=conversations.tokens.chat.processor,
            callbacks=[self.left_out],
        )

    def validate_by(self, validator: Validator) -> None:
        """Ask about held-out triplets on the way; the validator's model is over the weights that are trained."""
        self.validator = validator
        self.add_callback(_Validation(validator))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over the parts of the model, each at its own rate."""
        if self.optimizer is None:
            groups = parameter_groups(
                cast(nn.Module, model or self.model),
                self.recipe.learning_rates.by_part(),
                self.recipe.optimization.weight_decay,
            )
            self.optimizer = AdamW(groups, lr=self.args.learning_rate)
        return self.optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Add the gradients of a batch.

        Raises:
            TrainingError: If the loss is not finite, or more dialogues cannot be read than the recipe allows.
        """
        self.left_out.add(inputs.pop(LEFT_OUT))
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite():
            raise TrainingError(
                f"The loss of step {self.state.global_step} must be finite, but is {loss.item()}. Earlier checkpoints"
                " stand. Lower `learning_rates`, or train with `optimization.precision` 'no'."
            )
        return loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Take over the weights of a checkpoint.

        A model's weights may be saved under older names than those in memory. `Trainer` looks for the latter, and would
        go on from the base with no more than a warning.
        """
        target = model or self.model
        if self.is_fsdp_enabled or not isinstance(target, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        target.load_state_dict(read_generative(Path(resume_from_checkpoint), torch.float32).state_dict())

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The mean loss over the tokens of the answers; what stands still is in evaluation mode."""
        for module in self._still:
            module.eval()
        return super().compute_loss(model, inputs, *args, **kwargs)


def _arguments(recipe: Recipe, run: Path, workers: int, trackers: tuple[str, ...]) -> TrainingArguments:
    settings = recipe.optimization
    args = TrainingArguments(
        output_dir=str(run),
        run_name=recipe.name,
        max_steps=recipe.steps,
        per_device_train_batch_size=settings.device_batch_size,
        learning_rate=max(recipe.learning_rates.by_part().values()),
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup * recipe.steps if settings.warmup < 1 else settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_norm,
        use_cpu=not torch.accelerator.is_available(),
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        **_checkpointing(settings.checkpointing),
        seed=recipe.seed,
        save_steps=recipe.save_every,
        save_total_limit=recipe.keep,
        logging_steps=1,
        logging_nan_inf_filter=False,
        # The mixture is in order already, and its order is the recipe's.
        train_sampling_strategy="sequential",
        dataloader_drop_last=True,
        dataloader_num_workers=workers,
        remove_unused_columns=False,
        # A tower may have layers after the one whose features are taken.
        ddp_find_unused_parameters=True,
        restore_callback_states_from_checkpoint=False,
        report_to=list(trackers) or "none",
        disable_tqdm=False,
    )
    at_once = settings.device_batch_size * args.world_size
    if settings.batch_size % at_once:
        raise ValueError(
            "Setting optimization.batch_size must be a multiple of the dialogues that pass all devices at a time, but"
            f" got {settings.batch_size} and {settings.device_batch_size} on each of {args.world_size}."
        )
    args.gradient_accumulation_steps = settings.batch_size // at_once
    return args


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """The arguments that switch it on, whose name is another in newer versions of transformers."""
    if not wanted:
        return {}
    known = {setting.name for setting in dataclasses.fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


class LeftOut(TrainerCallback, ExportableState):
    """Counts what could not be read, over all processes, and ends the run where it becomes too much.

    Args:
        most: How many dialogues may be left out.

    Attributes:
        reasons: Why, by the dialogue's id.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.reasons: dict[str, str] = {}

    def restore(self, trainer_state: Path) -> None:
        """Take over what a checkpoint had counted."""
        saved = json.loads(trainer_state.read_text(encoding="utf-8"))["stateful_callbacks"][
            type(self).__name__
        ]
        self.reasons = dict(saved["attributes"]["reasons"])

    def add(self, left_out: dict[str, str]) -> None:
        """Count what a batch left out.

        Raises:
            TrainingError: If it is too much.
        """
        for name, reason in left_out.items():
            if name not in self.reasons:
                log.warning("left out %s: %s", name, reason)
        self.reasons.update(left_out)
        if len(self.reasons) > self.most:
            raise TrainingError(
                f"At most {self.most} dialogues may be left out, but {len(self.reasons)} are, the first:"
                f" {next(iter(self.reasons.values()))} Repair the images, or raise data.max_unreadable."
            )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Bring together what the processes counted."""
        for reasons in gather_object([self.reasons]):
            self.reasons.update(reasons)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"args": {"most": self.most}, "attributes": {"reasons": self.reasons}}


class StopAfter(TrainerCallback):
    """Ends a run early, with a checkpoint; its schedule stays that of the whole run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after the step."""
        if state.global_step >= self.steps:
            control.should_training_stop = control.should_save = True


class _Validation(TrainerCallback):
    """Asks about held-out triplets before the first step, every so many steps, and at the end."""

    def __init__(self, validator: Validator) -> None:
        self.validator = validator

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask before the first step; on going on, forget what came after the checkpoint."""
        self.validator.rewind(state.global_step)
        self._validate(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask where it is due."""
        self._validate(state)

    def _validate(self, state: Any) -> None:
        if self.validator.is_due(state.global_step, state.max_steps):
            report = self.validator.validate(state.global_step)
            figures = ", ".join(f"{name} {share.value:.3f}" for name, share in report.tasks().items())
            print(
                f"held out, step {state.global_step}: {figures}, mean {report.mean().value:.3f}",
                file=sys.stderr,
            )
