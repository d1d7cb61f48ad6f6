"""The documentation is run: code and commands as they stand, in the order of the page, in a folder of their own.

Pages are run whole, but for what they mark; of that, code must compile, and commands name
options and modules that exist. ``make docs-outputs`` writes into the pages what their code prints.
"""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import docs_shell
import docs_stand_ins
import docs_training
import pytest
from docs_pages import (
    ROOT,
    RUNNABLE,
    SHOWN,
    Block,
    list_docstrings,
    list_pages,
    read_page,
    read_text,
    write_outputs,
)

BLOCKS = {page: blocks for page in list_pages() if (blocks := read_page(page))}
DOCSTRINGS = list_docstrings()
RUN = (
    "docs/cli.md",
    "docs/models.md",
    "docs/compatibility.md",
    "docs/judges.md",
    "docs/comparing.md",
    "docs/coverage.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/concepts.md",
    "docs/index.md",
    "docs/quickstart.md",
    "docs/benchmark.md",
    "docs/benchmark_data.md",
    "docs/benchmark_report.md",
    "docs/benchmark_statistics.md",
    "docs/authors_code.md",
    "docs/generative.md",
    "docs/training.md",
    "docs/training_generative.md",
    "docs/ablations.md",
    "docs/speed.md",
    "unisim_metrics/assets/unisim-mini/README.md",
    "docs/evaluate.md",
    "docs/training_loops.md",
    "docs/validation.md",
    "docs/best_of_n.md",
    "docs/rewards.md",
    "docs/scale.md",
    "docs/serving.md",
    "docs/diffusers.md",
    "docs/pipelines.md",
    "docs/reward_guidance.md",
    "integrations/evaluate_modules/unisim/README.md",
)
# Blocks and commands of these pages that are not run. A new one needs a reason in its page, and this number changed.
NOT_RUN = 60
EXAMPLES = (
    "unisim_metrics.collections.scorer",
    "unisim_metrics.functional",
    "unisim_metrics.losses",
    "unisim_metrics.metrics.ranking",
    "unisim_metrics.metrics.score",
    "unisim_metrics.integrations.diffusers.rewards",
    "unisim_metrics.integrations.rewards",
    "unisim_metrics.integrations.validation.validation",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return docs_stand_ins.write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def names(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    folder = tmp_path / "page"
    folder.mkdir()
    with docs_stand_ins.stand_ins(models, folder, monkeypatch) as names:
        yield names | docs_stand_ins.names_of_tables()


def run_python(block: Block, names: dict[str, Any]) -> str:
    """Run a block in the names of its page; a traceback shows page and line."""
    with redirect_stdout(StringIO()) as printed:
        exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), names)
    return printed.getvalue()


def run_commands(block: Block) -> str:
    """Run the commands of a block; gives what the last one prints."""
    printed = ""
    for place, command in docs_shell.commands(block):
        if docs_shell.reason_not_to_run(block, command):
            docs_shell.check(command, place)
        else:
            printed = docs_shell.run(command, place)
    return printed


def check(block: Block) -> None:
    if block.language == "bash":
        for place, command in docs_shell.commands(block):
            docs_shell.check(command, place)
    elif block.language == "python" and ">>> " not in block.code and "--8<--" not in block.code:
        compile("\n" * (block.line - 1) + block.code, block.page, "exec")


@pytest.mark.parametrize("page", RUN)
def test_page_runs(page: str, names: dict[str, Any], request: pytest.FixtureRequest) -> None:
    docs_training.prepare(page, Path.cwd())
    printed: dict[str, str] = {}
    for block in BLOCKS[page]:
        if block.file is not None:
            Path(block.file).write_text(block.code, encoding="utf-8")
        if block.language == "bash":
            printed[block.place] = run_commands(block)
        elif block.language == "python" and not block.not_run:
            printed[block.place] = run_python(block, names)
        else:
            check(block)
    if request.config.getoption("--write-docs"):
        write_outputs(BLOCKS[page], printed)
        return
    for block in BLOCKS[page]:
        if block.output is not None:
            assert printed[block.place] == block.output.code, f"{block.output.place}: see `make docs-outputs`"


def test_every_page_is_run() -> None:
    assert set(RUN) == set(BLOCKS)


def test_what_is_not_run_is_counted() -> None:
    marked = [
        place
        for page in RUN
        for block in BLOCKS[page]
        for place, command in (
            docs_shell.commands(block) if block.language == "bash" else [(block.place, "")]
        )
        if docs_shell.reason_not_to_run(block, command) or (block.language != "bash" and block.not_run)
    ]
    assert len(marked) == NOT_RUN, marked


def test_every_language_is_known() -> None:
    unknown = [b.place for page in RUN for b in BLOCKS[page] if b.language not in RUNNABLE + SHOWN]
    assert unknown == []


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_of_docstrings(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert failed == 0
    assert tried > 0


@pytest.mark.parametrize("place", DOCSTRINGS)
def test_code_of_docstrings(place: str, names: dict[str, Any]) -> None:
    for block in read_text(DOCSTRINGS[place], place):
        run_python(block, names)


def test_no_docstring_has_examples_that_nobody_runs() -> None:
    found = set()
    for room in ("unisim_metrics", "benchmark", "integrations", "training"):
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            assert "    Example:\n" not in text, f"{path}: mkdocstrings takes `Examples:` for a section"
            if "    >>> " in text and "evaluate_modules" not in path.parts:
                name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
                found.add(name if room == "unisim_metrics" else f"unisim_metrics.{name}")
    assert found == set(EXAMPLES)


def test_errors_name_page_and_line() -> None:
    (code, commands) = read_text(
        "# Page\n\n```python\n1 / 0\n```\n\n```bash\n\nunisim scor x\n```\n", "page.md"
    )
    with pytest.raises(ZeroDivisionError) as raised:
        run_python(code, {})
    last = raised.traceback[-1]
    assert (str(last.path).rsplit("/", 1)[-1], last.lineno + 1) == ("page.md", 4)
    with pytest.raises(docs_shell.CommandFailed, match=r"^page\.md:9: `unisim scor x`"):
        run_commands(commands)


def test_a_mark_stands_before_a_block() -> None:
    with pytest.raises(ValueError, match=r"page\.md:3"):
        read_text("<!-- not run: a reason -->\n\nText.\n", "page.md")
