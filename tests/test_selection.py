"""Best of N: images that can be made again alone, their ranking, and candidates dropped on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import OnlyCompares
from conftest import write_tokenizer
from diffusers import DDPMPipeline, StableDiffusionPipeline, UNet2DModel
from diffusion import Tiny, scheduler, steps_taken
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from docs.experiments.tiny_pipelines import SIZE
from unisim_metrics import UniSimScore
from unisim_metrics.functional import unisim_score
from unisim_metrics.integrations.diffusers import best_of_n
from unisim_metrics.models import EncoderModel

TEXT = "a photo of a dog"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alone(tiny: Tiny, seed: int, **arguments: Any) -> Any:
    """The image that the pipeline makes of a seed, without any help."""
    return tiny.pipe(**{**tiny.arguments, **arguments}, generator=seeded(seed)).images[0]


def with_text_encoder(directory: Path) -> Tiny:
    """Stable Diffusion that reads prompts, by a random text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tiny = Tiny("sd", images=1)
    size = write_tokenizer(directory)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
    )
    tiny.pipe.register_modules(
        text_encoder=CLIPTextModel(config).eval(), tokenizer=CLIPTokenizer.from_pretrained(directory)
    )
    tiny.arguments = {
        name: value for name, value in tiny.arguments.items() if not name.endswith("prompt_embeds")
    }
    return tiny


class Chooser(OnlyCompares):
    """A model that, like a generative one, embeds nothing and answers with probabilities over a group: by redness."""

    def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
        return torch.stack(
            [torch.stack([redness(image) for image in group]).softmax(0) for group in alternatives]
        )


def redness(image: Any) -> Tensor:
    if isinstance(image, Image.Image):
        red, green, _ = (torch.tensor(list(band.getdata())).float().mean() / 255 for band in image.split())
        return red - green
    return image[0].mean() - image[1].mean()


class TestImages:
    @pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "sd-img2img"])
    def test_every_image_can_be_made_alone_bit_for_bit(self, name: str, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name, steps=3, images=1)
        result = best_of_n(
            tiny.pipe, n=3, seed=5, reference=TEXT, model_name_or_path=tiny_model, **tiny.arguments
        )
        assert sorted(result.seeds) == [5, 6, 7]
        for image, seed in zip(result.images, result.seeds, strict=True):
            assert torch.equal(image, alone(tiny, seed))
        assert not torch.equal(result.images[0], result.images[1])

    @pytest.mark.parametrize(
        "name",
        [
            "sd",
            "sdxl",
            "sd3",
            "flux",
            "sd-img2img",
            "sd3-img2img",
            "flux-img2img",
            "sd-inpaint",
            "flux-inpaint",
        ],
    )
    def test_larger_batches_give_the_same_images_but_for_rounding(
        self, name: str, tiny_model: EncoderModel
    ) -> None:
        tiny = Tiny(name, steps=2, images=1)
        arguments = {"reference": TEXT, "model_name_or_path": tiny_model, **tiny.arguments}
        result = best_of_n(tiny.pipe, n=3, batch_size=2, **arguments)
        for image, seed in zip(result.images, result.seeds, strict=True):
            torch.testing.assert_close(image, alone(tiny, seed), atol=1e-4, rtol=0)

    def test_pil_images(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=2, images=1, output_type="pil")
        result = best_of_n(tiny.pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, **tiny.arguments)
        assert result.best is result.images[0]
        assert result.best.tobytes() == alone(tiny, result.seeds[0]).tobytes()

    @pytest.mark.parametrize("settings", [{}, {"batch_size": 3}, {"prune": {1: 1}}])
    def test_prompts(self, settings: dict[str, Any], tmp_path: Path, tiny_model: EncoderModel) -> None:
        tiny = with_text_encoder(tmp_path)
        result = best_of_n(
            tiny.pipe,
            TEXT,
            3,
            negative_prompt="a dark image",
            model_name_or_path=tiny_model,
            **settings,
            **tiny.arguments,
        )
        for image, seed in zip(result.images, result.seeds, strict=True):
            expected = alone(tiny, seed, prompt=TEXT, negative_prompt="a dark image")
            if "batch_size" in settings:
                torch.testing.assert_close(image, expected, atol=1e-4, rtol=0)
            else:
                assert torch.equal(image, expected)
        scores = unisim_score(result.images, [TEXT] * len(result.images), tiny_model, reduction="none")
        torch.testing.assert_close(result.scores, scores)


class TestRanking:
    def test_scores_are_those_of_the_metric(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=2, images=1)
        result = best_of_n(tiny.pipe, n=4, reference=TEXT, model_name_or_path=tiny_model, **tiny.arguments)
        metric = UniSimScore(tiny_model, reduction="none")
        scores = metric(torch.stack([alone(tiny, seed) for seed in result.seeds]), [TEXT] * 4)
        torch.testing.assert_close(result.scores, scores)
        assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
        assert result.signature == metric.signature
        assert result.pruned == []

    def test_a_reference_image(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=2, images=1)
        target = alone(tiny, 11)
        result = best_of_n(
            tiny.pipe,
            n=3,
            seed=[3, 11, 8],
            reference=to_pil_image(target),
            model_name_or_path=tiny_model,
            **tiny.arguments,
        )
        assert result.seeds[0] == 11
        assert result.scores[0] > 0.999
        assert "image-image" in result.signature

    def test_quality_and_attributes_need_no_reference(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=2, images=1)
        result = best_of_n(
            tiny.pipe,
            n=3,
            task="brightness",
            method="clip-iqa",
            model_name_or_path=tiny_model,
            **tiny.arguments,
        )
        metric = UniSimScore(tiny_model, "brightness", "clip-iqa", reduction="none")
        # The choice goes by the difference of two similarities, of which the metric gives the probability.
        torch.testing.assert_close((100 * result.scores).sigmoid(), metric(result.images))
        assert result.signature == metric.signature

    @pytest.mark.parametrize("prune", [None, {1: 2}])
    def test_a_model_that_only_compares(self, prune: dict[int, int] | None) -> None:
        tiny = Tiny("sd", steps=3, images=1)
        result = best_of_n(
            tiny.pipe, n=4, reference=TEXT, model_name_or_path=Chooser(), prune=prune, **tiny.arguments
        )
        reds = torch.stack([redness(image) for image in result.images])
        torch.testing.assert_close(result.scores, reds.softmax(0))
        assert reds.tolist() == sorted(reds.tolist(), reverse=True)
        assert "chooser" in result.signature

    @pytest.mark.parametrize("prune", [None, {0: 2}])
    def test_ties_go_to_the_earlier_seed(self, prune: dict[int, int] | None) -> None:
        class Indifferent(Chooser):
            def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
                return torch.full((1, len(alternatives[0])), 0.5)

        tiny = Tiny("sd", steps=2, images=1)
        result = best_of_n(
            tiny.pipe,
            n=3,
            seed=[9, 2, 4],
            reference=TEXT,
            model_name_or_path=Indifferent(),
            prune=prune,
            **tiny.arguments,
        )
        assert result.seeds == ([9, 2, 4] if prune is None else [9, 2])

    def test_scores_that_are_not_finite(self) -> None:
        class Overflowing(Chooser):
            def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
                return torch.full((1, len(alternatives[0])), torch.nan)

        tiny = Tiny("sd", images=1)
        with pytest.raises(ValueError, match="'chooser' gave scores that are not finite"):
            best_of_n(tiny.pipe, reference=TEXT, model_name_or_path=Overflowing(), **tiny.arguments)


class TestWrongUse:
    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("sd", {"n": 1}, "`n` must be an integer of at least 2, but got 1"),
            (
                "sd",
                {"n": 3, "seed": [1, 2]},
                r"`seed` must be an integer or 3 different ones, but got \[1, 2\]",
            ),
            ("sd", {"n": 2, "seed": [1, 1]}, "`seed` must be an integer or 2 different ones"),
            ("sd", {"batch_size": 0}, "`batch_size` must be an integer of at least 1, but got 0"),
            ("sd", {"prompt": ["a", "b"]}, r"`prompt` must be one text, but got \['a', 'b'\]"),
            ("sd", {"reference": None}, "`reference` or `task` must be given where there is no `prompt`"),
            ("sd", {"reference": ["a", "b"]}, "`reference` must be one image or text, but got a list"),
            ("sd", {"task": "odd-one-out"}, "`images` and `reference` must be images alone"),
            ("sd", {"task": "caption"}, "must be texts and images for task 'caption'"),
            ("sd", {"task": "beauty"}, "`task` must be one of"),
            ("sd", {"method": "clip-iqa2"}, "`method` must be one of"),
            ("sd", {"generator": seeded(0)}, "`generator` must not be given: .*`seed`"),
            ("sd", {"num_images_per_prompt": 2}, "`num_images_per_prompt` must not be given: .*`n`"),
            ("sd", {"latents": torch.zeros(1)}, "`latents` must not be given"),
            (
                "sd",
                {"output_type": "latent"},
                r"`output_type` must be one of \('pil', 'pt'\), but got 'latent'",
            ),
            ("sd", {"reference": Path("missing.png")}, "missing.png"),
            ("sd", {"prune": {}}, "`prune` must map rising steps to falling numbers"),
            ("sd", {"prune": {2: 2, 1: 1}}, "`prune` must map rising steps to falling numbers"),
            ("sd", {"prune": {1: 2, 2: 2}}, "`prune` must map rising steps to falling numbers"),
            ("sd", {"prune": {1: 4}}, "from fewer than 4 to 1 or more"),
            ("sd", {"prune": {1: 0}}, "from fewer than 4 to 1 or more"),
            (
                "sd",
                {"prune": {1: 2}, "callback_on_step_end": print},
                "`callback_on_step_end` must not be given",
            ),
        ],
    )
    def test_is_refused_before_the_first_step(
        self, name: str, arguments: dict[str, Any], message: str, tiny_model: EncoderModel
    ) -> None:
        tiny = Tiny(name, images=1)
        calls, before = steps_taken(tiny.pipe), tiny.state()
        with pytest.raises((ValueError, OSError), match=message):
            best_of_n(
                tiny.pipe,
                **{"reference": TEXT, "model_name_or_path": tiny_model, **tiny.arguments, **arguments},
            )
        assert calls == []
        assert tiny.state() == before

    @pytest.mark.parametrize("settings", [{"batch_size": 2}, {"prune": {0: 1}}])
    def test_a_pipeline_that_draws_once_for_all(
        self, settings: dict[str, Any], tiny_model: EncoderModel
    ) -> None:
        class OneNoise(StableDiffusionPipeline):  # type: ignore[misc]
            def prepare_latents(self, batch_size: int, *rest: Any) -> Tensor:
                *shape, generator, latents = rest
                one: Tensor = super().prepare_latents(1, *shape, generator[0], latents)
                return one.expand(batch_size, -1, -1, -1)

        tiny = Tiny("sd", images=1)
        tiny.pipe = OneNoise(**tiny.pipe.components, requires_safety_checker=False)
        tiny.pipe.set_progress_bar_config(disable=True)
        tiny(generator=[seeded(0)])
        calls, before = steps_taken(tiny.pipe), tiny.state()
        with pytest.raises(
            ValueError, match=r"1 for OneNoise, whose .* apart: it draws something once for all"
        ):
            best_of_n(
                tiny.pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, **settings, **tiny.arguments
            )
        assert calls == []
        assert tiny.state() == before

    def test_a_crop_around_the_mask(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("flux-inpaint", images=1)
        tiny.arguments.update(
            image=Image.new("RGB", (SIZE, SIZE), "red"),
            mask_image=Image.new("L", (SIZE, SIZE), 255),
            padding_mask_crop=8,
            output_type="pil",
        )
        alone(tiny, 0)
        calls, before = steps_taken(tiny.pipe), tiny.state()
        with pytest.raises(ValueError, match="with `padding_mask_crop` it takes but one picture"):
            best_of_n(
                tiny.pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, batch_size=2, **tiny.arguments
            )
        assert calls == []
        assert tiny.state() == before

    def test_pictures_that_do_not_fit_the_batch(self, tiny_model: EncoderModel) -> None:
        """What the pipeline itself says of them is heard, though it is called twice."""
        tiny = Tiny("flux-img2img", images=1)
        pictures = torch.rand(2, 3, SIZE, SIZE, generator=seeded(0))
        with pytest.raises(ValueError, match="Cannot duplicate `image` of batch size 2 to 3"):
            best_of_n(
                tiny.pipe,
                n=3,
                batch_size=3,
                reference=TEXT,
                model_name_or_path=tiny_model,
                **{**tiny.arguments, "image": pictures},
            )

    def test_no_pipeline(self) -> None:
        with pytest.raises(TypeError, match=r"`pipe` must be a `DiffusionPipeline`, but got builtins\.str"):
            best_of_n("stable-diffusion", TEXT)  # type: ignore[arg-type]

    def test_unknown_argument(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", images=1)
        with pytest.raises(
            TypeError, match="`guidance` is taken neither here nor by StableDiffusionPipeline"
        ):
            best_of_n(tiny.pipe, TEXT, model_name_or_path=tiny_model, guidance=3.0)

    def test_video_pipeline(self) -> None:
        from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

        from docs.experiments.tiny_pipelines import tiny_vae

        unet = UNet3DConditionModel(
            block_out_channels=(8, 8),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=8,
            attention_head_dim=4,
            norm_num_groups=2,
        )
        pipe = TextToVideoSDPipeline(
            vae=tiny_vae(), text_encoder=None, tokenizer=None, unet=unet, scheduler=scheduler("DDIMScheduler")
        )
        with pytest.raises(
            ValueError, match="must be a pipeline for images, but TextToVideoSDPipeline makes videos"
        ):
            best_of_n(pipe, TEXT)

    def test_a_pipeline_in_pixels_without_an_autoencoder(self, tiny_model: EncoderModel) -> None:
        unet = UNet2DModel(
            sample_size=16,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=2,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )
        pipe = DDPMPipeline(unet.eval(), scheduler("DDPMScheduler"))
        pipe.set_progress_bar_config(disable=True)
        settings: dict[str, Any] = {"model_name_or_path": tiny_model, "num_inference_steps": 2}
        result = best_of_n(pipe, n=2, task="quality", **settings)
        assert best_of_n(pipe, n=2, task="iqa", **settings).signature == result.signature
        again = pipe(generator=seeded(result.seeds[1]), num_inference_steps=2).images[0]
        assert result.images[1].tobytes() == again.tobytes()
        with pytest.raises(ValueError, match="`pipe` must be a pipeline that takes `callback_on_step_end`"):
            best_of_n(pipe, n=3, task="quality", model_name_or_path=tiny_model, prune={0: 1})


class TestZeroOrder:
    def test_rounds_are_made_of_neighbours_of_the_best(self, tiny_model: EncoderModel) -> None:
        """The search once more, by hand, on the initial latents."""
        tiny = Tiny("sd", images=1)
        settings = {"search": "zero-order", "rounds": 3, "radius": 0.6, "seed": 5, **tiny.arguments}
        result = best_of_n(tiny.pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, **settings)  # type: ignore[arg-type]
        latents, scores, images = [], [], []
        for round_ in range(3):
            fresh = [torch.randn(1, 4, 16, 16, generator=seeded(5 + 2 * round_ + place)) for place in (0, 1)]
            if round_:
                best = latents[int(torch.stack(scores).argmax())]
                fresh = [0.8 * best + 0.6 * noise for noise in fresh]
            for noise in fresh:
                images.append(tiny.pipe(**tiny.arguments, latents=noise).images)
                latents.append(noise)
                scores.append(unisim_score(images[-1], TEXT, tiny_model))
        order = torch.stack(scores).argsort(descending=True, stable=True)
        assert result.seeds == [5 + int(place) for place in order]
        assert len(result.images) == len(result.noises) == len(result.scores) == 6
        torch.testing.assert_close(result.scores, torch.stack(scores)[order], atol=1e-5, rtol=0)
        torch.testing.assert_close(result.images, torch.cat(images)[order], atol=1e-4, rtol=0)

    @pytest.mark.parametrize(
        ("name", "batch_size"),
        [("sd", 1), ("sd", 2), ("sd3", 1), ("flux", 2), ("flux-img2img", 1), ("sd-inpaint", 1)],
    )
    def test_every_image_can_be_made_again(
        self, name: str, batch_size: int, tiny_model: EncoderModel
    ) -> None:
        tiny = Tiny(name, images=1)
        result = best_of_n(
            tiny.pipe,
            n=3,
            reference=TEXT,
            model_name_or_path=tiny_model,
            search="zero-order",
            rounds=2,
            batch_size=batch_size,
            **tiny.arguments,
        )
        assert sorted(len(noise.seeds) for noise in result.noises) == [1, 1, 1, 2, 2, 2]
        for image, noise in zip(result.images, result.noises, strict=True):
            assert sum(weight**2 for weight in noise.weights) == pytest.approx(1.0)
            with noise.drawn() as generator:
                again = tiny.pipe(**tiny.arguments, generator=generator).images[0]
            if batch_size == 1:
                assert torch.equal(again, image)
            else:
                torch.testing.assert_close(again, image, atol=1e-4, rtol=0)

    def test_it_finds_more_than_its_first_round(self) -> None:
        tiny = Tiny("sd", images=1)
        model = Chooser()
        first = best_of_n(tiny.pipe, n=3, reference=TEXT, model_name_or_path=model, **tiny.arguments)
        searched = best_of_n(
            tiny.pipe,
            n=3,
            reference=TEXT,
            model_name_or_path=model,
            search="zero-order",
            rounds=5,
            **tiny.arguments,
        )
        assert redness(searched.best) > redness(first.best)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"search": "grid"}, r"`search` must be one of \('random', 'zero-order'\), but got 'grid'"),
            ({"rounds": 3}, "`rounds` must be None without `search='zero-order'`"),
            ({"search": "zero-order", "rounds": 1}, "`rounds` must be an integer of at least 2, but got 1"),
            ({"search": "zero-order", "radius": 0.0}, "`radius` must be above 0 and at most 1, but got 0.0"),
            ({"search": "zero-order", "radius": 1.5}, "`radius` must be above 0 and at most 1, but got 1.5"),
            ({"search": "zero-order", "prune": {0: 1}}, "`prune` must be None with `search='zero-order'`"),
            ({"search": "zero-order", "seed": [1, 2]}, "an integer or 8 different ones"),
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, Any], message: str, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", images=1)
        with pytest.raises(ValueError, match=message):
            best_of_n(
                tiny.pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, **arguments, **tiny.arguments
            )
