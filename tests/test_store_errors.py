"""What a store of files refuses with, as a message of `unisim` and as the reason of a row."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import aiohttp
import click
import pytest
from click.testing import CliRunner
from command_line import unisim

from unisim_metrics.cli.app import Program
from unisim_metrics.collections import UniSimScorer
from unisim_metrics.errors import errors_of_stores


class Refusing(BaseHTTPRequestHandler):
    """A server that has nothing to give."""

    def do_GET(self) -> None:
        self.send_error(int(self.path.strip("/").partition("/")[0]))

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Tell nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_a_server_does_not_give_is_named_with_the_reason(
    server: str, status: int, tmp_path: Path
) -> None:
    url = f"{server}/{status}/photos.tar"
    done = unisim("score", url, "--engine", "local", "--output", tmp_path / "out")
    assert done.status == 1
    assert done.err.replace("\n", " ").strip().endswith(f"Error: {url}: No such file or directory.")


def test_an_error_of_the_library_of_a_store_is_a_message() -> None:
    @click.command()
    def refuse() -> None:
        raise aiohttp.ClientPayloadError("No key to the bucket.")

    done = CliRunner().invoke(Program(name="unisim", commands={"refuse": refuse}), ["refuse"])
    assert (done.exit_code, done.stderr) == (1, "Error: No key to the bucket.\n")


def test_a_row_has_the_answer_of_the_server_as_its_reason(server: str, tiny_clip_dir: Path) -> None:
    scorer = UniSimScorer(tiny_clip_dir, task="quality", image_column="url")
    answer = scorer({"url": [f"{server}/404/a.png", f"{server}/503/b.png"]})
    assert all(f"{server}/" in reason for reason in answer["unisim_error"])


def test_libraries_that_are_not_loaded_raise_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert aiohttp.ClientError in errors_of_stores()
    for name in ("aiohttp", "botocore.exceptions", "google.auth.exceptions", "azure.core.exceptions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert errors_of_stores() == ()


def test_a_user_without_keys_of_s3_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    done = unisim("score", "s3://bucket/photos.tar", "--engine", "local", "--output", tmp_path / "out")
    assert done.status == 1 and "Unable to locate credentials" in done.err
