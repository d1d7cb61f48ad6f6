"""Publishes the `evaluate` module as a Space of the Hub, for `evaluate.load("ORGANISATION/unisim")`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unisim_metrics import evaluate_path
from unisim_metrics.models.sources.hub import hub_errors
from unisim_metrics.version import __version__

# What makes the Space; whatever else lies in the folder stays here.
FILES = ("README.md", "app.py", "requirements.txt", "tests.py", "unisim.py")

# evaluate looks for a script of the Space's name.
_NAME = "unisim"
_ORGANISATION = re.compile(r"[A-Za-z0-9]([\w.\-]*[A-Za-z0-9])?", re.ASCII)


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
