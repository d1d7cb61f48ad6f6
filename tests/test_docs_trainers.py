"""The rewards that docs/rewards.md writes for trainers, called as the trainers call them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import docs_trainers
import pytest
import torch
from docs_pages import read_page
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from unisim_metrics.functional import unisim_score

PROMPTS = ["a cat", "a cat", "a dog", "a dog"]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page defines, with the bundled model."""
    docs_trainers.stand_in(monkeypatch)
    names: dict[str, Any] = {}
    for block in read_page("docs/rewards.md"):
        exec(compile(block.code.replace("unisim-vit-l-14", "unisim-mini"), block.place, "exec"), names)
    return names


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(len(PROMPTS), 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_page_s_own_call(page: dict[str, Any]) -> None:
    assert page["rewards"].shape == (6,)
    assert sorted(page["rewards"].view(2, 3)[0].tolist()) == [0, 0.5, 1]


@pytest.mark.parametrize(("name", "arguments"), [("unisim", ()), ("unisim_score", ("cpu",))])
def test_functions(page: dict[str, Any], pixels: Tensor, name: str, arguments: tuple[str, ...]) -> None:
    rewards, info = page[name](*arguments)(pixels, PROMPTS, [{}] * len(PROMPTS))
    torch.testing.assert_close(rewards, unisim_score(pixels, PROMPTS, reduction="none"))
    assert set(info) == {"scores", "signatures"}


def test_a_class(page: dict[str, Any], pixels: Tensor) -> None:
    reward = page["UniSim"](SimpleNamespace(), SimpleNamespace(device=torch.device("cpu")))
    images = [to_pil_image(picture) for picture in pixels]
    result = reward(prompt=PROMPTS, image=images, group_id="1")
    scores = unisim_score(images, PROMPTS, reduction="none").view(2, 2)
    wins = (scores > scores.flip(1)).float().flatten()
    torch.testing.assert_close(result.rewards, wins)
