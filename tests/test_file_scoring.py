"""Files through `unisim score` and `unisim rank`: the figures of the functions, in memory that does not grow."""

from __future__ import annotations

import csv
import json
import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from collection_files import encoded, texts, write_folder
from command_line import unisim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unisim_metrics import load_model
from unisim_metrics.cli import files
from unisim_metrics.cli.files import FileModel
from unisim_metrics.functional import antonym_difference, cosine_similarity, unisim_rank, unisim_score
from unisim_metrics.functional import rank as ranks_of
from unisim_metrics.images import load_image
from unisim_metrics.models import EncoderModel
from unisim_metrics.prompts import resolve_prompts

# As many as pass at a time on a CPU.
BATCH = 32
BROKEN = (3, 40, 41, 69)


def write_files(folder: Path, count: int, broken: Sequence[int] = ()) -> list[Path]:
    """Write images, some of which cannot be read, and name them."""
    write_folder(folder, encoded(count, broken=[place for place in broken if place < count]))
    return [folder / f"{number}.png" for number in range(count)]


def result_of(*arguments: object, status: int = 0) -> dict[str, Any]:
    """What a command prints as JSON."""
    run = unisim(*arguments, "--json")
    assert run.status == status, run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


def embedded(model: EncoderModel, items: Sequence[Path], broken: Sequence[int] = ()) -> dict[Path, Tensor]:
    """Embeddings of whole images, each once, in the batches in which the command has always put them."""
    found: dict[Path, Tensor] = {}
    unique = list(dict.fromkeys(items))
    for start in range(0, len(unique), BATCH):
        readable = [path for path in unique[start : start + BATCH] if int(path.stem) not in broken]
        if readable:
            rows = model.embed_images([load_image(path) for path in readable])
            found.update(zip(readable, rows, strict=True))
    return found


@pytest.mark.parametrize("broken", [(), BROKEN])
@pytest.mark.parametrize("count", [0, 1, 2, 70])
def test_scores_of_any_number_are_those_of_the_functions(
    tmp_path: Path, tiny_clip_dir: Path, count: int, broken: tuple[int, ...]
) -> None:
    paths = write_files(tmp_path / "photos", count, broken)
    command = ("score", tmp_path / "photos", "-m", tiny_clip_dir)
    if not count:
        run = unisim(*command)
        assert (run.status, run.out) == (2, "") and "holds no image file" in run.err
        return
    readable = [path for path in paths if int(path.stem) not in broken]
    torn = len(readable) < count
    model = load_model(tiny_clip_dir)
    assert isinstance(model, EncoderModel)
    embeddings = embedded(model, paths, broken)
    known = torch.stack([embeddings[path] for path in readable])
    for options, target, task in (
        ((), None, "quality"),
        (("--text", "a red cat"), "a red cat", "image-text"),
        (("--task", "contrast"), None, "contrast"),
    ):
        result = result_of(*command, *options, status=int(torn))
        assert [row["image"] for row in result["results"]] == list(map(str, paths))
        found = [row["score"] for row in result["results"] if row["score"] is not None]
        # To the bit what one call over all embeddings gives; the functions batch otherwise where files are torn.
        prompt = [target] if target else [resolve_prompts(task, None).texts("naive")[0]]  # type: ignore[arg-type, union-attr]
        assert found == cosine_similarity(known, model.embed_texts(prompt)[0]).tolist()
        whole = unisim_score(readable, target, model, task=task, reduction="none")  # type: ignore[arg-type]
        assert found == whole.tolist() or (torn and found == pytest.approx(whole.tolist(), abs=1e-6))
        assert result["mean"] == sum(found) / len(found)
        assert [Path(entry["file"]) for entry in result["unreadable"]] == [
            path for path in paths if path not in readable
        ]


@pytest.mark.parametrize("broken", [(), BROKEN])
@pytest.mark.parametrize("count", [1, 2, 33, 70])
def test_ranks_of_any_number_are_those_of_the_functions(
    tmp_path: Path, tiny_clip_dir: Path, count: int, broken: tuple[int, ...]
) -> None:
    paths = write_files(tmp_path / "photos", count, broken)
    reference = write_files(tmp_path / "reference", 1)[0]
    readable = [path for path in paths if int(path.stem) not in broken]
    status = int(len(readable) < count)
    model = load_model(tiny_clip_dir)
    assert isinstance(model, EncoderModel)
    for options, target in (
        (("--text", "a red cat"), ["a red cat"]),
        (("--method", "clip-iqa"), None),
        (("--reference", reference), [reference]),
    ):
        result = result_of("rank", tmp_path / "photos", "-m", tiny_clip_dir, *options, status=status)
        embeddings = embedded(
            model, [paths[0], reference, *paths[1:]] if target == [reference] else paths, broken
        )
        known = torch.stack([embeddings[path] for path in readable])
        if target == [reference]:
            scores = cosine_similarity(known, embeddings[reference])
        elif target is not None:
            scores = cosine_similarity(known, model.embed_texts(target)[0])
        else:
            attribute = resolve_prompts("quality", None)
            assert attribute is not None
            scores = antonym_difference(known, *model.embed_texts(list(attribute.texts("clip-iqa"))))
        by_name = dict(zip(map(str, readable), scores.tolist(), strict=True))
        assert {row["candidate"]: row["score"] for row in result["results"]} == by_name
        ranks = dict(zip(map(str, readable), ranks_of(scores[None])[0].tolist(), strict=True))
        assert {row["candidate"]: row["rank"] for row in result["results"]} == ranks
        found = [row["score"] for row in result["results"]]
        assert found == sorted(found, reverse=True)
        if len(readable) > 1:
            method = "clip-iqa" if target is None else "naive"
            whole = unisim_rank([readable], target, model, method=method)[0]  # type: ignore[arg-type]
            assert list(by_name.values()) == pytest.approx(whole.tolist(), abs=1e-6)


def test_pairs_that_share_images_and_texts(tmp_path: Path, tiny_clip_dir: Path) -> None:
    paths = write_files(tmp_path, 70, BROKEN)
    words = texts(90)
    model = load_model(tiny_clip_dir)
    assert isinstance(model, EncoderModel)
    pairs = [(paths[place * 9 % 70], paths[(place * 11 + 3) % 70]) for place in range(90)]
    for column, targets in (("reference", [pair[1] for pair in pairs]), ("text", words)):
        with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as table:
            rows = [
                (path.name, getattr(target, "name", target))
                for (path, _), target in zip(pairs, targets, strict=True)
            ]
            csv.writer(table).writerows([("image", column), *rows])
        result = result_of("score", tmp_path / "pairs.csv", "-m", tiny_clip_dir, status=1)
        images = [item for pair in zip((path for path, _ in pairs), targets, strict=True) for item in pair]
        known = embedded(model, [item for item in images if isinstance(item, Path)], BROKEN)
        expected: list[float | None] = []
        for (path, _), target in zip(pairs, targets, strict=True):
            if path not in known or (isinstance(target, Path) and target not in known):
                expected.append(None)
                continue
            other = known[target] if isinstance(target, Path) else model.embed_texts([target])[0]
            expected.append(cosine_similarity(known[path], other).item())
        found = [row["score"] for row in result["results"]]
        assert [score is None for score in found] == [score is None for score in expected]
        assert [score for score in found if score is not None] == pytest.approx(
            [score for score in expected if score is not None], abs=1e-6
        )


def test_odd_files_cost_their_own_rows(tmp_path: Path, tiny_clip_dir: Path) -> None:
    paths = write_files(tmp_path / "photos", 2)
    red = tmp_path / "photos" / "\x1b[31mred.png"
    red.write_bytes(paths[0].read_bytes())
    (tmp_path / "photos" / "5.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64))
    (tmp_path / "photos" / "\x1b[2Jtorn.png").write_bytes(red.read_bytes()[:60])
    for command in ("score", "rank"):
        run = unisim(command, tmp_path / "photos", "-m", tiny_clip_dir)
        assert run.status == 1
        assert "\x1b" not in run.out + run.err
        assert "5.heic" in run.err and r"\x1b[2Jtorn.png" in run.err
        assert r"\x1b[31mred.png" in run.out


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=4), max_size=12),
    batch_size=st.integers(1, 5),
)
def test_every_group_comes_once_in_order_with_all_its_items(
    tiny_model: EncoderModel,
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[list[int]],
    batch_size: int,
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    pool: list[Path | str] = [
        *write_files(folder, 6, broken=(2,)),
        *(f"text {number}" for number in range(6)),
    ]
    asked = [[pool[place] for place in group] for group in groups]
    model = FileModel(tiny_model, batch_size)
    counted: list[int] = []
    done = 0
    for ready in model.stream(asked, counted.append):
        assert ready.start == done < ready.stop
        done = ready.stop
        for group in asked[ready.start : ready.stop]:
            readable = [item for item in group if isinstance(item, Path) and model.is_readable(item)]
            if readable:
                assert torch.allclose(
                    model.embed_images(readable), tiny_model.embed_images(readable), atol=1e-6
                )
        needed = {item for group in asked[ready.start :] for item in group}
        assert all(
            item in needed for group in asked[: ready.start] for item in group if _is_known(model, item)
        )
    assert done == len(asked)
    unique = {item for group in asked for item in group if isinstance(item, Path)}
    assert sum(counted) == len(unique) and max(counted, default=0) <= batch_size
    assert not any(_is_known(model, item) for item in pool)


def _is_known(model: FileModel, item: Path | str) -> bool:
    if isinstance(item, str):
        return False  # asked for, a text would be embedded
    try:
        model.embed_images([item])
    except KeyError:
        return False
    return True


def test_memory_holds_a_few_batches_of_prepared_images(
    tmp_path: Path, tiny_model: EncoderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_files(tmp_path, 60)
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most: list[int] = []
    read = files.read_image

    def watched(*arguments: Any) -> Any:
        image = read(*arguments)
        assert tuple(image.shape) == (3, 32, 32)
        alive.add(image)
        most.append(len(alive))
        return image

    monkeypatch.setattr(files, "read_image", watched)
    model = FileModel(tiny_model, batch_size=4)
    for ready in model.stream([[path] for path in paths]):
        assert ready.stop - ready.start == 4
        kept = sum(_is_known(model, path) for path in paths)
        assert kept <= 4
    # Three batches are in the making, and a fourth passes through the model.
    assert len(most) == 60 and max(most) <= 16


def test_files_are_read_while_the_model_works(
    tmp_path: Path, tiny_model: EncoderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_files(tmp_path, 6)
    of_the_next = threading.Event()
    read: Callable[..., Any] = files.read_image
    embed = tiny_model.embed_images
    waited: list[bool] = []

    def watched(path: Path, *others: Any) -> Any:
        if path == paths[2]:
            of_the_next.set()
        return read(path, *others)

    def slow(images: Any) -> Tensor:
        waited.append(of_the_next.wait(timeout=60))
        return embed(images)

    monkeypatch.setattr(files, "read_image", watched)
    monkeypatch.setattr(tiny_model, "embed_images", slow)
    runs = list(FileModel(tiny_model, batch_size=2).stream([[path] for path in paths]))
    assert waited == [True] * 3
    assert runs == [range(start, stop) for start, stop in pairwise((0, 2, 4, 6))]


def test_the_batch_suits_the_device(tiny_clip_dir: Path) -> None:
    on_cpu = load_model(tiny_clip_dir)
    assert FileModel(on_cpu).batch_size == 32
    assert FileModel(on_cpu, 5).batch_size == 5
    elsewhere = load_model(tiny_clip_dir).to("meta")
    assert FileModel(elsewhere).batch_size == 256
    assert FileModel(elsewhere, 5).batch_size == 5
