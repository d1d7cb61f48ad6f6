"""A run from its recipe to the folder that it leaves: what is trained on, what was done, the adapter."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from unisim_metrics import load_model
from unisim_metrics.benchmark import hash_samples, load_dataset
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.directories import PROCESSOR_FILES, Base, load_base, no_progress_bar
from unisim_metrics.training.batches import TextTable
from unisim_metrics.training.clip import Trainer, adapt, embed_texts
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.recipe import Recipe
from unisim_metrics.training.stream import Pool, TripletStream

_PACKAGES = (
    "unisim-metrics",
    "torch",
    "torchvision",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "pillow",
)


@dataclass(frozen=True)
class Plan:
    """What a recipe trains on.

    Attributes:
        pools: The triplets of each dataset.
        data_hash: SHA-256 of all of them, with paths relative to the data root.
        steps: Steps of the run.
    """

    pools: tuple[Pool, ...]
    data_hash: str
    steps: int

    def rows(self) -> list[dict[str, Any]]:
        """Dataset, task and number of triplets, one row a dataset."""
        return [
            {"dataset": pool.dataset, "task": pool.task, "triplets": len(pool.samples)} for pool in self.pools
        ]


def plan(recipe: Recipe, root: Path) -> Plan:
    """Read the annotations that a recipe names; no image is opened.

    Raises:
        ValueError: If a dataset is unknown, has no training split, or is malformed.
        FileNotFoundError: If an annotation file is not there.
    """
    pools = []
    for name in recipe.data.datasets:
        dataset = load_dataset(Path(name) if name.endswith(".jsonl") else name, root)
        if dataset.task == "retrieval":
            raise ValueError(f"Dataset {name!r} is of the task 'retrieval', on which nothing is trained.")
        pools.append(Pool(dataset.id, dataset.task, dataset.samples("train", seed=recipe.seed)))
    everything = [sample for pool in pools for sample in pool.samples]
    return Plan(tuple(pools), hash_samples(everything, root), recipe.steps)


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
        recipe: What is done.
        root: The data root.
        out: The run's folder.
        resume: Go on from the last checkpoint in `out`; without it, `out` must not hold a run.
        workers: Processes that prepare batches ahead.
        trackers: Of Accelerate, `"tensorboard"` or `"wandb"`.

    Returns:
        The trainer, and the base whose weights it adapts.

    Raises:
        TrainingError: If `out` holds a run and `resume` is not asked for, or holds that of another recipe.
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
    stream = TripletStream(planned.pools, recipe.optimization.batch_size, recipe.seed, recipe.data.balance)
    table = TextTable(planned.pools)
    encoder = load_model(base.model, device=accelerator.device)
    if not isinstance(encoder, EncoderModel):
        raise TrainingError(
            f"The base {recipe.base!r} must be an encoder, but is a {type(encoder).__name__}."
        )
    texts = embed_texts(encoder, table)
    trainer = Trainer(
        recipe, adapt(base.model, recipe, base.name), texts, stream, table, encoder, accelerator, out, workers
    )
    if resume:
        trainer.resume()
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / "recipe.json", recipe.to_dict())
        _write(out / "environment.json", environment(planned, base))
    if trackers:
        accelerator.init_trackers(recipe.name, config={"seed": recipe.seed, "steps": recipe.steps})
    return trainer, base


def finish(trainer: Trainer, base: Base) -> Path:
    """Write the adapter with the processor's files, as plain peft reads it; return its folder."""
    folder: Path = trainer.run / "adapter"
    model: Any = trainer.tower.clip
    # peft puts in the directory that the base was read from, which no other machine has.
    model.peft_config["default"].base_model_name_or_path = base.name
    if trainer.accelerator.is_main_process:
        with no_progress_bar():
            model.save_pretrained(folder)
        for name in PROCESSOR_FILES:
            if (base.directory / name).is_file():
                shutil.copyfile(base.directory / name, folder / name)
    trainer.accelerator.wait_for_everyone()
    return folder


def environment(planned: Plan, base: Base) -> dict[str, Any]:
    """What the result depends on beside the recipe."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "git": _git_state(),
        "base": base.name,
        "data": planned.rows(),
        "data_hash": planned.data_hash,
    }


def _check_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    written = out / "recipe.json"
    if not written.is_file():
        return
    if not resume:
        raise TrainingError(f"The folder {out} holds a run: resume it, or choose another folder.")
    before = json.loads(written.read_text(encoding="utf-8"))
    # How much is kept and how often does not change what is trained.
    same = replace(recipe, save_every=before.get("save_every"), keep=before.get("keep"))
    if same.to_dict() != before:
        raise TrainingError(f"The run in {out} is of another recipe, see {written}: resume it with the same.")


def _git_state() -> str | None:
    """Commit of the code, with a plus if files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changes else commit


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
