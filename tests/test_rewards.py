"""Rewards for reinforcement learning against scores by hand: forms of images, sums of tasks, competition in groups."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from comparing import OnlyCompares
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import TEXTS, PlainClip, one_by_one, photos, pixels
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from unisim_metrics import UniSimScore
from unisim_metrics.integrations import rewards as rewards_module
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.models import EncoderModel

FORMS: dict[str, Callable[[Tensor], Any]] = {
    "uint8 tensor, channels first": lambda images: images,
    "uint8 tensor, channels last": lambda images: images.permute(0, 2, 3, 1),
    "uint8 array, channels last": lambda images: images.permute(0, 2, 3, 1).numpy(),
    "uint8 array, channels first": lambda images: images.numpy(),
    "float tensor": lambda images: images / 255,
    "float array, channels last": lambda images: (images / 255).permute(0, 2, 3, 1).numpy(),
    "bfloat16 tensor": lambda images: (images / 255).bfloat16(),
    "PIL images": lambda images: [to_pil_image(image) for image in images],
    "tensors": lambda images: tuple(image / 255 for image in images),
    "arrays": lambda images: [image.permute(1, 2, 0).numpy() for image in images],
}


class Means(OnlyCompares):
    """A model that embeds nothing and prefers the brighter images of a group; it writes down what it is asked."""

    name = "means"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, list[int]]] = []

    def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
        self.asked.append((references, [len(group) for group in alternatives]))
        means = [torch.stack([image.float().mean() for image in group]) for group in alternatives]
        return torch.nn.utils.rnn.pad_sequence(means, batch_first=True, padding_value=torch.nan)


def win_rate(scores: np.ndarray) -> np.ndarray:
    """The share of the others that each score beats, one pair after the other."""
    rates = []
    for place, score in enumerate(scores):
        others = np.delete(scores, place)
        rates.append(np.mean([1.0 if score > other else 0.5 if score == other else 0.0 for other in others]))
    return np.array(rates)


class TestPointwise:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_of_images_is_scored_as_by_hand(
        self, form: str, plain: PlainClip, tiny_model: EncoderModel
    ) -> None:
        images = pixels(4)
        rewards, info = PointwiseReward(tiny_model)(FORMS[form](images), TEXTS[:4], [{}] * 4)
        expected = (plain.images([to_pil_image(image) for image in images]) * plain.texts(TEXTS[:4])).sum(-1)
        tolerance = {"bfloat16 tensor": 2e-2, "PIL images": 1e-5}.get(form, 2e-3)  # rounding of the resize
        np.testing.assert_allclose(rewards.numpy(), expected, atol=tolerance)
        assert rewards.dtype == torch.float32
        assert not rewards.requires_grad
        assert torch.equal(info["scores"]["image-text"], rewards)

    def test_weights_of_several_tasks(self, plain: PlainClip, tiny_model: EncoderModel) -> None:
        pictures, references = photos(3), photos(3, seed=1)
        reward = PointwiseReward(
            tiny_model,
            {"image-text": 0.5, "image-image": 2.0, "brightness": -1.0},
            method="clip-iqa",
            reference_key="source",
        )
        metadata = [{"source": reference, "other": 1} for reference in references]
        rewards, info = reward(pictures, TEXTS[:3], metadata)
        images = plain.images(pictures)
        expected = {
            "image-text": (images * plain.texts(TEXTS[:3])).sum(-1),
            "image-image": (images * plain.images(references)).sum(-1),
            "brightness": plain.attribute(pictures, "brightness", "clip-iqa"),
        }
        assert info["scores"].keys() == expected.keys()
        for task, scores in expected.items():
            np.testing.assert_allclose(info["scores"][task].numpy(), scores, atol=1e-4)
        total = 0.5 * expected["image-text"] + 2 * expected["image-image"] - expected["brightness"]
        np.testing.assert_allclose(rewards.numpy(), total, atol=1e-4)

    def test_scores_and_signatures_are_those_of_the_metric(self, tiny_model: EncoderModel) -> None:
        metric = UniSimScore(tiny_model, reduction="none")
        rewards, info = PointwiseReward(tiny_model)(pixels(3), TEXTS[:3])
        torch.testing.assert_close(rewards, metric(pixels(3), TEXTS[:3]), atol=1e-6, rtol=0)
        assert info["signatures"] == {"image-text": metric.signature}

    def test_images_are_embedded_once_for_all_tasks(self) -> None:
        model: Any = one_by_one()
        tasks: Any = {"image-text": 1.0, "quality": 1.0, "sharpness": 1.0}
        for kind in (PointwiseReward, GroupwiseReward):
            reward = kind(model, tasks)
            model.backbone.calls = 0
            reward(pixels(4), ["a", "b", "a", "b"])
            assert model.backbone.calls == 1

    def test_an_image_beside_several_references_is_embedded_once(self, exact: EncoderModel) -> None:
        embedded: list[int] = []

        class Counting(type(exact.backbone)):  # type: ignore[misc]
            def encode_image(self, batch: Tensor) -> Tensor:
                embedded.append(len(batch))
                return super().encode_image(batch)

        model = one_by_one()
        model.backbone.__class__ = Counting
        first, second, *references = photos(5)
        pairs = [(image, reference) for image in (first, second) for reference in references]
        metadata = [{"reference": reference} for _, reference in pairs]
        found, _ = PointwiseReward(model, "image-image")([image for image, _ in pairs], ["a"] * 6, metadata)
        assert sorted(embedded) == [2, 3]
        apart = [image.copy() for image, _ in pairs]
        assert torch.equal(found, PointwiseReward(exact, "image-image")(apart, ["a"] * 6, metadata)[0])

    def test_references_as_arrays(self, plain: PlainClip, tiny_model: EncoderModel) -> None:
        pictures, references = photos(2), photos(2, seed=1)
        metadata = [{"reference": np.array(reference)} for reference in references]
        rewards, _ = PointwiseReward(tiny_model, "image-image")(pictures, ["", ""], metadata)
        expected = (plain.images(pictures) * plain.images(references)).sum(-1)
        np.testing.assert_allclose(rewards.numpy(), expected, atol=2e-3)

    def test_metadata_are_not_looked_at_without_need(self, tiny_model: EncoderModel) -> None:
        for kind in (PointwiseReward, GroupwiseReward):
            rewards, _ = kind(tiny_model)(pixels(2), ["a", "a"], {})
            assert rewards.shape == (2,)

    def test_the_examples_of_the_documentation(self) -> None:
        assert doctest.testmod(rewards_module) == (0, 10)

    def test_images_that_carry_a_graph(self, tiny_model: EncoderModel) -> None:
        images = torch.rand(2, 3, 40, 40, requires_grad=True)
        rewards, info = PointwiseReward(tiny_model)(images, TEXTS[:2])
        assert not rewards.requires_grad
        assert not info["scores"]["image-text"].requires_grad


class TestGroupwise:
    def test_win_rates_within_the_group_of_a_prompt(self, plain: PlainClip, tiny_model: EncoderModel) -> None:
        pictures = photos(9)
        prompts = [TEXTS[index] for index in (0, 1, 2, 1, 0, 0, 2, 1, 0)]
        rewards, info = GroupwiseReward(tiny_model)(pictures, prompts, [{}] * 9)
        scores = (plain.images(pictures) * plain.texts(prompts)).sum(-1)
        np.testing.assert_allclose(info["scores"]["image-text"].numpy(), scores, atol=1e-5)
        for prompt in set(prompts):
            group = [place for place, other in enumerate(prompts) if other == prompt]
            np.testing.assert_allclose(rewards[group].numpy(), win_rate(scores[group]), atol=1e-6)

    def test_advantages_are_of_one_size_in_every_group(self, tiny_model: EncoderModel) -> None:
        rewards, _ = GroupwiseReward(tiny_model)(photos(12), [TEXTS[place // 4] for place in range(12)])
        groups = rewards.view(3, 4)
        torch.testing.assert_close(groups.mean(dim=1), torch.full((3,), 0.5))
        torch.testing.assert_close(groups.std(dim=1), groups.std(dim=1)[:1].expand(3))

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 255), st.sampled_from("abc")), min_size=2, max_size=12).filter(
            lambda items: all([prompt for _, prompt in items].count(prompt) > 1 for _, prompt in items)
        )
    )
    def test_any_scores_in_any_order(self, items: list[tuple[int, str]]) -> None:
        images = torch.stack([torch.full((3, 2, 2), value, dtype=torch.uint8) for value, _ in items])
        prompts = [prompt for _, prompt in items]
        rewards, info = GroupwiseReward(Means())(images, prompts)
        assert info["scores"]["image-text"].tolist() == [value for value, _ in items]
        for prompt in set(prompts):
            group = [place for place, other in enumerate(prompts) if other == prompt]
            expected = win_rate(np.array([items[place][0] for place in group]))
            np.testing.assert_allclose(rewards[group].numpy(), expected, atol=1e-6)
            assert rewards[group].mean().item() == pytest.approx(0.5)

    def test_a_model_that_only_compares_sees_each_group_once(self) -> None:
        model = Means()
        images = pixels(5)
        rewards, _ = GroupwiseReward(model, kind="score")(images, ["a", "b", "b", "a", "a"])
        assert model.asked == [(["a", "b"], [3, 2])]
        torch.testing.assert_close(rewards, images.float().mean(dim=(1, 2, 3)))

    def test_groups_by_a_key_of_the_metadata(self, plain: PlainClip, tiny_model: EncoderModel) -> None:
        pictures, sources = photos(4), photos(2, seed=1)
        metadata = [{"source": sources[place % 2], "id": place % 2} for place in range(4)]
        reward = GroupwiseReward(
            tiny_model, "image-image", kind="score", reference_key="source", group_key="id"
        )
        rewards, _ = reward(pictures, ["make it night"] * 4, metadata)
        expected = (plain.images(pictures) * plain.images([sources[place % 2] for place in range(4)])).sum(-1)
        np.testing.assert_allclose(rewards.numpy(), expected, atol=1e-5)

    def test_weights_of_several_tasks(self, tiny_model: EncoderModel) -> None:
        pictures, prompts = photos(4), [TEXTS[0]] * 4
        both, _ = GroupwiseReward(tiny_model, {"image-text": 1.0, "quality": 0.5})(pictures, prompts)
        alone = [
            GroupwiseReward(tiny_model, task)(pictures, prompts)[0] for task in ("image-text", "quality")
        ]
        torch.testing.assert_close(both, alone[0] + 0.5 * alone[1])


class TestWrongUse:
    @pytest.mark.parametrize("kind", [PointwiseReward, GroupwiseReward])
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"tasks": {}}, "`tasks` must name at least one task"),
            ({"tasks": "caption"}, "`tasks` must name tasks that score images, but got 'caption'"),
            ({"tasks": "odd-one-out"}, "`tasks` must name tasks that score images, but got 'odd-one-out'"),
            ({"tasks": {"beauty": 1.0}}, "`task` must be one of"),
            ({"method": "best"}, "`method` must be one of"),
            ({"model_name_or_path": "unisim-maxi"}, "unisim-maxi"),
        ],
    )
    def test_settings(
        self, kind: Any, arguments: dict[str, Any], message: str, tiny_model: EncoderModel
    ) -> None:
        with pytest.raises(ValueError, match=message):
            kind(**{"model_name_or_path": tiny_model, **arguments})

    @pytest.mark.parametrize(
        ("tasks", "images", "prompts", "metadata", "message"),
        [
            ("image-text", pixels(2), ["a"], None, "`prompts` must have one text for each of the 2 images"),
            ("image-text", pixels(2), "ab", None, "`prompts` must have one text for each of the 2 images"),
            (
                "image-image",
                pixels(2),
                ["a", "a"],
                [{"reference": pixels(1)[0]}],
                "`metadata` must have one mapping for each of the 2 images",
            ),
            ("image-text", pixels(2)[0], ["a", "a"], None, r"`images` must have shape \[N, C, H, W\]"),
            ("image-text", np.zeros((1, 2, 8, 8, 3)), ["a"], None, r"but got \(1, 2, 8, 8, 3\)"),
            ("image-text", pixels(2) / 127.5 - 1, ["a", "a"], None, "they look like -1–1"),
            (
                "image-image",
                pixels(2),
                ["a", "a"],
                None,
                "`metadata` must have one mapping for each of the 2 images",
            ),
            ("image-image", pixels(2), ["a", "a"], [{}, {}], "with an entry under 'reference'"),
        ],
    )
    @pytest.mark.parametrize("kind", [PointwiseReward, GroupwiseReward])
    def test_inputs(
        self,
        kind: Any,
        tasks: Any,
        images: Any,
        prompts: Any,
        metadata: Any,
        message: str,
        tiny_model: EncoderModel,
    ) -> None:
        with pytest.raises(ValueError, match=message):
            kind(tiny_model, tasks)(images, prompts, metadata)

    @pytest.mark.parametrize("images", [3, "image.png", [1, 2]])
    def test_no_images(self, images: Any, tiny_model: EncoderModel) -> None:
        with pytest.raises(TypeError, match="Argument `images"):
            PointwiseReward(tiny_model)(images, ["a", "a"])

    def test_a_model_that_only_compares_scores_nothing_by_itself(self) -> None:
        with pytest.raises(
            ValueError, match=r"`tasks` must not be 'image-text' for model 'means', .* by a choice"
        ):
            PointwiseReward(Means())  # type: ignore[arg-type]

    def test_a_group_of_one(self, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match=r"group 'b' has one: gather whole groups first"):
            GroupwiseReward(tiny_model)(pixels(3), ["a", "b", "a"])

    def test_a_group_of_two_prompts(self, tiny_model: EncoderModel) -> None:
        with pytest.raises(
            ValueError, match=r"`prompts` must be alike within a group, but group 0 has several"
        ):
            GroupwiseReward(tiny_model, group_key="id")(pixels(2), ["a", "b"], [{"id": 0}, {"id": 0}])

    @pytest.mark.parametrize("metadata", [None, [{"id": 0}, {}]])
    def test_no_group(self, metadata: Any, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match="with an entry under 'id'"):
            GroupwiseReward(tiny_model, group_key="id")(pixels(2), ["a", "a"], metadata)

    def test_an_unknown_kind(self, tiny_model: EncoderModel) -> None:
        with pytest.raises(
            ValueError, match=r"`kind` must be one of \('win-rate', 'score'\), but got 'rank'"
        ):
            GroupwiseReward(tiny_model, kind="rank")  # type: ignore[arg-type]


def test_columns_of_tables_are_as_good_as_lists(tiny_model: Any) -> None:
    import pandas as pd

    table = pd.DataFrame(
        {"prompt": TEXTS[:3], "image": photos(3)}, index=[2, 0, 1]
    )  # labels are no positions
    expected, _ = PointwiseReward(tiny_model)(photos(3), TEXTS[:3])
    for prompts in (table["prompt"], table["prompt"].to_numpy(), np.array(TEXTS[:3])):
        rewards, _ = PointwiseReward(tiny_model)(table["image"], prompts)
        torch.testing.assert_close(rewards, expected)


def test_quality_by_its_other_name(tiny_model: Any) -> None:
    other: Any = "iqa"
    rewards, info = PointwiseReward(tiny_model, other)(photos(2), TEXTS[:2])
    torch.testing.assert_close(rewards, PointwiseReward(tiny_model, "quality")(photos(2), TEXTS[:2])[0])
    assert set(info["scores"]) == {"quality"}
    with pytest.raises(ValueError, match="must name each task once, but got 'quality' by two names"):
        PointwiseReward(tiny_model, {"quality": 1.0, other: 1.0})
