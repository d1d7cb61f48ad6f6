"""Running `unisim` in this process and in one of its own, and reading the tables of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from unisim_metrics.cli import app

DOCS = Path(__file__).parent.parent / "docs"


class Run(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def unisim(*arguments: object) -> Run:
    """Run `unisim` here."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Run(done.exit_code, done.stdout, done.stderr)


def unisim_process(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `unisim` in a process of its own, with more in its environment; what it prints stays bytes."""
    command = [sys.executable, "-m", "unisim_metrics", *arguments]
    return subprocess.run(
        command, capture_output=True, check=False, timeout=300, env={**os.environ, **environment}
    )


def write_image(path: Path, seed: int = 0) -> Path:
    """Write a small random image, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def documented_rows(page: str, heading: str) -> list[str]:
    """Return the first column of the table below a heading of a page, as it stands."""
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, flags=re.MULTILINE)
    return [row for row in rows[1:] if set(row) != {"-"}]
