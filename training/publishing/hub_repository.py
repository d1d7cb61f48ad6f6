"""A model repository on the Hub, written to in one commit with a tag on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisim_metrics.errors import UniSimError
from unisim_metrics.models.sources.hub import hub_errors
from unisim_metrics.version import __version__

_TOKENS = "https://huggingface.co/settings/tokens"


class PublishingError(UniSimError, OSError):
    """The Hub cannot be reached, or does not take what is to be published."""


@dataclass(frozen=True)
class Published:
    """What came to stand on the Hub.

    Attributes:
        url: The page of the tagged version.
        commit: The commit.
        tag: The tag on it.
    """

    url: str
    commit: str
    tag: str


class HubRepository:
    """A model repository of the Hub.

    Args:
        name: `ORG/NAME`.
        token: A token that may write; by default that of `HF_TOKEN` or `hf auth login`.

    Raises:
        ValueError: If the name is not of that form.
    """

    def __init__(self, name: str, token: str | None = None) -> None:
        from huggingface_hub import HfApi

        check_repository_name(name)
        self.name = name
        self.api: Any = HfApi(token=token, library_name="unisim-metrics", library_version=__version__)

    def check(self, private: bool = False, tag: str | None = None) -> None:
        """Find out, without writing anything, what would be refused later.

        Args:
            private: Whether the repository has to be private.
            tag: A tag that must be free.

        Raises:
            PublishingError: If the Hub cannot be reached or does not know the token, the repository is public
                and must not be, or the tag is taken.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._errors("Nothing was published"):
            self.api.whoami()
            try:
                info = self.api.model_info(self.name)
            except RepositoryNotFoundError:
                return
            tags = self._tags()
        if private and not info.private:
            raise PublishingError(
                f"The repository {self.name} is public already: make it private in its settings, or choose"
                " another. Nothing was published."
            )
        if tag in tags:
            raise PublishingError(
                f"The repository {self.name} has the tag {tag!r} already, on commit {tags[tag]}, and a tag is not"
                " moved: choose another. Nothing was published."
            )

    def write(
        self, files: Mapping[str, Path], message: str, *, private: bool = False, tag: str | None = None
    ) -> Published:
        """Write files in one commit, and tag it. The repository is made if there is none.

        Files of the same folders that the repository has beside them are removed, except those at its top.

        Args:
            files: Each by its path in the repository.
            message: The title of the commit.
            private: Whether a new repository is private.
            tag: By default the one that this commit has already, else the next of `v1`, `v2`, ...

        Raises:
            PublishingError: If the Hub cannot be reached or refuses. The message tells what stands by then.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        folders = {path.rsplit("/", 1)[0] for path in files if "/" in path}
        with self._errors("Nothing was published"):
            self.api.create_repo(self.name, private=private or None, exist_ok=True)
            stale = [
                path
                for path in self.api.list_repo_files(self.name)
                if "/" in path and path.rsplit("/", 1)[0] in folders and path not in files
            ]
            # `upload_folder` may split its upload into several commits; this is one.
            commit = self.api.create_commit(
                self.name,
                [
                    *(CommitOperationDelete(path) for path in stale),
                    *(CommitOperationAdd(name, file) for name, file in sorted(files.items())),
                ],
                commit_message=message,
            )
        with self._errors(f"The files stand in commit {commit.oid}, without a tag: publish again to set it"):
            tags = self._tags()
            there = next((name for name, tagged in tags.items() if tagged == commit.oid), None)
            if tag is not None or there is None:
                there = tag or next(
                    name for number in range(1, len(tags) + 2) if (name := f"v{number}") not in tags
                )
                self.api.create_tag(self.name, tag=there, revision=commit.oid)
        return Published(f"{self.api.endpoint}/{self.name}/tree/{there}", commit.oid, there)

    def _tags(self) -> dict[str, str]:
        return {tag.name: tag.target_commit for tag in self.api.list_repo_refs(self.name).tags}

    @contextmanager
    def _errors(self, outcome: str) -> Iterator[None]:
        try:
            yield
        except hub_errors() as error:
            raise PublishingError(
                f"The model could not be published as {self.name}: {self._reason(error)}. {outcome}."
            ) from error

    def _reason(self, error: BaseException) -> str:
        from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

        # Of an upload, the client tells the file, and the cause below it.
        while error.__cause__ is not None and not isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)):
            error = error.__cause__
        told = " ".join(str(error).split())
        if isinstance(error, LocalTokenNotFoundError):
            return f"no token is set, run `hf auth login` or set HF_TOKEN to one that may write ({_TOKENS})"
        if isinstance(error, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set"
        if not isinstance(error, HfHubHTTPError):
            return f"the Hub cannot be reached ({type(error).__name__}: {told})"
        status = error.response.status_code
        if status == 401:
            return (
                f"the Hub does not know the token, run `hf auth login` or set HF_TOKEN to another ({_TOKENS})"
            )
        if status == 403:
            return f"the token may not write to {self.name.split('/')[0]!r} ({_TOKENS})"
        return f"the Hub answered: {told}"


def check_repository_name(name: str) -> None:
    """Raise a `ValueError` if `name` is not of the form `ORG/NAME`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        valid, reason = name.count("/") == 1, ""
    except HFValidationError as error:
        valid, reason = False, f": {error}"
    if not valid:
        raise ValueError(f"Argument `repo` must be of the form ORG/NAME, but got {name!r}{reason}.")
