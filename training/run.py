"""A run from its recipe to the folder that it leaves: what is trained on, what was done, the adapter."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from unisim_metrics import load_model
from unisim_metrics.benchmark import hash_samples, load_dataset
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.directories import PROCESSOR_FILES, Base, load_base, no_progress_bar
from unisim_metrics.models.lora import write_base_hash
from unisim_metrics.training.batches import TextTable
from unisim_metrics.training.checkpoints import whole_folder
from unisim_metrics.training.clip import Trainer
from unisim_metrics.training.environment import describe_environment, write_record
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.holdout import hold_out
from unisim_metrics.training.recipe import Recipe
from unisim_metrics.training.stream import Pool, TripletStream
from unisim_metrics.training.tower import adapt, embed_texts
from unisim_metrics.training.validation import Validator


@dataclass(frozen=True)
class Plan:
    """What a recipe trains on.

    Attributes:
        pools: The triplets of each dataset that are trained on.
        held_out: Those that are held out for validation; empty where the recipe asks for none.
        data_hash: SHA-256 of all that are trained on, with paths relative to the data root.
        held_out_hash: Likewise of those that are held out; None without any.
        steps: Steps of the run.
    """

    pools: tuple[Pool, ...]
    held_out: tuple[Pool, ...]
    data_hash: str
    held_out_hash: str | None
    steps: int

    def rows(self) -> list[dict[str, Any]]:
        """Dataset, task and how many triplets are trained on and held out, one row a dataset."""
        held = {pool.dataset: len(pool.samples) for pool in self.held_out}
        return [
            {
                "dataset": pool.dataset,
                "task": pool.task,
                "triplets": len(pool.samples),
                "held_out": held.get(pool.dataset, 0),
            }
            for pool in self.pools
        ]


def plan(recipe: Recipe, root: Path) -> Plan:
    """Read the annotations that a recipe names; no image is opened.

    Raises:
        ValueError: If a dataset is unknown, named twice, has no training split, is malformed, or cannot be held out.
        FileNotFoundError: If an annotation file is not there.
    """
    datasets = {}
    pools = []
    for name in recipe.data.datasets:
        dataset = load_dataset(name, root)
        if dataset.task == "retrieval":
            raise ValueError(f"Dataset {name!r} is of the task 'retrieval', on which nothing is trained.")
        if "train" not in dataset.files:
            raise ValueError(f"Dataset {name!r} must have triplets to train on, but has none.")
        if dataset.id in datasets:
            raise ValueError(
                f"Setting data.datasets must name every dataset once, but got {dataset.id!r} twice."
            )
        datasets[dataset.id] = dataset
        pools.append(Pool(dataset.id, dataset.task, dataset.samples("train", seed=recipe.seed)))
    trained: tuple[Pool, ...] = tuple(pools)
    held_out: tuple[Pool, ...] = ()
    if recipe.validation.triplets:
        originals = {name: dataset.original for name, dataset in datasets.items()}
        trained, held_out = hold_out(pools, recipe.validation.triplets, root, recipe.seed, originals)
    return Plan(
        trained,
        held_out,
        _hash(trained, root),
        _hash(held_out, root) if held_out else None,
        recipe.steps,
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
    _check_folder(out, recipe, resume)
    planned = plan(recipe, root)
    accelerator = Accelerator(
        mixed_precision=recipe.optimization.precision,
        log_with=list(trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(out)),
    )
    base = load_base(recipe.base, revision=recipe.revision)
    setting = environment(planned, base)
    if resume:
        _check_same(out, setting)
    encoder = load_model(base.model, device=accelerator.device)
    if not isinstance(encoder, EncoderModel):
        raise TrainingError(
            f"The base {recipe.base!r} must be an encoder, but is a {type(encoder).__name__}."
        )
    stream = TripletStream(planned.pools, recipe.optimization.batch_size, recipe.seed, recipe.data.balance)
    table = TextTable(stream, recipe.steps)
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
            for name in PROCESSOR_FILES:
                if (base.directory / name).is_file():
                    shutil.copyfile(base.directory / name, partial / name)
    trainer.accelerator.wait_for_everyone()
    return folder


def environment(planned: Plan, base: Base) -> dict[str, Any]:
    """What the result depends on beside the recipe; `base` as it was read, before it is adapted."""
    return {
        **describe_environment(),
        "base": base.name,
        "base_hash": base.weights_hash(),
        "data": planned.rows(),
        "data_hash": planned.data_hash,
        "held_out_hash": planned.held_out_hash,
    }


def _hash(pools: tuple[Pool, ...], root: Path) -> str:
    digest: str = hash_samples((sample for pool in pools for sample in pool.samples), root)
    return digest


def _check_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    written = out / "recipe.json"
    if not written.is_file():
        return
    if not resume:
        raise TrainingError(f"The folder {out} holds a run: resume it, or choose another folder.")
    before = json.loads(written.read_text(encoding="utf-8"))
    # How much is kept, and how often it is validated, does not change what is trained.
    every = before.get("validation", {}).get("every", recipe.validation.every)
    same = replace(
        recipe,
        save_every=before.get("save_every", recipe.save_every),
        keep=before.get("keep", recipe.keep),
        validation=replace(recipe.validation, every=every),
    )
    if same.to_dict() != before:
        raise TrainingError(f"The run in {out} is of another recipe, see {written}: resume it with the same.")


def _check_same(out: Path, setting: dict[str, Any]) -> None:
    """Nothing that decides the result may have changed under a run's names."""
    written = out / "environment.json"
    if not written.is_file():
        return
    before = json.loads(written.read_text(encoding="utf-8"))
    for key, what in (
        ("base_hash", "trained from another base"),
        ("data_hash", "trained on other triplets"),
        ("held_out_hash", "validated on other triplets"),
    ):
        if before[key] != setting[key]:
            raise TrainingError(
                f"The run in {out} was {what}: {written} says {key} {before[key]}, but now it is {setting[key]}."
                " Restore what was there, or choose another folder."
            )
