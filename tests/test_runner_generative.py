"""Models that only compare: what they are shown, what they leave unanswered, what they cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_runs import draw, write_distinct_sets
from comparing import OnlyCompares
from PIL import Image
from torch import Tensor

from unisim_metrics.benchmark import load_dataset, run
from unisim_metrics.benchmark.results.files import NO_ALTERNATIVE
from unisim_metrics.models import EncoderModel

DARK = 90


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some sets, which tests must not change."""
    return write_distinct_sets(tmp_path_factory.mktemp("root"))


class Picky(OnlyCompares):
    """Compares by mean colour, embeds nothing, and does not answer where the first alternative is dark."""

    name = "picky"

    def __init__(self) -> None:
        self.input_tag = "any"
        self.batches: list[int] = []
        self.shown: list[Any] = []

    def with_demonstrations(self, demonstrations: Any) -> Picky:
        other = Picky()
        other.shown, other.input_tag = self.shown, f"any-{len(demonstrations)}"
        self.shown.append(demonstrations)
        return other

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Any = None,
        method: Any = "naive",
        prompts: Any = None,
    ) -> Tensor:
        self.batches.append(len(alternatives))
        assert all(isinstance(image, Image.Image) for group in alternatives for image in group)
        assert task == "quality" or len(references) == len(alternatives)
        scores = torch.tensor([[np.asarray(image).mean() for image in group] for group in alternatives])
        scores[scores[:, 0] < DARK] = torch.nan
        return scores


def test_a_generative_model_is_shown_samples(root: Path) -> None:
    model = Picky()
    with pytest.warns(UserWarning, match=r"of 20 answers name no alternative and count as wrong"):
        found = run(model, ["hpdv2", "agiqa-3k-quality"], root, n=20, batch_size=8)
    assert model.batches == [8, 8, 4] * 2
    for name, result in found.items():
        [outcome] = result.outcomes
        means = [
            [np.asarray(Image.open(path)).mean() for path in sample.alternatives]  # type: ignore[arg-type]
            for sample in draw(name, root, 20)
        ]
        expected = [NO_ALTERNATIVE if first < DARK else int(second > first) for first, second in means]
        assert NO_ALTERNATIVE in expected
        assert outcome.choices is not None and outcome.choices.tolist() == expected
        assert outcome.method is None and result.lost == 0
        assert result.unnamed_answers == expected.count(NO_ALTERNATIVE)
        right = [choice == label for choice, label in zip(expected, result.labels, strict=True)]  # type: ignore[arg-type]
        assert outcome.figure == pytest.approx(sum(right) / 20)


def test_a_generative_model_cannot_search(root: Path) -> None:
    model = Picky()
    with pytest.raises(ValueError, match=r"must not name \['roxford'\] for this model: 'picky' compares"):
        run(model, ["hpdv2", "roxford"], root)
    assert model.batches == []


def test_demonstrations_are_training_samples(root: Path, exact: EncoderModel) -> None:
    model = Picky()
    result = run(model, "hpdv2", root, n=4, demonstrations=2)["hpdv2"]
    assert result.demonstrations == 2
    assert "|input:any-2|" in result.outcome().signature
    solved = load_dataset("hpdv2", root).samples("train", 2)
    assert [(reference, label) for reference, _, label in model.shown[0]] == [
        (sample.reference, sample.label) for sample in solved
    ]
    for (_, images, _), sample in zip(model.shown[0], solved, strict=True):
        for image, path in zip(images, sample.alternatives, strict=True):
            assert isinstance(path, Path) and np.array_equal(np.asarray(image), np.asarray(Image.open(path)))
    with pytest.raises(
        ValueError, match="`demonstrations` must be 0 for 'OneByOne', which has no `with_demonstrations`"
    ):
        run(exact, "hpdv2", root, demonstrations=1)
    with pytest.raises(ValueError, match=r"without training samples .*'cifar-100-ooo'"):
        run(model, "cifar-100-ooo", root, demonstrations=1)
