"""The predicted image of every scheduler and pipeline against its closed form, and decoding against the pipelines."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch
from diffusion import BETAS, VARIANTS, Tiny, scheduler
from torch import Tensor

from docs.experiments.tiny_pipelines import tiny_flux, tiny_preview_vae, tiny_sd, tiny_sdxl
from unisim_metrics.integrations.diffusers.callback import check_pipeline
from unisim_metrics.integrations.diffusers.latents import LatentDecoder
from unisim_metrics.integrations.diffusers.previews import StepRecorder

# Whether a scheduler's sample is mixed as √ᾱ·x0 + √(1−ᾱ)·ε (else as x0 + σ·ε), and whether its own step tells x0.
MIXED = {
    "DDIMScheduler": True,
    "DDPMScheduler": True,
    "PNDMScheduler": True,
    "LCMScheduler": True,
    "TCDScheduler": True,
    "EulerDiscreteScheduler": False,
    "EulerAncestralDiscreteScheduler": False,
    "HeunDiscreteScheduler": False,
    "LMSDiscreteScheduler": False,
    "DPMSolverMultistepScheduler": True,
    "UniPCMultistepScheduler": True,
    "DEISMultistepScheduler": True,
}
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    *((name, {"clip_sample": False} if name.startswith("DD") else {}) for name in MIXED),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ("UniPCMultistepScheduler", {"predict_x0": False, "solver_order": 3}),
]
UNKNOWN = {("PNDMScheduler", "sample"), ("EulerAncestralDiscreteScheduler", "sample")}  # to diffusers itself


def sigma_of(scheduler: Any, index: int, timestep: Tensor) -> float:
    """Noise to image of a step, by the trained schedule where a scheduler has no table of its own."""
    if hasattr(scheduler, "sigmas"):
        return float(scheduler.sigmas[index])
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000).double() ** 2
    alpha = float((1 - betas).cumprod(0)[int(timestep)])
    return ((1 - alpha) / alpha) ** 0.5


def case_name(value: Any) -> str:
    return ",".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


@pytest.fixture(scope="module")
def sd() -> Any:
    return tiny_sd()


class TestClosedForm:
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
    @pytest.mark.parametrize(("name", "config"), CONFIGS, ids=case_name)
    def test_a_denoiser_that_knows_the_image_gives_that_image_at_every_step(
        self, sd: Any, name: str, config: dict[str, Any], prediction: str
    ) -> None:
        if (name, prediction) in UNKNOWN:
            pytest.skip("diffusers does not know this prediction type here")
        sd.scheduler = scheduler(name, **config, prediction_type=prediction)
        sd.scheduler.set_timesteps(13)
        generator = torch.Generator().manual_seed(0)
        image, noise = torch.randn(2, 2, 4, 8, 8, generator=generator).double()
        sigma = sigma_of(sd.scheduler, 0, sd.scheduler.timesteps[0])
        sample = image + sigma * noise
        sample = (sample / (sigma**2 + 1) ** 0.5 if MIXED[name] else sample).float()
        with StepRecorder(sd) as recorder:
            for index, timestep in enumerate(sd.scheduler.timesteps):
                seen = sd.scheduler.scale_model_input(sample, timestep).double()
                sigma = sigma_of(sd.scheduler, index, timestep)
                signal = (sigma**2 + 1) ** -0.5
                epsilon = (seen - signal * image) / (sigma * signal)
                output = {
                    "epsilon": epsilon,
                    "v_prediction": signal * epsilon - sigma * signal * image,
                    "sample": image,
                }[prediction]
                result = sd.scheduler.step(output.float(), timestep, sample, return_dict=False)
                step = recorder.last
                assert step is not None
                torch.testing.assert_close(step.x0(), image.float(), atol=1e-5, rtol=0)
                sample = result[0]
                assert step.result is sample
                assert 0 < step.next_signal() <= 1

    @pytest.mark.parametrize(
        ("kind", "config"),
        [
            ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
            ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "stochastic_sampling": True}),
            (
                "DPMSolverMultistepScheduler",
                {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
            ),
            ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
        ],
        ids=["euler", "stochastic", "dpm++", "unipc"],
    )
    def test_flow_matching(self, sd: Any, kind: str, config: dict[str, Any]) -> None:
        made = getattr(diffusers, kind)
        if not config.keys() <= inspect.signature(made).parameters.keys():
            pytest.skip(f"diffusers {diffusers.__version__} has not all of {list(config)}")
        sd.scheduler = flow = made(**config)
        flow.set_timesteps(9)
        image, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        sample = (1 - flow.sigmas[0]) * image + flow.sigmas[0] * noise
        with StepRecorder(sd) as recorder:
            for index, timestep in enumerate(flow.timesteps):
                sigma = flow.sigmas[index]
                velocity = (sample - image) / sigma
                sample = flow.step(velocity, timestep, sample, return_dict=False)[0]
                assert recorder.last is not None
                torch.testing.assert_close(recorder.last.x0(), image, atol=1e-5, rtol=0)
                assert recorder.last.next_signal() == pytest.approx(1 - float(flow.sigmas[index + 1]))

    @pytest.mark.parametrize(
        "name", ["DDIMScheduler", "DDPMScheduler", "LCMScheduler", "HeunDiscreteScheduler"]
    )
    @pytest.mark.parametrize(
        "limit", [{"clip_sample": True, "clip_sample_range": 0.5}, {"thresholding": True}]
    )
    def test_what_the_scheduler_clips_is_clipped(self, sd: Any, name: str, limit: dict[str, Any]) -> None:
        if name.startswith("Heun") and "thresholding" in limit:
            pytest.skip("HeunDiscreteScheduler has no thresholding")
        sd.scheduler = scheduler(name, **{"clip_sample": False, **limit})
        sd.scheduler.set_timesteps(8)
        sample = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        with StepRecorder(sd) as recorder:
            for timestep in sd.scheduler.timesteps[:5]:
                output = torch.randn(sample.shape, generator=torch.Generator().manual_seed(1))
                sample, x0 = sd.scheduler.step(output, timestep, sample, return_dict=False)
                assert recorder.last is not None
                torch.testing.assert_close(recorder.last.x0(), x0, atol=2e-5, rtol=0)
                free = recorder.last.x0_from(recorder.last.sample, output)
                assert free.abs().max() > x0.abs().max()

    def test_schedulers_that_tell_nothing_are_refused(self, sd: Any) -> None:
        sd.scheduler = diffusers.KDPM2DiscreteScheduler()
        with pytest.raises(ValueError, match=r"DDIMScheduler, .* but got KDPM2Discrete.*from_config"):
            StepRecorder(sd)


class TestPipelines:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_recorded_steps_follow_from_what_the_denoiser_said(self, name: str) -> None:
        """The prediction is formed here from the denoiser's outputs, the latents are those of the callback."""
        tiny = Tiny(name)
        outputs: list[Tensor] = []
        tiny.denoiser.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
        seen: list[Tensor] = []
        scale = 1.0 if tiny.kind == "flux" else 5.0
        previews: list[tuple[Tensor, Tensor]] = []
        recorder = StepRecorder(tiny.pipe)

        def callback(pipe: Any, index: int, timestep: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
            step = recorder.last
            assert step is not None
            prediction = outputs[-1]
            if scale > 1:
                without, with_text = prediction.chunk(2)
                prediction = without + scale * (with_text - without)
            sample = seen[-1] if seen else step.sample
            if tiny.kind != "sd":
                expected = sample - pipe.scheduler.sigmas[pipe.scheduler.step_index - 1] * prediction
            else:
                alpha = pipe.scheduler.alphas_cumprod[timestep]
                expected = (sample - (1 - alpha).sqrt() * prediction) / alpha.sqrt()
            previews.append((step.x0(), expected))
            seen.append(kwargs["latents"])
            return {}

        with recorder:
            tiny(callback, guidance_scale=5.0)
        assert len(previews) == tiny.pipe.num_timesteps >= 3
        for preview, expected in previews:
            torch.testing.assert_close(preview, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)

    @pytest.mark.parametrize("name", VARIANTS)
    def test_the_last_preview_is_the_finished_image(self, name: str) -> None:
        tiny = Tiny(name)
        decoder = LatentDecoder(tiny.pipe)
        pictures: list[Tensor] = []

        def callback(pipe: Any, index: int, timestep: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
            assert recorder.last is not None
            # Latents that the pipeline pastes into are what it decodes; elsewhere they are the predicted image.
            pasted = kwargs["latents"] is not recorder.last.result
            latents = kwargs["latents"] if pasted else recorder.last.x0()
            pictures.append(decoder.preview(recorder.last, latents))
            return {}

        with StepRecorder(tiny.pipe, keep_calls=True) as recorder:
            images = tiny(callback)
        torch.testing.assert_close(pictures[-1].clamp(0, 1), images, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("name", ["sd", "flux", "flux-img2img"])
    def test_pictures_that_are_not_square(self, name: str) -> None:
        tiny = Tiny(name, images=1, height=48, width=96)
        decoder = LatentDecoder(tiny.pipe)
        pictures: list[Tensor] = []

        def callback(pipe: Any, index: int, timestep: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
            assert recorder.last is not None
            pictures.append(decoder.preview(recorder.last, recorder.last.x0()))
            return {}

        with StepRecorder(tiny.pipe, keep_calls=True) as recorder:
            images = tiny(callback)
        assert images.shape == (1, 3, 48, 96)
        torch.testing.assert_close(pictures[-1].clamp(0, 1), images, atol=1e-4, rtol=0)


class TestRecorder:
    @pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux"])
    def test_images_stay_the_same_to_the_bit_and_the_pipeline_as_it_was(self, name: str) -> None:
        tiny = Tiny(name)
        images, before = tiny(), tiny.state()
        with StepRecorder(tiny.pipe, keep_calls=True), StepRecorder(tiny.pipe):
            assert torch.equal(tiny(), images)
            assert tiny.state() != before
        assert tiny.state() == before

    def test_an_exception_leaves_nothing_behind(self) -> None:
        tiny = Tiny("sd")
        tiny()
        before = tiny.state()

        def callback(*arguments: Any) -> dict[str, Any]:
            raise KeyboardInterrupt

        recorder = StepRecorder(tiny.pipe, keep_calls=True)
        with pytest.raises(KeyboardInterrupt), recorder:
            tiny(callback)
        assert tiny.state() == before
        assert recorder.last is None

    def test_a_step_that_someone_else_wrapped_is_put_back(self) -> None:
        tiny = Tiny("sd")
        own = tiny.pipe.scheduler.step
        tiny.pipe.scheduler.step = own
        with StepRecorder(tiny.pipe):
            assert tiny.pipe.scheduler.step is not own
            tiny()
        assert tiny.pipe.scheduler.step is own


class TestDecoding:
    def test_latent_statistics_as_in_the_pipeline(self) -> None:
        pipe = tiny_sdxl()
        mean, std = [0.1, -0.2, 0.3, 0.0], [0.9, 1.1, 1.2, 0.8]
        pipe.vae.register_to_config(latents_mean=mean, latents_std=std)
        latents = torch.randn(2, 4, 16, 16)
        raw = latents * torch.tensor(std).view(1, 4, 1, 1) / 0.5 + torch.tensor(mean).view(1, 4, 1, 1)
        expected = pipe.image_processor.postprocess(pipe.vae.decode(raw).sample.detach(), output_type="pt")
        torch.testing.assert_close(LatentDecoder(pipe).decode(latents).clamp(0, 1).detach(), expected)

    def test_float16_decodes_in_float32_where_the_pipeline_does(self) -> None:
        pipe = tiny_sdxl()
        latents = torch.randn(1, 4, 16, 16)
        expected = LatentDecoder(pipe).decode(latents)
        pipe.vae.half()
        weights = {name: weight.clone() for name, weight in pipe.vae.state_dict().items()}
        torch.testing.assert_close(LatentDecoder(pipe).decode(latents.half()), expected, atol=5e-3, rtol=0)
        after = pipe.vae.state_dict()
        assert all(
            torch.equal(after[name], weight) and after[name].dtype == weight.dtype
            for name, weight in weights.items()
        )

    def test_another_autoencoder(self) -> None:
        pipe, vae = tiny_flux(), tiny_preview_vae()
        latents = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
        pictures = LatentDecoder(pipe, vae).decode(latents, (64, 64))
        unpacked = latents.view(2, 8, 8, 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, 4, 16, 16)
        torch.testing.assert_close(pictures, vae.decode(unpacked).sample / 2 + 0.5)

    def test_gradients_flow(self) -> None:
        latents = torch.randn(1, 4, 16, 16, requires_grad=True)
        LatentDecoder(tiny_sd()).decode(latents).sum().backward()
        assert latents.grad is not None
        assert latents.grad.abs().sum() > 0

    def test_wrong_latents(self) -> None:
        with pytest.raises(ValueError, match="`height` and `width` must be given for packed latents"):
            LatentDecoder(tiny_flux()).decode(torch.zeros(1, 64, 16))
        with pytest.raises(ValueError, match=r"must be those of pictures.*\(1, 4, 2, 16, 16\)"):
            LatentDecoder(tiny_sd()).decode(torch.zeros(1, 4, 2, 16, 16))

    def test_pipelines_without_an_autoencoder(self) -> None:
        pipe = tiny_sd()
        vae, pipe.vae = pipe.vae, None
        with pytest.raises(ValueError, match=r"must have an autoencoder .*pass `vae=\.\.\.`"):
            LatentDecoder(pipe)
        assert LatentDecoder(pipe, vae).vae is vae
        with pytest.raises(
            ValueError, match=r"`vae` must be an autoencoder of images, .* but got UNet2DConditionModel"
        ):
            LatentDecoder(pipe, pipe.unet)


class TestPipelineChecks:
    def test_a_pipeline_for_images_passes(self) -> None:
        check_pipeline(tiny_sd())

    def test_what_is_no_pipeline(self) -> None:
        with pytest.raises(TypeError, match=r"must be a `DiffusionPipeline`, but got torch\.nn.*Linear"):
            check_pipeline(torch.nn.Linear(1, 1))

    def test_videos(self) -> None:
        scheduler = diffusers.UniPCMultistepScheduler()
        video = diffusers.WanPipeline(None, None, vae=None, scheduler=scheduler, transformer=None)
        with pytest.raises(ValueError, match="must be a pipeline for images, but WanPipeline makes videos"):
            check_pipeline(video)

    def test_a_pipeline_without_callbacks(self) -> None:
        unet = diffusers.UNet2DModel(
            sample_size=8,
            block_out_channels=(32,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
        )
        with pytest.raises(ValueError, match="takes `callback_on_step_end`, but DDPMPipeline does not"):
            check_pipeline(diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()))
