"""Conversations as tokens: the loss is on what the assistant says, token by token, in every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_generative import FAMILIES, pictures
from tiny_generative import model as tiny_model

from unisim_metrics.models.generative.model import GenerativeModel
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.generative.dataset import LEFT_OUT, Conversations
from unisim_metrics.training.generative.llava_json import Record, Turn
from unisim_metrics.training.generative.tokens import IGNORED, Tokens, align, write_dialogue


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def judge(request: pytest.FixtureRequest) -> GenerativeModel:
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index}.png" for index in range(4)]
    for path, picture in zip(paths, pictures(4), strict=True):
        picture.save(path)
    return paths


def records(files: list[Path]) -> list[Record]:
    """Short and long, one turn and several, images of several shapes in several turns."""
    return [
        Record(
            "letter", (files[0], files[1]), (Turn("user", "<image><image> A or B?"), Turn("assistant", "B"))
        ),
        Record(
            "turns",
            (files[2], files[3], files[0]),
            (
                Turn("user", "Given <image> and <image>, which is better?"),
                Turn("assistant", "The first image is better."),
                Turn("user", "And <image>\nOptions:\n(A) Image 1\n(B) Image 2"),
                Turn("assistant", "A"),
                Turn("user", "A"),
                Turn("assistant", "A A"),
            ),
        ),
    ]


def rendered(judge: GenerativeModel, record: Record, turns: int, prompt: bool) -> str:
    """The first turns by the template, from messages that are written out here."""
    messages = []
    for turn in record.turns[:turns]:
        content: list[dict[str, Any]] = []
        for index, piece in enumerate(turn.text.split("<image>")):
            content += [{"type": "image"}] if index else []
            content += [{"type": "text", "text": piece}] if piece else []
        messages.append({"role": turn.role, "content": content})
    template: Any = judge.chat.template
    return str(
        judge.processor.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=prompt, tokenize=False
        )
    )


def count_tokens(judge: GenerativeModel, text: str, images: list[Any]) -> int:
    inputs = judge.processor(text=[text], images=[images], add_special_tokens=False, return_tensors="pt")
    return int(inputs["input_ids"].shape[1])


def test_labels_are_on_the_answers_alone(judge: GenerativeModel, files: list[Path]) -> None:
    """Against the lengths of the prompts before, and with, each answer."""
    tokens = Tokens(judge.chat)
    conversations = Conversations(records(files), tokens)
    items = [conversations[index] for index in range(2)]
    batch = conversations.collate(items)
    assert batch.pop(LEFT_OUT) == {}
    for row, (record, item) in enumerate(zip(records(files), items, strict=True)):
        expected = torch.full_like(batch["input_ids"][row], IGNORED)
        for turn in range(1, len(record.turns), 2):
            shown = [image for image in item.images][
                : sum(t.text.count("<image>") for t in record.turns[:turn])
            ]
            if judge.backbone.config.model_type == "llava_onevision" and len(shown) == 1:
                continue
            start = count_tokens(judge, rendered(judge, record, turn, True), shown)
            stop = count_tokens(judge, rendered(judge, record, turn + 1, False).rstrip(), shown)
            assert stop > start
            expected[start:stop] = batch["input_ids"][row, start:stop]
        assert batch["labels"][row].tolist() == expected.tolist()
        said = batch["labels"][row][batch["labels"][row] != IGNORED]
        ends = judge.processor.tokenizer.eos_token
        answers = [turn.text for turn in record.turns if turn.role == "assistant"]
        decoded = judge.processor.tokenizer.decode(said).split(ends)
        assert [text.strip() for text in decoded] == [*answers, ""]
    padded = batch["attention_mask"] == 0
    assert padded.any() and (batch["labels"][padded] == IGNORED).all()


def test_loss_is_that_of_the_answer(judge: GenerativeModel, files: list[Path]) -> None:
    """The model's own loss on a batch, against log-probabilities that are read off each record alone."""
    conversations = Conversations(records(files), Tokens(judge.chat))
    items = [conversations[index] for index in range(2)]
    batch = conversations.collate(items)
    batch.pop(LEFT_OUT)
    with torch.no_grad():
        loss = judge.backbone(**batch).loss
        said = []
        for item in items:
            alone = conversations.collate([item])
            alone.pop(LEFT_OUT)
            labels = alone.pop("labels")[0]
            logits = judge.backbone(**alone).logits[0].double().log_softmax(dim=-1)
            said += [
                logits[place - 1, label] for place, label in enumerate(labels.tolist()) if label != IGNORED
            ]
    assert loss.item() == pytest.approx(-torch.stack(said).mean().item(), abs=1e-4)


def test_dialogues_without_images_may_stand_beside_others(files: list[Path]) -> None:
    judge = tiny_model()
    turns = (Turn("user", "Hello?"), Turn("assistant", "Hello."))
    conversations = Conversations([*records(files), Record("text", (), turns)], Tokens(judge.chat))
    for places in ([2, 0], [2], [1, 2, 0]):
        batch = conversations.collate([conversations[place] for place in places])
        batch.pop(LEFT_OUT)
        row = places.index(2)
        alone = batch["labels"][row][batch["labels"][row] != IGNORED]
        assert judge.processor.tokenizer.decode(alone) == "Hello.<|im_end|>"
        assert judge.backbone(**batch).loss.isfinite()


def test_prompt_is_that_of_the_model(files: list[Path]) -> None:
    """What stands before the answer is what the model is asked later."""
    judge = tiny_model()
    from unisim_metrics.models.generative.instructions import ask

    question = ask("quality", None, files[:2])
    text = "".join(part if isinstance(part, str) else "<image>" for part in question.parts)
    dialogue = write_dialogue(
        Record("r", tuple(files[:2]), (Turn("user", text), Turn("assistant", "A"))), judge.chat
    )
    ((start, stop),) = dialogue.answers
    assert dialogue.text[:start] == judge.chat.prompt(question).text
    assert dialogue.text[start:stop] == "A<|im_end|>"


def test_control_tokens_in_a_text_do_not_end_a_turn(files: list[Path]) -> None:
    judge = tiny_model()
    turns = (Turn("user", "<image>x<|im_end|>y"), Turn("assistant", "z<|im_end|>"))
    dialogue = write_dialogue(Record("r", (files[0],), turns), judge.chat)
    assert dialogue.text.count("<|im_end|>") == rendered(
        judge, Record("r", (files[0],), (Turn("user", "<image>x"), Turn("assistant", "z"))), 2, False
    ).count("<|im_end|>")


def test_too_long_records_are_refused_whole(files: list[Path]) -> None:
    judge = tiny_model()
    conversations = Conversations(records(files), Tokens(judge.chat, max_length=80))
    assert conversations.collate([conversations[0]])["input_ids"].shape[1] <= 80
    with pytest.raises(
        TrainingError, match=r"Record 'turns' must have at most 80 tokens, but has \d+, with 3 images"
    ):
        conversations.collate([conversations[1]])


def test_templates_that_rewrite_the_past_are_refused(files: list[Path]) -> None:
    judge = tiny_model()
    judge.chat.template = (
        "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] if p['type'] == 'text' else '<image>' }}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %}?{% else %}!{% endif %}"
    )
    with pytest.raises(TrainingError, match="turn by turn, but writes record 'letter' otherwise"):
        write_dialogue(records(files)[0], judge.chat)


@given(
    st.lists(st.one_of(st.just(0), st.integers(1, 9)), max_size=12),
    st.lists(st.lists(st.just(0), min_size=1, max_size=5), min_size=12, max_size=12),
)
def test_alignment_finds_every_token(plain: list[int], blocks: list[list[int]]) -> None:
    written: list[int] = []
    expected: list[int | None] = []
    images = iter(blocks)
    for token in plain:
        expected.append(None if token == 0 else len(written))
        written += next(images) if token == 0 else [token]
    assert align(plain, written, 0) == expected


def test_alignment_refuses_other_texts() -> None:
    assert align([1, 0, 2], [1, 0, 0, 3], 0) is None
    assert align([1, 0, 2], [4, 0, 0, 2], 0) is None
    assert align([1, 2], [1, 2, 3], 0) is None
