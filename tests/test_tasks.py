"""Which task a pair of inputs means, and what is said where it means none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unisim_metrics import Prompts
from unisim_metrics.prompts import DEFAULT_PROMPTS, PAPER_PROMPTS, check_prompts, prompts_tag, resolve_prompts
from unisim_metrics.tasks import (
    ATTRIBUTES,
    TASKS,
    Attribute,
    Method,
    check_method,
    check_task,
    modalities,
    resolve_task,
)

PICTURE = Image.new("RGB", (4, 4))
PIXELS = torch.zeros(3, 4, 4)
BATCH = torch.zeros(2, 3, 4, 4)
GROUPS = torch.zeros(2, 2, 3, 4, 4)
FILE = Path("photo.png")


@pytest.mark.parametrize(
    ("preds", "target", "task"),
    [
        (PICTURE, PICTURE, "image-image"),
        (BATCH, [PICTURE, FILE], "image-image"),
        ([PIXELS, PIXELS], BATCH, "image-image"),
        (PICTURE, "a dog", "image-text"),
        (BATCH, ["a dog", "a cat"], "image-text"),
        (FILE, "a dog", "image-text"),
        (GROUPS, ["a dog", "a cat"], "image-text"),
        ("a dog", PICTURE, "caption"),
        ([["a dog", "a cat"]], [FILE], "caption"),
        (("a dog", "a cat"), BATCH, "caption"),
        (BATCH, None, "quality"),
        ([[PICTURE, FILE], [PIXELS]], None, "quality"),
    ],
)
def test_what_is_passed_decides_the_task(preds: Any, target: Any, task: str) -> None:
    assert resolve_task(None, preds, target) == task
    assert resolve_task(task, preds, target) == task  # type: ignore[arg-type]


@pytest.mark.parametrize("task", [*ATTRIBUTES, "odd-one-out"])
def test_a_named_task_without_reference_takes_images_alone(task: Any) -> None:
    assert resolve_task(task, BATCH, None) == task
    with pytest.raises(ValueError, match=f"must be images alone for task '{task}', but got images and texts"):
        resolve_task(task, BATCH, ["a dog", "a cat"])


@pytest.mark.parametrize(
    ("task", "preds", "target"),
    [("image-image", "a.png", "b.png"), ("caption", "a dog", "b.png"), ("quality", ["a.png"], None)],
)
def test_a_str_names_a_file_where_the_named_task_wants_an_image(task: Any, preds: Any, target: Any) -> None:
    assert resolve_task(task, preds, target) == task


@pytest.mark.parametrize(
    ("task", "preds", "target", "message"),
    [
        (
            "image-image",
            BATCH,
            None,
            "must be images and images for task 'image-image', but got images alone",
        ),
        (
            "image-text",
            BATCH,
            BATCH,
            "must be images and texts for task 'image-text', but got images and images",
        ),
        ("caption", BATCH, BATCH, "must be texts and images for task 'caption', but got images and images"),
        (
            None,
            "a dog",
            "a cat",
            "images alone, but got texts and texts. Image files are named by `pathlib.Path`",
        ),
        (None, "a dog", None, "images alone, but got texts alone"),
        (None, [], None, "Argument `preds` must hold at least one image or text, but it is empty"),
        (None, [[], []], None, "Argument `preds` must hold at least one image or text, but it is empty"),
        (None, torch.zeros(0, 3, 4, 4), None, "Argument `preds` must hold at least one image or text"),
        (None, BATCH, [], "Argument `target` must hold at least one image or text, but it is empty"),
        (
            None,
            [PICTURE, "a dog"],
            None,
            "Argument `preds` must hold only images or only texts, but got both",
        ),
    ],
)
def test_inputs_that_fit_no_task_are_a_value_error(task: Any, preds: Any, target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_task(task, preds, target)


@pytest.mark.parametrize(("thing", "name"), [(3.5, "builtins.float"), (np.array([b"a"]), "numpy.ndarray")])
def test_what_is_neither_image_nor_text_is_a_type_error(thing: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"`preds` must hold images .* or texts \(str\), but got {name}"):
        resolve_task(None, [thing], None)
    with pytest.raises(TypeError, match=rf"`references` must hold images .* but got {name}"):
        resolve_task(None, BATCH, [thing], names=("candidates", "references"))


def test_unknown_names_are_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"`task` must be one of \('image-image', .*\) or None, but got 'beauty'"
    ):
        check_task("beauty")
    with pytest.raises(ValueError, match=r"`method` must be one of \('naive', 'clip-iqa'\), but got 'clip'"):
        check_method("clip")
    assert [check_task(task) for task in (*TASKS, None)] == [*TASKS, None]


def test_every_task_has_its_modalities() -> None:
    assert {task: modalities(task) for task in TASKS} == {
        "image-image": ("image", "image"),
        "image-text": ("image", "text"),
        "caption": ("text", "image"),
        **dict.fromkeys([*ATTRIBUTES, "odd-one-out"], ("image", None)),
    }


def test_prompts_are_the_authors_unless_the_caller_asks_for_others() -> None:
    own = Prompts("A tidy room.", "Tidy room.", "Messy room.")
    assert {
        task: (prompts.naive, prompts.positive, prompts.negative) for task, prompts in DEFAULT_PROMPTS.items()
    } == {
        "quality": ("A high-quality photo.", "Good photo.", "Bad photo."),
        "brightness": ("A bright photo.", "Bright photo.", "Dark photo."),
        "colorfulness": ("A very colorful photo.", "Colorful photo.", "Dull photo"),
        "contrast": ("A high contrast photo.", "High contrast photo.", "Low contrast photo."),
        "sharpness": ("A very sharp photo", "Sharp photo.", "Blurry photo."),
    }
    assert {
        task: (prompts.naive, prompts.positive, prompts.negative) for task, prompts in PAPER_PROMPTS.items()
    } == {
        "quality": ("A high quality photo.", "Good photo.", "Bad photo."),
        "brightness": ("A bright photo.", "Bright photo.", "Dark photo."),
        "colorfulness": ("A colorful photo.", "Colorful photo.", "Dull photo."),
        "contrast": ("A high contrast photo.", "High contrast photo.", "Low contrast photo."),
        "sharpness": ("A sharp photo.", "Sharp photo.", "Blurry photo."),
    }
    for task in ATTRIBUTES:
        assert resolve_prompts(task, "paper") == PAPER_PROMPTS[task]
        assert resolve_prompts(task, "authors") == DEFAULT_PROMPTS[task]
    assert check_prompts("authors") is None
    assert check_prompts("paper") == "paper"
    assert resolve_prompts("quality", None) == DEFAULT_PROMPTS["quality"]
    assert resolve_prompts("contrast", own) is own
    assert resolve_prompts("image-text", own) is None
    expected = (
        r"`prompts` must be a `unisim_metrics.Prompts`, one of \('authors', 'paper'\), or None, but got "
    )
    with pytest.raises(ValueError, match=expected + "'tidy'"):
        check_prompts("tidy")
    with pytest.raises(TypeError, match=expected + "3"):
        check_prompts(3)


def test_the_tag_of_prompts_tells_texts_that_were_used() -> None:
    own = Prompts("A tidy room.", *DEFAULT_PROMPTS["quality"].texts("clip-iqa"))
    assert prompts_tag("image-text", "naive", own) == ""
    assert prompts_tag("quality", "naive", None) == "/naive"
    assert prompts_tag("quality", "clip-iqa", own) == "/clip-iqa"
    assert re.fullmatch("/naive/[0-9a-f]{8}", prompts_tag("quality", "naive", own))
    assert prompts_tag("quality", "naive", own) != prompts_tag("quality", "naive", Prompts("a", "b", "c"))


@pytest.mark.parametrize("task", ATTRIBUTES)
@pytest.mark.parametrize("method", ["naive", "clip-iqa"])
def test_the_papers_wording_has_a_tag_of_its_own_where_it_is_another(task: Attribute, method: Method) -> None:
    alike = PAPER_PROMPTS[task].texts(method) == DEFAULT_PROMPTS[task].texts(method)
    assert prompts_tag(task, method, "paper") == (f"/{method}" if alike else f"/{method}/paper")
    assert prompts_tag(task, method, "authors") == f"/{method}"
    # However they are given, equal texts have equal tags.
    assert prompts_tag(task, method, PAPER_PROMPTS[task]) == prompts_tag(task, method, "paper")
