"""Who judges the pictures of a validation: models, rewards, and functions of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unisim_metrics.images import list_images
from unisim_metrics.models.kept import ModelLike
from unisim_metrics.models.protocol import PerceptualModel

from ..arrays import channels_first_batch, device_of
from ..rewards import Batch, PointwiseReward, UniSimRewardFunction, as_judge, one_at_a_time
from .plan import Sample

ScoreFunction: TypeAlias = Callable[[Any, list[str], list[dict[str, Any]]], Any]
"""Scores N images: called as rewards are, `function(images, prompts, metadata)`, it returns N scores, or them first."""

JudgeLike: TypeAlias = PointwiseReward | ModelLike | ScoreFunction


class Judges:
    """The judges of a validation, by name.

    Args:
        judges: By name a model for the task that the name says, a `PointwiseReward`, or a function.

    Raises:
        ValueError: If there is none, a name is empty, or a model does not score the task that its name says.
        TypeError: If one is none of these.
    """

    def __init__(self, judges: Mapping[str, JudgeLike]) -> None:
        if not isinstance(judges, Mapping):
            raise TypeError(f"Argument `judges` must map names to judges, but got {type(judges).__name__}.")
        if not judges:
            raise ValueError("Argument `judges` must name at least one judge, but it is empty.")
        self._judges: dict[str, PointwiseReward | ScoreFunction] = {}
        for name, judge in judges.items():
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"Argument `judges` must have names of letters, but got {name!r}.")
            if _is_function(judge):
                self._judges[name] = cast(ScoreFunction, judge)
            else:
                self._judges[name] = as_judge(name, cast(ModelLike, judge), argument="judges")

    @property
    def names(self) -> list[str]:
        """The names of the judges, in their order."""
        return list(self._judges)

    @property
    def signatures(self) -> dict[str, str | None]:
        """What makes the scores of each judge; None of a function, of which only its caller knows."""
        return {
            name: _sign(judge) if isinstance(judge, PointwiseReward) else None
            for name, judge in self._judges.items()
        }

    def check(self, samples: Sequence[Sample]) -> None:
        """Check that there is a reference where a judge looks at one.

        Raises:
            ValueError: If there is none.
        """
        for name, judge in self._judges.items():
            if isinstance(judge, PointwiseReward) and _takes_references(judge):
                missing = next((sample for sample in samples if not sample.references), None)
                if missing is not None:
                    raise ValueError(
                        f"Argument `references` or `subject` must be given for the judge {name!r}, but there is no"
                        f" image to hold pictures of {missing.prompt!r} against."
                    )

    def to(self, device: torch.device) -> None:
        """Move the models of the judges."""
        for judge in self._judges.values():
            if isinstance(judge, PointwiseReward) and judge.model.device != device:
                with one_at_a_time:
                    judge.model.to(device)

    @torch.no_grad()
    def score(self, images: Any, samples: Sequence[Sample]) -> dict[str, NDArray[np.float64]]:
        """Score images, `[N]` by the name of each judge.

        Args:
            images: N images, as `channels_first_batch` gives them.
            samples: What they are of. Held against several references, an image has the mean of its scores.

        Raises:
            ValueError: If a judge gives another number of scores, or one that is not finite.
        """
        return {name: self._score(name, judge, images, samples) for name, judge in self._judges.items()}

    def _score(
        self, name: str, judge: PointwiseReward | ScoreFunction, images: Any, samples: Sequence[Sample]
    ) -> NDArray[np.float64]:
        if not isinstance(judge, PointwiseReward):
            metadata = [{"seed": sample.seed, "references": list(sample.references)} for sample in samples]
            returned = judge(images, [sample.prompt for sample in samples], metadata)
            scores = _as_array(returned[0] if isinstance(returned, tuple) else returned)
        else:
            scores = _ask(judge, images, samples)
        if scores.shape != (len(samples),):
            raise ValueError(
                f"Argument `judges` must give one score for each of {len(samples)} images, but {name!r} gave shape"
                f" {list(scores.shape)}."
            )
        if not np.isfinite(scores).all():
            raise ValueError(
                f"Argument `judges` must give finite scores, but {name!r} gave"
                f" {int((~np.isfinite(scores)).sum())} of {len(scores)} that are not."
            )
        return scores


def _ask(judge: PointwiseReward, images: Any, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """The scores of a reward: the mean over the references of each image, if it looks at them."""
    device = device_of(images) or judge.model.device
    if not _takes_references(judge):
        batch = Batch(images, [sample.prompt for sample in samples], None)
        with one_at_a_time:
            return _as_array(judge.weigh(batch, device)[0])
    listed = list_images(images)
    pairs = [(place, image) for place, sample in enumerate(samples) for image in sample.references]
    batch = Batch(
        [listed[place] for place, _ in pairs],
        [samples[place].prompt for place, _ in pairs],
        [{judge.reference_key: image} for _, image in pairs],
    )
    with one_at_a_time:
        scores = _as_array(judge.weigh(batch, device)[0])
    places = np.array([place for place, _ in pairs])
    means: NDArray[np.float64] = np.bincount(places, scores) / np.bincount(places)
    return means


def _takes_references(judge: PointwiseReward) -> bool:
    # Not so those who watch a reward: here they are not asked.
    return "image-image" in judge.weights


def _is_function(judge: object) -> bool:
    if isinstance(judge, UniSimRewardFunction | nn.Module | PerceptualModel):
        return False
    return callable(judge)


def _sign(judge: PointwiseReward) -> str:
    signatures, weights = judge.signatures, judge.weights
    if list(weights.values()) == [1.0]:
        return next(iter(signatures.values()))
    return " + ".join(f"{weight:g} × {signatures[task]}" for task, weight in weights.items())


def _as_array(scores: Any) -> NDArray[np.float64]:
    if isinstance(scores, Tensor):
        scores = scores.detach().double().cpu().numpy()
    elif isinstance(scores, Sequence):
        scores = [float(score) for score in scores]
    return np.asarray(scores, dtype=np.float64)


def as_images(images: Any, count: int) -> Any:
    """What a model made, as judges take it.

    Args:
        images: N images of any kind.
        count: How many there have to be.

    Raises:
        ValueError: If there is another number.
        TypeError: If they are none.
    """
    images = channels_first_batch(images, "generate")
    if len(images) != count:
        raise ValueError(
            f"Argument `generate` must make one image for each of {count} prompts, but made {len(images)}."
        )
    return images
