"""The questions of the paper's Table 7, and how their answers are read."""

from __future__ import annotations

import pytest

from unisim_metrics.models.generative.instructions import (
    IMAGE,
    LETTERS,
    ImagePart,
    Question,
    ask,
    instructions_hash,
    parse_letter,
)
from unisim_metrics.tasks import TASKS, Task, modalities

# Copied from the table.
TABLE_7: dict[Task, str] = {
    "image-image": "Answer the following multiple-choice question:\nHere are three images: <image><image><image>. \n"
    " If image 1 is the reference image, which image of the other two is more similar to the reference image? \n"
    " Options: \n(A) Image 2 \n(B) Image 3",
    "image-text": "Answer the following question:\nHere are two images: <image><image>, and here is the reference"
    " caption: R. which of the two images is more aligned to the reference caption?\n Options:\n(A) Image 1"
    " \n(B) Image 2",
    "caption": "Answer the following multiple-choice question:\nGiven the reference image: <image> and two captions,"
    " caption 1: X, caption 2: Y \n which caption has a better alignment with the reference image?"
    " \nOptions:\n(A) Caption 1\n(B) Caption 2",
    "quality": "Answer the following multiple-choice question:\nGiven two images: <image><image> which image has a"
    " better quality? \nOptions:\n(A) Image 1\n(B) Image 2",
    "brightness": "Answer the following multiple-choice question:\nGiven two images: <image><image> which image is"
    " more bright? \nOptions:\n(A) Image 1 \n(B) Image 2",
    "odd-one-out": "Answer the following multiple-choice question:\nHere are three images: <image><image><image>,"
    " Which one (A, B, C) is the odd-one-out of the group?\n Options:\n(A) Image 1\n(B) Image 2\n(C) Image 3",
}


def text(question: Question) -> str:
    return "".join(IMAGE if isinstance(part, ImagePart) else part for part in question.parts)


@pytest.mark.parametrize("task", TABLE_7)
def test_wording_is_that_of_table_7(task: Task) -> None:
    alternatives = ["X", "Y", "Z"][: 3 if task == "odd-one-out" else 2]
    assert text(ask(task, "R", alternatives)) == TABLE_7[task]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("count", [2, 3, 8, 26])
def test_images_stand_in_order_and_each_alternative_has_a_letter(task: Task, count: int) -> None:
    alternatives = [f"alternative {place}" for place in range(count)]
    question = ask(task, "reference", alternatives)
    first, second = modalities(task)
    images = (["reference"] if second == "image" else []) + (alternatives if first == "image" else [])
    assert question.images == images
    assert question.count == count
    written = text(question)
    for letter in LETTERS[:count]:
        assert f"({letter})" in written
    assert count == 26 or f"({LETTERS[count]})" not in written
    if first == "text":
        assert all(alternative in written for alternative in alternatives)


def test_numbers_grow_with_the_alternatives() -> None:
    written = text(ask("image-image", "r", ["a"] * 4))
    assert "Here are five images" in written
    assert "which image of the other four" in written
    assert written.endswith("(A) Image 2 \n(B) Image 3 \n(C) Image 4 \n(D) Image 5")
    assert "Which one (A, B, C, D)" in text(ask("odd-one-out", None, ["a"] * 4))
    assert "four captions, caption 1: a, caption 2: b, caption 3: c, caption 4: d \n" in text(
        ask("caption", "r", ["a", "b", "c", "d"])
    )
    assert "Given 12 images" in text(ask("quality", None, ["a"] * 12))


def test_captions_may_hold_braces_and_image_marks() -> None:
    question = ask("caption", "picture", ["{} <image> {0}", "plain {prompt}"])
    assert question.images == ["picture"]
    assert "caption 1: {} <image> {0}, caption 2: plain {prompt} \n" in text(question)


def test_no_more_alternatives_than_letters() -> None:
    with pytest.raises(ValueError, match=r"at most 26 alternatives a group .* but got 27"):
        ask("quality", None, ["a"] * 27)


def test_hash_is_of_the_wording() -> None:
    assert len(instructions_hash()) == 64
    assert instructions_hash() == instructions_hash()


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("A", 0),
        ("B", 1),
        (" B\n", 1),
        ("(A)", 0),
        ("[B]", 1),
        ("A.", 0),
        ("B)", 1),
        ("(B).", 1),
        ("Option A", 0),
        ("option (B)", 1),
        ("Answer: B", 1),
        ("The answer is B.", 1),
        ("The answer is: (A)", 0),
        ("", None),
        ("a", None),
        ("C", None),
        ("AB", None),
        ("A B", None),
        ("A or B", None),
        ("(A", None),
        ("(A) Image 2", 0),
        ("A. Image 2", 0),
        ("A) Image 2.", 0),
        ("B: image 3", 1),
        ("The answer is (B) Image 2.", 1),
        ("Answer: B. Image 3", 1),
        ("**B**", 1),
        ("**(B)** Image 2", 1),
        ("The answer is **B. Image 2**.", 1),
        ("(C) Image 4", None),
        ("(A) Image 2 and (B) Image 3", None),
        ("(A) Image 2 is sharper", None),
        ("A Image 2", None),
        ("Image 2", None),
        ("**", None),
        ("Image 2 is sharper than image 1", None),
        ("A cat", None),
        ("Both", None),
        ("1", None),
        ("I cannot see", None),
    ],
)
def test_only_a_letter_by_itself_is_an_answer(answer: str, choice: int | None) -> None:
    assert parse_letter(answer, 2) == choice


def test_letters_reach_as_far_as_the_alternatives() -> None:
    assert [parse_letter(letter, 8) for letter in "ABCDEFGHI"] == [0, 1, 2, 3, 4, 5, 6, 7, None]
