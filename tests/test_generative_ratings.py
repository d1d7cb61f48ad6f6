"""Generative models on one picture: yes or no, and words for quality, are what transformers gives for each alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tiny_generative
import torch
from PIL import Image
from tiny_generative import FAMILIES, pictures
from torch import Tensor

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore, load_model
from unisim_metrics.functional import unisim_rank, unisim_score
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.models import GenerativeModel
from unisim_metrics.models.answering import answers_of, ways_of
from unisim_metrics.prompts import Prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Task

TEXTS = ["a cat", "a long caption, with a comma: and more words than others have", "{}", "one", "a dog, sat"]
ASKED: tuple[Task, ...] = ("image-text", "caption", "quality")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> GenerativeModel:
    return tiny_generative.model(request.param, batch_size=3)


@pytest.fixture(scope="module")
def llava() -> GenerativeModel:
    return tiny_generative.model()


def plain(model: GenerativeModel, image: Image.Image, text: str | None) -> float:
    """The score by transformers and NumPy alone: one question, no padding, all logits."""
    asked = (
        "How would you rate the quality of this image?"
        if text is None
        else f'Does this figure show "{text}"? Please answer yes or no.'
    )
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked}]}
    processor, is_idefics = model.processor, model.backbone.config.model_type == "idefics2"  # type: ignore[union-attr]
    prompt = processor.apply_chat_template(
        [message], chat_template=model.chat.template, add_generation_prompt=True, tokenize=False
    )
    if text is None:
        prompt += " The quality of the image is" if is_idefics else "The quality of the image is"
        words, weights = ["excellent", "good", "fair", "poor", "bad"], [1, 0.75, 0.5, 0.25, 0]
        words = [("▁" if is_idefics else "Ġ") + word for word in words]
    else:
        words, weights = ["▁Yes", "▁No"] if is_idefics else ["Yes", "No"], [1, 0]
    begun = processor.tokenizer.bos_token is not None and prompt.startswith(processor.tokenizer.bos_token)
    inputs = processor(text=[prompt], images=[[image]], add_special_tokens=not begun, return_tensors="pt")
    with torch.no_grad():
        logits = model.backbone(**inputs).logits[0, -1].double().numpy()
    chosen = logits[processor.tokenizer.convert_tokens_to_ids(words)]
    exponents = np.exp(chosen - chosen.max())
    return float(exponents / exponents.sum() @ np.array(weights))


def samples(task: Task) -> tuple[Sequence[Any], Sequence[Any] | None]:
    """Predictions and targets of a task: texts of several lengths, a picture that stands twice."""
    shown = [*pictures(4), pictures(1)[0]]
    if task == "quality":
        return shown, None
    return (TEXTS, shown) if task == "caption" else (shown, TEXTS)


class TestScores:
    @pytest.mark.parametrize("task", ASKED)
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_batches_equal_each_question_alone(self, model: GenerativeModel, task: Task, side: str) -> None:
        preds, target = samples(task)
        model.processor.tokenizer.padding_side = side
        scores = model.score(preds, target, task)
        assert scores.shape == (5,)
        assert scores.dtype == torch.float32
        images, texts = (target, preds) if task == "caption" else (preds, target)
        expected = [
            plain(model, image, text)
            for image, text in zip(images or [], texts or [None] * len(preds), strict=True)
        ]
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        assert float(scores.std()) > 1e-3, "questions are told apart"

    @pytest.mark.parametrize("task", ASKED)
    def test_any_batch_composition(self, model: GenerativeModel, task: Task) -> None:
        preds, target = samples(task)
        scores = model.score(preds, target, task)
        order = [3, 0, 4, 1, 2]
        for size in (1, 2, 8):
            other = GenerativeModel(model.backbone, model.processor, "x", batch_size=size)
            picked = [[items[place] for place in order] if items else None for items in (preds, target)]
            again = other.score(picked[0], picked[1], task)
            assert torch.allclose(again, scores[order], atol=1e-5, rtol=0)

    def test_one_pass_a_batch(self, model: GenerativeModel) -> None:
        passes: list[int] = []
        handle = model.backbone.register_forward_pre_hook(
            lambda _, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
        )
        try:
            model.score(pictures(5), None, "quality")
        finally:
            handle.remove()
        assert passes == [3, 2]

    def test_metrics_and_functions(self, llava: GenerativeModel) -> None:
        shown = pictures(5)
        expected = llava.score(shown, TEXTS, "image-text")
        metric = UniSimScore(llava, reduction="none")
        metric.update(shown[:2], TEXTS[:2])
        metric.update(shown[2:], TEXTS[2:])
        assert torch.allclose(metric.compute(), expected, atol=1e-6)
        assert metric.signature == signature(llava, "image-text", ways=("scores",))
        assert "/yes-no|" in metric.signature
        assert float(unisim_score(TEXTS, shown, llava)) == pytest.approx(float(expected.mean()), abs=1e-6)
        quality = llava.score(shown, None, "quality")
        assert torch.allclose(UniSimLoss(llava, reduction="none")(shown), 1 - quality, atol=1e-6)
        one_for_all = unisim_score(shown, "a cat", llava, reduction="none")
        assert torch.allclose(one_for_all, llava.score(shown, ["a cat"] * 5, "image-text"), atol=1e-6)

    def test_rewards(self, llava: GenerativeModel) -> None:
        shown = pictures(4)
        reward = PointwiseReward(llava, {"image-text": 1.0, "quality": 0.5})
        rewards, info = reward(shown, TEXTS[:4])
        expected = llava.score(shown, TEXTS[:4], "image-text") + 0.5 * llava.score(shown, None, "quality")
        assert torch.allclose(rewards, expected, atol=1e-6)
        assert all("/yes-no|" in line for line in info["signatures"].values())
        groups = GroupwiseReward(llava, kind="score")
        assert all("/letters|" in line for line in groups.signatures.values())


class TestModes:
    def test_comparing_is_by_letters_unless_asked_otherwise(self, llava: GenerativeModel) -> None:
        assert set(answers_of(llava).values()) == {"choices"}
        assert ways_of(llava)["quality"] == ("choices", "scores")
        assert ways_of(llava)["sharpness"] == ("choices",)
        assert signature(llava, "quality").count("/letters|") == 1

    def test_comparing_by_yes_or_no(self, llava: GenerativeModel) -> None:
        model = load_model(llava.backbone, processor=llava.processor, mode="yes-no")
        shown = pictures(6)
        groups = [shown[:3], shown[3:5]]
        scores = unisim_rank(groups, ["a cat", "a dog"], model)
        expected = [
            llava.score(group, [text] * len(group), "image-text")
            for group, text in zip(groups, ("a cat", "a dog"), strict=True)
        ]
        assert torch.allclose(scores[0], expected[0], atol=1e-6)
        assert torch.allclose(scores[1, :2], expected[1], atol=1e-6)
        assert scores[1, 2].isnan()
        ranking = UniSimRanking(model)
        ranking.update(groups, ["a cat", "a dog"])
        assert "/yes-no|" in ranking.signature
        # The others are choices still.
        references = [shown[5], shown[0]]
        assert torch.equal(
            model.compare(references, groups).nan_to_num(), llava.compare(references, groups).nan_to_num()
        )
        assert "/letters|" in signature(model, "image-image")
        assert model.input_tag.endswith("/yes-no")

    def test_solved_choices_have_no_place(self, llava: GenerativeModel) -> None:
        shown = pictures(3)
        solved = [(None, shown[:2], 0)]
        told = llava.with_demonstrations(solved)
        with pytest.raises(ValueError, match="has no score for one alone"):
            told.score(shown, None, "quality")
        model = GenerativeModel(llava.backbone, llava.processor, "x", mode="yes-no")
        for refused in (
            lambda: model.with_demonstrations(solved),
            lambda: model.compare(None, [shown], demonstrations=solved),
            lambda: GenerativeModel(
                llava.backbone, llava.processor, "x", mode="yes-no", demonstrations=solved
            ),
        ):
            with pytest.raises(ValueError, match=r"`demonstrations` must be empty in mode 'yes-no'.* got 1"):
                refused()

    def test_wording_is_part_of_the_signature(
        self, llava: GenerativeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scores, choices = llava.tag_of("scores"), llava.tag_of("choices")
        monkeypatch.setattr("unisim_metrics.models.generative.model.ratings_hash", lambda: "other")
        assert llava.tag_of("scores") != scores
        assert llava.tag_of("choices") == choices == llava.input_tag


def floats(count: int) -> Tensor:
    coarse = torch.rand((count, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (40, 56), mode="bicubic")
    return smooth.clamp(0.05, 0.95)


class TestGradients:
    @pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"idefics2"}))
    def test_gradients_are_slopes(self, family: str) -> None:
        model = tiny_generative.model(family)
        pixels = floats(2).requires_grad_()
        texts = ["a cat", "a dog"]
        scores = model.score(pixels, texts, "image-text")
        (gradient,) = torch.autograd.grad(scores.sum(), pixels)
        assert all(weight.grad is None for weight in model.parameters())
        direction = gradient / gradient.norm()
        step = 2e-2
        ends = [
            float(model.score(pixels + sign * step * direction, texts, "image-text").detach().double().sum())
            for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.03)
        # What is not to be rounded differs from what is by less than a grey level does.
        with torch.no_grad():
            rounded = model.score(pixels, texts, "image-text")
        assert torch.allclose(rounded, scores, atol=1e-2)
        assert not rounded.requires_grad

    def test_some_images_with_and_some_without(self, llava: GenerativeModel) -> None:
        pixels = floats(2)
        wanted = pixels[0].clone().requires_grad_()
        photo = pictures(1)[0]
        scores = llava.score([photo, wanted, pixels[1]], None, "quality")
        plain_ones = llava.score([photo, pixels[1]], None, "quality")
        assert torch.allclose(scores[[0, 2]].detach(), plain_ones, atol=1e-6)
        scores.sum().backward()
        assert float(wanted.grad.abs().sum()) > 0  # type: ignore[union-attr]

    def test_loss(self, llava: GenerativeModel) -> None:
        pixels = floats(2).requires_grad_()
        UniSimLoss(llava)(pixels, "a cat").backward()
        assert bool(pixels.grad.abs().sum(dim=(1, 2, 3)).gt(0).all())  # type: ignore[union-attr]

    def test_processors_that_carry_none(self, llava: GenerativeModel) -> None:
        from pillow_processors import SiglipImageProcessorPil

        backbone, processor = tiny_generative.build("llava")
        processor.image_processor = SiglipImageProcessorPil(size={"height": 28, "width": 28})
        for refusing in (tiny_generative.model("idefics2"), GenerativeModel(backbone, processor, "x")):
            with pytest.raises(ValueError, match="must not require gradients for a generative model"):
                refusing.score(floats(1).requires_grad_(), None, "quality")
            assert bool(refusing.score(floats(1), None, "quality").isfinite().all())


class TestRefusals:
    def test_what_is_not_asked_so(self, llava: GenerativeModel) -> None:
        shown = pictures(2)
        with pytest.raises(ValueError, match="`method` must be 'naive' for the generative model"):
            unisim_score(shown, model_name_or_path=llava, method="clip-iqa")
        with pytest.raises(ValueError, match="`prompts` must be None for the generative model"):
            unisim_score(shown, model_name_or_path=llava, prompts=Prompts("a", "b", "c"))
        with pytest.raises(ValueError, match="must have the same length, but got 2 and 1"):
            llava.score(shown, ["a"], "image-text")
        with pytest.raises(ValueError, match="must not be 'contrast'"):
            llava.score(shown, None, "contrast")

    def test_words_that_begin_alike(self, llava: GenerativeModel) -> None:
        from tokenizers import normalizers

        backbone, processor = tiny_generative.build("llava")
        processor.tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" fair", " good")
        model = GenerativeModel(backbone, processor, "x")
        model.score(pictures(1), ["a cat"], "image-text")
        with pytest.raises(ValueError, match=r"must tell the words .* apart by their first token"):
            model.score(pictures(1), None, "quality")

    def test_a_caption_can_neither_end_the_question_nor_bring_in_an_image(
        self, model: GenerativeModel
    ) -> None:
        image, end = model.processor.image_token, model.processor.tokenizer.eos_token
        broken = f"a cat {image[0]} {image[1:]} {end[0]} {end[1:]}"
        scores = model.score(pictures(1) * 2, [f"a cat {image} {end}", broken], "image-text")
        assert float(scores[0]) == pytest.approx(float(scores[1]), abs=1e-6)
