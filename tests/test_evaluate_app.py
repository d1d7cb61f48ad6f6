"""The Gradio app of the `evaluate` module: over its API, and as a person sees it in a browser.

`UNISIM_SCREENSHOT=FILE.png pytest tests/test_evaluate_app.py` writes the picture of the documentation.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import NO_BROWSER, find_browser, open_page
from PIL import Image

from unisim_metrics import UniSimScore, evaluate_path
from unisim_metrics.cli.demo import read_photos

gradio = pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
PROMPTS = ["a close-up of a cat", "a rocket on its launch pad at night"]
PROMPT_MODE, REFERENCE_MODE, QUALITY_MODE = "Prompts", "A reference image", "Quality and attributes"
STARTING = 300


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the running app."""
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "HF_HOME": str(folder),
        "HF_EVALUATE_OFFLINE": "1",
    }
    log = folder / "log"
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "unisim_metrics", "app", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + STARTING
        while "Running on local URL" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    photos = read_photos()
    for name in NAMES:
        photos[name].save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in NAMES]


@pytest.fixture(scope="module")
def judge(app: str) -> Any:
    """Asks the app as its own client does: pictures, mode, prompts, reference."""
    client = gradio_client.Client(app, verbose=False)

    def ask(pictures: list[Path], mode: str, prompts: str = "", reference: Path | None = None) -> Any:
        gallery = [{"image": gradio_client.handle_file(path), "caption": None} for path in pictures]
        file = None if reference is None else gradio_client.handle_file(reference)
        return client.predict(gallery, mode, prompts, file, api_name="/judge")

    return ask


def expected(pictures: list[Path], task: Any = None, target: Any = None) -> list[float]:
    return UniSimScore(task=task, reduction="none")(pictures, target).numpy().round(4).tolist()


def test_pictures_are_ranked_for_prompts(judge, pictures):
    ranked, table, signature = judge(pictures, PROMPT_MODE, "\n".join(["", *PROMPTS, PROMPTS[0]]))
    assert table["headers"] == ["mean rank", "picture", *PROMPTS]
    columns = [expected(pictures, target=[prompt] * len(pictures)) for prompt in PROMPTS]
    places = np.mean([[sum(other >= score for other in column) for score in column] for column in columns], 0)
    rows = {row[1]: row for row in table["data"]}
    for index, picture in enumerate(pictures):
        assert rows[picture.name][0] == places[index]
        assert rows[picture.name][2:] == pytest.approx([column[index] for column in columns], abs=2e-4)
    assert [row[0] for row in table["data"]] == sorted(places)
    captions = [item["caption"] for item in ranked]
    assert captions == [f"{place}. {row[1]}" for place, row in enumerate(table["data"], start=1)]
    assert "|task:image-text|" in signature


def test_pictures_are_ranked_against_a_reference(judge, pictures, tmp_path):
    damaged = tmp_path / "damaged.png"
    with Image.open(pictures[1]) as photo:
        photo.resize((20, 15)).resize(photo.size).save(damaged)
    _, table, signature = judge([damaged, *pictures[1:2]], REFERENCE_MODE, reference=pictures[1])
    assert table["headers"] == ["rank", "picture", "similarity"]
    assert [row[1] for row in table["data"]] == ["chelsea.png", "damaged.png"]
    assert table["data"][0][2] == pytest.approx(1, abs=1e-3)
    assert "|task:image-image|" in signature


def test_one_picture_is_judged_by_its_attributes(judge, pictures):
    _, table, signature = judge(pictures[:1], QUALITY_MODE)
    assert table["headers"][2:] == ["quality", "brightness", "colorfulness", "contrast", "sharpness"]
    (row,) = table["data"]
    assert row[2:3] == pytest.approx(expected(pictures[:1], "quality"), abs=2e-4)
    assert row[6:7] == pytest.approx(expected(pictures[:1], "sharpness"), abs=2e-4)
    assert "|task:quality/naive|" in signature


@pytest.mark.parametrize(
    ("count", "mode", "message"),
    [
        (0, PROMPT_MODE, "Upload at least one picture"),
        (1, PROMPT_MODE, "Write at least one prompt"),
        (1, REFERENCE_MODE, "Upload a reference image"),
    ],
)
def test_what_is_missing_is_told(judge, pictures, count, mode, message):
    with pytest.raises(gradio_client.exceptions.AppError, match=message):
        judge(pictures[:count], mode, " \n")


@pytest.mark.skipif(find_browser() is None, reason=NO_BROWSER)
def test_a_person_uploads_writes_and_sees(app, pictures, tmp_path):
    browser = find_browser()
    assert browser is not None
    with open_page(browser, tmp_path / "profile") as page:
        page.open(app, 1280, 780)
        page.wait_for("document.querySelector('#rank') !== null")
        assert page.evaluate("document.title") == "UniSim"
        page.click("#rank")
        page.wait_for("document.body.innerText.includes('Upload at least one picture.')")
        page.choose_files("input[type=file]", pictures)
        page.wait_for(f"document.querySelectorAll('#pictures img').length == {len(pictures)}")
        page.type("#prompts textarea", PROMPTS[1])
        page.click("#rank")
        page.wait_for("document.querySelector('#signature textarea').value.includes('|task:image-text|')")
        page.wait_for(f"document.querySelectorAll('#ranked img').length == {len(pictures)}")
        shown = page.evaluate("document.querySelector('#scores').innerText")
        assert PROMPTS[1] in " ".join(shown.split())
        numbers = np.array([float(number) for number in re.findall(r"-?\d+\.\d+", shown)])
        for score in expected(pictures, target=[PROMPTS[1]] * len(pictures)):
            assert abs(numbers - score).min() <= 2e-4
        page.wait_for("!document.body.innerText.includes('Upload at least one picture.')")
        page.screenshot(tmp_path / "app.png")

        page.click(f"input[type=radio][value={QUALITY_MODE!r}]")
        page.click("#rank")
        page.wait_for("document.querySelector('#signature textarea').value.includes('|task:quality/naive|')")
        page.wait_for("document.querySelector('#scores').innerText.includes('colorfulness')")
        assert page.evaluate(
            "document.querySelector('#prompts') === null || !document.querySelector('#prompts').offsetParent"
        )
    with Image.open(tmp_path / "app.png") as picture:
        assert picture.size == (1280, 780)
        assert len(picture.convert("RGB").getcolors(2**24)) > 5000
    if "UNISIM_SCREENSHOT" in os.environ:
        shutil.copyfile(tmp_path / "app.png", os.environ["UNISIM_SCREENSHOT"])


HOSTILE = "<img src=x onerror=hacked=1><b>red</b> </script><script>hacked=1</script> [x](javascript:hacked=1)"


def test_errors_are_text(tmp_path):
    """Gradio shows the message of an error as HTML."""
    path = tmp_path / "<img src=x onerror=hacked=1>.png"
    path.write_bytes(b"no image")
    judge = runpy.run_path(str(Path(evaluate_path()) / "app.py"), run_name="app")["judge"]
    with pytest.raises(gradio.Error, match="&lt;img src=x") as caught:
        judge([(str(path), None)], QUALITY_MODE, "", None)
    assert "<img" not in caught.value.message


@pytest.mark.skipif(find_browser() is None, reason="there is no Chromium on this machine")
def test_prompts_are_text(app, pictures, tmp_path):
    browser = find_browser()
    assert browser is not None
    with open_page(browser, tmp_path / "profile") as page:
        page.open(app, 1280, 780)
        page.wait_for("document.querySelector('#rank') !== null")
        page.evaluate("window.hacked = 0")
        page.choose_files("input[type=file]", pictures[:2])
        page.wait_for("document.querySelectorAll('#pictures img').length == 2")
        page.type("#prompts textarea", HOSTILE)
        page.click("#rank")
        page.wait_for("document.querySelector('#signature textarea').value.includes('|task:image-text|')")
        page.wait_for("document.querySelector('#scores').innerText.includes('onerror')")
        assert page.evaluate("window.hacked") == 0
        assert (
            page.evaluate(
                "document.querySelectorAll('img[src=x], #scores b, #scores a, #scores script').length"
            )
            == 0
        )
