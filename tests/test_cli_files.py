"""Which files a path, a folder and a glob mean to the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import unisim, write_image

from unisim_metrics.cli.image_files import find_images, folder_images
from unisim_metrics.images.files import natural_key


def names(found: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images at three levels, beside what editors, macOS and people leave there."""
    top = tmp_path / "photos"
    for name in (
        *("1.png", "2.JPG", "10.png", "deep/a b.png", "deep/er/-c.png", "tiled[1].png"),
        *(".hidden.png", "._1.png", ".ipynb_checkpoints/1-checkpoint.png", "deep/.cache/x.png"),
        "__MACOSX/1.png",
    ):
        write_image(top / Path(name).with_suffix(".png")).rename(top / name)
    (top / "notes.txt").write_text("no image")
    return top


ALL = ["1.png", "2.JPG", "10.png", "deep/a b.png", "deep/er/-c.png", "tiled[1].png"]


def test_hidden_files_are_no_input(folder: Path) -> None:
    assert names(find_images([str(folder)]), folder) == ALL
    assert names(folder_images(folder), folder) == ["1.png", "2.JPG", "10.png", "tiled[1].png"]


@pytest.mark.parametrize("pattern", ["**/*", "**", "**/*.*", "**/**/*"])
def test_folder_and_glob_agree(folder: Path, pattern: str) -> None:
    assert find_images([f"{folder}/{pattern}"]) == find_images([str(folder)])


def test_globs_match_as_in_a_shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def match(pattern: str) -> list[str]:
        return names(find_images([f"{folder}/{pattern}"]), folder)

    assert match("*.png") == ["1.png", "10.png", "tiled[1].png"]
    assert match("d*/*.png") == ["deep/a b.png"]
    assert match("**/er/*") == ["deep/er/-c.png"]
    assert match(".h*.png") == [".hidden.png"]  # spelled, so meant
    assert match("tiled[1].png") == ["tiled[1].png"]  # there is a file of this name
    monkeypatch.chdir(folder)
    assert find_images(["d*/**/*.png"]) == [Path("deep/a b.png"), Path("deep/er/-c.png")]
    with pytest.raises(ValueError, match="No image matches"):
        find_images(["*.webp"])


def test_linked_folders_are_followed_once_even_in_circles(folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "z.png")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder / "deep")
    for argument in (str(folder), f"{folder}/**/*"):
        assert sorted(names(find_images([argument]), folder)) == sorted([*ALL, "link/z.png"])


@pytest.mark.parametrize("argument", ["{folder}", "{folder}/*.png", "{folder}/**/*.png"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, tiny_clip_dir: Path, argument: str) -> None:
    folder = tmp_path / "photos"
    write_image(folder / "1.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    run = unisim("score", argument.format(folder=folder), "-m", tiny_clip_dir, "--json")
    assert run.status == 1
    assert f"Image file '{folder / 'gone.png'}' could not be read" in run.err
    result = json.loads(run.out)
    assert [row["score"] is None for row in result["results"]] == [False, True]
    assert [Path(entry["file"]).name for entry in result["unreadable"]] == ["gone.png"]


def test_images_that_need_a_plugin_are_named_and_jpeg_2000_is_read(
    tmp_path: Path, tiny_clip_dir: Path
) -> None:
    folder = tmp_path / "photos"
    write_image(folder / "1.jp2")
    (folder / "2.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64))
    run = unisim("score", folder, "-m", tiny_clip_dir, "--json")
    assert run.status == 1 and "2.heic" in run.err
    rows = json.loads(run.out)["results"]
    assert [(Path(row["image"]).name, row["score"] is None) for row in rows] == [
        ("1.jp2", False),
        ("2.heic", True),
    ]


def test_hidden_files_do_not_count_as_images_of_a_generator(tmp_path: Path, tiny_clip_dir: Path) -> None:
    for name in ("a/1.png", "a/._1.png", "b/1.png"):
        write_image(tmp_path / name, seed=len(name))
    (tmp_path / "p.txt").write_text("a cat\n")
    run = unisim(
        *(
            "rank",
            tmp_path / "a",
            tmp_path / "b",
            "--prompts",
            tmp_path / "p.txt",
            "-m",
            tiny_clip_dir,
            "--json",
        )
    )
    assert run.status == 0
    assert json.loads(run.out)["prompts"] == 1


def test_natural_order_takes_any_name() -> None:
    ordered = [Path(name) for name in ("01.png", "1.png", "2.png", "10.png", "x².png", "x٣.png", "x10.png")]
    assert sorted(reversed(ordered), key=natural_key) == sorted(ordered, key=natural_key)
    assert sorted(reversed(ordered), key=natural_key)[:4] == ordered[:4]


def test_names_that_ask_for_care_are_scored(tmp_path: Path, tiny_clip_dir: Path) -> None:
    odd = ["x².png", "a b.png", "-dash.png", "[red]x.png", "\x1b[31mred.png", "line\nbreak.png", "ü😀.png"]
    for name in odd:
        write_image(tmp_path / "photos" / name)
    raw = os.fsdecode(b"\xff.png")
    write_image(tmp_path / "photos" / raw)
    run = unisim("score", tmp_path / "photos", "-m", tiny_clip_dir, "--json")
    assert run.status == 0
    found = {Path(row["image"]).name for row in json.loads(run.out)["results"]}
    assert found == {*odd, raw}


@pytest.mark.parametrize("count", [1, 2, 70])
def test_any_number_of_images(tmp_path: Path, tiny_clip_dir: Path, count: int) -> None:
    for index in range(count):
        write_image(tmp_path / "photos" / f"{index}.png", seed=index)
    for command in ("score", "rank"):
        run = unisim(command, tmp_path / "photos", "-m", tiny_clip_dir, "--json")
        assert run.status == 0
        assert len(json.loads(run.out)["results"]) == count
        table = unisim(command, tmp_path / "photos", "-m", tiny_clip_dir)
        assert table.status == 0
        assert ("… 10 more" in table.out) is (count == 70)


def test_the_prompts_of_generators_may_be_one(tmp_path: Path, tiny_clip_dir: Path) -> None:
    for name in ("a/x.png", "b/x.png"):
        write_image(tmp_path / name, seed=len(name))
    (tmp_path / "p.jsonl").write_text('{"id": "x", "text": "a cat"}\n')
    run = unisim(
        *(
            "rank",
            tmp_path / "a",
            tmp_path / "b",
            "--prompts",
            tmp_path / "p.jsonl",
            "-m",
            tiny_clip_dir,
            "--json",
        )
    )
    rows = json.loads(run.out)["results"]
    assert {row["generator"]: row["beats"] for row in rows} == {
        "a": {"a": None, "b": 0.5},
        "b": {"a": 0.5, "b": None},
    }
    table = unisim(
        "rank", tmp_path / "a", tmp_path / "b", "--prompts", tmp_path / "p.jsonl", "-m", tiny_clip_dir
    )
    assert "a and b cannot be told apart: 50 %" in table.out and "on 1 prompt;" in table.out


@pytest.mark.parametrize("name", ["pairs.json", "pairs.xlsx", "pairs.txt", "pairs.parquet"])
def test_a_table_of_another_kind_is_not_taken_for_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    run = unisim("score", tmp_path / name)
    assert run.status == 2 and "a table of pairs must be a .csv, .jsonl, .tsv file" in run.err


@pytest.mark.parametrize(
    "arguments", [("score", "nowhere.csv"), ("rank", ".", "..", "--prompts", "nowhere.txt")]
)
def test_what_is_not_there_is_told_without_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = unisim(*arguments)
    assert run.status == 1
    assert run.err == f"Error: {arguments[-1]}: No such file or directory.\n"


def test_one_photo_of_which_another_cannot_be_read(tmp_path: Path, tiny_clip_dir: Path) -> None:
    photo = write_image(tmp_path / "1.png")
    for command in ("score", "rank"):
        run = unisim(command, photo, tmp_path / "gone.png", "-t", "a cat", "-m", tiny_clip_dir, "--json")
        assert run.status == 1 and "gone.png" in run.err
        scores = [row["score"] for row in json.loads(run.out)["results"]]
        assert isinstance(scores[0], float) and scores[1:] in ([], [None])
