"""Tables of pairs and prompts: every row as it stands, or a refusal that names it."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import documented_rows, unisim, write_image
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unisim_metrics.cli.pairs import Pair, Prompt, match_generators, read_pairs, read_prompts
from unisim_metrics.cli.tables import read_rows


@dataclass(frozen=True)
class Case:
    """A table that was tried: `texts` is what is read of it, `refused` what the message must hold."""

    row: str
    name: str
    content: bytes
    texts: tuple[str, ...] = ()
    refused: str = ""


CASES = [
    Case("UTF-8, with or without a byte order mark", "a.csv", "image,text\n1.png,café\n".encode(), ("café",)),
    Case(
        "UTF-8, with or without a byte order mark",
        "a.csv",
        "image,text\n1.png,café\n".encode("utf-8-sig"),
        ("café",),
    ),
    Case(
        "UTF-16 or UTF-32 with a byte order mark",
        "a.tsv",
        "image\ttext\n1.png\tcafé\n".encode("utf-16"),
        ("café",),
    ),
    Case(
        "UTF-16 or UTF-32 with a byte order mark",
        "a.jsonl",
        '{"image": "1.png", "text": "café"}\n'.encode("utf-32"),
        ("café",),
    ),
    Case(
        "UTF-16 without a mark",
        "a.csv",
        "image,text\n1.png,cup\n".encode("utf-16-le"),
        refused="line 1 holds a NUL character",
    ),
    Case(
        "cp1252, Latin-1 and other encodings of one byte",
        "a.csv",
        "image,text\n1.png,cup\n1.png,café\n".encode("cp1252"),
        refused="line 3 is not UTF-8 (byte 0xe9). Save the file as UTF-8",
    ),
    Case(
        r"lines that end with `\n`, `\r\n` or `\r`",
        "a.csv",
        b"image,text\r1.png,a\r\n1.png,b\n1.png,c",
        tuple("abc"),
    ),
    Case(
        "other line separators (U+2028, U+0085, form feed)",
        "a.jsonl",
        '{"image": "1.png", "text": "a\u2028b\u0085c\\fd"}\n'.encode(),
        ("a\u2028b\u0085c\fd",),
    ),
    Case(
        "TSV with quotation marks",
        "a.tsv",
        b'image\ttext\n1.png\t"a 5 inch cup\n1.png\tb\n1.png\tc"\n',
        ('"a 5 inch cup', "b", 'c"'),
    ),
    Case(
        "CSV with commas, quotation marks and line breaks in quoted fields",
        "a.csv",
        b'image,text\n1.png,"a, ""b""\nand c"\n1.png,d\n',
        ('a, "b"\nand c', "d"),
    ),
    Case(
        "CSV where a quoted field swallows other rows",
        "a.csv",
        b'image,text\n1.png,"a 5 inch cup\n1.png,b\n1.png,c"\n',
        refused="field in line 2 that swallows line 3",
    ),
    Case(
        "CSV with a quotation mark that is not closed, or closed too early",
        "a.csv",
        b'image,text\n1.png,"a cup\n',
        refused="quotation marks of the row that begins in line 2 do not fit",
    ),
    Case(
        "CSV with a quotation mark that is not closed, or closed too early",
        "a.csv",
        b'image,text\n1.png,"a" cup\n',
        refused="quotation marks of the row that begins in line 2 do not fit",
    ),
    Case(
        "a row with more fields than the header",
        "a.csv",
        b"image,text\n1.png,a cup, blue\n",
        refused="row 1 (line 2) has 3 fields, but the header has 2",
    ),
    Case("a row with empty fields at its end", "a.csv", b"image,text\n1.png,a cup,,\n", ("a cup",)),
    Case(
        "semicolons or tabs between the columns of a CSV",
        "a.csv",
        b"image;text\n1.png;a cup\n",
        refused="Separate columns with commas, not semicolons",
    ),
    Case(
        "a column twice, a key twice",
        "a.csv",
        b"image,text,Text\n1.png,a,b\n",
        refused="the column 'text' is there 2 times",
    ),
    Case(
        "a column twice, a key twice",
        "a.jsonl",
        b'{"image": "1.png", "text": "a", "text": "b"}',
        refused="line 1 is not JSON (a key is there twice)",
    ),
    Case(
        "an empty or blank text",
        "a.csv",
        b"image,text\n1.png,a\n1.png,  \n",
        refused="row 2 (line 3) has no 'text'",
    ),
    Case(
        "a number, list or record in the place of a text",
        "a.jsonl",
        b'{"image": "1.png", "text": 5}',
        refused="line 1 must hold a text as 'text', but got 5",
    ),
    Case(
        "a field of more than 131,072 characters",
        "a.csv",
        b"image,text\n1.png," + b"cup " * 50_000 + b"\n",
        ("cup " * 50_000,),
    ),
    Case(
        "half of a surrogate pair in a text",
        "a.jsonl",
        b'{"image": "1.png", "text": "cup \\ud83d"}',
        refused=r"line 1 holds half of a surrogate pair in 'text', which is no character: 'cup \ud83d'",
    ),
    Case(
        "JSON that is nested too deeply, or a number of too many digits",
        "a.jsonl",
        b"[" * 100_000,
        refused="line 1 is not JSON",
    ),
    Case(
        "JSON that is nested too deeply, or a number of too many digits",
        "a.jsonl",
        b'{"id": ' + b"9" * 5_000 + b"}",
        refused="line 1 is not JSON",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_what_was_tried(case: Case, tmp_path: Path) -> None:
    table = tmp_path / case.name
    table.write_bytes(case.content)
    if not case.refused:
        assert read_pairs(table) == [Pair(tmp_path / "1.png", text) for text in case.texts]
        return
    run = unisim("score", table)
    assert run.status == 2
    assert run.err.startswith(f"Error: {table}: ") and case.refused in run.err
    assert run.err.count("\n") == 1 and not run.out


def test_the_page_lists_what_was_tried() -> None:
    listed = documented_rows("compatibility.md", "Tables, prompts and encodings")
    tried = list(dict.fromkeys(case.row for case in (*CASES, *PROMPT_CASES)))
    assert listed == tried


@dataclass(frozen=True)
class PromptCase:
    """Prompts that were tried with two folders: which stems each prompt gets, or why they are refused."""

    row: str
    name: str
    content: str
    files: tuple[str, ...]
    stems: tuple[str, ...] = ()
    refused: str = ""


PROMPT_CASES = [
    PromptCase(
        "prompts in a text file, one a line; U+2028 inside one",
        "p.txt",
        "a\u2028b\n\n  c  \r\n",
        ("1.png", "2.png"),
        ("1", "2"),
    ),
    PromptCase(
        "prompts with integers as names, 0 among them",
        "p.jsonl",
        '{"id": 1, "text": "a"}\n{"id": 0, "text": "b"}\n',
        ("0.png", "1.png"),
        ("1", "0"),
    ),
    PromptCase(
        "prompts of which some have a name",
        "p.csv",
        "name,text\n1,a\n,b\n",
        ("1.png", "2.png"),
        refused="row 2 (line 3) has no 'name', but others have",
    ),
    PromptCase(
        "prompts of which two have the same name",
        "p.csv",
        "name,text\n1,a\n1.png,b\n",
        ("1.png", "2.png"),
        refused="2 rows have the same 'name', '1'",
    ),
    PromptCase(
        "prompts whose name is no text or integer",
        "p.jsonl",
        '{"id": 1.5, "text": "a"}\n',
        ("1.png",),
        refused="must hold a text or an integer as 'id', but got 1.5",
    ),
    PromptCase(
        "names with a dot",
        "p.csv",
        "name,text\nv1.5,a\nv1.4.PNG,b\n",
        ("v1.4.png", "v1.5.png"),
        ("v1.5", "v1.4"),
    ),
    PromptCase(
        "two images of one stem for a prompt's name",
        "p.csv",
        "name,text\nx,a\n",
        ("x.jpg", "x.png"),
        refused="must hold one image for the prompt named 'x', but it holds x.jpg and x.png",
    ),
]


@pytest.mark.parametrize("case", PROMPT_CASES, ids=lambda case: case.row)
def test_which_prompts_were_tried(case: PromptCase, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        for name in case.files:
            write_image(folder / name)
    prompts = tmp_path / case.name
    prompts.write_bytes(case.content.encode())
    if case.refused:
        run = unisim("rank", *folders, "--prompts", prompts)
        assert run.status == 2 and case.refused in run.err and run.err.count("\n") == 1
        return
    groups = match_generators(folders, read_prompts(prompts))
    assert [[path.stem for path in group] for group in groups] == [[stem] * 2 for stem in case.stems]


def test_prompts_of_a_text_file_are_its_lines(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes("\ufeffa cat\u2028dog\r\n \na \x0b b\rlast".encode())
    assert read_prompts(tmp_path / "p.txt") == [
        Prompt(text) for text in ("a cat\u2028dog", "a \x0b b", "last")
    ]


# Fuzzing: independent readers say what a table holds.

# Whatever is a character: no half of a surrogate pair, and no NUL, which is taken for another encoding.
CHARACTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
NASTY = st.sampled_from(
    ['"', '""', ",", "\t", "\n", "\r", "\r\n", "\u2028", "\x85", "\ufeff", "'", " ", "²", "😀"]
)
CELLS = st.lists(NASTY | st.text(CHARACTERS, max_size=4), max_size=5).map("".join)
ROWS = st.lists(st.tuples(CELLS, CELLS), max_size=6)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def read_or_refuse(table: Path) -> list[dict[str, object]] | None:
    """Return the rows, or None for a refusal of ours that names the file."""
    try:
        return [dict(row.values) for row in read_rows(table)]
    except ValueError as error:
        assert type(error) is ValueError and str(table) in str(error), error
        return None


@settings(max_examples=300, deadline=None)
@given(rows=ROWS, mark=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_json_lines_hold_what_json_reads(folder: Path, rows: list[tuple[str, str]], mark: str) -> None:
    lines = [json.dumps({"image": a, "text": b}, ensure_ascii=False) for a, b in rows]
    table = folder / "a.jsonl"
    table.write_bytes("\n".join(lines).encode(mark))
    assert read_or_refuse(table) == [json.loads(line) for line in lines]


@settings(max_examples=400, deadline=None)
@given(rows=ROWS)
def test_csv_that_was_written_well_is_read_or_refused(folder: Path, rows: list[tuple[str, str]]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([("image", "text"), *rows])
    table = folder / "a.csv"
    table.write_bytes(file.getvalue().encode())
    found = read_or_refuse(table)
    if found is None:
        # Only where a field holds a line that could be a row.
        assert any("\n" in cell or "\r" in cell for row in rows for cell in row)
    else:
        assert found == [{"image": a, "text": b} for a, b in rows]


@settings(max_examples=400, deadline=None)
@given(lines=st.lists(CELLS, max_size=6), end=st.sampled_from(["\n", "\r\n"]))
@example(lines=[',"\n",'], end="\n")
def test_any_csv_is_read_as_the_csv_module_does_or_refused(folder: Path, lines: list[str], end: str) -> None:
    text = end.join(["image,text", *lines])
    table = folder / "a.csv"
    table.write_bytes(text.encode())
    found = read_or_refuse(table)
    if found is None:
        return
    _, *rows = csv.reader(io.StringIO(text, newline=""))
    assert [list(row.values()) for row in found] == [row[:2] for row in rows if row]
    assert not any(any(row[2:]) for row in rows)
    # No row is lost inside another: each line that looks like a row is one, or begins one with empty fields behind it.
    like_rows = [line for line in io.StringIO(text, newline="") if len(next(csv.reader([line]), [])) == 2]
    assert len([row for row in rows if len(row) >= 2]) >= len(like_rows) - 1


@settings(max_examples=400, deadline=None)
@given(lines=st.lists(CELLS, max_size=6))
def test_any_tsv_is_split_at_tabs_or_refused(folder: Path, lines: list[str]) -> None:
    text = "\n".join(["image\ttext", *lines])
    table = folder / "a.tsv"
    table.write_bytes(text.encode())
    found = read_or_refuse(table)
    rows = [
        line.split("\t") for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[1:] if line
    ]
    if found is None:
        assert any(any(row[2:]) for row in rows)
    else:
        assert [list(row.values()) for row in found] == [row[:2] for row in rows]


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=60), suffix=st.sampled_from(["csv", "tsv", "jsonl"]))
def test_any_bytes_are_read_or_refused(folder: Path, content: bytes, suffix: str) -> None:
    table = folder / f"bytes.{suffix}"
    table.write_bytes(content)
    read_or_refuse(table)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(CELLS, min_size=1, max_size=6))
def test_prompts_are_the_lines_of_their_file(folder: Path, lines: list[str]) -> None:
    text = "\n".join(lines)
    path = folder / "p.txt"
    path.write_bytes(text.encode("utf-8-sig"))
    expected = [
        line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()
    ]
    if expected:
        assert [prompt.text for prompt in read_prompts(path)] == expected
    else:
        with pytest.raises(ValueError, match="no prompts in it"):
            read_prompts(path)
