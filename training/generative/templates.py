"""The words in which triplets are put to a generative model, and in which it answers (paper, Section 3.3).

A model that reads one wording only overfits to it, so every task has many. In a question, `{reference}` stands for
the place of the reference ("image 1") or for its text, `{images}` for the images, `{first}` and `{second}` for texts to
choose from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from unisim_metrics.tasks import Task


@dataclass(frozen=True)
class Templates:
    """The wordings of one task.

    Attributes:
        questions: What is asked.
        answers: Whole sentences, for questions without options; `{ordinal}` is "first" or "second", `{choice}` the
            chosen one's name, "image 2".
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]


TEMPLATES: dict[Task, Templates] = {
    "image-image": Templates(
        questions=(
            "Here are three images: {images}. {Reference} is the reference. Which of the other two images is more"
            " similar to it?",
            "{images}\nTake {reference} as the reference. Which of the other images looks more like it?",
            "You see three images: {images}. Which of the two others is closer to {reference}?",
            "{images} Compare the images: which one resembles {reference} the most?",
            "Given the images {images}, and {reference} as the original, which other image is nearer to the original?",
            "Look at these three images. {images}\nWhich image would a person call more similar to {reference}?",
            "{images}\nOne of these images, {reference}, is the target. Which of the remaining two matches it better?",
            "The following images are to be compared: {images}. With {reference} as the query, which of the others is"
            " the better match?",
            "{images}\nWhich image shares more with {reference} in content, layout and colours?",
            "Three images follow. {images}\nDecide which of the other two is perceptually closer to {reference}.",
            "{images} Two of these images are variations of {reference}. Which variation changes it less?",
            "Here are some images: {images}. If you had to replace {reference} by another one of them, which would be"
            " the better substitute?",
        ),
        answers=(
            "{Choice} is more similar to the reference.",
            "{Choice} is closer to it.",
            "Of the two, {choice} looks more like the reference.",
            "It is {choice}.",
            "{Choice} resembles the reference more.",
            "The better match is {choice}.",
        ),
    ),
    "image-text": Templates(
        questions=(
            "Here are two images: {images}. Which of them fits this caption better? Caption: {reference}",
            'Caption: "{reference}"\n{images}\nWhich image does the caption describe better?',
            "{images}\nThe text is: {reference}\nWhich image is more aligned to the text?",
            'Two images were made for the prompt "{reference}": {images}. Which one follows the prompt more closely?',
            "Given the description: {reference}\nand the images {images}, which image agrees better with the"
            " description?",
            "{images} Which of these images shows what is said here? {reference}",
            'Read the caption, then look at the images. Caption: "{reference}" Images: {images}. Which image is the'
            " better match?",
            "{images}\nA person asked for: {reference}\nWhich image would satisfy this person more?",
            "Reference text: {reference}\nCandidates: {images}\nWhich candidate is closer to the reference text?",
            "Look at the two images: {images}. Which of them would you choose to illustrate the following? {reference}",
            '{images}\nOnly one of these images suits the sentence "{reference}" well. Which one is it?',
            "Which of the two images {images} has a better alignment with the text: {reference}?",
        ),
        answers=(
            "The {ordinal} image is closer.",
            "The {ordinal} image fits the text better.",
            "{Choice} follows the text more closely.",
            "It is the {ordinal} image.",
            "The text describes {choice} better.",
            "I would choose the {ordinal} image.",
        ),
    ),
    "caption": Templates(
        questions=(
            "Here is an image: {images}. Caption 1: {first} Caption 2: {second} Which caption describes it better?",
            "{images}\nTwo captions were written for this image.\nCaption 1: {first}\nCaption 2: {second}\nWhich one"
            " fits?",
            'Caption 1: "{first}"\nCaption 2: "{second}"\n{images}\nWhich caption belongs to the image?',
            "{images} Which text has a better alignment with the image?\nCaption 1: {first}\nCaption 2: {second}",
            "Look at the image {images} and read two captions.\nCaption 1: {first}\nCaption 2: {second}\nWhich caption"
            " is more accurate?",
            "Caption 1: {first}\nCaption 2: {second}\nThis is the image: {images}. Which of the captions says what it"
            " shows?",
            "{images}\nWhich of these captions would a person prefer for the image? Caption 1: {first} Caption 2:"
            " {second}",
            "Given the image {images}, caption 1 is: {first} and caption 2 is: {second} Which caption is closer to the"
            " image?",
            "Choose the caption that matches.\nImage: {images}\nCaption 1: {first}\nCaption 2: {second}",
            "{images}\nSomeone describes this as follows. Caption 1: {first} Another says: Caption 2: {second} Who is"
            " nearer to what can be seen?",
            'There are two texts, caption 1 "{first}" and caption 2 "{second}", for one image: {images}. Which text'
            " is the better one?",
            "{images}\nCaption 1: {first}\nCaption 2: {second}\nOne of them has more mistakes about the image. Which"
            " is the other, better one?",
        ),
        answers=(
            "The {ordinal} caption is closer.",
            "The {ordinal} caption describes the image better.",
            "{Choice} fits the image better.",
            "It is the {ordinal} caption.",
            "{Choice} says what the image shows.",
            "The image agrees more with {choice}.",
        ),
    ),
    "quality": Templates(
        questions=(
            "Here are two images: {images}. Which of them has the better quality?",
            "{images}\nWhich image looks better?",
            "Compare the quality of these images: {images}. Which one is better?",
            "{images} Which of the two images is less distorted?",
            "Look at {images} and judge their quality. Which image is of higher quality?",
            "One of these two images has lost more of its quality than the other: {images}. Which one is the better?",
            "{images}\nAs an expert of image quality, which of these would you keep?",
            "Given {images}, which image has fewer artifacts, like blur, noise or wrong colours?",
            "{images}\nWhich image would people rate higher for its technical quality?",
            "You see two versions of a photo: {images}. Which version is the cleaner one?",
            "Two images: {images}\nDecide which of them is more pleasant to look at.",
            "{images} If both were printed, which image would make the better print?",
        ),
        answers=(
            "The {ordinal} image is better.",
            "The {ordinal} image has the better quality.",
            "{Choice} is less distorted.",
            "It is the {ordinal} image.",
            "{Choice} looks better.",
            "I would keep the {ordinal} image.",
        ),
    ),
}
"""For each task that is trained on, its wordings."""

OPTIONS: tuple[str, ...] = (
    "\nOptions:\n(A) {a}\n(B) {b}",
    "\nOptions: (A) {a} (B) {b}",
    "\nChoices:\nA. {a}\nB. {b}\nAnswer with the letter alone.",
    "\n(A) {a}\n(B) {b}\nGive the letter of your choice.",
    "\nChoose from the following options:\nA: {a}\nB: {b}",
    "\nAnswer with the letter of one of these options.\n(A) {a}\n(B) {b}",
)
"""How the options of a multiple-choice question are listed. Its answer is the letter alone."""

FREE_FORM: tuple[str, ...] = (
    "",
    "\nAnswer in a sentence.",
    "\nAnswer briefly.",
)
"""What follows a question that is answered by a sentence."""


def templates_hash() -> str:
    """SHA-256, in hex, of all wordings."""
    wordings = {task: asdict(templates) for task, templates in TEMPLATES.items()}
    text = json.dumps([wordings, OPTIONS, FREE_FORM], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
