"""What can be run in a page of the documentation: its blocks of code, its commands, and what they print.

A comment before a block says how the block is taken, and shows in no rendering:

- ``<!-- not run: REASON -->``: the block is checked (syntax, names of options and modules) but not run;
- ``<!-- not run (BEGINNING): REASON -->``: the same for the commands of a block that begin so;
- ``<!-- file: NAME -->``: the block is written to a file of that name, for the commands that follow.

A block of ``text`` right after code or commands is what they print (of commands: the last one). The cells of a
table's column "call" or "a line of code" are code, too. A line ``--8<-- "FILE"`` is the text of a file of docs/.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
RUNNABLE = ("python", "bash")
# Only shown: but for `text` after code, which is compared.
SHOWN = ("text", "json", "toml", "yaml", "bibtex")
CODE_COLUMNS = ("call", "a line of code")

_MARK = re.compile(r"<!-- (?P<kind>not run|file)(?: \((?P<start>[^)]*)\))?: (?P<value>.+?) -->", re.DOTALL)
_FILE = re.compile(r'^--8<-- "(.+)"\n', re.MULTILINE)


@dataclass
class Block:
    """A block of a page.

    Attributes:
        page: The page's path in the repository.
        line: The line of its first line of code.
        language: What stands after the fence.
        code: What stands in it.
        not_run: Why it is not run, by how its commands begin: "" for all of it.
        file: Where it is written to.
        output: The block that shows what it prints.
    """

    page: str
    line: int
    language: str
    code: str
    not_run: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    output: Block | None = None

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"


def list_pages() -> list[str]:
    """The pages: README and its kin, the documentation, and the cards of what comes with the package."""
    folders = ("", "docs", "integrations/evaluate_modules/unisim", "unisim_metrics/assets/unisim-mini")
    return [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).glob("*.md"))
    ]


def list_docstrings() -> dict[str, str]:
    """The docstrings with blocks of Python, by file and what they are of."""
    found = {}
    for folder in ("unisim_metrics", "benchmark", "integrations", "training"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    text = ast.get_docstring(node) or ""
                    if "```python" in text:
                        found[f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}"] = text
    return found


def read_page(page: str) -> list[Block]:
    """The blocks of a page in their order, with what marks them."""
    return read_text((ROOT / page).read_text(encoding="utf-8"), page)


def read_text(text: str, page: str) -> list[Block]:
    """The blocks of a page's text.

    Raises:
        ValueError: If a mark stands before no block.
    """
    blocks: list[Block] = []
    marks: list[re.Match[str]] = []
    last: Block | None = None
    for token in _flat(MarkdownIt().enable("table").parse(text)):
        if token.type == "html_block" and (found := list(_MARK.finditer(token.content))):
            marks += found
            continue
        if token.type == "fence":
            code = _FILE.sub(
                lambda line: (ROOT / "docs" / line[1]).read_text(encoding="utf-8"), token.content
            )
            block = Block(page, _line(token) + 1, token.info.split(" ")[0], code)
            for mark in marks:
                if mark["kind"] == "file":
                    block.file = mark["value"]
                else:
                    block.not_run[mark["start"] or ""] = " ".join(mark["value"].split())
            if block.language == "text" and last is not None:
                last.output, last = block, None
            else:
                blocks.append(block)
                last = block if block.language in RUNNABLE else None
        elif token.type == "code":
            blocks.append(Block(page, _line(token), "python", token.content + "\n"))
        elif not token.type.endswith("_close"):
            last = None
        else:
            continue
        if marks and token.type != "fence":
            raise ValueError(f"{page}:{_line(token)}: a mark must stand right before a block of code")
        marks = []
    return blocks


def write_outputs(blocks: list[Block], printed: dict[str, str]) -> bool:
    """Write into a page what its blocks print, by place; whether it has changed."""
    changed = False
    for block in reversed(blocks):
        output = block.output
        if output is None or block.place not in printed or printed[block.place] == output.code:
            continue
        path = ROOT / block.page
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        start, length = output.line - 1, len(output.code.splitlines())
        lines[start : start + length] = printed[block.place].splitlines(keepends=True)
        path.write_text("".join(lines), encoding="utf-8")
        changed = True
    return changed


def _flat(tokens: list[Token]) -> list[Token]:
    """All tokens with their lines; fences in the tabs of MkDocs, which plain Markdown takes for indented code, too."""
    flat: list[Token] = []
    column, columns = 0, list[str]()
    for token in tokens:
        if token.type == "code_block" and "```" in token.content:
            inner = MarkdownIt().parse(textwrap.dedent(token.content))
            for found in inner:
                if found.map is not None:
                    found.map = [number + _line(token) - 1 for number in found.map]
            flat += inner
        elif token.type == "thead_open":
            columns = []
        elif token.type == "tr_open":
            column = 0
        elif (
            token.type == "inline"
            and token.map is not None
            and flat
            and flat[-1].type in ("th_open", "td_open")
        ):
            if flat[-1].type == "th_open":
                columns.append(token.content)
            elif columns[column] in CODE_COLUMNS:
                flat += [Token("code", "", 0, map=token.map, content=part.content) for part in _code(token)]
            column += 1
        else:
            flat.append(token)
    return flat


def _code(token: Token) -> list[Token]:
    return [part for part in token.children or [] if part.type == "code_inline"]


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 0
