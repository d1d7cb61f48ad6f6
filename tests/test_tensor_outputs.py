"""Pipelines whose tensors have black at −1: best of N scores and gives what one sees."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from diffusion import scheduler
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from docs.experiments.pipelines.cases import tiny_call, tiny_pipeline
from docs.experiments.pipelines.networks import tiny_network
from docs.experiments.tiny_pipelines import SIZE, tiny_unet
from unisim_metrics.integrations.diffusers import best_of_n
from unisim_metrics.models import EncoderModel

TEXT = "a photo of a dog"


def kandinsky_controlnet() -> tuple[Any, dict[str, Any]]:
    """Its denoiser takes a picture of hints beside the embeddings."""
    unet = tiny_unet(
        in_channels=8,
        out_channels=8,
        addition_embed_type="image_hint",
        encoder_hid_dim=32,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=32,
        projection_class_embeddings_input_dim=32,
    )
    pipe = diffusers.KandinskyV22ControlnetPipeline(
        unet=unet,
        scheduler=scheduler("DDPMScheduler", variance_type="learned_range"),
        movq=tiny_network("VQModel"),
    )
    call = tiny_call(diffusers.KandinskyV22Pipeline, images=1)
    return pipe, {**call, "hint": torch.rand(1, 3, 2 * SIZE, 2 * SIZE)}


def deep_floyd() -> tuple[Any, dict[str, Any]]:
    """In pixels."""
    pipe = diffusers.IFPipeline(
        tokenizer=None,
        text_encoder=None,
        unet=tiny_unet(in_channels=3, out_channels=6),
        scheduler=scheduler("DDPMScheduler", variance_type="learned_range"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )
    embeddings = torch.randn(2, 1, 8, 32, generator=torch.Generator().manual_seed(0))
    call = {"prompt_embeds": embeddings[0], "negative_prompt_embeds": embeddings[1], "num_inference_steps": 2}
    return pipe, {**call, "height": 16, "width": 16}


def made(name: str) -> tuple[Any, dict[str, Any]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "KandinskyV22ControlnetPipeline":
            pipe, call = kandinsky_controlnet()
        elif name == "IFPipeline":
            pipe, call = deep_floyd()
        else:
            kind = getattr(diffusers, name)
            pipe, call = tiny_pipeline(kind), tiny_call(kind, images=1)
    pipe.set_progress_bar_config(disable=True)
    return pipe, {key: value for key, value in call.items() if key != "output_type"}


def raw(pipe: Any, call: dict[str, Any], seed: int) -> Tensor:
    tensor: Tensor = pipe(**call, output_type="pt", generator=torch.Generator().manual_seed(seed)).images[0]
    return tensor


class TestBlackAtMinusOne:
    @pytest.mark.parametrize(
        "name",
        [
            "IFPipeline",
            "Kandinsky3Pipeline",
            "KandinskyV22ControlnetPipeline",
            "KandinskyV22InpaintPipeline",
            "KandinskyV22Pipeline",
            "PRXPixelPipeline",
        ],
    )
    def test_tensors_are_the_pictures(self, name: str, tiny_model: EncoderModel) -> None:
        pipe, call = made(name)
        settings: Any = {"reference": TEXT, "model_name_or_path": tiny_model, **call}
        pictures = best_of_n(pipe, n=2, **settings)
        tensors = best_of_n(pipe, n=2, output_type="pt", **settings)
        assert float(raw(pipe, call, tensors.seeds[0]).min()) < 0  # what the pipeline itself gives
        for seed, tensor in zip(tensors.seeds, tensors.images, strict=True):
            expected = (raw(pipe, call, seed) / 2 + 0.5).clamp(0, 1)
            torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=0)
            picture = to_tensor(pictures.images[pictures.seeds.index(seed)])
            torch.testing.assert_close(tensor, picture, atol=0.51 / 255, rtol=0)
        scores = dict(zip(tensors.seeds, tensors.scores.tolist(), strict=True))
        for seed, score in zip(pictures.seeds, pictures.scores.tolist(), strict=True):
            assert scores[seed] == pytest.approx(score, abs=0.01)

    @pytest.mark.parametrize(
        "name", ["Kandinsky3Img2ImgPipeline", "KandinskyV22Img2ImgPipeline", "PRXPipeline"]
    )
    def test_their_kin_have_black_at_zero(self, name: str, tiny_model: EncoderModel) -> None:
        pipe, call = made(name)
        settings: Any = {"reference": TEXT, "model_name_or_path": tiny_model, **call}
        result = best_of_n(pipe, n=2, output_type="pt", **settings)
        for seed, tensor in zip(result.seeds, result.images, strict=True):
            assert torch.equal(tensor, raw(pipe, call, seed))
            assert 0 <= float(tensor.min()) <= float(tensor.max()) <= 1

    def test_arrays_in_the_place_of_tensors(self, tiny_model: EncoderModel) -> None:
        """Some pipelines know no tensors, and give arrays."""
        pipe = diffusers.PNDMPipeline(
            unet=diffusers.UNet2DModel(
                sample_size=16,
                block_out_channels=(8, 8),
                layers_per_block=1,
                norm_num_groups=2,
                down_block_types=("DownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "UpBlock2D"),
            ).eval(),
            scheduler=diffusers.PNDMScheduler(skip_prk_steps=True),
        )
        pipe.set_progress_bar_config(disable=True)
        settings: Any = {"task": "quality", "model_name_or_path": tiny_model, "num_inference_steps": 2}
        tensors = best_of_n(pipe, n=2, output_type="pt", **settings)
        pictures = best_of_n(pipe, n=2, **settings)
        assert tensors.images.shape == (2, 3, 16, 16)
        for seed, tensor in zip(tensors.seeds, tensors.images, strict=True):
            picture = to_tensor(pictures.images[pictures.seeds.index(seed)])
            torch.testing.assert_close(tensor, picture, atol=0.51 / 255, rtol=0)
