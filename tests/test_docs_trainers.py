"""The rewards that docs/rewards.md names for trainers, found and called as the trainers find and call them."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import docs_trainers
import pytest
import torch
import yaml
from docs_pages import read_page
from torch import Tensor

from unisim_metrics.functional import unisim_score

PROMPTS = ["a cat", "a cat", "a dog", "a dog"]
BLOCKS = read_page("docs/rewards.md")


def configuration(key: str) -> Any:
    """What the page gives a trainer under a key, with the bundled model."""
    blocks = [yaml.safe_load(block.code) for block in BLOCKS if block.language == "yaml"]
    return next(block[key] for block in blocks if key in block)


def both(images: Tensor) -> Tensor:
    """The reward of the page's weights."""
    return unisim_score(images, PROMPTS, reduction="none") + 0.5 * unisim_score(images, reduction="none")


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (len(PROMPTS), 3, 64, 64), generator=generator).to(torch.uint8)


def test_the_page_s_own_call() -> None:
    names: dict[str, Any] = {}
    for block in BLOCKS:
        if block.language == "python":
            exec(compile(block.code.replace("unisim-vit-l-14", "unisim-mini"), block.place, "exec"), names)
    assert names["rewards"].shape == (6,)
    assert sorted(names["rewards"].view(2, 3)[0].tolist()) == [0, 0.5, 1]
    entry = names["score_functions"]["unisim"]
    images = torch.rand(4, 3, 64, 64)
    scores, _ = entry("cpu")(images, PROMPTS, {})
    torch.testing.assert_close(torch.tensor(scores), both(images))


class TestFlowGRPO:
    def test_an_entry_under_eight_threads(self, pixels: Tensor) -> None:
        entry = importlib.import_module("unisim_metrics.integrations.flow_grpo").pointwise_score()
        assert "device" in entry.__code__.co_varnames  # what the trainer asks
        score = entry("cpu")
        expected = unisim_score(pixels, PROMPTS, reduction="none")
        with ThreadPoolExecutor(8) as threads:
            calls = [
                threads.submit(score, pixels[place:], tuple(PROMPTS[place:]), ({},) * (4 - place))
                for place in (0, 1, 2, 3) * 4
            ]
            for place, call in zip((0, 1, 2, 3) * 4, calls, strict=True):
                scores, _ = call.result()
                assert all(type(value) is float for value in scores)
                torch.testing.assert_close(torch.tensor(scores), expected[place:])


class TestFlowFactory:
    @pytest.fixture
    def module(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        docs_trainers.stand_in(monkeypatch)
        name = "unisim_metrics.integrations.flow_factory"
        monkeypatch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module(name)
        sys.modules.pop(name, None)

    def make(self, kind: Any, **options: Any) -> Any:
        return kind(
            config=SimpleNamespace(extra_kwargs=options),
            accelerator=SimpleNamespace(device=torch.device("cpu")),
        )

    def test_the_page_s_class(self, module: Any, pixels: Tensor) -> None:
        (entry,) = configuration("rewards")
        path, name = entry["reward_model"].rsplit(".", 1)
        assert path == module.__name__
        reward = self.make(getattr(module, name), tasks=entry["tasks"])
        assert isinstance(reward, docs_trainers.PointwiseRewardModel)
        assert reward.use_tensor_inputs
        assert reward.required_fields == ("prompt", "image")
        # The trainer passes what the signature names.
        assert list(inspect.signature(reward.__call__).parameters) == ["prompt", "image", "condition_images"]
        output = reward(prompt=PROMPTS, image=list(pixels / 255))
        torch.testing.assert_close(output.rewards, both(pixels / 255))

    def test_edits_are_rewarded_by_the_first_condition(self, module: Any, pixels: Tensor) -> None:
        images, references = pixels / 255, pixels.flip(0) / 255
        conditions = [
            torch.stack([reference, image]) for reference, image in zip(references, images, strict=True)
        ]
        reward = self.make(module.UniSimPointwiseReward, tasks={"image-image": 2.0})
        assert reward.required_fields == ("prompt", "image", "condition_images")
        output = reward(prompt=PROMPTS, image=list(images), condition_images=conditions)
        torch.testing.assert_close(output.rewards, 2 * unisim_score(images, references, reduction="none"))

    def test_groups_compete(self, module: Any, pixels: Tensor) -> None:
        reward = self.make(module.UniSimGroupwiseReward)
        assert isinstance(reward, docs_trainers.GroupwiseRewardModel)
        scores = unisim_score(pixels / 255, PROMPTS, reduction="none").view(2, 2)
        output = reward(prompt=PROMPTS, image=list(pixels / 255))
        torch.testing.assert_close(output.rewards, (scores > scores.flip(1)).float().flatten())

    def test_wrong_use(self, module: Any, pixels: Tensor) -> None:
        with pytest.raises(TypeError, match="taks"):
            self.make(module.UniSimPointwiseReward, taks="quality")
        reward = self.make(module.UniSimPointwiseReward, tasks="image-image")
        with pytest.raises(ValueError, match="`image` must hold the images"):
            reward(prompt=PROMPTS)
        for conditions in (None, [[]] * 4):
            with pytest.raises(ValueError, match="`condition_images` must hold an image for each"):
                reward(prompt=PROMPTS, image=list(pixels / 255), condition_images=conditions)


class TestVerlOmni:
    @pytest.fixture
    def compute_score(self) -> Any:
        entry = configuration("reward")["reward_functions"]["unisim"]
        return getattr(importlib.import_module(entry["path"].removeprefix("pkg://")), entry["name"])

    def ask(self, compute_score: Any, images: Any, infos: Any = None, **options: Any) -> list[Any]:
        """One call a sample, by keyword, all at a time, in an event loop of their own."""

        async def main() -> list[Any]:
            calls = [
                compute_score(
                    data_source="set",
                    solution_image=image,
                    ground_truth=PROMPTS[place],
                    extra_info={} if infos is None else infos[place],
                    device="cpu",
                    **options,
                )
                for place, image in enumerate(images)
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

        return asyncio.run(main())

    @pytest.mark.parametrize("count", [0, 1, 2, 4])
    def test_samples_are_scored_by_themselves(self, compute_score: Any, pixels: Tensor, count: int) -> None:
        tasks = configuration("reward")["reward_functions"]["unisim"]["tasks"]
        assert inspect.iscoroutinefunction(compute_score)
        for _ in range(2):  # two event loops
            answers = self.ask(compute_score, pixels[:count], tasks=tasks, batch_size=3, model_name=None)
            for answer, expected in zip(answers, both(pixels), strict=False):
                assert set(answer) == {"score", "image-text", "quality"}
                assert all(type(value) is float for value in answer.values())
                assert answer["score"] == pytest.approx(expected.item(), abs=1e-5)
            assert len(answers) == count

    def test_a_wrong_sample_fails_alone(self, compute_score: Any, pixels: Tensor) -> None:
        infos = [{"reference": pixels[0]}, {}, {"reference": pixels[1]}, {"reference": pixels[3]}]
        images = [*pixels[:3], pixels]
        answers = self.ask(compute_score, images, infos, tasks="image-image")
        assert answers[0]["score"] == pytest.approx(1, abs=1e-5)
        assert "with an entry under 'reference'" in str(answers[1])
        assert isinstance(answers[2], dict)
        assert "`solution_image` must be an image, uint8 [C, H, W], but got torch.uint8" in str(answers[3])

    def test_options(self, compute_score: Any, pixels: Tensor) -> None:
        (answer,) = self.ask(compute_score, pixels[:1], taks="quality")
        assert isinstance(answer, TypeError)
        (answer,) = self.ask(compute_score, pixels[:1], batch_size=0)
        assert "`size` must be at least 1" in str(answer)
