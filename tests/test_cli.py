"""The command `unisim`: what it prints, writes and ends with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.cli import app
from unisim_metrics.cli.files import FileModel
from unisim_metrics.cli.image_files import find_images
from unisim_metrics.cli.pairs import Pair, match_generators, read_pairs, read_prompts
from unisim_metrics.tasks import METHODS, TASKS
from unisim_metrics.version import __version__


class Run(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def unisim(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs `unisim` with arguments."""

    def run(*arguments: object) -> Run:
        with pytest.raises(SystemExit) as end:
            app([str(argument) for argument in arguments], prog_name="unisim")
        captured = capsys.readouterr()
        return Run(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three images, p2 before p10 in natural order, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("p1.png", (40, 32)), ("p2.jpg", (32, 50)), ("p10.png", (32, 32))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def broken(photos: Path) -> Path:
    """A text file named as an image, beside the others."""
    path = photos / "broken.png"
    path.write_text("no image either")
    return path


def expected(model: Path, images: list[Path], target: object = None, **settings: object) -> list[float]:
    metric = UniSimScore(load_model(model), reduction="none", **settings)
    metric.update(images, target)
    return metric.compute().tolist()


def test_version_and_help(unisim):
    assert unisim("--version") == (0, f"unisim-metrics {__version__}\n", "")
    for command in ("score", "rank", "models", "convert", "demo"):
        assert command in unisim("--help").out
    text = " ".join(unisim("score", "--help").out.replace("│", " ").split())
    assert all(task in text for task in TASKS)
    assert all(method in text for method in METHODS)


def test_score_by_quality_as_json(unisim, photos, tiny_clip_dir):
    run = unisim("score", photos, "--model", tiny_clip_dir, "--json", "--batch-size", 2)
    assert run.status == 0
    result = json.loads(run.out)
    files = [photos / name for name in ("p1.png", "p2.jpg", "p10.png")]
    assert [row["image"] for row in result["results"]] == [str(file) for file in files]
    scores = expected(tiny_clip_dir, files)
    assert [row["score"] for row in result["results"]] == pytest.approx(scores, abs=1e-5)
    assert result["mean"] == pytest.approx(sum(scores) / 3, abs=1e-5)
    assert result["count"] == 3
    assert result["unreadable"] == []
    assert "|task:quality/naive|" in result["signature"]


@pytest.mark.parametrize("method", METHODS)
def test_score_takes_task_and_method(unisim, photos, tiny_clip_dir, method):
    run = unisim("score", photos, "-m", tiny_clip_dir, "--task", "sharpness", "--method", method, "--json")
    files = find_images([str(photos)])
    scores = expected(tiny_clip_dir, files, task="sharpness", method=method)
    assert [row["score"] for row in json.loads(run.out)["results"]] == pytest.approx(scores, abs=1e-5)


def test_score_against_a_text_prints_a_table(unisim, photos, tiny_clip_dir):
    run = unisim("score", f"{photos}/*.png", "--text", "a red cat", "-m", tiny_clip_dir)
    assert run.status == 0
    files = [photos / "p1.png", photos / "p10.png"]
    assert "Similarity to “a red cat”" in run.out
    for score in expected(tiny_clip_dir, files, ["a red cat"] * 2):
        assert f"{score:.4f}" in run.out
    metric = UniSimScore(load_model(tiny_clip_dir), task="image-text")
    assert metric.signature in run.out


def test_score_against_an_image(unisim, photos, tiny_clip_dir):
    run = unisim(
        "score", photos / "p1.png", photos / "p2.jpg", "-r", photos / "p1.png", "-m", tiny_clip_dir, "--json"
    )
    first, second = (row["score"] for row in json.loads(run.out)["results"])
    assert first == pytest.approx(1, abs=1e-5)
    assert second < 0.999


def test_resample_is_in_the_signature(unisim, photos, tiny_clip_dir):
    run = unisim("score", photos, "-m", tiny_clip_dir, "--resample", "pil", "--json")
    assert "-pil|" in json.loads(run.out)["signature"]


def test_score_pairs_from_csv_as_csv(unisim, photos, tiny_clip_dir):
    table = photos / "pairs.csv"
    table.write_text("image,text\np1.png,a red dog\np2.jpg,a cat\n", encoding="utf-8")
    run = unisim("score", table, "-m", tiny_clip_dir, "--csv")
    rows = list(csv.DictReader(io.StringIO(run.out)))
    scores = expected(tiny_clip_dir, [photos / "p1.png", photos / "p2.jpg"], ["a red dog", "a cat"])
    assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=1e-5)
    assert [row["text"] for row in rows] == ["a red dog", "a cat"]
    assert "|task:image-text|" in rows[0]["signature"]


def test_score_captions_from_jsonl_into_a_file(unisim, photos, tiny_clip_dir, tmp_path):
    table = photos / "pairs.jsonl"
    rows = [{"caption": "a dog", "image": "p1.png"}, {"caption": "a cat", "image": "p1.png"}]
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = unisim("score", table, "-m", tiny_clip_dir, "--output", tmp_path / "out.json")
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert run.status == 0
    assert "|task:caption|" in result["signature"]
    assert result["signature"] in run.out
    assert [row["caption"] for row in result["results"]] == ["a dog", "a cat"]


def test_unreadable_file_is_named_and_the_rest_scored(unisim, photos, broken, tiny_clip_dir):
    run = unisim("score", photos, photos / "missing.png", "-m", tiny_clip_dir, "--json", "--batch-size", 1)
    assert run.status == 1
    assert str(broken) in run.err
    assert "missing.png" in run.err
    result = json.loads(run.out)
    scores = {Path(row["image"]).name: row["score"] for row in result["results"]}
    assert scores["broken.png"] is None
    assert scores["missing.png"] is None
    files = [photos / name for name in ("p1.png", "p2.jpg", "p10.png")]
    assert [scores[file.name] for file in files] == pytest.approx(expected(tiny_clip_dir, files), abs=1e-5)
    assert result["count"] == 3
    assert {Path(entry["file"]).name for entry in result["unreadable"]} == {"broken.png", "missing.png"}


def test_nothing_readable_is_an_error(unisim, broken, tiny_clip_dir):
    run = unisim("score", broken, "-m", tiny_clip_dir)
    assert run.status == 1
    assert run.out == ""
    assert str(broken) in run.err


def test_rank_for_a_text_with_a_figure(unisim, photos, tiny_clip_dir, tmp_path):
    pytest.importorskip("matplotlib")
    figure = tmp_path / "ranked.png"
    run = unisim("rank", photos, "-t", "a red cat", "-m", tiny_clip_dir, "--json", "--save-figure", figure)
    assert run.status == 0
    rows = json.loads(run.out)["results"]
    files = find_images([str(photos)])
    scores = dict(zip(files, expected(tiny_clip_dir, files, ["a red cat"] * 3), strict=True))
    assert [row["candidate"] for row in rows] == [
        str(path) for path in sorted(scores, key=lambda path: -scores[path])
    ]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    with Image.open(figure) as image:
        assert image.width > 300


def test_rank_against_a_reference_draws_it(unisim, photos, broken, tiny_clip_dir, tmp_path):
    pytest.importorskip("matplotlib")
    figure = tmp_path / "ranked.png"
    run = unisim(
        "rank", photos, "-r", photos / "p2.jpg", "-m", tiny_clip_dir, "--csv", "--save-figure", figure
    )
    assert run.status == 1
    assert str(broken) in run.err
    first, *_ = csv.DictReader(io.StringIO(run.out))
    assert first["candidate"] == str(photos / "p2.jpg")
    assert figure.stat().st_size > 0


def test_rank_captions(unisim, photos, tiny_clip_dir, tmp_path):
    pytest.importorskip("matplotlib")
    captions = ["a dog", "a red cat", "a photo"]
    options = [word for caption in captions for word in ("--caption", caption)]
    figure = tmp_path / "bars.png"
    run = unisim(
        "rank", "-r", photos / "p1.png", *options, "-m", tiny_clip_dir, "--json", "--save-figure", figure
    )
    scores = expected(tiny_clip_dir, captions, [photos / "p1.png"] * 3)
    best = sorted(zip(scores, captions, strict=True), reverse=True)
    assert [row["candidate"] for row in json.loads(run.out)["results"]] == [caption for _, caption in best]
    assert figure.stat().st_size > 0


def test_rank_finds_the_odd_one_out(unisim, photos, tiny_clip_dir):
    for name in ("a.png", "b.png"):
        Image.open(photos / "p1.png").save(photos / name)
    run = unisim(
        "rank",
        photos / "a.png",
        photos / "p10.png",
        photos / "b.png",
        "--task",
        "odd-one-out",
        "-m",
        tiny_clip_dir,
        "--json",
    )
    assert json.loads(run.out)["results"][0]["candidate"] == str(photos / "p10.png")


@pytest.fixture
def generators(tmp_path: Path) -> list[Path]:
    """Two folders with three images each."""
    rng = np.random.default_rng(1)
    folders = [tmp_path / "model-a", tmp_path / "model-b"]
    for folder in folders:
        folder.mkdir()
        for name in ("1.png", "2.png", "10.png"):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / name)
    return folders


PROMPTS = ["a red dog", "a photo of a cat", "a bright image"]


def test_rank_generators(unisim, generators, tiny_clip_dir, tmp_path):
    pytest.importorskip("matplotlib")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n\n".join(PROMPTS), encoding="utf-8")
    figure = tmp_path / "wins.png"
    run = unisim(
        "rank", *generators, "--prompts", prompts, "-m", tiny_clip_dir, "--json", "--save-figure", figure
    )
    assert run.status == 0
    ranking = UniSimRanking(load_model(tiny_clip_dir))
    ranking.update([[folder / f"{n}.png" for folder in generators] for n in (1, 2, 10)], PROMPTS)
    values = ranking.compute()
    result = json.loads(run.out)
    assert result["signature"] == ranking.signature
    assert result["prompts"] == 3
    rows = {row["generator"]: row for row in result["results"]}
    for index, name in enumerate(("model-a", "model-b")):
        other = ("model-b", "model-a")[index]
        assert rows[name]["win_rate"] == pytest.approx(values["win_rate"][index].item())
        assert rows[name]["mean_rank"] == pytest.approx(values["mean_rank"][index].item())
        assert rows[name]["beats"][other] == pytest.approx(values["win_matrix"][index, 1 - index].item())
        assert rows[name]["beats"][name] is None
    assert figure.stat().st_size > 0


def test_rank_generators_leaves_out_a_prompt(unisim, generators, tiny_clip_dir, tmp_path):
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("name,text\n10,a red dog\n1.png,a cat\n", encoding="utf-8")
    (generators[1] / "10.png").write_text("no image")
    run = unisim("rank", *generators, "--prompts", prompts, "-m", tiny_clip_dir, "--json")
    assert run.status == 1
    assert "10.png" in run.err
    result = json.loads(run.out)
    assert (result["prompts"], result["left_out"]) == (1, 1)


def test_models_lists_the_registry(unisim):
    rows = json.loads(unisim("models", "--json").out)["results"]
    assert rows[0]["name"] == "unisim-mini"
    assert {"unisim-vit-b-32", "unisim-vit-l-14"} <= {row["name"] for row in rows}
    assert "unisim-vit-l-14" in unisim("models").out


def test_convert_writes_a_directory_that_scores_the_same(unisim, photos, tiny_clip_dir, tmp_path):
    run = unisim("convert", tiny_clip_dir, tmp_path / "merged", "--merged")
    assert run.status == 0
    assert f"Wrote {tmp_path / 'merged'}" in run.err
    files = find_images([str(photos)])
    assert expected(tmp_path / "merged", files) == pytest.approx(expected(tiny_clip_dir, files), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "{photos}", "--task", "beauty"], "Argument `task` must be one of"),
        (["score", "{photos}", "--method", "best"], "Argument `method` must be one of"),
        (["score", "{photos}", "--text", "a", "--reference", "b.png"], "--text and --reference"),
        (["score", "{photos}", "--json", "--csv"], "--json and --csv"),
        (["score", "{photos}", "--output", "x.txt"], "Option --output must name a .json, .csv or .md file"),
        (["score", "{photos}", "--save-figure", "nowhere/x.png"], "a folder that exists"),
        (["score", "{photos}", "--save-figure", "x.doc"], "--save-figure must name a .png"),
        (["score", "{photos}", "--device", "abacus"], "--device must name a device"),
        (["score", "{photos}", "--model", "unisim-maxi"], "'unisim-maxi'"),
        (["score", "{photos}", "--resample", "nearest"], "Argument `resample` must be one of"),
        (["score", "{photos}/*.gif"], "No image matches"),
        (["score", "{photos}/empty"], "holds no image file"),
        (["score", "{photos}/bad.csv"], "the columns must be"),
        (["score", "{photos}/hole.csv"], "row 2 (line 3) has no 'text'"),
        (["score", "{photos}/bad.jsonl"], "line 1 is not JSON"),
        (["score", "{photos}", "--csv", "--format", "json"], "--format json and --csv"),
        (["score", "{photos}", "--text", ""], "Option --text must hold a text, but it is blank"),
        (["score", "{photos}", "--output", "{photos}"], "must name a .json, .csv or .md file"),
        (["score", "{photos}", "--json", "--output", "{photos}"], "is a folder"),
        (
            ["score", "{photos}/notes.txt"],
            "is no image, and a table of pairs must be a .csv, .jsonl, .tsv file",
        ),
        (["rank", "{photos}", "-t", " "], "Option --text must hold a text"),
        (["rank", "-r", "{photos}/p1.png", "--caption", ""], "Option --caption must hold a text"),
        (["rank"], "Candidates must be given"),
        (["rank", "{photos}/bad.csv"], "bad.csv is a table, where images are expected"),
        (["rank", "{photos}", "--caption", "a"], "--caption must come with --reference"),
        (["rank", "{photos}", "--prompts", "{photos}/notes.txt"], "at least two folders"),
        (
            ["rank", "{photos}", "{photos}/../photos", "--prompts", "{photos}/notes.txt"],
            "the folders must differ",
        ),
        (
            ["rank", "{photos}", "{photos}/single", "--prompts", "{photos}/notes.txt"],
            "must hold one image a prompt, 1",
        ),
        (
            ["rank", "{photos}", "{photos}/single", "--prompts", "{photos}/named.csv"],
            "no image for 1 prompts, 'zebra' first",
        ),
    ],
)
def test_wrong_usage_ends_with_2(unisim, photos, arguments, message):
    (photos / "empty").mkdir()
    (photos / "single").mkdir()
    (photos / "single" / "p1.png").write_bytes((photos / "p1.png").read_bytes())
    (photos / "bad.csv").write_text("file,prompt\np1.png,a cat\n")
    (photos / "hole.csv").write_text("image,text\np1.png,a cat\np2.jpg,\n")
    (photos / "bad.jsonl").write_text("image: p1.png")
    (photos / "named.csv").write_text("name,text\np1,a cat\nzebra,a dog\n")
    run = unisim(*(argument.format(photos=photos) for argument in arguments))
    assert run.status == 2
    assert message in run.err
    assert run.out == ""


def test_missing_prompts_file_ends_with_1(unisim, generators):
    run = unisim("rank", *generators, "--prompts", "nowhere.txt")
    assert run.status == 1
    assert "nowhere.txt" in run.err


def test_demo_draws_real_photographs(unisim, tiny_clip_dir, tmp_path):
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    picture = tmp_path / "new" / "demo.png"
    run = unisim("demo", "--output", picture, "--model", tiny_clip_dir)
    assert run.status == 0
    for text in (
        "6 photographs ranked for a prompt",
        "12 photographs ranked for a prompt",
        "Quality of a photograph",
        "Similarity of damaged versions",
        "The odd one of three",
        "Counts, places and written words",
    ):
        assert text in run.out
    assert run.out.count("unisim|model:") == 6
    with Image.open(picture) as image:
        assert image.width > 800


def test_file_model_encodes_each_item_once(photos, tiny_model, monkeypatch):
    encoded: list[int] = []
    embed = tiny_model.embed_images
    monkeypatch.setattr(
        tiny_model, "embed_images", lambda images: encoded.append(len(images)) or embed(images)
    )
    model = FileModel(tiny_model, batch_size=2)
    files = find_images([str(photos)])
    seen: list[int] = []
    model.encode([*files, *files, "a cat"], seen.append)
    model.encode(files)
    assert encoded == [2, 1]
    assert seen == [2, 1]
    assert torch.allclose(model.embed_images(files), embed(files), atol=1e-5)


def test_find_images_keeps_natural_order_and_drops_repeats(photos):
    names = [path.name for path in find_images([str(photos), str(photos / "p1.png"), f"{photos}/**/*.jpg"])]
    assert names == ["p1.png", "p2.jpg", "p10.png"]


@pytest.mark.parametrize(
    ("columns", "task", "pair"),
    [
        ("image", None, Pair(Path("i.png"))),
        ("image,text", None, Pair(Path("i.png"), "a cat")),
        ("prompt,image", None, Pair(Path("i.png"), "a cat")),
        ("image,reference", None, Pair(Path("i.png"), Path("r.png"))),
        ("caption,reference", None, Pair("a cat", Path("r.png"))),
        ("text,reference", None, Pair("a cat", Path("r.png"))),
        ("text,image", "caption", Pair("a cat", Path("i.png"))),
        ("image,text,reference", None, Pair(Path("i.png"), "a cat")),
        ("image,text,reference", "image-image", Pair(Path("i.png"), Path("r.png"))),
        ("image,text", "quality", Pair(Path("i.png"))),
    ],
)
def test_columns_decide_the_pairs(tmp_path, columns, task, pair):
    values = {"image": "i.png", "reference": "r.png"}
    row = ",".join(values.get(column, "a cat") for column in columns.split(","))
    (tmp_path / "pairs.csv").write_text(f"{columns}\n{row}\n")

    def in_folder(item):
        return tmp_path / item if isinstance(item, Path) else item

    assert read_pairs(tmp_path / "pairs.csv", task) == [
        Pair(in_folder(pair.candidate), in_folder(pair.reference))
    ]


def test_generators_match_by_name_or_order(generators, tmp_path):
    prompts = tmp_path / "prompts.tsv"
    prompts.write_text("text\tid\na dog\t10\na cat\t2\n")
    by_name = match_generators(generators, read_prompts(prompts))
    assert [[path.stem for path in group] for group in by_name] == [["10", "10"], ["2", "2"]]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\nthree\n")
    by_order = match_generators(generators, read_prompts(prompts))
    assert [[path.stem for path in group] for group in by_order] == [["1", "1"], ["2", "2"], ["10", "10"]]
