"""Candidates that are dropped on the way: those that are left are what they would be alone."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from diffusion import Tiny, scheduler
from test_selection import TEXT, Chooser, alone
from torch import Tensor

from docs.experiments.pipeline_table import check_pruning
from docs.experiments.pipelines.cases import tiny_call, tiny_pipeline
from docs.experiments.tiny_pipelines import tiny_unet
from unisim_metrics.functional import unisim_score
from unisim_metrics.integrations.diffusers import best_of_n
from unisim_metrics.integrations.diffusers.latents import LatentDecoder
from unisim_metrics.integrations.diffusers.previews import StepRecorder
from unisim_metrics.models import EncoderModel


class TestPruning:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("sd", "DDIMScheduler"),
            ("sd", "DDPMScheduler"),
            ("sd", "EulerAncestralDiscreteScheduler"),
            ("sd", "LCMScheduler"),
            ("sd", "TCDScheduler"),
            ("sdxl", "EulerDiscreteScheduler"),
            ("sd", "DPMSolverMultistepScheduler"),
            ("sd", "HeunDiscreteScheduler"),
            ("sd", "PNDMScheduler"),
            ("sd", "UniPCMultistepScheduler"),
            ("sd3", None),
            ("flux", None),
            ("sd-img2img", "DDPMScheduler"),
            ("sdxl-img2img", "EulerAncestralDiscreteScheduler"),
            ("sd3-img2img", None),
            ("flux-img2img", None),
            ("sd-inpaint", "DDIMScheduler"),
            ("sd-inpaint-9", "DDIMScheduler"),
            ("flux-inpaint", None),
        ],
    )
    def test_survivors_are_those_of_a_whole_run_bit_for_bit(
        self, name: str, kind: str | None, tiny_model: EncoderModel
    ) -> None:
        tiny = Tiny(name, steps=4, images=1)  # of which image-to-image takes three
        if kind is not None:
            tiny.pipe.scheduler = scheduler(kind)
        alone(tiny, 0)
        before = tiny.state()
        result = best_of_n(
            tiny.pipe,
            n=4,
            seed=20,
            reference=TEXT,
            model_name_or_path=tiny_model,
            prune={0: 3, 1: 2},
            **tiny.arguments,
        )
        assert tiny.state() == before
        assert len(result.images) == 2
        assert [dropped.step for dropped in result.pruned] == [0, 1]
        assert sorted(result.seeds + [dropped.seed for dropped in result.pruned]) == [20, 21, 22, 23]
        for image, seed in zip(result.images, result.seeds, strict=True):
            assert torch.equal(image, alone(tiny, seed))

    def test_offloaded_models(self, tiny_model: EncoderModel) -> None:
        """Offloading sets the models' `forward` anew at the end of every call."""
        tiny = Tiny("sd", steps=3, images=1)
        image = alone(tiny, 1)
        tiny.pipe.enable_model_cpu_offload(device="cpu")
        result = best_of_n(
            tiny.pipe, n=3, reference=TEXT, model_name_or_path=tiny_model, prune={0: 1}, **tiny.arguments
        )
        assert torch.equal(result.best, alone(tiny, result.seeds[0]))
        assert torch.equal(alone(tiny, 1), image)
        tiny.pipe.remove_all_hooks()
        assert torch.equal(alone(tiny, 1), image)

    def test_the_worst_previews_are_dropped(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=4, images=1)
        result = best_of_n(
            tiny.pipe, n=4, reference=TEXT, model_name_or_path=tiny_model, prune={1: 1}, **tiny.arguments
        )
        decoder, scores = LatentDecoder(tiny.pipe), {}
        for seed in range(4):
            with StepRecorder(tiny.pipe) as recorder:

                def preview(
                    pipe: Any, index: int, timestep: Any, tensors: dict[str, Any], seed: int = seed
                ) -> Any:
                    if index == 1 and recorder.last is not None:
                        picture = decoder.decode(recorder.last.x0()).clamp(0, 1)
                        scores[seed] = float(unisim_score(picture, TEXT, tiny_model))
                    return tensors

                alone(tiny, seed, callback_on_step_end=preview)
        assert result.seeds == [max(scores, key=lambda seed: scores[seed])]
        assert [(step, score) for _, step, score in result.pruned] == [
            (1, pytest.approx(score, abs=1e-5)) for score in sorted(scores.values(), reverse=True)[1:]
        ]
        assert [scores[seed] for seed, *_ in result.pruned] == sorted(scores.values(), reverse=True)[1:]

    @pytest.mark.parametrize("batch_size", [1, 2, 4])
    def test_the_dropped_cost_no_more_passes(self, batch_size: int, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=5, images=1)
        rows: list[int] = []
        tiny.pipe.unet.conv_in.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
        best_of_n(
            tiny.pipe,
            n=4,
            reference=TEXT,
            model_name_or_path=tiny_model,
            batch_size=batch_size,
            prune={1: 2, 2: 1},
            **tiny.arguments,
        )
        # Two rows a candidate, for classifier-free guidance: four candidates twice, two once, one twice.
        assert sum(rows) == 2 * (4 * 2 + 2 + 2)
        assert max(rows) == 2 * batch_size

    def test_the_last_step_cannot_drop(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=4, images=1)
        with pytest.raises(ValueError, match=r"`prune` must name steps before the last one, 3, but got 3"):
            best_of_n(
                tiny.pipe, n=3, reference=TEXT, model_name_or_path=tiny_model, prune={3: 1}, **tiny.arguments
            )

    def test_the_pipeline_is_left_as_it_was_after_an_error(self, tiny_model: EncoderModel) -> None:
        class Failing(Chooser):
            def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
                if isinstance(alternatives, Tensor):
                    raise RuntimeError("out of memory")
                return super().compare(references, alternatives, *settings)

        tiny = Tiny("sd", images=1)
        image, before = alone(tiny, 0), tiny.state()
        with pytest.raises(RuntimeError, match="out of memory"):
            best_of_n(
                tiny.pipe, n=3, reference=TEXT, model_name_or_path=Failing(), prune={1: 1}, **tiny.arguments
            )
        assert tiny.state() == before
        assert "forward" not in vars(tiny.denoiser)
        assert "decode" not in vars(tiny.pipe.vae)
        assert torch.equal(alone(tiny, 0), image)


class TestWhatPipelinesKeep:
    """What a pipeline or a network holds for the whole batch is of the candidates that are left."""

    @pytest.mark.parametrize(
        "name",
        [
            "FluxControlNetPipeline",  # a network beside the denoiser
            "HiDreamImagePipeline",  # embeddings with their layers first
            "Ideogram4Pipeline",  # two denoisers
            "Kandinsky5I2IPipeline",  # tokens of all candidates in one sequence, channels last
            "KandinskyV22InpaintPipeline",  # an output that is no tuple
            "QwenImageControlNetPipeline",  # shapes in a list
            "StableDiffusionPAGPipeline",  # three passes in one
            "ZImageControlNetPipeline",  # batches as lists, and a dictionary between networks
        ],
    )
    def test_both_places_of_two(self, name: str, tiny_model: EncoderModel) -> None:
        kind = getattr(diffusers, name)
        check_pruning(tiny_pipeline(kind), tiny_call(kind, images=1), tiny_model)

    def test_a_guidance_distilled_denoiser(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=3, images=1)
        tiny.pipe.register_modules(unet=tiny_unet(time_cond_proj_dim=32))
        result = best_of_n(
            tiny.pipe, n=3, reference=TEXT, model_name_or_path=tiny_model, prune={0: 2}, **tiny.arguments
        )
        for image, seed in zip(result.images, result.seeds, strict=True):
            assert torch.equal(image, alone(tiny, seed))

    def test_skipped_layers(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd3", steps=3, images=1, skip_guidance_layers=[0], skip_layer_guidance_stop=1.0)
        result = best_of_n(
            tiny.pipe, n=3, reference=TEXT, model_name_or_path=tiny_model, prune={0: 2}, **tiny.arguments
        )
        for image, seed in zip(result.images, result.seeds, strict=True):
            assert torch.equal(image, alone(tiny, seed))


class TestRefusals:
    def test_candidates_that_cannot_be_told_apart(self, tiny_model: EncoderModel) -> None:
        pipe: Any = tiny_pipeline(diffusers.StableDiffusionPanoramaPipeline)
        call = {**tiny_call(diffusers.StableDiffusionPanoramaPipeline, images=1), "output_type": "pt"}
        for settings in ({"prune": {0: 1}}, {"batch_size": 2}):
            with pytest.raises(
                ValueError, match="StableDiffusionPanoramaPipeline, whose candidates cannot be"
            ):
                best_of_n(pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, **settings, **call)

    def test_a_denoiser_that_keeps_pictures(self, tiny_model: EncoderModel) -> None:
        pipe: Any = tiny_pipeline(diffusers.GlmImagePipeline)
        call = {**tiny_call(diffusers.GlmImagePipeline, images=1), "output_type": "pt"}
        with pytest.raises(ValueError, match="None for GlmImagePipeline with an `image`"):
            best_of_n(
                pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, prune={0: 1}, image=[1], **call
            )

    def test_a_network_that_gets_other_batches(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", images=1)
        forward = tiny.pipe.unet.forward
        # As a pipeline would that calls its denoiser with one row for several candidates.
        tiny.pipe.unet.register_forward_pre_hook(lambda module, inputs: (inputs[0][:3], *inputs[1:]))
        with pytest.raises(ValueError, match=r"cannot be told apart: .* gets 3 rows for 2 of them"):
            best_of_n(
                tiny.pipe, n=2, reference=TEXT, model_name_or_path=tiny_model, prune={0: 1}, **tiny.arguments
            )
        assert tiny.pipe.unet.forward == forward
