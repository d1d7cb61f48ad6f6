"""How this package and its extras are installed: what messages, model cards and the Space tell people to type.

No line needs this package to be on an index.
"""

from __future__ import annotations

import json
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "unisim-metrics"


def install_extra(extra: str) -> str:
    """Return the command that adds an extra to this installation, wherever that came from.

    It names the packages of the extra, which are on PyPI whether or not this one is.

    Args:
        extra: An extra of `pyproject.toml`.

    Returns:
        For example `pip install 'gradio>=6.0' 'evaluate>=0.4.6'`.

    Raises:
        ValueError: If there is no such extra.
    """
    return "pip install " + " ".join(f"'{requirement}'" for requirement in requirements_of(extra))


def requirements_of(extra: str) -> list[str]:
    """Return what an extra installs on this machine, extras that it names included, sorted.

    Raises:
        ValueError: If there is no such extra.
    """
    extras = {canonicalize_name(name) for name in metadata.metadata(NAME).get_all("Provides-Extra") or ()}
    if canonicalize_name(extra) not in extras:
        raise ValueError(f"Argument `extra` must be one of {', '.join(sorted(extras))}, but got {extra!r}.")
    found: set[str] = set()
    for requirement in map(Requirement, metadata.requires(NAME) or ()):
        marker, requirement.marker = requirement.marker, None
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        if canonicalize_name(requirement.name) == NAME:
            found.update(*map(requirements_of, requirement.extras))
        else:
            found.add(str(requirement))
    return sorted(found)


def git_source() -> str | None:
    """Return the Git address and commit that this installation came from, as pip takes it, if from Git (PEP 610).

    Returns:
        For example `git+https://example.org/unisim-metrics@3f2a9c0`, or None.
    """
    record = metadata.distribution(NAME).read_text("direct_url.json")
    if record is None:
        return None
    origin = json.loads(record)
    version = origin.get("vcs_info")
    return None if version is None else f"{version['vcs']}+{origin['url']}@{version['commit_id']}"
