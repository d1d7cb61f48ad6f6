"""A run from its recipe to the folder that it leaves: what is trained on, what was done, the model."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unisim_metrics.models.checkpoints import directories
from unisim_metrics.models.checkpoints.vision_language import read_generative, read_processor
from unisim_metrics.models.generative.model import GenerativeModel
from unisim_metrics.models.sources.hub import fetch_snapshot

from ..checkpoints import TRAINER_STATE, last_checkpoint
from ..environment import check_environment, check_recipe, describe_environment, write_record
from ..errors import TrainingError
from ..pools import Triplets, read_triplets
from ..stream import TripletStream
from ..validation import Validator
from .dataset import Conversations, Mixture
from .instructions import Instructions
from .llava_json import Record, read_records
from .recipe import LoraSettings, Recipe
from .templates import templates_hash
from .tokens import Tokens
from .trainer import GenerativeTrainer, StopAfter

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Plan:
    """What a recipe trains on.

    Attributes:
        triplets: Those of the datasets.
        mixture: All dialogues, in order.
        instructions: How many usable records each instruction file has.
        instructions_hash: SHA-256 of the instruction files; None without any.
    """

    triplets: Triplets
    mixture: Mixture
    instructions: dict[str, int]
    instructions_hash: str | None

    def instruction_rows(self) -> list[dict[str, Any]]:
        """The instruction files and how many usable records each has."""
        return [
            {"dataset": name, "task": "instructions", "records": count}
            for name, count in self.instructions.items()
        ]


@dataclass(frozen=True)
class Base(directories.Base):
    """The model that a run starts from, and its processor."""

    processor: Any

    @property
    def revision(self) -> str | None:
        """The commit, if it came from the Hub."""
        return self.directory.name if _COMMIT.fullmatch(self.directory.name) else None


def plan(recipe: Recipe, root: Path) -> Plan:
    """Read what a recipe names; no image is opened.

    Raises:
        ValueError: If a dataset or an instruction file is malformed, or a task that the recipe counts has no dataset.
        FileNotFoundError: If a file is not there.
    """
    triplets = read_triplets(recipe.data.datasets, root, recipe.validation.triplets, recipe.seed)
    stream = TripletStream(triplets.pools, 1, recipe.seed, recipe.data.balance)
    sources: dict[str, Sequence[Record]] = {}
    counts: dict[str, int] = {}
    for task, count in recipe.data.samples.by_task().items():
        if task not in stream.tasks:
            raise ValueError(
                f"Setting data.samples must be 0 for {task!r}, of which no dataset is named, but is {count}."
            )
        sources[task] = Instructions(stream, task, count, recipe.seed, recipe.wording)
        counts[task] = count
    files = {name: _read_instructions(name, recipe, root) for name in recipe.instructions.files}
    joined = [record for records in files.values() for record in records]
    if recipe.instructions.samples:
        if not joined:
            raise ValueError(
                f"The files {list(files)} must hold records with {recipe.instructions.min_images} images or more, but"
                " hold none."
            )
        sources["instructions"] = joined
        counts["instructions"] = recipe.instructions.samples
    return Plan(
        triplets,
        Mixture(sources, counts, recipe.seed),
        {name: len(records) for name, records in files.items()},
        _hash_files([root / name for name in files]) if files else None,
    )


def start(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 2,
    trackers: tuple[str, ...] = (),
) -> GenerativeTrainer:
    """Set a run up under the folder `out`, and write down there what will be done.

    Args:
        recipe: What to do.
        root: The data root.
        out: The run's folder.
        resume: Go on from the last checkpoint there.
        workers: Processes that prepare batches ahead.
        trackers: Of transformers, `"tensorboard"` or `"wandb"`.

    Raises:
        TrainingError: If `out` holds a run and `resume` is not asked for, or holds that of another recipe, base or
            data.
        ValueError: If the recipe does not fit the data or the base.
    """
    check_recipe(out, recipe.to_dict(), resume)
    planned = plan(recipe, root)
    base = load_base(recipe.base, recipe.revision)
    environment = {
        **describe_environment(),
        "base": recipe.base,
        "base_hash": base.weights_hash(),
        "base_revision": base.revision,
        "data": planned.triplets.rows(),
        "data_hash": planned.triplets.data_hash,
        "held_out_hash": planned.triplets.held_out_hash,
        "instructions": planned.instruction_rows(),
        "instructions_hash": planned.instructions_hash,
        "templates_hash": templates_hash(),
        "dialogues": planned.mixture.counts,
    }
    if resume:
        check_environment(out, environment)
    trained = adapt(base, recipe.lora, recipe.seed) if recipe.lora.rank else base.model.requires_grad_(True)
    judge = GenerativeModel(base.model, base.processor, recipe.name)
    tokens = Tokens(judge.chat, _max_length(recipe, base.model))
    conversations = Conversations(planned.mixture, tokens)
    trainer = GenerativeTrainer(trained, recipe, conversations, out, workers, trackers)
    if planned.triplets.held_out_hash is not None:
        trainer.validate_by(
            Validator(
                planned.triplets.held_out,
                planned.triplets.held_out_hash,
                judge,
                trainer.accelerator,
                out / "validation.jsonl",
                recipe.validation.every,
            )
        )
    if trainer.is_world_process_zero():
        write_record(out, recipe.to_dict(), environment)
    return trainer


def train(trainer: GenerativeTrainer, max_steps: int | None = None, resume: bool = False) -> None:
    """Run to the end, or up to a step, with checkpoints on the way.

    Raises:
        TrainingError: If the loss is not finite, too many dialogues cannot be read, or one is too long. Checkpoints
            before stand.
    """
    if max_steps is not None:
        trainer.add_callback(StopAfter(max_steps))
    last = last_checkpoint(Path(str(trainer.args.output_dir))) if resume else None
    if last is not None:
        trainer.left_out.restore(last / TRAINER_STATE)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))


def finish(trainer: GenerativeTrainer) -> Path:
    """Write the model, or its adapter, with the processor's files; return its folder.

    Raises:
        TrainingError: If it cannot be written. The checkpoints stand.
    """
    run = Path(str(trainer.args.output_dir))
    folder = run / ("adapter" if trainer.recipe.lora.rank else "model")
    partial = run / f".{folder.name}.partial"
    try:
        # Under FSDP every process takes part in gathering the weights.
        trainer.save_model(str(partial))
        if trainer.is_world_process_zero():
            for unwanted in ("training_args.bin", "README.md"):
                (partial / unwanted).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"The model cannot be written to {run}: {error}. The checkpoints stand; make room and resume."
        ) from error
    trainer.accelerator.wait_for_everyone()
    return folder


def load_base(name: str, revision: str | None = None, token: str | None = None) -> Base:
    """Load the model that a recipe starts from, float32, on the CPU, and its processor.

    Args:
        name: A directory or a Hub id.
        revision: Of the Hub id.
        token: For a private repository.

    Raises:
        ModelUnavailableError: If it cannot be fetched.
        CheckpointError: If it is not a vision-language model of transformers.
    """
    directory = Path(name)
    if not directory.is_dir():
        directory = fetch_snapshot(name, revision, token=token)
    return Base(read_generative(directory, torch.float32), directory, name, read_processor(directory))


def adapt(base: Base, lora: LoraSettings, seed: int) -> nn.Module:
    """Put an adapter on a base, in place; what `lora` names is trained, nothing else.

    Raises:
        TrainingError: If its layers or modules are none of the model's.
    """
    from peft import LoraConfig, get_peft_model

    for whole in lora.whole:
        if not any(name.endswith(whole) for name, _ in base.model.named_modules()):
            raise TrainingError(
                f"Setting lora.whole must name modules of the base {base.name!r}, but it has no {whole!r}."
            )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.layers,
        modules_to_save=list(lora.whole) or None,
        base_model_name_or_path=base.name,
    )
    torch.manual_seed(seed)
    try:
        adapted: nn.Module = get_peft_model(base.model, config)
    except ValueError as error:
        raise TrainingError(f"The adapter does not fit the base {base.name!r}: {error}") from error
    return adapted


def _max_length(recipe: Recipe, model: nn.Module) -> int | None:
    config: Any = model.config
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    lengths = [length for length in (recipe.data.max_length, context) if length]
    return min(lengths, default=None)


def _read_instructions(name: str, recipe: Recipe, root: Path) -> list[Record]:
    settings = recipe.instructions
    images = root / settings.images if settings.images else None
    records = read_records(root / name, images, settings.min_images)
    return [
        record for record in records if not settings.max_images or len(record.images) <= settings.max_images
    ]


def _hash_files(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
