"""The code of a model's card, run as it stands."""

from __future__ import annotations

from typing import Any

from docs_pages import read_text


def run_code(card: str, **names: Any) -> int:
    """Run the Python of a card in one set of names; how many blocks there were."""
    blocks = [block for block in read_text(card, "README.md") if block.language == "python"]
    for block in blocks:
        exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), names)
    return len(blocks)
