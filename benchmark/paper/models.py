"""The models that the paper reports, and which of ours is which of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from unisim_metrics.models.registry import REGISTRY

__all__ = ["PAPER_MODELS", "PaperModel", "find_model", "read_csv"]


@dataclass(frozen=True)
class PaperModel:
    """One of the paper's models.

    Attributes:
        id: Its name here; the registry's where that has the model.
        name: Its name in tables.
        group: Under which heading its row stands: `"general-purpose"`, `"specialized"` or `"unisim"`.
        generative: Whether it answers in words (♣ in the paper) rather than from embeddings.
        specialty: The task that it was made for; None for models of several tasks.
        trained: The sets whose training split it has seen, as far as the paper marks them.
        unnamed: Why the registry has no name for it; None where it has.
    """

    id: str
    name: str
    group: str
    generative: bool
    specialty: str | None
    trained: frozenset[str]
    unnamed: str | None


def read_csv(name: str) -> list[dict[str, str]]:
    """Return the rows of a file of this package."""
    return list(csv.DictReader(files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()))


PAPER_MODELS: dict[str, PaperModel] = {
    row["model"]: PaperModel(
        id=row["model"],
        name=row["name"],
        group=row["group"],
        generative=row["generative"] == "yes",
        specialty=row["specialty"] or None,
        trained=frozenset(row["trained"].split()),
        unnamed=row["unnamed"] or None,
    )
    for row in read_csv("models.csv")
}
"""The models by id, in the order of Table 6."""

_OPEN_CLIP = "open_clip:"
_BY_SOURCE = {
    entry.source: entry.name for entry in REGISTRY.values() if entry.source and entry.name in PAPER_MODELS
}


def find_model(name: str) -> PaperModel | None:
    """Return the paper's model of a name; None if the paper has none.

    Args:
        name: As signatures have it: a name of the registry, or what stands behind one (a Hub id,
            `open_clip:ARCHITECTURE/PRETRAINED`).
    """
    return PAPER_MODELS.get(_BY_SOURCE.get(name.removeprefix(_OPEN_CLIP), name))
