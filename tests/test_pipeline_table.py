"""Tiny forms of diffusers' image pipelines: scored, guided and searched, and what is refused."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from docs.experiments.pipeline_table import WORKS, tried
from docs.experiments.pipelines.cases import tiny_call, tiny_pipeline
from unisim_metrics.integrations.diffusers import UniSimScoreCallback, best_of_n
from unisim_metrics.integrations.diffusers.callback import check_pipeline
from unisim_metrics.integrations.diffusers.latents import LatentDecoder
from unisim_metrics.models import EncoderModel

# One of each way to keep latents, each autoencoder and each scheduler.
SAMPLE = (
    "BriaFiboPipeline",
    "CogView3PlusPipeline",
    "ErnieImagePipeline",
    "Flux2KleinPipeline",
    "FluxControlInpaintPipeline",
    "GlmImagePipeline",
    "HunyuanImagePipeline",
    "Kandinsky5I2IPipeline",
    "QwenImagePipeline",
)


class TestTable:
    @pytest.mark.parametrize("name", SAMPLE)
    def test_a_pipeline_is_scored_guided_and_searched(self, name: str, tiny_model: EncoderModel) -> None:
        """`tried` raises if the images change by a bit, or a preview is not what the pipeline decodes."""
        row = tried(getattr(diffusers, name), tiny_model)
        assert [row.uses[use] for use in ("score", "guide", "best of N")] == [WORKS] * 3


class TestWhatWasSeen:
    @pytest.mark.parametrize("name", ["BriaPipeline", "BriaFiboPipeline", "CogView3PlusPipeline"])
    def test_the_last_score_is_that_of_the_image(self, name: str, tiny_model: EncoderModel) -> None:
        kind = getattr(diffusers, name)
        pipe, call = tiny_pipeline(kind), {**tiny_call(kind), "output_type": "pil"}
        with UniSimScoreCallback(
            pipe, "a fox", model_name_or_path=tiny_model, keep_previews=True
        ) as callback:
            images = pipe(
                **call, generator=torch.Generator().manual_seed(0), callback_on_step_end=callback
            ).images
        assert len(callback.previews) == 3
        for preview, image in zip(callback.previews[-1], images, strict=True):
            difference = abs(as_pixels(preview).int() - as_pixels(image).int()).max()
            assert int(difference) <= 1

    def test_the_last_preview_holds_what_inpainting_pastes(self, tiny_model: EncoderModel) -> None:
        kind = diffusers.FluxControlInpaintPipeline
        pipe, call = tiny_pipeline(kind), {**tiny_call(kind), "output_type": "pil"}
        with UniSimScoreCallback(
            pipe, "a fox", model_name_or_path=tiny_model, keep_previews=True
        ) as callback:
            images = pipe(
                **call, generator=torch.Generator().manual_seed(0), callback_on_step_end=callback
            ).images
        difference = abs(as_pixels(callback.previews[-1][0]).int() - as_pixels(images[0]).int())
        assert int(difference.max()) <= 1


class TestRefusals:
    def test_what_makes_no_images(self) -> None:
        for name, made in (
            ("WanPipeline", "videos"),
            ("LTXPipeline", "videos"),
            ("StableAudioPipeline", "audios"),
            ("KandinskyV22PriorPipeline", "image_embeds"),
            ("MarigoldDepthPipeline", "prediction"),
        ):
            bare = object.__new__(getattr(diffusers, name))
            with pytest.raises(ValueError, match=f"must be a pipeline for images, but {name} makes .*{made}"):
                check_pipeline(bare)
            with pytest.raises(ValueError, match="must be a pipeline for images"):
                best_of_n(bare, "a fox")

    def test_what_is_no_single_picture(self) -> None:
        pipe = tiny_pipeline(diffusers.VisualClozeGenerationPipeline)
        with pytest.raises(ValueError, match=r"a grid of pictures with VisualCloze.*score its images with"):
            LatentDecoder(pipe)

    def test_a_pipeline_that_asks_more_for_its_layout(self) -> None:
        pipe: Any = tiny_pipeline(diffusers.FluxPipeline)

        def unpack(latents: Any, height: int, width: int, frames: int) -> Any:
            return latents

        pipe._unpack_latents = unpack
        with pytest.raises(ValueError, match="FluxPipeline asks `frames` too"):
            LatentDecoder(pipe).decode(torch.zeros(1, 64, 16), (64, 64))


def as_pixels(picture: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
