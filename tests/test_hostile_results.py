"""Result files and names by others: refused with file and field, or kept inside the folder of results."""

from __future__ import annotations

import json
import os
import sys
import zlib
from base64 import b85encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import OneByOne, count_letters, photos
from report_results import make_result, write_model
from tried import row

from unisim_metrics import load_model
from unisim_metrics.benchmark import PooledDataset, load_dataset, run
from unisim_metrics.benchmark.datasets import registry
from unisim_metrics.benchmark.results.comparison import find_models
from unisim_metrics.benchmark.results.files import (
    folder_name,
    read_meta,
    read_sets,
    result_folder,
    write_result,
)
from unisim_metrics.benchmark.running.planning import choose_datasets
from unisim_metrics.images import Preprocessing


def packed(kind: str, content: bytes) -> str:
    return f"{kind}:{b85encode(zlib.compress(content, 9)).decode()}"


RESULT_CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "NaN": lambda content: content["outcomes"][0].update(figure=float("nan")),
    "infinity": lambda content: content["run"].update(seconds=float("inf")),
    "out of range": lambda content: content["outcomes"][0].update(low=-1),
    "huge number": lambda content: content.update(n=10**400),
    "negative count": lambda content: content.update(lost=-1),
    "wrong type": lambda content: content.update(outcomes={"a": 1}),
    "text for number": lambda content: content.update(n="many"),
    "unknown task": lambda content: content.update(task="rm -rf"),
    "unknown provenance": lambda content: content.update(provenance="real"),
    "escape sequence": lambda content: content.update(split="\x1b]0;title\x07"),
    "two lines": lambda content: content["outcomes"][0].update(signature="a\nb"),
    "very long": lambda content: content["outcomes"][0].update(signature="a" * 100_000),
    "half a pair": lambda content: content["environment"].update(device="\ud800"),
    "no hash": lambda content: content.update(samples_hash="<b>"),
    "object array": lambda content: content["outcomes"][0].update(choices=packed("object", b"a")),
    "wrong array": lambda content: content["outcomes"][0].update(choices=packed("float64", b"\x00" * 80)),
    "bomb": lambda content: content["outcomes"][0].update(choices=packed("uint8", b"\x00" * (80 << 20))),
    "half an array": lambda content: content["outcomes"][0].update(
        choices=packed("uint8", b"\x00" * 10)[:-6]
    ),
    "another set's name": lambda content: content.update(dataset="hpdv2"),
    "a way out": lambda content: content.update(dataset="../nights"),
}


@row(
    "A result file with NaN, numbers out of range or beyond measure, wrong types, unknown tasks, control characters,"
    " long texts, arrays that unpack to gigabytes, or the name of another set",
    "is refused; the message names file and field",
)
@pytest.mark.parametrize("change", RESULT_CHANGES)
def test_hostile_results(tmp_path: Path, change: str) -> None:
    path = write_result(tmp_path, make_result("nights", 0.5, n=10, generator=np.random.default_rng(0)))
    content = json.loads(path.read_text(encoding="utf-8"))
    assert read_sets(tmp_path)["nights"].n == 10
    RESULT_CHANGES[change](content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"nights\.json is no SetResult: (whole file|[\w.]+): "):
        read_sets(tmp_path)


@row("A file of a model with control characters or no hash in it", "is refused likewise")
@pytest.mark.parametrize(
    "change", [{"name": "a\x1b[31m"}, {"name": "a\nb"}, {"weights_hash": "../../x"}, {"parameters": 10**400}]
)
def test_hostile_metas(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write_model(tmp_path, "mine", {})
    path = folder / "model_meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model_meta\.json is no ModelMeta"):
        read_meta(folder)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_json_in_place_of_a_part_is_read_or_told(tmp_path: Path, data: st.DataObject) -> None:
    result = make_result("nights", 0.5, n=4, generator=np.random.default_rng(0))
    path = write_result(tmp_path, result)
    content = json.loads(path.read_text(encoding="utf-8"))
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(anything)
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        read_sets(tmp_path)
    except ValueError as error:
        assert str(path) in str(error)


@row(
    "A model or a folder of results called `../../x`, `/etc`, `..`, `con:`, nothing, or 5,000 letters",
    "gets a folder below that of the results",
)
@given(
    st.one_of(
        st.text(),
        st.sampled_from(["../../x", "/etc/passwd", "..", ".", "", "con:", "a" * 5000, "a\x00b", "\ud800"]),
    )
)
def test_model_folders(name: str) -> None:
    folder = folder_name(name)
    assert len(folder.encode("utf-8", "strict")) <= 600
    assert folder not in ("", ".", "..") and not set(folder) & set('/\\\x00<>:"|?*')
    assert result_folder(Path("results"), name, "ab" * 32).parts == ("results", folder, "ab" * 6)


@pytest.mark.parametrize(
    "name", ["org/model", "unisim-vit-b-32", "open_clip:ViT-B-32/openai", "日本語", "a b"]
)
def test_plain_names_keep_their_folders(name: str) -> None:
    assert folder_name(name).startswith(name.replace("/", "__").replace(":", "_"))


def test_names_that_become_alike_stay_apart(tmp_path: Path) -> None:
    assert len({folder_name(name) for name in ("a:b", "a*b", "a?b", "a_b", ".a_b")}) == 5
    write_model(tmp_path, "a:b", {"nights": 0.5})
    assert list(find_models(["a:b"], tmp_path)) == ["a:b"]


class Elsewhere(PooledDataset):
    """A set whose id leads out of the folder of results."""

    id = "../../elsewhere"
    task = "quality"
    size = 1
    files: ClassVar = {"test": ()}
    images: ClassVar = {"test": ()}
    citation = url = ""

    def pool(self, split: Any) -> Any:
        return [(None, (self.root / "0.png", self.root / "1.png"))]


@row(
    "A set of one's own whose id is `../x`, holds a slash or a control character",
    "is refused before anything is run",
)
def test_ids_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._DATASETS, Elsewhere.id, Elsewhere)
    for name in (Elsewhere.id, own_file(tmp_path, "..a"), own_file(tmp_path, "a\nb")):
        with pytest.raises(ValueError, match="whose id can be a file's name"):
            choose_datasets(name, tmp_path)


def own_file(folder: Path, stem: str) -> Path:
    line = {
        "task": "quality",
        "reference": None,
        "alternatives": [{"image": "0.png"}, {"image": "1.png"}],
        "label": 0,
    }
    path = folder / f"{stem}.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    return path


@row("Samples of one's own that name `/etc/passwd` or `../x`", "are refused; the message names the line")
@pytest.mark.parametrize("image", ["/etc/passwd", "../x.png", "a/../../x.png"])
def test_samples_that_leave_the_root(tmp_path: Path, image: str) -> None:
    path = own_file(tmp_path, "mine")
    path.write_text(path.read_text().replace("0.png", image), encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        load_dataset(path, tmp_path / "root")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_name_that_is_no_text_loses_no_figures(tmp_path: Path) -> None:
    """An unreadable image with such a name is listed, and the other samples' figure is written."""
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for path, photo in zip(pictures, photos(3), strict=True):
        photo.save(path)
    broken = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    broken.write_bytes(b"no image")

    class Named(Elsewhere):
        id = "named"
        size = 2

        def pool(self, split: Any) -> Any:
            return [(None, (pictures[0], pictures[1])), (None, (pictures[2], broken))]

    model = load_model(OneByOne(), tokenizer=count_letters, preprocessing=Preprocessing(size=8))
    registry._DATASETS["named"] = Named
    try:
        with pytest.warns(UserWarning, match="1 images could not be read"):
            run(model, "named", tmp_path, results=tmp_path / "results", cache=False, max_lost=0.6)
    finally:
        del registry._DATASETS["named"]
    (path,) = (tmp_path / "results").glob("*/*/named.json")
    assert json.loads(path.read_text(encoding="utf-8"))["unreadable"] == [r"\udcff.png"]
