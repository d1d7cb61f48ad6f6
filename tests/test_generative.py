"""Generative models: letters read in one pass are what transformers gives for each question alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_generative
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_generative import FAMILIES, pictures
from torch import Tensor

from unisim_metrics import UniSimLoss, UniSimScore
from unisim_metrics.functional import choose, unisim_score
from unisim_metrics.models import GenerativeModel, PerceptualModel
from unisim_metrics.models.generative.illustrated import encodes_apart
from unisim_metrics.models.generative.instructions import parse_letter
from unisim_metrics.prompts import Prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Task

SHOTS = ("image-image", "image-text", "caption", "quality", "sharpness", "odd-one-out")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> GenerativeModel:
    return tiny_generative.model(request.param, batch_size=3)


@pytest.fixture(scope="module")
def llava() -> GenerativeModel:
    return tiny_generative.model()


def turn(role: str, *content: str | Image.Image) -> dict[str, Any]:
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
        for part in content
    ]
    return {"role": role, "content": parts}


def inputs_of(model: GenerativeModel, messages: list[dict[str, Any]]) -> Any:
    return model.processor.apply_chat_template(
        messages,
        chat_template=model.chat.template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def plain_scores(model: GenerativeModel, messages: list[dict[str, Any]], count: int) -> Tensor:
    """The letters' log-probabilities by transformers alone: one question, no padding, all logits."""
    with torch.no_grad():
        logits = model.backbone(**inputs_of(model, messages)).logits[0, -1]
    mark = "▁" if model.backbone.config.model_type == "idefics2" else ""  # type: ignore[union-attr]
    tokens = [model.processor.tokenizer.convert_tokens_to_ids(mark + letter) for letter in "ABCDEFGH"[:count]]
    return logits.log_softmax(-1)[tokens]


def question(task: Task, reference: Any, alternatives: Sequence[Any]) -> dict[str, Any]:
    """The turn of Table 7, for two or three alternatives."""
    number = {2: "two", 3: "three", 4: "four"}
    count, words = len(alternatives), number[len(alternatives)]
    start = "Answer the following multiple-choice question:\n"
    letters = [f"({letter}) " for letter in "ABCD"[:count]]
    if task == "image-image":
        options = " \n".join(f"{letter}Image {place + 2}" for place, letter in enumerate(letters))
        ask = (
            f". \n If image 1 is the reference image, which image of the other {words} is more similar to the"
        )
        many = {**number, 5: "five"}[count + 1]
        return turn(
            "user",
            f"{start}Here are {many} images: ",
            reference,
            *alternatives,
            f"{ask} reference image? \n Options: \n{options}",
        )
    images = [f"{letter}Image {place + 1}" for place, letter in enumerate(letters)]
    if task == "image-text":
        rest = f", and here is the reference caption: {reference}. which of the {words} images is more aligned to the"
        rest += " reference caption?\n Options:\n" + " \n".join(images)
        return turn("user", f"Answer the following question:\nHere are {words} images: ", *alternatives, rest)
    if task == "caption":
        captions = ", ".join(f"caption {place + 1}: {text}" for place, text in enumerate(alternatives))
        options = "\n".join(f"{letter}Caption {place + 1}" for place, letter in enumerate(letters))
        rest = f" and {words} captions, {captions} \n which caption has a better alignment with the reference image?"
        return turn("user", f"{start}Given the reference image: ", reference, f"{rest} \nOptions:\n{options}")
    if task == "odd-one-out":
        rest = ", Which one (A, B, C) is the odd-one-out of the group?\n Options:\n" + "\n".join(images)
        return turn("user", f"{start}Here are three images: ", *alternatives, rest)
    ending = " which image has a better quality? \nOptions:\n" + "\n".join(images)
    if task == "sharpness":
        ending = " which image is more sharp? \nOptions:\n" + " \n".join(images)
    return turn("user", f"{start}Given {words} images: ", *alternatives, ending)


def samples(task: Task) -> tuple[list[Any] | None, list[list[Any]]]:
    """Groups of several sizes and prompts of several lengths, with images that several groups share."""
    shown = pictures(9)
    groups: list[list[Any]] = [
        [shown[0], shown[1]],
        [shown[2], shown[3], shown[0]],
        [shown[4], shown[4]],
        [shown[5], shown[6]],
    ]
    references: list[Any] | None = [shown[7], shown[0], shown[8], shown[7]]
    if task == "odd-one-out":
        return None, [shown[:3], shown[3:6], [shown[6], shown[0], shown[8]], shown[1:4]]
    if task == "image-text":
        references = ["a cat", "a long caption, with a comma: and more words than others have", "{}", "a"]
    elif task == "caption":
        groups = [["a cat", "a dog"], ["one", "two words", "three words here"], ["x", "y"], ["a", "b"]]
    return (references if task in ("image-image", "image-text", "caption") else None), groups


class TestLetters:
    @pytest.mark.parametrize("task", SHOTS)
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_batches_equal_each_question_alone(self, model: GenerativeModel, task: Task, side: str) -> None:
        references, groups = samples(task)
        model.processor.tokenizer.padding_side = side
        scores = model.compare(references, groups, task=task)
        assert scores.shape == (4, max(map(len, groups)))
        assert scores.dtype == torch.float32
        for row, (score, group) in enumerate(zip(scores, groups, strict=True)):
            reference = None if references is None else references[row]
            expected = plain_scores(model, [question(task, reference, group)], len(group))
            assert torch.allclose(score[: len(group)], expected, atol=1e-4, rtol=0)
            assert score[len(group) :].isnan().all()
        assert float(scores[:, 0].std()) > 1e-3, "questions are told apart"

    def test_any_class_is_read_with_its_images_in_the_prompt(
        self, model: GenerativeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        references, groups = samples("image-image")
        shared = model.compare(references, groups)
        monkeypatch.setattr("unisim_metrics.models.generative.base.encodes_apart", lambda backbone: False)
        assert torch.allclose(
            model.compare(references, groups).nan_to_num(), shared.nan_to_num(), atol=1e-4, rtol=0
        )

    def test_demonstrations_are_earlier_turns(self, model: GenerativeModel) -> None:
        shown = pictures(9, seed=1)
        solved = [(shown[0], [shown[1], shown[2]], 1), (shown[3], (shown[4], shown[5]), 0)]
        references, groups = [shown[6], shown[0]], [[shown[7], shown[8]], [shown[1], shown[7]]]
        scores = model.compare(references, groups, demonstrations=solved)
        before = [
            question("image-image", shown[0], shown[1:3]),
            turn("assistant", "B"),
            question("image-image", shown[3], shown[4:6]),
            turn("assistant", "A"),
        ]
        for score, reference, group in zip(scores, references, groups, strict=True):
            messages = [*before, question("image-image", reference, group)]
            assert torch.allclose(score, plain_scores(model, messages, 2), atol=1e-4, rtol=0)
        own = model.with_demonstrations(solved)
        assert torch.equal(own.compare(references, groups), scores)
        assert own.input_tag == f"{model.input_tag}/2-shot"
        assert model.demonstrations == ()

    def test_an_image_is_encoded_once(self, model: GenerativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = pictures(3)
        prepared = 0
        prepare = type(model.processor.image_processor).preprocess

        def count(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal prepared
            prepared += sum(len(row) if isinstance(row, list) else 1 for row in images)
            return prepare(self, images, *args, **kwargs)

        monkeypatch.setattr(type(model.processor.image_processor), "preprocess", count)
        model.compare([shown[0]] * 4, [[shown[1], shown[2]], [shown[2], shown[1]]] * 2)
        # A class whose images are not encoded apart is given each question whole.
        assert prepared == (3 if encodes_apart(model.backbone) else 12)

    def test_alternatives_from_two_to_eight(self, llava: GenerativeModel) -> None:
        shown = pictures(9)
        for count in range(2, 9):
            scores = llava.compare(["a cat"], [shown[:count]])
            assert scores.shape == (1, count)
            assert bool(scores.isfinite().all())
            assert float(scores.exp().sum()) < 1

    def test_long_prompts_and_many_images_come_in_parts(
        self, model: GenerativeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        references, groups = samples("image-image")
        expected = model.compare(references, groups)
        monkeypatch.setattr("unisim_metrics.models.generative.illustrated._MOST_PAIRS", 30_000)
        monkeypatch.setattr("unisim_metrics.models.generative.illustrated._IMAGES_AT_ONCE", 2)
        assert torch.allclose(model.compare(references, groups), expected, atol=1e-4, equal_nan=True)

    def test_kinds_of_images(self, llava: GenerativeModel, tmp_path: Path) -> None:
        image = Image.fromarray(torch.randint(0, 256, (28, 28, 3), dtype=torch.uint8).numpy())
        image.save(tmp_path / "a.png")
        as_bytes = (
            torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(28, 28, 3).permute(2, 0, 1)
        )
        other = pictures(1)[0]
        expected = llava.compare(None, [[image, other]])
        for same in (tmp_path / "a.png", as_bytes, as_bytes / 255, as_bytes.double() / 255):
            assert torch.equal(llava.compare(None, [[same, other]]), expected)
        other.save(tmp_path / "b.png")
        names = [[str(tmp_path / "a.png"), str(tmp_path / "b.png")]]
        assert torch.equal(llava.compare(None, names, task="quality"), expected)
        batch = torch.stack([as_bytes, as_bytes.flip(0)])[None]
        assert torch.equal(llava.compare(None, batch), llava.compare(None, [list(batch[0])]))
        assert torch.equal(
            llava.compare(as_bytes[None], batch), llava.compare([image], [[batch[0, 0], batch[0, 1]]])
        )

    def test_tokens_that_are_never_written_have_no_share(self, llava: GenerativeModel) -> None:
        shown = pictures(2)
        before = llava.compare(None, [shown])
        config: Any = llava.backbone.generation_config
        config.suppress_tokens = list(range(20))
        try:
            after = llava.compare(None, [shown])
        finally:
            config.suppress_tokens = None
        assert bool((after > before).all())
        assert torch.allclose(after[0, 0] - after[0, 1], before[0, 0] - before[0, 1], atol=1e-5)

    def test_a_module_in_training_keeps_its_mode(self) -> None:
        model = tiny_generative.model()
        expected = model.compare(None, [pictures(2)])
        model.backbone.train()
        assert torch.equal(model.compare(None, [pictures(2)]), expected)
        assert model.backbone.training
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not model.train().training


class TestDebias:
    def test_scores_are_means_over_rotations(self, llava: GenerativeModel) -> None:
        model = GenerativeModel(llava.backbone, llava.processor, "x", debias=True)
        shown = pictures(4)
        rows = []
        for shift in range(3):
            order = [(place + shift) % 3 for place in range(3)]
            row = llava.compare([shown[3]], [[shown[place] for place in order]])[0]
            rows.append(torch.stack([row[order.index(place)] for place in range(3)]))
        expected = torch.stack(rows).mean(0)
        assert torch.allclose(model.compare([shown[3]], [shown[:3]])[0], expected, atol=1e-5)

    @settings(max_examples=8, deadline=None)
    @given(seed=st.integers(0, 2**16), rotation=st.integers(0, 3), count=st.integers(2, 4))
    def test_a_rotation_of_the_alternatives_rotates_the_scores(
        self, llava: GenerativeModel, seed: int, rotation: int, count: int
    ) -> None:
        model = GenerativeModel(llava.backbone, llava.processor, "x", debias=True)
        shown = pictures(count, seed)
        order = [(place + rotation) % count for place in range(count)]
        scores = model.compare(["a"], [shown])[0]
        rotated = model.compare(["a"], [[shown[place] for place in order]])[0]
        assert torch.allclose(rotated, scores[order], atol=1e-5)

    def test_preference_for_a_letter_cancels_out(self) -> None:
        model = tiny_generative.model()
        token = model.chat.letters[0]
        shown = pictures(8)
        groups = [[shown[index], shown[index + 1]] for index in range(7)]
        fair = GenerativeModel(model.backbone, model.processor, "fair", debias=True)
        expected = choose(fair.compare(None, groups))
        logits = torch.nn.functional.one_hot(torch.tensor(token), model.backbone.lm_head.out_features)  # type: ignore[union-attr]
        model.backbone.lm_head.register_forward_hook(lambda module, args, out: out + 50.0 * logits)  # type: ignore[union-attr]
        assert choose(model.compare(None, groups)).tolist() == [0] * 7
        assert torch.equal(choose(fair.compare(None, groups)), expected)
        assert set(expected.tolist()) == {0, 1}


@pytest.fixture
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> int:
    """Random models never come to an end."""
    monkeypatch.setattr("unisim_metrics.models.generative.model.NEW_TOKENS", 8)
    return 8


@pytest.mark.usefixtures("few_tokens")
class TestGenerate:
    def test_same_choice_wherever_the_text_is_a_letter(self) -> None:
        """Random models write no letters: this one is led to, by its last layer, and then to stop."""
        model = tiny_generative.model()
        groups = [pictures(2, seed) for seed in range(12)]
        lead(model, groups)
        texts = written(model, groups)
        told = [parse_letter(text, 2) for text in texts]
        assert {0, 1} <= set(told)
        generated = GenerativeModel(model.backbone, model.processor, "x", mode="generate", batch_size=5)
        scores = generated.compare(None, groups)
        choices = choose(model.compare(None, groups))
        for choice, letter, row in zip(told, choices.tolist(), scores, strict=True):
            if choice is None:
                assert row.isnan().all()
            else:
                assert row.tolist() == [float(choice == 0), float(choice == 1)]
                assert letter == choice

    def test_text_that_is_no_letter_is_no_choice(self, llava: GenerativeModel) -> None:
        model = GenerativeModel(llava.backbone, llava.processor, "x", mode="generate")
        groups = [pictures(2), pictures(3)]
        told = [
            parse_letter(text, len(group)) for text, group in zip(written(llava, groups), groups, strict=True)
        ]
        assert told == [None, None]
        assert model.compare(None, groups).isnan().all()

    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_family_writes_what_transformers_writes(self, family: str) -> None:
        model = tiny_generative.model(family)
        seen: list[str] = []
        decode = model.processor.batch_decode
        model.processor.batch_decode = lambda *args, **kwargs: (
            seen.extend(decode(*args, **kwargs)) or seen[-2:]
        )
        groups = [pictures(2), pictures(3, seed=2)]
        generated = GenerativeModel(model.backbone, model.processor, "x", mode="generate", batch_size=2)
        generated.compare(None, groups)
        expected = written(model, groups)
        assert sorted(seen) == sorted(expected)


def lead(model: GenerativeModel, groups: Sequence[Sequence[Any]]) -> None:
    """Make a model answer by A as often as by B, and then stop."""
    scores = model.compare(None, groups)
    balance = float((scores[:, 1] - scores[:, 0]).median())
    backbone: Any = model.backbone
    letters, end = model.chat.letters[:2], model.processor.tokenizer.eos_token_id
    read: dict[str, Tensor] = {}

    def remember(module: Any, args: Any, kwargs: Any) -> None:
        read["ids"] = kwargs["input_ids"]

    def steer(module: Any, args: Any, out: Tensor) -> Tensor:
        out = out.clone()
        out[..., letters] += 30 + torch.tensor([balance, 0.0])
        out[..., end] += 100 * torch.isin(read["ids"], torch.tensor(letters))[:, -out.shape[1] :]
        return out

    backbone.register_forward_pre_hook(remember, with_kwargs=True)
    backbone.lm_head.register_forward_hook(steer)


def written(model: GenerativeModel, groups: Sequence[Sequence[Any]]) -> list[str]:
    """What the model writes about each group, by transformers alone."""
    texts = []
    for group in groups:
        inputs = inputs_of(model, [question("quality", None, group)])
        ids = model.backbone.generate(**inputs, max_new_tokens=8, do_sample=False)  # type: ignore[operator]
        texts.append(
            model.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        )
    return texts


class TestRefusals:
    def test_no_embeddings_and_tasks_of_several_images(self, llava: GenerativeModel) -> None:
        image = pictures(1)
        for refused in (lambda: llava.embed_images(image), lambda: llava.embed_texts(["a"])):
            with pytest.raises(ValueError, match="is generative and has no embeddings"):
                refused()
        for refused in (
            lambda: unisim_score(image, image, llava),
            lambda: UniSimScore(llava, task="brightness"),
            lambda: UniSimLoss(llava, task="odd-one-out"),
        ):
            with pytest.raises(ValueError, match="It scores one alone for image-text, caption, quality"):
                refused()

    def test_methods_and_prompts_of_encoders(self, llava: GenerativeModel) -> None:
        with pytest.raises(ValueError, match="`method` must be 'naive' for the generative model"):
            llava.compare(None, [pictures(2)], method="clip-iqa")
        with pytest.raises(ValueError, match="`prompts` must be None for the generative model"):
            llava.compare(None, [pictures(2)], prompts=Prompts("a", "b", "c"))

    def test_inputs(self, llava: GenerativeModel) -> None:
        shown = pictures(3)
        with pytest.raises(ValueError, match="at least two alternatives"):
            llava.compare(None, [shown[:1]])
        with pytest.raises(ValueError, match="at most 26 alternatives"):
            llava.compare(None, [shown * 9])
        with pytest.raises(ValueError, match=r"`alternatives\[0\]` must hold finite pixels"):
            llava.compare(None, [torch.full((2, 3, 8, 8), torch.nan)])
        with pytest.raises(ValueError, match="must have a label from 0 to 1, but got 2"):
            llava.compare(None, [shown], demonstrations=[(None, shown[:2], 2)])
        with pytest.raises(ValueError, match=r"`demonstrations\[0\].alternatives`"):
            llava.compare(None, [shown], demonstrations=[("a", ["b", "c"], 0)])
        with pytest.raises(ValueError, match="must be \\(reference, alternatives, label\\)"):
            llava.compare(None, [shown], demonstrations=[(None, shown)])  # type: ignore[list-item]

    def test_arguments(self, llava: GenerativeModel) -> None:
        with pytest.raises(ValueError, match="`mode` must be one of"):
            GenerativeModel(llava.backbone, llava.processor, "x", mode="guess")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
            GenerativeModel(llava.backbone, llava.processor, "x", batch_size=0)

    def test_questions_longer_than_the_context(self) -> None:
        model = tiny_generative.model()
        model.backbone.config.text_config.max_position_embeddings = 150  # type: ignore[union-attr]
        model.compare(None, [pictures(2)])
        with pytest.raises(
            ValueError, match=r"context of 150 tokens, but got a question of \d+ tokens with 10 images"
        ):
            model.compare(None, [pictures(10)], demonstrations=())
        plain = tiny_generative.model("internvl")
        plain.backbone.config.text_config.max_position_embeddings = 60  # type: ignore[union-attr]
        with pytest.raises(ValueError, match="context of 60 tokens"):
            plain.compare(None, [pictures(2)])

    def test_processor_without_chat_template(self) -> None:
        backbone, processor = tiny_generative.build("internvl")
        processor.chat_template = None
        with pytest.raises(ValueError, match="must have a chat template, but has none"):
            GenerativeModel(backbone, processor, "x")

    def test_template_that_leaves_images_out(self) -> None:
        backbone, processor = tiny_generative.build("qwen2_vl")
        processor.chat_template = processor.chat_template.replace("<|image_pad|>", "")
        model = GenerativeModel(backbone, processor, "x")
        with pytest.raises(ValueError, match="must write an image token for each of 2 images, but writes 0"):
            model.compare(None, [pictures(2)])

    def test_letters_of_several_tokens(self) -> None:
        backbone, processor = tiny_generative.build("internvl")
        processor.chat_template = processor.chat_template.replace(
            "assistant\n' }}{% endif %}", "assistant:é' }}{% endif %}"
        )
        core = processor.tokenizer.backend_tokenizer
        core.add_tokens(["B/"])
        GenerativeModel(backbone, processor, "x")
        from tokenizers import normalizers

        core.normalizer = normalizers.Replace("B", "bb")
        with pytest.raises(ValueError, match="must write each option's letter as one token, but writes 'B'"):
            GenerativeModel(backbone, processor, "x")


def test_mantis_is_asked_by_the_template_of_its_family() -> None:
    backbone, processor = tiny_generative.build("idefics2")
    given = GenerativeModel(backbone, processor, "given")
    expected = given.compare(["a cat"], [pictures(2)])
    processor.chat_template = None
    mantis = GenerativeModel(backbone, processor, "mantis")
    assert torch.equal(mantis.compare(["a cat"], [pictures(2)]), expected)
    solved = [turn("user", "Which?"), turn("assistant", "A"), turn("user", pictures(1)[0], "And here?")]
    assert mantis.chat.render(solved, add_generation_prompt=True) == (
        "User: Which?<end_of_utterance>\n"
        "Assistant: A<end_of_utterance>\n"
        "User:<image>And here?<end_of_utterance>\n"
        "Assistant:"
    )


class TestControlTokens:
    def test_a_caption_can_neither_end_the_question_nor_bring_in_an_image(
        self, model: GenerativeModel
    ) -> None:
        image = model.processor.image_token
        end = model.processor.tokenizer.eos_token
        captions = [f"a cat {image} {end}", "a dog"]
        scores = model.compare([pictures(1)[0]], [captions])
        broken = [
            caption.replace(image, f"{image[0]} {image[1:]}").replace(end, f"{end[0]} {end[1:]}")
            for caption in captions
        ]
        assert torch.equal(scores, model.compare([pictures(1)[0]], [broken]))


class TestSignature:
    def test_tells_what_makes_a_score(self, llava: GenerativeModel) -> None:
        shown = pictures(2)

        def tag(**options: Any) -> str:
            return GenerativeModel(llava.backbone, llava.processor, "tiny", **options).input_tag

        tags = [
            tag(),
            tag(mode="generate"),
            tag(debias=True),
            tag(demonstrations=[(None, shown, 0)]),
            tag(demonstrations=[(None, shown, 0)] * 2),
        ]
        assert len(set(tags)) == 5
        assert tag(batch_size=3) == tags[0]
        assert signature(llava, "quality").startswith("unisim|model:tiny-llava@")
        assert "|task:quality/naive|input:llava-" in signature(llava, "quality")
        assert isinstance(llava, PerceptualModel)
        assert not llava.embeds

    def test_wording_template_and_preparation_are_part_of_it(
        self, llava: GenerativeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = llava.input_tag
        monkeypatch.setattr("unisim_metrics.models.generative.model.instructions_hash", lambda: "other")
        assert llava.input_tag != before
        monkeypatch.undo()
        monkeypatch.setattr(llava.chat, "template", "other")
        assert llava.input_tag != before
        monkeypatch.undo()
        monkeypatch.setattr(llava.processor.image_processor, "image_mean", [0.1, 0.2, 0.3])
        assert llava.input_tag != before

    def test_hash_follows_the_weights(self) -> None:
        model = tiny_generative.model()
        before = model.weights_hash()
        assert model.weights_hash() == before
        assert tiny_generative.model().weights_hash() == before
        with torch.no_grad():
            model.backbone.lm_head.weight[0, 0] += 1  # type: ignore[index,union-attr]
        assert model.weights_hash() != before
