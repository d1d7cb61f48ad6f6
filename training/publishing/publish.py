"""From a finished run to a model that anyone can load: adapter, full weights, recipe and card, on the Hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unisim_metrics import load_model
from unisim_metrics.models import convert
from unisim_metrics.models.checkpoints.conversion import copy_processor
from unisim_metrics.models.checkpoints.directories import Base, load_base, read_json
from unisim_metrics.models.registry import REGISTRY
from unisim_metrics.signature import signature

from .card import Model
from .clip_card import clip_card
from .finished_run import FinishedRun, read_run
from .hub_repository import HubRepository, Published, check_repository_name
from .publication import Publication, check_hub_id, check_weights, complete, public_run, write_json

# Beside the adapter and not with it: a directory with both a full model and an adapter is, for transformers, a base
# that the adapter goes on once more.
MERGED = "merged"

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def publish(
    run: str | Path,
    repo: str,
    *,
    base: str | None = None,
    private: bool = False,
    tag: str | None = None,
    license: str | None = None,
    token: str | None = None,
) -> Published:
    """Publish a finished run on the Hub, in one commit with a tag on it.

    Everything is made and read back on this machine before the first byte goes up.

    Args:
        run: The folder that `unisim train` wrote.
        repo: `ORG/NAME`; it is made if there is none.
        base: The base's Hub id; that of the run by default.
        private: Whether a new repository is private.
        tag: A name for this version; by default the next of `v1`, `v2`, ...
        license: The licence's identifier on the Hub; research only by default.
        token: A token that may write; by default that of `HF_TOKEN` or `hf auth login`.

    Returns:
        Where it stands.

    Raises:
        ValueError: If `run` is no run, `repo` is malformed, or the base has no Hub id.
        TrainingError: If the run is not finished.
        CheckpointError: If the base is not the one that the run was trained from.
        ModelUnavailableError: If the base cannot be fetched.
        PublishingError: If the Hub cannot be reached or refuses.
    """
    repository = HubRepository(repo, token)
    finished = read_run(Path(run))
    repository.check(private, tag)
    with prepare(finished, repo, base=base, license=license, token=token) as publication:
        message = f"Publish {finished.recipe['name']} with unisim-metrics"
        return repository.write(publication.files, message, private=private, tag=tag)


@contextmanager
def prepare(
    run: FinishedRun,
    repo: str,
    *,
    base: str | None = None,
    license: str | None = None,
    token: str | None = None,
) -> Iterator[Publication]:
    """Make everything that is to be published, in a temporary folder.

    The arguments and errors are those of `publish`. Nothing is asked of the Hub but the base.
    """
    check_repository_name(repo)
    fill = _fill
    if run.generative:
        from .generative import fill_generative as fill
    with TemporaryDirectory(prefix="unisim-publish-") as temporary:
        yield fill(run, repo, Path(temporary) / "model", base=base, license=license, token=token)


def _fill(
    run: FinishedRun, repo: str, folder: Path, *, base: str | None, license: str | None, token: str | None
) -> Publication:
    """Put the adapter on top of a folder, and full weights below it."""
    found = _find_base(run, base, token)
    revision = found.directory.name if _COMMIT.fullmatch(found.directory.name) else None
    folder.mkdir()
    for name in _ADAPTER_FILES:
        if (run.adapter / name).is_file():
            shutil.copyfile(run.adapter / name, folder / name)
    copy_processor(run.adapter, folder)
    # peft reads here which model the adapter goes on, and which version of it.
    on = {"base_model_name_or_path": found.name, "revision": revision}
    write_json(folder / "adapter_config.json", read_json(folder / "adapter_config.json") | on)
    convert(folder, folder / MERGED, base=found.directory, merged=True)
    signed, size = _read_back(folder / MERGED, repo)
    public = public_run(run, found.name)
    card = clip_card(Model(repo, found.name, revision, license, signed), public, size)
    return complete(folder, repo, public, card)


def _find_base(run: FinishedRun, base: str | None, token: str | None) -> Base:
    name = base or str(run.environment["base"])
    if name not in REGISTRY:
        check_hub_id(name)
    found = load_base(name, revision=None if base else run.recipe.get("revision"), token=token)
    check_weights(found, run)
    return found


def _read_back(merged: Path, repo: str) -> tuple[str, int]:
    """The signature of the full weights as everybody will load them, and the side of the images that they see."""
    model: Any = load_model(merged)
    model.name = repo
    return signature(model, None), model.preprocessing.size
