"""UniSim as a reward function of verl-omni (https://github.com/verl-project/verl-omni).

Its configuration names this module and the function; further keys of an entry are arguments of the function.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .batching import Batcher
from .rewards import PointwiseReward

# What the trainer passes to every reward function, for those that ask a served model.
_OF_THE_TRAINER = ("reward_router_address", "reward_model_tokenizer", "model_name")


class _Sample(NamedTuple):
    image: Tensor
    prompt: str
    metadata: Mapping[str, Any]


async def compute_score(
    data_source: str,
    solution_image: Tensor,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None,
    *,
    device: str | None = None,
    batch_size: int = 32,
    wait: float = 0.01,
    **options: Any,
) -> dict[str, float]:
    """Reward one image; images that come at the same time are scored in one batch.

    Args:
        data_source: The name of the data set; it is not looked at.
        solution_image: The image, uint8 `[C, H, W]`.
        ground_truth: Its prompt.
        extra_info: What the data set tells of it; for `image-image` its reference image, under `"reference"`.
        device: Where the model runs; the accelerator if None and there is one.
        batch_size: The most images of a batch.
        wait: For how many seconds a batch that is not full waits for more images.
        options: Arguments of `PointwiseReward`: `model_name_or_path`, `tasks` and others.

    Returns:
        The reward under `"score"`, the scores of each task, not weighted, under its name, and those of each judge that
        watches under `"watch/NAME"`: plain floats.

    Raises:
        ValueError: If the image is no uint8 `[C, H, W]`, a reference is missing, or an option is out of its range.
        TypeError: If an option is unknown, or something is neither image nor text.
    """
    if (
        not isinstance(solution_image, Tensor)
        or solution_image.ndim != 3
        or solution_image.dtype != torch.uint8
    ):
        got = (
            f"{solution_image.dtype} {list(solution_image.shape)}"
            if isinstance(solution_image, Tensor)
            else type(solution_image).__name__
        )
        raise ValueError(f"Argument `solution_image` must be an image, uint8 [C, H, W], but got {got}.")
    if not isinstance(ground_truth, str):
        raise TypeError(
            f"Argument `ground_truth` must be the prompt, a str, but got {type(ground_truth).__name__}."
        )
    own = {name: _plain(value) for name, value in options.items() if name not in _OF_THE_TRAINER}
    batcher = _batcher(device or _accelerator(), batch_size, wait, own)
    return await batcher.ask(_Sample(solution_image, ground_truth, extra_info or {}))


_batchers: dict[Hashable, Batcher[_Sample, dict[str, float]]] = {}
_lock = threading.Lock()


def _batcher(
    device: str, size: int, wait: float, options: dict[str, Any]
) -> Batcher[_Sample, dict[str, float]]:
    """The one that answers for these settings in this process; made at the first call."""
    key = (device, size, wait, _hashable(options))
    with _lock:
        if key not in _batchers:
            reward = PointwiseReward(**options)

            def answer(samples: Sequence[_Sample]) -> list[dict[str, float]]:
                return _score(reward, device, samples)

            _batchers[key] = Batcher(answer, size, wait)
        return _batchers[key]


def _score(reward: PointwiseReward, device: str, samples: Sequence[_Sample]) -> list[dict[str, float]]:
    images = [sample.image.to(device) for sample in samples]
    rewards, info = reward(
        images, [sample.prompt for sample in samples], [sample.metadata for sample in samples]
    )
    columns = {"score": rewards.tolist()}
    columns.update({task: scores.tolist() for task, scores in info["scores"].items()})
    columns.update({f"watch/{name}": scores.tolist() for name, scores in info.get("watch", {}).items()})
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _accelerator() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _plain(value: Any) -> Any:
    """A mapping of the trainer's configuration, such as omegaconf's, as a dictionary."""
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _hashable(value: Any) -> Hashable:
    return tuple((key, _hashable(item)) for key, item in value.items()) if isinstance(value, dict) else value
