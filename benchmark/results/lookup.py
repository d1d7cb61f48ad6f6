"""The results of a model, found by their folder or by the model's name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from .files import META_NAME, SetResult, folder_name, read_meta, read_sets


def find_models(references: Sequence[str], results: Path) -> dict[str, dict[str, SetResult]]:
    """Return the results of several models, each by set, under the models' names.

    Args:
        references: For each model a folder with its results, its name, or `name@revision`, where the beginning of the
            revision is enough.
        results: The folder under which names are looked for.

    Returns:
        The results in the order of the references. Models of one name are told apart by `name@revision`.

    Raises:
        ValueError: If a reference names no model, or several; or the same one twice.
        OSError: If a file cannot be read.
    """
    folders = [_find(reference, results) for reference in references]
    twice = [
        reference for reference, folder in zip(references, folders, strict=True) if folders.count(folder) > 1
    ]
    if twice:
        raise ValueError(f"Each model must be named once, but {twice} are the same.")
    names = [read_meta(folder).name for folder in folders]
    labels = [
        f"{name}@{folder.name}" if names.count(name) > 1 else name
        for name, folder in zip(names, folders, strict=True)
    ]
    return {label: read_sets(folder) for label, folder in zip(labels, folders, strict=True)}


def _find(reference: str, results: Path) -> Path:
    path = Path(reference)
    if (path / META_NAME).is_file():
        return path.resolve()
    name, _, revision = reference.partition("@")
    found = _revisions(path, "") or _revisions(results / folder_name(name), revision)
    if len(found) > 1:
        names = ", ".join(f"{name}@{folder.name}" for folder in found)
        raise ValueError(f"{reference!r} has results of several revisions: name one, {names}.")
    if not found:
        known = [
            f"{meta.parent.parent.name.replace('__', '/')}@{meta.parent.name}"
            for meta in sorted(results.glob(f"*/*/{META_NAME}"))
        ]
        near = difflib.get_close_matches(name, [model.partition("@")[0] for model in known], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{reference!r} is neither a folder of results nor one of the models in {results}: {known}.{hint}"
        )
    return found[0].resolve()


def _revisions(model: Path, beginning: str) -> list[Path]:
    return [meta.parent for meta in sorted(model.glob(f"{beginning}*/{META_NAME}"))]
