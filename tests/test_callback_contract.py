"""What diffusers' own pipeline tests ask of `callback_on_step_end`, asked with callbacks of this package in the row.

After `test_callback_inputs` and `test_callback_cfg` of diffusers' `PipelineTesterMixin`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import diffusers
import pytest
import torch

from docs.experiments.pipelines.cases import tiny_call, tiny_pipeline
from unisim_metrics.integrations.diffusers import UniSimGuidanceCallback, UniSimReward, UniSimScoreCallback
from unisim_metrics.models import EncoderModel

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusion3Pipeline",
    "KandinskyV22Pipeline",
    "FluxPipeline",
    "Flux2Pipeline",
    "QwenImagePipeline",
    "ZImagePipeline",
    "HunyuanImagePipeline",
    "SanaPipeline",
    "Lumina2Pipeline",
    "BriaPipeline",
)


def in_a_row(*callbacks: Any) -> Any:
    """One callback of several, each of which gets what the one before it gave back."""

    def call(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        for callback in callbacks:
            tensors = {**tensors, **callback(pipe, index, timestep, tensors)}
        return tensors

    return call


@pytest.fixture(scope="module", params=PIPELINES)
def pipe(request: pytest.FixtureRequest) -> Any:
    made = tiny_pipeline(getattr(diffusers, request.param))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(params=["score", "guidance"])
def ours(request: pytest.FixtureRequest, pipe: Any, tiny_model: EncoderModel) -> Iterator[Any]:
    if request.param == "score":
        callback: Any = UniSimScoreCallback(pipe, "a red dog", model_name_or_path=tiny_model)
    else:
        reward = UniSimReward("a red dog", model_name_or_path=tiny_model)
        callback = UniSimGuidanceCallback(pipe, reward, scale=0.01, window=(0.0, 1.0))
    with callback:
        yield callback


def latents_of(pipe: Any, callback: Any, inputs: list[str]) -> torch.Tensor:
    """What a call with everything but the decoding gives."""
    found = pipe(
        **{**tiny_call(type(pipe)), "output_type": "latent"},
        generator=torch.Generator().manual_seed(0),
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=inputs,
    )[0]
    return torch.as_tensor(found)


def test_callbacks_get_the_tensors_that_they_ask_for(pipe: Any, ours: Any) -> None:
    allowed = pipe._callback_tensor_inputs
    for wanted in (["latents"], allowed):
        got: list[set[str]] = []

        def look(_: Any, __: int, ___: Any, tensors: dict[str, Any], got: Any = got) -> dict[str, Any]:
            got.append(set(tensors))
            return tensors

        latents_of(pipe, in_a_row(look, ours, look), wanted)
        assert len(got) == 2 * pipe.num_timesteps
        assert all(set(wanted) <= names <= set(allowed) for names in got)


def test_what_a_callback_gives_back_is_gone_on_with(pipe: Any, ours: Any) -> None:
    def erase(pipe: Any, index: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if index == pipe.num_timesteps - 1:
            tensors["latents"] = torch.zeros_like(tensors["latents"])
        return tensors

    assert not latents_of(pipe, in_a_row(ours, erase), pipe._callback_tensor_inputs).any()


def test_a_callback_may_change_the_guidance(pipe: Any, ours: Any) -> None:
    """Where the pipeline keeps its scale as diffusers' test has it: HunyuanImage's guider has it in its own."""
    if not hasattr(type(pipe), "guidance_scale"):
        pytest.skip(f"{type(pipe).__name__} keeps no scale")

    def raise_guidance(pipe: Any, _: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipe._guidance_scale += 1.0
        return tensors

    pipe(
        **{**tiny_call(type(pipe)), "guidance_scale": 2.0},
        generator=torch.Generator().manual_seed(0),
        callback_on_step_end=in_a_row(raise_guidance, ours),
        callback_on_step_end_tensor_inputs=pipe._callback_tensor_inputs,
    )
    assert pipe.guidance_scale == 2.0 + pipe.num_timesteps
