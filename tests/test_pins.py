"""The table of trainers' requirements in docs/compatibility.md, against those requirements and the package's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.experiments import pins

PAGE = (Path(__file__).parents[1] / "docs" / "compatibility.md").read_text(encoding="utf-8")
TRAINERS = pins.read_trainers()


def rows() -> list[list[str]]:
    """The cells of the table's rows."""
    _, _, below = PAGE.partition(pins.HEADER + "\n")
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in below.partition("\n\n")[0].splitlines()
    ]


def chosen(cell: str) -> dict[str, str]:
    return dict(part.split() for part in cell.split(", "))


def test_each_trainer_has_its_row_and_says_where_it_was_read() -> None:
    assert [row[0] for row in rows()] == [trainer.link for trainer in TRAINERS]
    assert sum(bool(trainer.repository) for trainer in TRAINERS) >= 5
    for trainer in TRAINERS:
        assert not trainer.repository or re.fullmatch("[0-9a-f]{40}", trainer.commit)


@pytest.mark.parametrize("place", range(len(TRAINERS)), ids=[trainer.name for trainer in TRAINERS])
def test_what_a_row_says_fits_both_requirements(place: int) -> None:
    """The versions of a yes suit the trainer and the package; a no names what does not."""
    trainer, (_, bounds, answer, versions) = TRAINERS[place], rows()[place]
    required = [Requirement(line) for line in trainer.requirements]
    own = pins.floors()
    capped = {
        f"`{requirement.name}{requirement.specifier}`"
        for requirement in required
        if canonicalize_name(requirement.name) in own and re.search("==|<", str(requirement.specifier))
    }
    assert set(re.findall("`[^`]+`", bounds)) == capped
    if answer != "yes":
        assert answer == f"no: {'; '.join(pins.too_old(trainer))}" and versions == "–"
        return
    assert not pins.too_old(trainer)
    found = chosen(versions)
    assert tuple(found) == pins.SHOWN
    for name, version in found.items():
        assert own[name].specifier.contains(version)
        for requirement in required:
            assert canonicalize_name(requirement.name) != name or requirement.specifier.contains(version)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("torch==2.3.0", ["torch 2.3.0 where >=2.4 is needed"]),
        ("Pillow==9.5", ["Pillow 9.5 where >=10.3 is needed"]),
        ("torch==2.4.0", []),
        ("torch==2.*", []),
        ("torch<2.4", []),
        ("vllm==0.1", []),
        ("torch", []),
    ],
)
def test_versions_that_are_too_old(line: str, found: list[str]) -> None:
    assert pins.too_old(pins.Trainer("a", (line,), "3.12")) == found
