"""A run from its recipe to the folder that it leaves: what is trained on, what was done, the adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from unisim_metrics import load_model
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.checkpoints.conversion import copy_processor
from unisim_metrics.models.checkpoints.directories import Base, load_base, no_progress_bar
from unisim_metrics.models.lora import write_base_hash

from ..checkpoints import whole_folder
from ..environment import check_environment, check_recipe, describe_environment, write_record
from ..errors import TrainingError
from ..pools import Triplets, read_triplets
from ..recipe import Recipe
from ..stream import TripletStream
from ..validation import Validator
from .batches import TextTable
from .tower import adapt, embed_texts
from .trainer import Trainer


def plan(recipe: Recipe, root: Path) -> Triplets:
    """Read the annotations that a recipe names; no image is opened. The errors are those of `read_triplets`."""
    return read_triplets(
        recipe.data.datasets, root, recipe.validation.triplets, recipe.seed, recipe.data.protocol
    )


def start(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 2,
    trackers: tuple[str, ...] = (),
) -> tuple[Trainer, Base]:
    """Set a run up under the folder `out`, and write down there what will be done.

    Args:
        recipe: What to do.
        root: The data root.
        out: The run's folder.
        resume: Go on from the last checkpoint there.
        workers: Processes that prepare batches ahead.
        trackers: Of Accelerate, `"tensorboard"` or `"wandb"`.

    Returns:
        The trainer, and the base whose weights it adapts.

    Raises:
        TrainingError: If `out` holds a run and `resume` is not asked for, or holds that of another recipe, base or
            data.
        ValueError: If the recipe does not fit the data.
    """
    check_recipe(out, recipe.to_dict(), resume)
    planned = plan(recipe, root)
    accelerator = Accelerator(
        mixed_precision=recipe.optimization.precision,
        log_with=list(trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(out)),
    )
    base = load_base(recipe.base, revision=recipe.revision)
    setting = environment(planned, base)
    if resume:
        check_environment(out, setting)
    encoder = load_model(base.model, device=accelerator.device)
    if not isinstance(encoder, EncoderModel):
        raise TrainingError(
            f"The base {recipe.base!r} must be an encoder, but is a {type(encoder).__name__}."
        )
    stream = TripletStream(planned.pools, recipe.optimization.batch_size, recipe.seed, recipe.data.balance)
    table = TextTable(stream, recipe.steps, recipe.prompts)
    texts = embed_texts(encoder, table, accelerator)
    clip = adapt(base.model, recipe, base.name)  # in place: the encoder is of the adapted model from here on
    validator = None
    if planned.held_out_hash is not None:
        validator = Validator(
            planned.held_out,
            planned.held_out_hash,
            encoder,
            accelerator,
            out / "validation.jsonl",
            recipe.validation.every,
            prompts=recipe.prompts,
        )
    trainer = Trainer(recipe, clip, texts, stream, table, encoder, accelerator, out, workers, validator)
    if resume:
        trainer.resume()
    if accelerator.is_main_process:
        write_record(out, recipe.to_dict(), setting)
    if trackers:
        accelerator.init_trackers(recipe.name, config={"seed": recipe.seed, "steps": recipe.steps})
    return trainer, base


def finish(trainer: Trainer, base: Base) -> Path:
    """Write the adapter with the processor's files, as plain peft reads it; return its folder.

    The weights' file says in its metadata, which others pass over, from which base they were trained.

    Raises:
        TrainingError: If it cannot be written. The checkpoints stand.
    """
    folder: Path = trainer.run / "adapter"
    model: Any = trainer.tower.clip
    # peft puts in the directory that the base was read from, which no other machine has.
    model.peft_config["default"].base_model_name_or_path = base.name
    if trainer.accelerator.is_main_process:
        written = json.loads((trainer.run / "environment.json").read_text(encoding="utf-8"))
        with whole_folder(folder, "The adapter") as partial, no_progress_bar():
            # peft would look on the Hub whether the base's embeddings were resized: they were not.
            model.save_pretrained(partial, save_embedding_layers=False)
            write_base_hash(partial, written["base_hash"])
            copy_processor(base.directory, partial)
    trainer.accelerator.wait_for_everyone()
    return folder


def environment(planned: Triplets, base: Base) -> dict[str, Any]:
    """What the result depends on beside the recipe; `base` as it was read, before it is adapted."""
    return {
        **describe_environment(),
        "base": base.name,
        "base_hash": base.weights_hash(),
        "data": planned.rows(),
        "data_hash": planned.data_hash,
        "held_out_hash": planned.held_out_hash,
    }
