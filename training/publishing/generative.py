"""A finished generative run as a folder that anyone can load: full weights, the adapter if there is one, card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from unisim_metrics import load_model
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import load_adapter, no_progress_bar, read_json
from unisim_metrics.models.checkpoints.vision_language import read_generative
from unisim_metrics.models.hashing import hash_weights
from unisim_metrics.models.lora import merge_lora
from unisim_metrics.models.sources.hub import is_hub_id
from unisim_metrics.signature import signature

from ..generative.run import Base, load_base
from .card import Model
from .finished_run import FinishedRun
from .generative_card import generative_card
from .publication import Publication, check_hub_id, check_weights, complete, public_run, write_json

# Beside the full weights and not with them: for transformers, weights beside an adapter are its base.
ADAPTER = "adapter"


def fill_generative(
    run: FinishedRun, repo: str, folder: Path, *, base: str | None, license: str | None, token: str | None
) -> Publication:
    """Make everything that is to be published in a folder, and read it back.

    The full weights stand at the top. An adapter stands in `adapter/`; only then is the base asked of the Hub.

    Args:
        run: The run.
        repo: `ORG/NAME`.
        folder: The folder; it must not be there.
        base: The base's Hub id; that of the run by default.
        license: The licence's identifier on the Hub; research only by default.
        token: For a private base.

    Raises:
        ValueError: If there is an adapter and the base has no Hub id.
        CheckpointError: If the base is not the one that the run was trained from, or what was written is not what the
            run left.
        ModelUnavailableError: If the base cannot be fetched.
    """
    name = base or str(run.recipe["base"])
    revision = run.environment.get("base_revision") if base is None else None
    if run.has_adapter:
        check_hub_id(name)
        found = load_base(name, revision, token)
        check_weights(found, run)
        revision = found.revision
        weights = _merge(run.adapter, found, folder)
    else:
        shutil.copytree(run.model, folder)
        weights = hash_weights(read_generative(run.model).state_dict())
    model: Any = load_model(folder)
    if model.weights_hash() != weights:
        raise CheckpointError(
            f"The weights in {folder} must be those of the run in {run.folder}, but are others: nothing is"
            " published."
        )
    model.name = repo
    public_base = name if is_hub_id(name) else None
    public = public_run(run, public_base or "a model of one's own")
    about = Model(repo, public_base, revision, license, signature(model, None))
    card = generative_card(about, public, model.backbone.config.model_type)
    return complete(folder, repo, public, card)


def _merge(adapter: Path, base: Base, folder: Path) -> str:
    """Write the adapter, and the base with it merged in; return the hash of the merged weights."""
    shutil.copytree(adapter, folder / ADAPTER)
    settings = folder / ADAPTER / "adapter_config.json"
    on = {"base_model_name_or_path": base.name, "revision": base.revision}
    write_json(settings, read_json(settings) | on)
    merged: Any = merge_lora(load_adapter(folder / ADAPTER, base))
    with no_progress_bar():
        merged.save_pretrained(folder)
    base.processor.save_pretrained(folder)
    return hash_weights(merged.state_dict())
