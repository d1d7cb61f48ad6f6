"""Judges that watch a reward: when they warn, against NumPy, and how they stand beside each kind of reward."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from comparing import OnlyCompares
from torch import Tensor

from docs.experiments import watching as experiment
from unisim_metrics.functional import unisim_score
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.integrations.verl_omni import compute_score
from unisim_metrics.integrations.watching import Drift, Watch, Window

PROMPTS = ["a cat", "a cat", "a dog", "a dog"]


class Brightness(OnlyCompares):
    """Scores images by their first pixel: a reward that can be raised, and lowered, at will."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign
        self.tasks = {"image-text": "scores", "quality": "scores"}

    def score(self, preds: Any, target: Any, task: Any, *settings: Any) -> Tensor:
        return self.sign * torch.stack([image[0, 0, 0] for image in preds])

    def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
        return torch.stack([self.score(group, None, None) for group in alternatives])


class Chooser(OnlyCompares):
    """Says by the logarithm of a softmax which image of a group it would choose."""

    def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
        means = torch.stack([torch.stack([image[0, 0, 0] for image in group]) for group in alternatives])
        return means.log_softmax(dim=1)


def batch(level: float) -> Tensor:
    """Four images of about a brightness, two of which are brighter than the others."""
    levels = level + torch.tensor([0.0, 0.02, 0.0, 0.02])
    return levels.view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()


def warnings_of(reward: Any, levels: list[float]) -> list[list[str]]:
    """What each call says, one call a level."""
    said = []
    for level in levels:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reward(batch(level), PROMPTS)
        said.append([str(warning.message) for warning in caught])
    return said


class TestWindow:
    @pytest.mark.parametrize("sizes", [[1], [2], [1, 1], [3, 2, 1], [4] * 50])
    def test_the_standard_error_takes_a_prompt_for_one_draw(self, sizes: list[int]) -> None:
        random = np.random.default_rng(0)
        prompts = np.repeat(np.arange(len(sizes)), sizes)
        scores = random.normal(size=len(sizes))[prompts] + random.normal(size=len(prompts))
        window = Window()
        for score, prompt in zip(scores.tolist(), prompts, strict=True):
            window.add(score, str(prompt))
        level = window.level()
        assert level.mean == pytest.approx(scores.mean())
        assert level.deviation == pytest.approx(scores.std(), abs=1e-7)
        expected = scores.std() / np.sqrt(len(scores))
        if len(sizes) > 1:  # the sandwich of a regression on a constant
            sums = np.array([(scores - scores.mean())[prompts == place].sum() for place in range(len(sizes))])
            clustered = np.sqrt(len(sizes) / (len(sizes) - 1) * (sums**2).sum()) / len(scores)
            expected = max(expected, clustered)
        assert level.error == pytest.approx(expected, abs=1e-7)


class TestDrift:
    def feed(self, drift: Drift, reward: float, judge: float) -> Any:
        """A window of 200 images with the standard deviation 1, each of a prompt of its own."""
        noise = np.tile([-1.0, 1.0], 100)
        return drift.update((reward + noise).tolist(), (judge + noise).tolist(), [str(i) for i in range(200)])

    def test_a_fall_counts_from_the_highest_window_and_is_said_once(self) -> None:
        drift = Drift(200, 0.25, 0.25)
        assert self.feed(drift, 0, 0) is None
        assert self.feed(drift, 1, 2) is None
        assert self.feed(drift, 3, 1.9) is None  # falls by too little
        assert self.feed(drift, 0.9, 1) is None  # the reward stands lower than at the judge's best
        parting = self.feed(drift, 2, 1.5)
        assert parting.since == 400
        assert parting.judge == pytest.approx((2, 1.5))
        assert parting.reward == pytest.approx((1, 2))
        assert self.feed(drift, 4, 0) is None

    # Four standard errors of the difference of two windows of 200 are 4 * sqrt(2 / 200) = 0.4.
    @pytest.mark.parametrize(("fall", "found"), [(0.38, False), (0.42, True)])
    def test_what_noise_could_do_is_no_fall(self, fall: float, found: bool) -> None:
        drift = Drift(200, 0.0, 0.0)
        self.feed(drift, 0, 0)
        assert (self.feed(drift, 1, -fall) is not None) == found

    @pytest.mark.parametrize(("fall", "found"), [(0.9, False), (1.1, True)])
    def test_the_threshold_is_in_standard_deviations(self, fall: float, found: bool) -> None:
        drift = Drift(200, 0.25, 1.0)
        self.feed(drift, 0, 0)
        assert (self.feed(drift, 1, -fall) is not None) == found

    def test_scores_that_are_not_finite_are_left_out(self) -> None:
        drift = Drift(200, 0.25, 0.25)
        drift.update([np.nan, 1.0, -np.inf], [0.0, np.inf, 0.0], ["a", "b", "c"])
        assert drift.judge.count == 0
        self.feed(drift, 0, 0)
        assert self.feed(drift, 1, -1).since == 203

    def test_without_a_reward_the_fall_alone_counts(self) -> None:
        drift = Drift(2, 0.25, 0.25)
        assert drift.update(None, [1.0, 1.0], ["a", "b"]) is None
        parting = drift.update(None, [0.0, 0.0], ["a", "b"])
        assert parting is not None
        assert parting.reward is None
        assert "reward rose" not in parting.message("quality")


class TestRewards:
    def test_scores_stand_beside_the_reward_and_change_nothing(self) -> None:
        images = torch.rand(4, 3, 64, 64)
        for kind in (PointwiseReward, GroupwiseReward):
            plain, before = kind()(images, PROMPTS)
            judges: Any = {"quality": "unisim-mini", "mine": PointwiseReward(tasks={"sharpness": 2.0})}
            rewards, info = kind(watch=judges)(images, PROMPTS)
            torch.testing.assert_close(rewards, plain)
            assert set(before) == {"scores", "signatures"}
            assert set(info["scores"]) == {"image-text"}
            expected = {
                task: unisim_score(images, task=task, reduction="none") for task in ("quality", "sharpness")
            }
            torch.testing.assert_close(info["watch"]["quality"], expected["quality"])
            torch.testing.assert_close(info["watch"]["mine"], 2 * expected["sharpness"])

    @pytest.mark.parametrize("kind", [PointwiseReward, GroupwiseReward])
    def test_one_warning_for_each_judge_that_falls(self, kind: Any) -> None:
        judges = {
            "quality": Brightness(-1),
            "loyal": PointwiseReward(Brightness()),  # type: ignore[arg-type]
            "other": PointwiseReward(Brightness(-2)),  # type: ignore[arg-type]
        }
        reward = kind(Brightness(), watch=Watch(judges, window=4))
        said = warnings_of(reward, [0.1, 0.1, 0.5, 0.9])
        assert [len(messages) for messages in said] == [0, 0, 2, 0]
        assert "image 4, the judge 'quality' fell by 0.4 (-0.11 to -0.51)" in said[2][0]
        assert "the reward rose by 0.4 (0.11 to 0.51)" in said[2][0]
        assert "the judge 'other' fell by 0.8" in said[2][1]

    @pytest.mark.parametrize("kind", [PointwiseReward, GroupwiseReward])
    def test_no_warning_where_both_fall(self, kind: Any) -> None:
        reward = kind(Brightness(), watch=Watch({"quality": Brightness()}, window=4))
        assert warnings_of(reward, [0.9, 0.5, 0.1]) == [[], [], []]

    def test_a_model_that_only_chooses_has_no_trend(self) -> None:
        reward = GroupwiseReward(Chooser(), watch=Watch({"quality": Brightness()}, window=4))  # type: ignore[arg-type]
        said = warnings_of(reward, [0.5, 0.1])
        assert [len(messages) for messages in said] == [0, 1]
        assert "the judge 'quality' fell by 0.4" in said[1][0]
        assert "reward rose" not in said[1][0]

    @pytest.mark.parametrize("keep", [copy.deepcopy, lambda reward: pickle.loads(pickle.dumps(reward))])
    def test_what_was_seen_survives_copies_and_pickles(self, keep: Any) -> None:
        reward = PointwiseReward(Brightness(), watch=Watch({"quality": Brightness(-1)}, window=8))  # type: ignore[arg-type]
        warnings_of(reward, [0.1, 0.1, 0.5])  # a window and a half
        kept = keep(reward)
        assert [len(messages) for messages in warnings_of(kept, [0.5, 0.9, 0.9])] == [1, 0, 0]
        assert [len(messages) for messages in warnings_of(reward, [0.5])] == [1]

    def test_a_call_that_fails_is_not_counted(self) -> None:
        judge = PointwiseReward(tasks="image-image", reference_key="source")
        reward = PointwiseReward(watch={"edit": judge})
        assert reward.reference_keys == {"source"}
        with pytest.raises(ValueError, match="with an entry under 'source'"):
            reward(torch.rand(4, 3, 64, 64), PROMPTS)
        assert reward.drifts["edit"].seen == 0

    def test_verl_omni_gets_the_scores(self) -> None:
        import asyncio

        image = torch.zeros(3, 64, 64, dtype=torch.uint8)
        answer = asyncio.run(
            compute_score("set", image, "a cat", None, device="cpu", watch={"quality": "unisim-mini"})
        )
        assert set(answer) == {"score", "image-text", "watch/quality"}
        assert answer["watch/quality"] == pytest.approx(unisim_score(image).item(), abs=1e-5)


class TestWrongUse:
    @pytest.mark.parametrize("kind", [PointwiseReward, GroupwiseReward])
    @pytest.mark.parametrize(
        ("watch", "error", "message"),
        [
            ({}, ValueError, "`watch` must name at least one judge"),
            ("quality", TypeError, "`watch` must name its judges, a mapping or a `Watch`, but got str"),
            ({"beauty": "unisim-mini"}, ValueError, "what stands under 'beauty' is none: .*'beauty'"),
            ({"caption": "unisim-mini"}, ValueError, "what stands under 'caption' is none: .*'caption'"),
            ({"quality": "unisim-maxi"}, ValueError, "what stands under 'quality' is none: .*'unisim-maxi'"),
            ({"quality": Chooser()}, ValueError, "what stands under 'quality' is none: .* by a choice"),
            ({"quality": 3}, TypeError, "but got int"),
        ],
    )
    def test_judges(self, kind: Any, watch: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            kind(watch=watch)

    def test_a_groupwise_judge(self) -> None:
        with pytest.raises(TypeError, match="or a model under 'quality', but got GroupwiseReward"):
            PointwiseReward(watch={"quality": GroupwiseReward()})  # type: ignore[dict-item]

    @pytest.mark.parametrize("setting", [{"window": 1}, {"rise": -0.1}, {"fall": float("nan")}])
    def test_settings(self, setting: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=f"`{next(iter(setting))}` must be at least"):
            Watch({"quality": "unisim-mini"}, **setting)


class TestExperiment:
    @pytest.mark.parametrize(("run", "found"), [(experiment.RUNS[0], 0), (experiment.RUNS[-1], 5)])
    def test_runs_that_warn(self, run: experiment.Run, found: int) -> None:
        said = experiment.measure(run, 0.5, runs=5, windows=5, window=1024)
        assert sum(count is not None for count in said) == found
        assert f"| {found} of 5 |" in experiment.row(run, 0.5, said)
