"""torchmetrics' `BootStrapper`: right where it resamples everything, refused where pairs would no longer match."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import TEXTS, photos, pixels
from scipy.stats import bootstrap
from torchmetrics.wrappers import BootStrapper, MinMaxMetric

from unisim_metrics import UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_score

IMAGES, OTHERS = pixels(6), pixels(6, seed=1)
REFUSED = r"Argument `{}` must be a tensor inside a `BootStrapper`, .* but got {}"


class Recording(UniSimScore):
    """Keeps what it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Any] = []

    def update(self, preds: Any, target: Any = None) -> None:
        self.seen.append((preds, target))
        super().update(preds, target)


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
def test_tensors_are_resampled_in_pairs(exact: Any, strategy: str) -> None:
    torch.manual_seed(0)
    wrapper = BootStrapper(
        Recording(exact, reduction="mean"), num_bootstraps=8, raw=True, sampling_strategy=strategy
    )
    wrapper.update(IMAGES, target=OTHERS)
    places = {tuple(image.flatten().tolist()): index for index, image in enumerate(IMAGES)}
    scores = unisim_score(IMAGES, OTHERS, exact, reduction="none")
    for metric, value in zip(wrapper.metrics, wrapper.compute()["raw"], strict=True):
        ((preds, target),) = metric.seen
        drawn = [places[tuple(image.flatten().tolist())] for image in preds]
        assert torch.equal(target, OTHERS[drawn])
        assert value == pytest.approx(scores[drawn].mean().item(), abs=1e-6)


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
@pytest.mark.parametrize(
    ("preds", "target", "name", "kind"),
    [
        (IMAGES, TEXTS, "target", "list"),
        (IMAGES, tuple(TEXTS), "target", "tuple"),
        (IMAGES[:1], TEXTS[0], "target", "str"),
        (IMAGES, photos(6), "target", "list"),
    ],
)
def test_lists_beside_tensors_are_refused(
    exact: Any, strategy: str, preds: Any, target: Any, name: str, kind: str
) -> None:
    wrapper = BootStrapper(UniSimScore(exact), num_bootstraps=20, sampling_strategy=strategy)
    with pytest.raises(ValueError, match=REFUSED.format(name, kind)):
        wrapper.update(preds, target)
    assert all(metric.update_count == 0 for metric in wrapper.metrics)
    with pytest.raises(ValueError, match=REFUSED.format(name, kind)):
        wrapper(preds, target=target)


def test_choices_and_arithmetic_and_wrappers_in_between_are_refused_too(exact: Any) -> None:
    groups = IMAGES.view(3, 2, *IMAGES.shape[1:])
    ranking = BootStrapper(UniSimRanking(exact), num_bootstraps=20, sampling_strategy="multinomial")
    with pytest.raises(ValueError, match=REFUSED.format("choices", "list")):
        ranking.update(groups, OTHERS[:3], [0, 1, 0])
    ranking.update(groups, OTHERS[:3], torch.tensor([0, 1, 0]))
    assert ranking.metrics[0].update_count == 1
    for metric in (2 * UniSimScore(exact), MinMaxMetric(UniSimScore(exact))):
        wrapper = BootStrapper(metric, num_bootstraps=20, sampling_strategy="multinomial")
        with pytest.raises(ValueError, match=REFUSED.format("target", "list")):
            wrapper.update(IMAGES, TEXTS)
    UniSimScore(exact).update(IMAGES, TEXTS)


def test_single_scores_are_resampled_instead(exact: Any) -> None:
    metric = UniSimScore(exact, reduction="none")
    metric.update(IMAGES, TEXTS)
    interval = bootstrap((metric.compute().numpy(),), np.mean, random_state=0).confidence_interval
    mean = unisim_score(IMAGES, TEXTS, exact).item()
    assert interval.low < mean < interval.high
