"""What the harness of the documentation takes for an error in commands that it does not run."""

from __future__ import annotations

import docs_shell
import pytest
from docs_pages import ROOT, read_text

GAIN = "python -m docs.experiments.guidance_gain"


@pytest.mark.parametrize("command", [GAIN, f"{GAIN} --seeds 3 --forms 'the picture alone'  # a comment"])
def test_options_that_a_module_has(command: str) -> None:
    docs_shell.check(command, "page.md:1")


@pytest.mark.parametrize("option", ["--seds 3", "--seeds many", "more"])
def test_options_that_a_module_has_not(option: str) -> None:
    with pytest.raises(docs_shell.CommandFailed, match=r"^page\.md:1: .*ended with status 2"):
        docs_shell.check(f"{GAIN} {option}", "page.md:1")


def test_a_module_without_options_is_not_run_either() -> None:
    with pytest.raises(docs_shell.CommandFailed, match=r"^page\.md:1: this reads no options"):
        docs_shell.check("python -m this", "page.md:1")


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(docs_shell.CommandFailed, match=r"^page\.md:1: there is no module no_such_module"):
        docs_shell.check("python -m no_such_module", "page.md:1")


def test_a_file_that_a_page_includes_is_its_code() -> None:
    (block,) = read_text('```python\n--8<-- "examples/accelerate_loop.py"\n```\n', "page.md")
    assert block.code == (ROOT / "docs/examples/accelerate_loop.py").read_text(encoding="utf-8")
