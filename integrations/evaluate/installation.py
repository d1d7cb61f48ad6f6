"""Puts the `evaluate` module where `evaluate.load` finds it: in the cache of this machine, or as a Space of the Hub.

When the Hub has no canonical module of a name, or cannot be reached, `evaluate.load` takes the newest copy in the slot
of that name in its modules cache. An installed copy is one of these.
A Space is loaded as `evaluate.load("ORGANISATION/unisim")`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from unisim_metrics import evaluate_path
from unisim_metrics.models.sources.hub import hub_errors
from unisim_metrics.version import __version__

_SLOT = "evaluate-metric--unisim"
_SCRIPT = "unisim.py"
_RECORD = "unisim.json"
# In the record that evaluate keeps beside each copy; copies without it are not ours to remove.
_MARK = {"installed by": "unisim install-evaluate"}

# What makes the Space; whatever else lies in the folder stays here.
FILES = ("README.md", "app.py", "requirements.txt", "tests.py", "unisim.py")

# evaluate looks for a script of the Space's name.
_NAME = "unisim"
_ORGANISATION = re.compile(r"[A-Za-z0-9]([\w.\-]*[A-Za-z0-9])?", re.ASCII)


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
            "The `evaluate` module needs Hugging Face evaluate: pip install 'unisim-metrics[evaluate]'."
        )


@dataclass(frozen=True)
class Publication:
    """A Space and the files that go there.

    Attributes:
        repository: Its id.
        files: The files, by their names in the Space.
    """

    repository: str
    files: dict[str, Path]

    @classmethod
    def of(cls, organisation: str) -> Publication:
        """Return what would be published for a user or an organisation.

        Raises:
            ValueError: If that is no name of one.
        """
        if _ORGANISATION.fullmatch(organisation) is None:
            raise ValueError(
                f"Argument `organisation` must be a user or an organisation of the Hub, but got {organisation!r}."
                f" The Space is always called {_NAME!r}."
            )
        folder = Path(evaluate_path())
        return cls(f"{organisation}/{_NAME}", {name: folder / name for name in FILES})

    def publish(self, private: bool = False, token: str | bool | None = None) -> str:
        """Make the Space if it is not there, and write all files to it in one commit.

        Args:
            private: Whether a new Space can be seen by its owners alone.
            token: A token of the Hub with the right to write, if not the one that is logged in.

        Returns:
            The address of the commit.

        Raises:
            OSError: If the Hub cannot be reached or refuses.
        """
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(token=token)
        try:
            api.create_repo(
                self.repository, repo_type="space", space_sdk="gradio", private=private, exist_ok=True
            )
            commit = api.create_commit(
                self.repository,
                [CommitOperationAdd(name, path) for name, path in self.files.items()],
                commit_message=f"unisim-metrics {__version__}",
                repo_type="space",
            )
        except hub_errors() as error:
            raise OSError(
                f"The Space `{self.repository}` could not be written: {error}\nIt takes a network and a token with the"
                " right to write there: run `hf auth login`."
            ) from error
        return str(commit.commit_url)
