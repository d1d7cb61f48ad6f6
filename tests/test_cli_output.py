"""What the command line prints and writes: texts of others are shown, no terminal or disk loses a score."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import Run, documented_rows, unisim, unisim_process, write_image
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import file_size_limit
from typer.testing import CliRunner

from unisim_metrics.cli import app
from unisim_metrics.cli.output import Format, Output, Result
from unisim_metrics.cli.terminal import visible
from unisim_metrics.text_files import read_text, split_lines, write_text


@given(st.text())
def test_a_terminal_gets_nothing_to_obey(text: str) -> None:
    shown = visible(text)
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(character) for character in shown}
    assert not {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"} & {
        unicodedata.bidirectional(character) for character in shown
    }
    if "\\" not in text:  # then every backslash is ours
        back = re.sub(r"\\(?:x..|u....|n|r|t)", lambda match: eval(f"'{match[0]}'"), shown)
        assert back == text


@pytest.fixture
def score(tmp_path: Path, tiny_clip_dir: Path) -> Callable[..., Run]:
    """Score one image against a text given as a table, with options."""

    def run(text: str, *options: object) -> Run:
        photo = write_image(tmp_path / "1.png")
        table = tmp_path / "pairs.jsonl"
        table.write_text(json.dumps({"image": photo.name, "text": text}), encoding="utf-8")
        return unisim("score", table, "-m", tiny_clip_dir, *options)

    return run


@dataclass(frozen=True)
class Tried:
    """A text of others and how the terminal shows it."""

    row: str
    text: str
    shown: str


TRIED = [
    Tried(
        "an escape sequence in a prompt, file name or model's name",
        "\x1b[31mred\x1b]0;title\x07",
        r"\x1b[31mred",
    ),
    Tried("an escape sequence in a prompt, file name or model's name", "\x9b31m", r"\x9b31m"),
    Tried("signs that turn the direction of writing, line breaks", "a\u202eb\nc\rd", r"a\u202eb\nc\rd"),
    Tried(
        "markup of the library that prints (`[red]`, `:cat:`)",
        "[red]a[/] :cat: [link=x]",
        "[red]a[/] :cat: [link=x]",
    ),
]
OTHERS = [
    "a formula (`=`, `+`, `-`, `@`) in CSV, for spreadsheets",
    "a bar, a tag, a link or an image of Markdown",
    "mathematics of the plotting library (`$x^$`) with `--save-figure`",
    "HTML, a script or a template's braces in a prompt or file name, with `--report`",
    "a file of scores that names pictures elsewhere, with `unisim compare --report`",
    "a table that names files outside its folder",
    "a recipe's name that leads out of `runs/`",
]


@pytest.mark.parametrize("tried", TRIED, ids=lambda tried: tried.row)
def test_what_a_terminal_shows(score: Callable[..., Run], tried: Tried) -> None:
    run = score(tried.text)
    assert run.status == 0
    assert tried.shown in run.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", run.out)
    assert json.loads(score(tried.text, "--json").out)["results"][0]["text"] == tried.text


def test_errors_show_names_and_obey_none(tmp_path: Path) -> None:
    run = unisim("score", tmp_path / "\x1b[31m[red]:cat:.csv")
    assert run.status == 1 and r"\x1b[31m[red]:cat:.csv: No such file" in run.err and "\x1b" not in run.err


def test_the_page_lists_what_was_tried() -> None:
    tried = [*dict.fromkeys(tried.row for tried in TRIED), *OTHERS]
    assert documented_rows("security.md", "Tables, names and the terminal") == tried


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "a=b"])
def test_formulas_stay_texts_and_are_guarded_when_asked(score: Callable[..., Run], text: str) -> None:
    [row] = csv.DictReader(io.StringIO(score(text, "--csv").out))
    assert row["text"] == text
    [guarded] = csv.DictReader(io.StringIO(score(text, "--csv", "--guard-formulas").out))
    assert guarded["text"] == (text if text == "a=b" else f"'{text}")
    assert guarded["score"] == row["score"]  # a number may begin with a minus
    assert json.loads(score(text, "--json", "--guard-formulas").out)["results"][0]["text"] == text


def test_markdown_is_one_table(score: Callable[..., Run]) -> None:
    *lines, empty, signature = score("a | <b> ![x](http://y) \\|\nc", "--format", "markdown").out.splitlines()
    assert empty == "" and signature.startswith(r"Signature: unisim\|model:")
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines] == [4, 4, 4]
    assert "<b>" not in lines[2] and "](" not in lines[2]


def test_figures_draw_dollars(score: Callable[..., Run], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = score("$x^$ \x1b for $5", "--save-figure", tmp_path / "a.png")
    assert run.status == 0 and (tmp_path / "a.png").stat().st_size > 0


def test_a_table_opens_images_only(tmp_path: Path, tiny_clip_dir: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    table = write_image(tmp_path / "t" / "1.png").parent / "pairs.csv"
    table.write_text(f"image,text\n1.png,a\n../secret.txt,b\n{secret},c\n")
    run = unisim("score", table, "-m", tiny_clip_dir, "--json")
    assert run.status == 1 and "password" not in run.out + run.err
    assert [row["score"] is None for row in json.loads(run.out)["results"]] == [False, True, True]


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "..", "a\\\\b", "c:d"])
def test_a_recipe_does_not_lead_out_of_runs(
    tmp_path: Path, tiny_clip_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'name = "{name}"\nbase = "{tiny_clip_dir}"\n[data]\ndatasets = ["nights"]\n')
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    run = unisim("train", recipe, "--root", tmp_path)
    assert run.status == 2 and "Setting name must be one that a folder can have" in run.err
    assert not list((tmp_path / "in").iterdir())


@pytest.mark.parametrize("form", ["--json", "--csv", "--format=markdown", "--format=table"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_no_encoding_of_stdout_loses_scores(
    tmp_path: Path, tiny_clip_dir: Path, form: str, encoding: str
) -> None:
    photo = write_image(tmp_path / os.fsdecode(b"\xff caf\xc3\xa9.png"))
    arguments = ["score", str(photo), "--text", "“café” 猫", "-m", str(tiny_clip_dir), form]
    run = CliRunner(charset=encoding).invoke(app, arguments)
    assert run.exit_code == 0, run.output
    text = run.stdout_bytes.decode(encoding)
    if form == "--json":
        [row] = json.loads(text)["results"]
        assert (row["text"], row["image"]) == ("“café” 猫", str(photo))
    else:
        assert re.search(r"-?0\.\d{4}", text)


def test_the_c_locale_does_not_lose_scores(tmp_path: Path) -> None:
    photo = write_image(tmp_path / "1.png")
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    table = tmp_path / "pairs.csv"
    table.write_bytes(f"image,text\n{photo.name},“café” 猫\n".encode())
    run = unisim_process("score", str(table), "--output", str(tmp_path / "o.csv"), **settings)
    assert run.returncode == 0, run.stderr
    [row] = csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text(encoding="utf-8")))
    assert row["text"] == "“café” 猫"


def test_an_argument_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    run = unisim("score", write_image(tmp_path / "1.png"), "--text", os.fsdecode(b"caf\xe9"))
    assert run.status == 2 and r"Option --text must hold Unicode" in run.err and r"'caf\udce9'" in run.err


def test_a_name_that_is_no_utf_8_goes_into_files(tmp_path: Path, tiny_clip_dir: Path) -> None:
    photo = write_image(tmp_path / os.fsdecode(b"\xff.png"))
    for suffix in ("csv", "json", "md"):
        run = unisim("score", photo, "-m", tiny_clip_dir, "--output", tmp_path / f"o.{suffix}")
        assert run.status == 0 and r"\udcff.png" in (tmp_path / f"o.{suffix}").read_text(encoding="utf-8")
    [row] = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["results"]
    assert row["image"] == str(photo)
    # And a table may name the file as the result does.
    table = tmp_path / "again.jsonl"
    table.write_text(json.dumps({"image": row["image"]}), encoding="utf-8")
    assert json.loads(unisim("score", table, "-m", tiny_clip_dir, "--json").out)["count"] == 1


def test_a_full_disk_loses_neither_scores_nor_the_file_before(tmp_path: Path, tiny_clip_dir: Path) -> None:
    write_image(tmp_path / "photos" / "1.png")
    output = tmp_path / "o.json"
    output.write_text("before")
    with file_size_limit(64):
        run = unisim("score", tmp_path / "photos", "-m", tiny_clip_dir, "--output", output)
    assert run.status == 1
    assert f"{output}: File too large" in run.err
    assert json.loads(run.out)["count"] == 1
    assert output.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json", "photos"]


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    file, link = tmp_path / "a.txt", tmp_path / "link.txt"
    mask = os.umask(0o027)
    try:
        write_text(file, "one")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.chmod(0o600)
    link.symlink_to(file)
    write_text(link, "“two”\udcff")
    assert link.is_symlink() and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == "“two”\\udcff".encode()
    write_text(Path(os.devnull), "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "link.txt"]


@given(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_texts_are_read_back(tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str) -> None:
    path = tmp_path_factory.getbasetemp() / "text.txt"
    path.write_bytes(text.encode("utf-8-sig" if encoding == "utf-8" else encoding))
    assert read_text(path) == text
    assert split_lines(text) == [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]


def test_every_form_of_a_result() -> None:
    rows = [{"name": "a", "win_rate": 0.5, "beats": {"x y": float("nan"), "z": 1.0}}]
    result = Result(rows, title="t", signature="s", summary={"left_out": 0}, texts_cut=2)
    content = json.loads(result.to_json())
    assert content["results"] == [{"name": "a", "win_rate": 0.5, "beats": {"x y": None, "z": 1.0}}]
    assert (content["texts_cut"], content["left_out"], content["unreadable"]) == (2, 0, [])
    assert result.to_csv() == "name,win_rate,beats_x y,beats_z,signature\na,0.5,,1.0,s\n"
    assert result.to_markdown().splitlines()[2] == "| a | 0.5000 | – | 1.0000 |"
    assert Output(file=Path("x.md")).to_text(result, Format.MARKDOWN) == result.to_markdown()
    assert Result([], title="t").to_csv() == "\n" and Result([], title="t").to_markdown() == ""


def test_a_table_shows_a_dash_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.TABLE).write(Result([{"model": "a", "IQA": None}, {"model": "b", "IQA": 0.5}], title="T"))
    shown = capsys.readouterr().out
    assert "–" in shown and "0.5000" in shown
    assert "None" not in shown
