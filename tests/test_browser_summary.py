"""A machine without Chromium: the test run says in its last lines what it left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("options", [[], ["--numprocesses", "1"]], ids=["here", "in a worker"])
def test_the_summary_counts_the_tests_that_had_no_browser(options: list[str], tmp_path: Path) -> None:
    # A search path of which nothing is a browser.
    environment = {name: value for name, value in os.environ.items() if name != "BROWSER_FOR_TESTS"}
    environment["PATH"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "tests/test_report_page.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    tests = (ROOT / "tests" / "test_report_page.py").read_text(encoding="utf-8").count("\ndef test_")
    last = [line for line in done.stdout.splitlines() if "browser tests did not run" in line]
    assert len(last) == 1, done.stdout + done.stderr
    assert int(last[0].split()[0]) >= tests
    assert "apt-get install chromium" in last[0]
