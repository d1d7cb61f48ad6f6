"""Puts the `evaluate` module where `evaluate.load` finds it: in the cache of this machine.

When the Hub has no canonical module of a name, or cannot be reached, `evaluate.load` takes the newest copy in the slot
of that name in its modules cache. An installed copy is one of these.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

from unisim_metrics import evaluate_path
from unisim_metrics.installation import install_extra

_SLOT = "evaluate-metric--unisim"
_SCRIPT = "unisim.py"
_RECORD = "unisim.json"
# In the record that evaluate keeps beside each copy; copies without it are not ours to remove.
_MARK = {"installed by": "unisim install-evaluate"}


def install() -> Path:
    """Copy the module into the modules cache, in place of copies that were installed before.

    Returns:
        The folder of the copy.

    Raises:
        ModuleNotFoundError: If `evaluate` is missing.
        OSError: If the cache cannot be written.
    """
    require_evaluate()
    from evaluate.loading import init_dynamic_modules
    from filelock import FileLock

    script = Path(evaluate_path()) / _SCRIPT
    metrics = Path(init_dynamic_modules()) / "metrics"
    slot = metrics / _SLOT
    slot.mkdir(parents=True, exist_ok=True)
    for package in (metrics, slot):
        (package / "__init__.py").touch()
    # evaluate tells copies by names of 64 characters: one that is being written has another.
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    copy, unfinished = slot / digest, slot / f"{digest}.new"
    with FileLock(f"{slot}.lock"):
        shutil.rmtree(unfinished, ignore_errors=True)
        before = {*_installed(slot), *slot.glob(digest)}
        unfinished.mkdir()
        (unfinished / "__init__.py").touch()
        # Not with its time: evaluate takes the newest.
        shutil.copyfile(script, unfinished / _SCRIPT)
        record = {"original file path": str(script), "local file path": str(copy / _SCRIPT), **_MARK}
        (unfinished / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        for old in before:
            shutil.rmtree(old)
        unfinished.rename(copy)
    return copy


def remove() -> list[Path]:
    """Delete the copies that `install` made; those that evaluate fetched from the Hub stay.

    Returns:
        The folders that were deleted; none if nothing was installed.

    Raises:
        ModuleNotFoundError: If `evaluate` is missing.
        OSError: If the cache cannot be written.
    """
    require_evaluate()
    from evaluate import config
    from filelock import FileLock

    slot = Path(config.HF_MODULES_CACHE) / config.MODULE_NAME_FOR_DYNAMIC_MODULES / "metrics" / _SLOT
    if not slot.is_dir():
        return []
    lock = Path(f"{slot}.lock")
    with FileLock(lock):
        copies = _installed(slot)
        for copy in copies:
            shutil.rmtree(copy)
        if copies and not any((folder / _SCRIPT).is_file() for folder in slot.iterdir()):
            shutil.rmtree(slot)
    if not slot.exists():
        lock.unlink(missing_ok=True)
    return copies


def _installed(slot: Path) -> list[Path]:
    """The copies in a slot that carry the mark."""
    return sorted(record.parent for record in slot.glob(f"*/{_RECORD}") if _is_marked(record))


def _is_marked(record: Path) -> bool:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.items() >= _MARK.items()


def require_evaluate() -> None:
    """Check that Hugging Face `evaluate` is there.

    Raises:
        ModuleNotFoundError: If it is not; the message tells how to install it.
    """
    if find_spec("evaluate") is None:
        raise ModuleNotFoundError(
            f"The `evaluate` module needs Hugging Face evaluate: {install_extra('evaluate')}."
        )
