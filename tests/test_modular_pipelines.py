"""Blocks in modular pipelines: they see what a callback sees in the plain pipeline of the same parts."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("diffusers.modular_pipelines.stable_diffusion_3", reason="needs a newer diffusers")

from diffusers.modular_pipelines import LoopSequentialPipelineBlocks, ModularPipelineBlocks
from diffusion import Tiny

from docs.experiments.pipelines.cases import tiny_call, tiny_pipeline
from docs.experiments.tiny_pipelines import SIZE, tiny_preview_vae
from unisim_metrics.integrations import diffusers as integrations
from unisim_metrics.integrations.diffusers import (
    UniSimGuidanceBlock,
    UniSimGuidanceCallback,
    UniSimReward,
    UniSimScoreBlock,
    UniSimScoreCallback,
)
from unisim_metrics.models import EncoderModel

PROMPT = "a red fox in the snow"
# What the plain pipeline is called with, so that it does what the modular one does by default.
FAMILIES: dict[str, dict[str, Any]] = {
    "Flux": {},
    "Flux2": {},
    "Flux2Klein": {"guidance_scale": 1.0},
    "FluxKontext": {},
    "Krea2": {},
    "QwenImage": {},
    "StableDiffusion3": {},
    "StableDiffusionXL": {"guidance_scale": 7.5},
    "ZImage": {"guidance_scale": 0.0},
}


class Modular:
    """A modular pipeline of the parts of a plain one, without text encoders."""

    def __init__(self, family: str, *blocks: Any) -> None:
        kind = getattr(diffusers, f"{family}Pipeline")
        self.plain: Any = tiny_pipeline(kind)
        # With a picture to edit, diffusers' own blocks fail for several prompts.
        images = 1 if family == "FluxKontext" else None
        self.call = {**tiny_call(kind, images=images), "output_type": "pt"}
        self.pipe = modular(f"{family}AutoBlocks", self.plain, *blocks)

    def __call__(self, output: Any, **arguments: Any) -> Any:
        known = self.pipe.blocks.input_names
        call = {name: value for name, value in self.call.items() if name in known}
        return self.pipe(**{**call, **arguments}, generator=seeded(), output=output)


def modular(name: str, plain: Any, *around: Any) -> Any:
    """A modular pipeline of the parts of a plain one, with blocks of ours around its loops."""
    blocks: Any = getattr(diffusers, name)()
    del blocks.sub_blocks["text_encoder"]
    for block in around:
        blocks = block.around(blocks)
    pipe = blocks.init_pipeline()
    parts = {part: value for part, value in plain.components.items() if part in pipe.component_names}
    pipe.update_components(**{part: value for part, value in parts.items() if value is not None})
    return pipe


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pixels(pictures: list[Image.Image]) -> Tensor:
    from torchvision.transforms.functional import to_tensor

    return torch.stack([to_tensor(picture) for picture in pictures])


@pytest.fixture(autouse=True)
def quiet() -> None:
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def inpainting_call(tiny: Tiny) -> dict[str, Any]:
    """Arguments that have the lower half of a red picture painted anew."""
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, SIZE // 2, SIZE, SIZE))
    return {**tiny.arguments, "image": Image.new("RGB", (SIZE, SIZE), "red"), "mask_image": mask}


class TestScores:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_they_are_those_of_the_callback_in_the_plain_pipeline(
        self, family: str, tiny_model: EncoderModel
    ) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model, keep_previews=True)
        made = Modular(family, block)
        with UniSimScoreCallback(
            made.plain, PROMPT, model_name_or_path=tiny_model, keep_previews=True
        ) as callback:
            expected = made.plain(
                **made.call, **FAMILIES[family], generator=seeded(), callback_on_step_end=callback
            ).images
        found = made(["images", "unisim_scores", "unisim_steps", "unisim_previews"])
        # Guidance by two passes rounds otherwise than by one of a doubled batch.
        torch.testing.assert_close(found["images"], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(found["unisim_scores"], callback.scores, atol=1e-5, rtol=0)
        assert found["unisim_steps"] == callback.steps == [0, 1, 2]
        for pictures, others in zip(found["unisim_previews"], callback.previews, strict=True):
            torch.testing.assert_close(pixels(pictures), pixels(others), atol=1.01 / 255, rtol=0)

    @pytest.mark.parametrize("family", ["Flux", "QwenImage", "StableDiffusionXL"])
    def test_the_images_are_the_same_to_the_bit(self, family: str, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        assert torch.equal(Modular(family, block)("images"), Modular(family)("images"))

    def test_steps_and_another_autoencoder(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(
            task="quality", model_name_or_path=tiny_model, steps=[0, -1], vae=tiny_preview_vae()
        )
        made = Modular("StableDiffusionXL", block)
        found = made(["unisim_scores", "unisim_steps"])
        assert found["unisim_steps"] == [0, 2]
        assert found["unisim_scores"].shape == (2, 2)
        assert made("unisim_previews") is None

    def test_each_run_is_a_new_one(self, tiny_model: EncoderModel) -> None:
        made = Modular("Flux", UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model))
        first = made(["unisim_scores", "unisim_steps"])
        second = made(["unisim_scores", "unisim_steps"])
        assert torch.equal(first["unisim_scores"], second["unisim_scores"])
        assert first["unisim_steps"] == second["unisim_steps"] == [0, 1, 2]
        assert made("unisim_steps", num_inference_steps=1) == [0]

    def test_one_prompt_for_each_image(self, tiny_model: EncoderModel) -> None:
        prompts = [PROMPT, "a boat"]
        both = Modular("Flux", UniSimScoreBlock(prompts, model_name_or_path=tiny_model))("unisim_scores")
        for place, prompt in enumerate(prompts):
            alone = Modular("Flux", UniSimScoreBlock(prompt, model_name_or_path=tiny_model))("unisim_scores")
            torch.testing.assert_close(both[:, place], alone[:, place])

    @pytest.mark.parametrize(("family", "mask"), [("sdxl", False), ("sdxl", True), ("flux", False)])
    def test_the_last_preview_is_the_image(self, family: str, mask: bool, tiny_model: EncoderModel) -> None:
        """Image to image and inpainting, in which the pipeline pastes the kept part of a picture into each step."""
        tiny = Tiny(family, images=2 if family == "sdxl" else 1)
        name = "StableDiffusionXL" if family == "sdxl" else "Flux"
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model, keep_previews=True)
        generator = torch.Generator().manual_seed(7)
        picture = Image.fromarray(
            torch.randint(0, 256, (SIZE, SIZE, 3), generator=generator, dtype=torch.uint8).numpy()
        )
        call = {**tiny.arguments, "image": picture, "strength": 0.75}
        if mask:
            half = Image.new("L", (SIZE, SIZE), 0)
            half.paste(255, (0, SIZE // 2, SIZE, SIZE))
            call["mask_image"] = half
        plain = modular(f"{name}AutoBlocks", tiny.pipe)(**call, generator=seeded(), output="images")
        found = modular(f"{name}AutoBlocks", tiny.pipe, block)(
            **call, generator=seeded(), output=["images", "unisim_previews"]
        )
        assert torch.equal(found["images"], plain)
        assert len(found["unisim_previews"]) == 3  # of four steps, by the strength
        torch.testing.assert_close(pixels(found["unisim_previews"][-1]), plain, atol=1.01 / 255, rtol=0)

    def test_its_signature_tells_what_made_the_scores(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        plain = UniSimScoreCallback(Tiny("flux").pipe, PROMPT, model_name_or_path=tiny_model)
        assert block.signature == plain.signature


class TestGuidance:
    @pytest.mark.parametrize("through_denoiser", [False, True])
    def test_it_does_what_the_callback_does(self, through_denoiser: bool, tiny_model: EncoderModel) -> None:
        """Without classifier-free guidance both pipelines compute alike."""
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        settings: Any = {"scale": 0.3, "window": (0.0, 0.7), "through_denoiser": through_denoiser}
        made = Modular("Flux", UniSimGuidanceBlock(reward, **settings))
        with UniSimGuidanceCallback(made.plain, reward, **settings) as callback:
            expected = made.plain(**made.call, generator=seeded(), callback_on_step_end=callback).images
        found = made(["images", "unisim_rewards", "unisim_guided_steps"])
        torch.testing.assert_close(found["images"], expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(found["unisim_rewards"], callback.rewards, atol=1e-4, rtol=0)
        assert found["unisim_guided_steps"] == callback.steps == [0, 1]
        assert (found["images"] - Modular("Flux")("images")).abs().max() > 0.01

    @pytest.mark.parametrize("family", ["StableDiffusion3", "StableDiffusionXL", "ZImage"])
    def test_it_raises_the_reward(self, family: str, tiny_model: EncoderModel) -> None:
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        block = UniSimGuidanceBlock(reward, scale=0.3, window=(0.0, 1.0))
        guided = Modular(family, block)("images")
        assert bool((reward(guided) > reward(Modular(family)("images"))).all())

    def test_without_scale_nothing_changes(self, tiny_model: EncoderModel) -> None:
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        found = Modular("Flux", UniSimGuidanceBlock(reward, scale=0.0))(["images", "unisim_rewards"])
        assert torch.equal(found["images"], Modular("Flux")("images"))
        assert found["unisim_rewards"].numel() == 0

    def test_what_inpainting_keeps_is_not_moved(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sdxl")
        call = inpainting_call(tiny)
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        block = UniSimGuidanceBlock(reward, scale=0.3, window=(0.0, 1.0))
        latents = [
            modular("StableDiffusionXLAutoBlocks", tiny.pipe, *blocks)(
                **call, strength=1.0, generator=seeded(), output="latents"
            )
            for blocks in ((), (block,))
        ]
        rows = latents[0].shape[-2] // 2
        assert torch.equal(latents[0][..., :rows, :], latents[1][..., :rows, :])
        assert not torch.allclose(latents[0][..., rows:, :], latents[1][..., rows:, :], atol=1e-2)

    def test_with_scores_beside_it(self, tiny_model: EncoderModel) -> None:
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        guidance = UniSimGuidanceBlock(reward, scale=0.3, window=(0.0, 0.7))
        score = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        found = Modular("Flux", guidance, score)(["images", "unisim_scores", "unisim_rewards"])
        assert torch.equal(found["images"], Modular("Flux", guidance)("images"))
        # What is scored is the image before its move, as it is rewarded.
        torch.testing.assert_close(found["unisim_scores"][:2], found["unisim_rewards"])

    def test_scores_of_inpainting_are_of_what_was_before_the_move(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sdxl")
        call = inpainting_call(tiny)
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        guidance = UniSimGuidanceBlock(reward, scale=0.5, window=(0.0, 1.0))
        score = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        scores = [
            modular("StableDiffusionXLAutoBlocks", tiny.pipe, *blocks)(
                **call, strength=1.0, generator=seeded(), output="unisim_scores"
            )
            for blocks in ((guidance, score), (score, guidance))
        ]
        assert torch.equal(*scores)


class TestBlocks:
    def test_the_blocks_that_were_given_stay_as_they_are(self, tiny_model: EncoderModel) -> None:
        """diffusers shares some loops among all pipelines of a kind."""
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        before = diffusers.QwenImageAutoBlocks()
        block.around(before)
        for blocks in (before, diffusers.QwenImageAutoBlocks()):
            assert not any(isinstance(one, UniSimScoreBlock) for one in walk(blocks))

    def test_every_loop_of_every_workflow_gets_one(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        blocks = block.around(diffusers.StableDiffusionXLAutoBlocks())
        loops = [one for one in walk(blocks) if isinstance(one, LoopSequentialPipelineBlocks)]
        assert len(loops) == 4
        assert all(isinstance(loop.sub_blocks["unisim_score"], UniSimScoreBlock) for loop in loops)
        assert all(one.target is block.target for one in walk(blocks) if isinstance(one, UniSimScoreBlock))

    def test_a_workflow_needs_what_it_needs_without_the_block(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        for name in ("text2image", "inpainting", "controlnet_text2image"):
            plain = diffusers.StableDiffusionXLAutoBlocks()
            watched = block.around(plain).get_workflow(name)
            plain = plain.get_workflow(name)
            assert sorted(watched.input_names) == sorted(plain.input_names)
            assert set(watched.required_inputs) == set(plain.required_inputs)
            assert set(watched.component_names) == set(plain.component_names)
            added = set(watched.intermediate_output_names) - set(plain.intermediate_output_names)
            assert added == {"unisim_scores", "unisim_steps"}

    def test_a_loop_alone(self, tiny_model: EncoderModel) -> None:
        loop = (
            diffusers.StableDiffusionXLAutoBlocks().get_workflow("text2image").sub_blocks["denoise.denoise"]
        )
        around = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model).around(loop)
        assert list(around.sub_blocks) == ["unisim_score"]
        assert list(around.sub_blocks["unisim_score"].sub_blocks) == list(loop.sub_blocks)
        assert "UniSimScoreBlock" in repr(around)
        assert "unisim_scores" in around.doc

    def test_copies_share_the_model(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        assert deepcopy(block).target is block.target

    def test_nothing_is_left_behind_after_an_error(self, tiny_model: EncoderModel) -> None:
        made = Modular("Flux", UniSimScoreBlock([PROMPT] * 3, model_name_or_path=tiny_model))
        with pytest.raises(ValueError, match="3 for a batch of 2 images"):
            made("images")
        assert "step" not in vars(made.pipe.scheduler)


class TestWrongUse:
    def test_an_old_diffusers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(integrations, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match="`UniSimScoreBlock` needs a diffusers with modular"):
            _ = integrations.UniSimScoreBlock
        with pytest.raises(AttributeError, match="has no attribute 'UniSimBlocks'"):
            _ = integrations.UniSimBlocks  # type: ignore[attr-defined]

    def test_blocks_without_a_loop(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        decode = diffusers.StableDiffusionXLAutoBlocks().sub_blocks["decode"]
        with pytest.raises(
            ValueError, match=r"must hold a denoising loop .* none in StableDiffusionXLAutoDecode"
        ):
            block.around(decode)
        with pytest.raises(TypeError, match="must be `ModularPipelineBlocks`, but got FluxPipeline"):
            block.around(Tiny("flux").pipe)

    def test_a_loop_that_keeps_results_to_itself(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        with pytest.raises(ValueError, match=r"ErnieImageDenoiseStep hands on \['latents'\] alone"):
            block.around(diffusers.ErnieImageAutoBlocks())

    def test_a_block_that_stands_around_nothing(self, tiny_model: EncoderModel) -> None:
        blocks = diffusers.FluxAutoBlocks().get_workflow("text2image")
        loop = blocks.sub_blocks["denoise.denoise"]
        loop.sub_blocks.insert("score", UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model), 2)
        del blocks.sub_blocks["text_encoder"]
        tiny = Tiny("flux")
        pipe = blocks.init_pipeline()
        pipe.update_components(
            transformer=tiny.pipe.transformer, vae=tiny.pipe.vae, scheduler=tiny.pipe.scheduler
        )
        with pytest.raises(ValueError, match=r"must stand around the steps.*blocks = block.around\(blocks\)"):
            pipe(**tiny.arguments, generator=seeded())

    def test_a_pipeline_for_videos(self, tiny_model: EncoderModel) -> None:
        block = UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model)
        pipe = block.around(diffusers.WanBlocks()).init_pipeline()
        with pytest.raises(
            ValueError, match=r"must be in a modular pipeline for images .* WanModularPipeline"
        ):
            block.begin(pipe)

    def test_a_pipeline_without_an_autoencoder(self, tiny_model: EncoderModel) -> None:
        made = Modular("Flux", UniSimScoreBlock(PROMPT, model_name_or_path=tiny_model))
        made.pipe.vae = None
        with pytest.raises(ValueError, match="must have an autoencoder"):
            made("latents")

    def test_arguments_of_guidance_are_checked_at_once(self, tiny_model: EncoderModel) -> None:
        reward = UniSimReward(PROMPT, model_name_or_path=tiny_model)
        for settings, message in (
            ({"window": (0.5, 0.2)}, "`window`"),
            ({"schedule": "step"}, "`schedule`"),
            ({"inner_steps": 0}, "`inner_steps`"),
        ):
            with pytest.raises(ValueError, match=message):
                UniSimGuidanceBlock(reward, **settings)  # type: ignore[arg-type]


def walk(blocks: ModularPipelineBlocks) -> list[Any]:
    return [blocks, *(found for block in blocks.sub_blocks.values() for found in walk(block))]
