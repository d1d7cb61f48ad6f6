"""Publishes the `evaluate` module as a Space of the Hub, which `evaluate.load("ORGANISATION/unisim")` loads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from unisim_metrics import evaluate_path
from unisim_metrics.installation import NAME, git_source
from unisim_metrics.models.sources.hub import hub_errors
from unisim_metrics.version import __version__

# What of the module's folder makes the Space; whatever else lies there stays here.
FILES = ("README.md", "app.py", "tests.py", "unisim.py")

# evaluate looks for a script of the Space's name.
_NAME = "unisim"
_ORGANISATION = re.compile(r"[A-Za-z0-9]([\w.\-]*[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True)
class Publication:
    """A Space and the files that go there.

    Attributes:
        repository: Its id.
        files: The files, by their names in the Space: where they lie, or what they hold.
    """

    repository: str
    files: dict[str, Path | bytes]

    @classmethod
    def of(cls, organisation: str, package: str | None = None) -> Publication:
        """Return what would be published for a user or an organisation.

        Args:
            organisation: Its name on the Hub.
            package: Where the Space installs this package from: an address as pip takes it (`git+https://…`, or
                that of a wheel), or a wheel on this machine, which goes into the Space. The repository and commit
                that this installation came from if left out.

        Raises:
            ValueError: If that is no name of a user or an organisation, or nothing tells where the package is.
            FileNotFoundError: If there is no such wheel.
        """
        if _ORGANISATION.fullmatch(organisation) is None:
            raise ValueError(
                f"Argument `organisation` must be a user or an organisation of the Hub, but got {organisation!r}."
                f" The Space is always called {_NAME!r}."
            )
        folder, repository = Path(evaluate_path()), f"{organisation}/{_NAME}"
        files: dict[str, Path | bytes] = {name: folder / name for name in FILES}
        package = package or git_source()
        if package is None:
            raise ValueError(
                "Argument `package` must tell where the Space installs unisim-metrics from, since this installation"
                " came from no Git address: pass one (git+https://…), or a wheel (pip wheel --no-deps)."
            )
        if "://" not in package:
            wheel = Path(package)
            files[wheel.name] = _checked_wheel(wheel)
            package = f"{constants.ENDPOINT}/spaces/{repository}/resolve/main/{wheel.name}"
        return cls(repository, files | {"requirements.txt": f"{NAME}[evaluate] @ {package}\n".encode()})

    def publish(self, private: bool = False, token: str | bool | None = None) -> str:
        """Make the Space if it is not there, and write all files to it in one commit.

        Args:
            private: Whether a new Space can be seen by its owners alone.
            token: A token of the Hub with the right to write, if not the one that is logged in.

        Returns:
            The address of the commit.

        Raises:
            ValueError: If a private Space were to install a wheel out of itself, which the Hub does not let it.
            OSError: If the Hub cannot be reached or refuses.
        """
        if private and any(name.endswith(".whl") for name in self.files):
            raise ValueError(
                "Argument `package` must be an address for a private Space, which cannot install a wheel out of itself."
            )
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(token=token)
        try:
            api.create_repo(
                self.repository, repo_type="space", space_sdk="gradio", private=private, exist_ok=True
            )
            commit = api.create_commit(
                self.repository,
                [CommitOperationAdd(name, content) for name, content in self.files.items()],
                commit_message=f"unisim-metrics {__version__}",
                repo_type="space",
            )
        except hub_errors() as error:
            raise OSError(
                f"The Space `{self.repository}` could not be written: {error}\nIt takes a network and a token with the"
                " right to write there: run `hf auth login`."
            ) from error
        return str(commit.commit_url)


def _checked_wheel(path: Path) -> Path:
    """The path of a wheel of this version of the package."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Argument `package` must be an address or a wheel, but there is no file {path}."
        )
    try:
        name, version, *_ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise ValueError(f"Argument `package` must be an address or a wheel, but got {path}.") from error
    if (name, str(version)) != (NAME, __version__):
        raise ValueError(
            f"Argument `package` must be a wheel of {NAME} {__version__}, but got one of {name} {version}."
        )
    return path
