"""One name for one thing in all commands, what the shell offers, and what is not loaded for it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import DOCS, unisim, write_image
from typer.testing import CliRunner

from unisim_metrics import UniSimScore
from unisim_metrics.benchmark.datasets import list_datasets
from unisim_metrics.benchmark.tasks import TASKS as BENCHMARK_TASKS
from unisim_metrics.benchmark.tasks import find_task
from unisim_metrics.cli import app, evaluate_module
from unisim_metrics.cli.options import FORMER_NAMES
from unisim_metrics.installation import install_extra
from unisim_metrics.models import list_models
from unisim_metrics.tasks import METHODS, TASKS, check_task
from unisim_metrics.training.recipe import list_recipes


def commands(group: Any = None, name: str = "unisim") -> Iterator[tuple[str, Any]]:
    """Yield all commands by what one types."""
    group = typer.main.get_command(app) if group is None else group
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


COMMANDS = dict(commands())
OPTIONS = {
    name: {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    for name, command in COMMANDS.items()
}


def test_a_short_option_means_one_thing() -> None:
    long_names = defaultdict(set)
    for command in COMMANDS.values():
        for parameter in command.params:
            short = [option for option in parameter.opts if option[:1] == "-" and option[:2] != "--"]
            for option in short:
                long_names[option] |= {name for name in parameter.opts if name.startswith("--")}
    assert {option: sorted(names) for option, names in long_names.items()} == {
        "-t": ["--text"],
        "-r": ["--reference"],
        "-m": ["--model"],
        "-o": ["--output"],
        "-d": ["--dataset"],
    }


def test_every_result_comes_in_every_form() -> None:
    with_forms = {name for name, options in OPTIONS.items() if "--json" in options}
    assert with_forms == {
        "unisim score",
        "unisim rank",
        "unisim compare",
        "unisim collection summarize",
        "unisim models",
        "unisim bench run",
        "unisim bench demo",
        "unisim bench compare",
        "unisim bench efficiency",
        "unisim bench data list",
        "unisim bench data status",
    }
    for name in with_forms:
        assert {"--format", "--json", "--csv", "--output"} <= OPTIONS[name], name


def test_former_names_are_taken_and_not_shown(tmp_path: Path) -> None:
    for name, options in OPTIONS.items():
        assert not {f"--{former}" for former in FORMER_NAMES} & options, name
    for former in ("--data", "--root"):
        run = unisim("train", "no-such-recipe", former, tmp_path)
        assert run.status == 2 and "A recipe must be one of" in run.err
    for former in ("--out", "--output", "-o"):
        run = unisim("bench", "samples", "nights", former, tmp_path / "x.csv")
        assert run.status == 2 and "Option --output must name a .jsonl file" in run.err
        assert unisim("models", former, tmp_path / f"m{former}.json").status == 0
    # The command of that name is none of the options.
    assert unisim("bench", "data", "list", "--json").status == 0


def keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_keys_of_json_are_names(tmp_path: Path, tiny_clip_dir: Path) -> None:
    folders = [write_image(tmp_path / name / "1.png").parent for name in "ab"]
    (tmp_path / "p.txt").write_text("a cat\n")
    runs = [
        unisim("score", folders[0], "-m", tiny_clip_dir, "--json"),
        unisim("rank", folders[0], "-m", tiny_clip_dir, "--json"),
        unisim("rank", *folders, "--prompts", tmp_path / "p.txt", "-m", tiny_clip_dir, "--json"),
        unisim("models", "--json"),
        unisim("bench", "data", "list", "--json"),
        unisim("bench", "data", "status", "--root", tmp_path, "--format", "json"),
    ]
    for run in runs:
        assert run.status == 0
        found = set(keys(json.loads(run.out)))
        assert found and all(key.isidentifier() for key in found), found


def test_a_task_goes_by_both_names(tmp_path: Path, tiny_clip_dir: Path) -> None:
    assert check_task("iqa") == "quality" and check_task("ooo") == "odd-one-out"
    assert UniSimScore(tiny_clip_dir, task="iqa").task == "quality"  # type: ignore[arg-type]
    for task in BENCHMARK_TASKS:
        assert find_task(task.id) is task
        if len(task.kinds) == 1:
            assert find_task(task.kinds[0]) is task
            assert task.id == "ir" or check_task(task.id) == task.kinds[0]
    with pytest.raises(ValueError, match="must be one of"):
        check_task("paa")
    with pytest.raises(ValueError, match="must be one of"):
        find_task("brightness")
    photo = write_image(tmp_path / "1.png")
    one, other = (unisim("score", photo, "-m", tiny_clip_dir, "--task", name) for name in ("iqa", "quality"))
    assert one == other and one.status == 0


def completed(line: str) -> list[str]:
    """Return what bash offers at the end of a line."""
    words = line.split(" ")
    environment = {
        "_UNISIM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    return CliRunner().invoke(app, [], prog_name="unisim", env=environment).stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("unisim score --task ", list(TASKS)),
        ("unisim rank --method ", list(METHODS)),
        ("unisim score --model ", list_models()),
        ("unisim score -m unisim-v", ["unisim-vit-b-32", "unisim-vit-l-14"]),
        ("unisim score --format ", ["table", "json", "csv", "markdown"]),
        ("unisim score --resample ", ["bicubic", "pil"]),
        ("unisim train ", list_recipes()),
        ("unisim bench run ", list_models()),
        ("unisim bench run x --dataset ", list_datasets()),
        ("unisim bench run x --task ", [task.id for task in BENCHMARK_TASKS]),
        ("unisim bench data get ", list_datasets()),
        ("unisim bench samples nig", ["nights"]),
        ("unisim bench efficiency ", list_models()),
        ("unisim mod", ["models"]),
    ],
)
def test_the_shell_offers(line: str, offered: list[str]) -> None:
    assert sorted(completed(line)) == sorted(offered)


def test_lists_and_completion_load_no_torch() -> None:
    program = """
import sys
from unisim_metrics.cli import app, completion
app(["models", "--json"], standalone_mode=False)
offers = [getattr(completion, name) for name in ("models", "tasks", "methods", "sets", "recipes", "benchmark_tasks")]
assert all(offer("") for offer in offers)
heavy = {"torch", "transformers", "numpy", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_app_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_module, "find_spec", lambda name: None)
    run = unisim("app")
    assert run.status == 1 and install_extra("app") in " ".join(run.err.split())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_texts_that_were_cut_are_counted(tmp_path: Path, tiny_clip_dir: Path, count: int) -> None:
    write_image(tmp_path / "1.png")
    texts = ["a cat", *(f"{number} " + "a red dog " * 60 for number in range(count))]
    table = tmp_path / "pairs.jsonl"
    table.write_text(
        "\n".join(json.dumps({"image": "1.png", "text": text}) for text in texts), encoding="utf-8"
    )
    assert json.loads(unisim("score", table, "-m", tiny_clip_dir, "--json").out)["texts_cut"] == count
    told = "longer than the model's context and were cut" in unisim("score", table, "-m", tiny_clip_dir).out
    assert told is (count > 0)


def test_the_page_names_commands_and_options_that_are_there() -> None:
    lines = re.findall(r"^unisim .*$", (DOCS / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = set()
    for line in lines:
        words = shlex.split(line, comments=True)
        words = words[: words.index("--")] if "--" in words else words
        name = next(" ".join(words[:length]) for length in (4, 3, 2) if " ".join(words[:length]) in COMMANDS)
        named.add(name)
        unknown = {word for word in words if word.startswith("-")} - OPTIONS[name]
        assert not unknown, line
    assert {name.split()[1] for name in named} == {name.split()[1] for name in COMMANDS}
