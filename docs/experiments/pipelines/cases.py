"""What each image pipeline of diffusers is made of, and called with: found by its name, filled in by its signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from PIL import Image
from torch import Tensor

from ..tiny_pipelines import SIZE
from .networks import WIDTH, tiny_network

_TOKENS = 8
_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
_DDIM = ("DDIMScheduler", {**_BETAS, "clip_sample": False, "steps_offset": 1})
_EULER = ("EulerDiscreteScheduler", _BETAS)
_FLOW: tuple[str, dict[str, Any]] = ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})
_SDXL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "transformer_layers_per_block": (1, 1),
    "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
}


@dataclass(frozen=True)
class Case:
    """A family of pipelines in small.

    Attributes:
        networks: The networks by the name that the pipeline has for them: class, and what is special of its
            configuration.
        scheduler: Class and configuration.
        components: Other components and settings of the pipeline.
        embeddings: Shapes of one prompt's embeddings that are not found by their names; None leaves one out.
        call: What else the pipeline is called with.
        prepare: Called with the pipeline, to put fixed features in the place of a text encoder.
        images: How many prompts a call has.
        lists: Whether embeddings are lists of those of single prompts.
    """

    networks: Mapping[str, tuple[str, Mapping[str, Any]]]
    scheduler: tuple[str, Mapping[str, Any]] = _FLOW
    components: Mapping[str, Any] = field(default_factory=dict)
    embeddings: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], None] | None = None
    images: int = 2
    lists: bool = False


def _kl(shift: float | None = None) -> tuple[str, Mapping[str, Any]]:
    return ("AutoencoderKL", {} if shift is None else {"shift_factor": shift})


def _unet(**config: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return {"unet": ("UNet2DConditionModel", config), "vae": _kl()}


def _dit(
    name: str, vae: tuple[str, Mapping[str, Any]], **config: Any
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return {"transformer": (name, config), "vae": vae}


def _picture(seed: int = 7) -> Image.Image:
    """A picture of noise."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def _mask() -> Image.Image:
    """A mask whose lower half is painted anew."""
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, SIZE // 2, SIZE, SIZE))
    return mask


def _features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class _Unchecked:
    """In the place of a safety checker."""

    def to(self, device: Any) -> None:
        pass

    def check_text_safety(self, text: str) -> bool:
        return True

    def check_video_safety(self, frames: Any) -> Any:
        return frames


class _Tokenizer:
    """In the place of a tokenizer."""

    model_max_length = _TOKENS

    def __call__(self, text: str) -> Any:
        return SimpleNamespace(input_ids=[1, 2, 3])


class _Processor:
    """In the place of a processor of texts."""

    class tokenizer:
        @staticmethod
        def encode(text: str) -> list[int]:
            return [0]

    def apply_chat_template(self, messages: Any, **settings: Any) -> list[list[int]]:
        return [[0]]


def _tell_guidance(pipe: Any) -> None:
    """One pipeline asks a setting that its transformer does not have."""
    pipe.transformer.register_to_config(guidance_embeds=False)


def _tell_statistics(pipe: Any) -> None:
    pipe.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.9, 1.1, 1.2, 0.8])


def _stay_small_by_default(pipe: Any) -> None:
    """One pipeline brings every size to about that which it was trained for."""
    pipe.default_sample_size = 16


def _stay_small(pipe: Any) -> None:
    """One pipeline knows but a few sizes."""
    pipe.resolutions = [(SIZE, SIZE)]


def _encode_the_mean(pipe: Any) -> None:
    """One pipeline draws the latents of its control image from the global generator."""
    encode = pipe.vae.encode

    def encoded(images: Tensor, **settings: Any) -> Any:
        parameters = encode(images).latent_dist.parameters
        return AutoencoderKLOutput(DiagonalGaussianDistribution(parameters, deterministic=True))

    pipe.vae.encode = encoded


def _encode_kolors(pipe: Any) -> None:
    def encode_prompt(*args: Any, prompt_embeds: Tensor, negative_prompt_embeds: Tensor, **rest: Any) -> Any:
        return prompt_embeds, negative_prompt_embeds, prompt_embeds[:, 0], negative_prompt_embeds[:, 0]

    pipe.encode_prompt = encode_prompt


def _encode_fibo(pipe: Any) -> None:
    def encode_prompt(prompt: Any, num_images_per_prompt: int = 1, **rest: Any) -> tuple[Any, ...]:
        count = num_images_per_prompt * (1 if isinstance(prompt, str) else len(prompt))
        mask = torch.ones(count, _TOKENS)
        features = [_features(1, _TOKENS, 2 * WIDTH, seed=seed).repeat(count, 1, 1) for seed in (0, 1)]
        layers = [[part[..., :WIDTH]] * 2 for part in features]
        return (*features, torch.zeros(_TOKENS, 3), mask, mask, *layers)

    pipe.encode_prompt = encode_prompt


def _encode_ideogram(pipe: Any) -> None:
    def encode_prompt(
        prompt: Any, grid_h: int, grid_w: int, max_sequence_length: int, device: Any
    ) -> tuple[Any, ...]:
        count = 1 if isinstance(prompt, str) else len(prompt)
        text = _features(1, max_sequence_length, WIDTH).repeat(count, 1, 1)
        features = torch.cat([text, torch.zeros(count, grid_h * grid_w, WIDTH)], dim=1)
        ids = pipe._prepare_ids([max_sequence_length] * count, grid_h, grid_w, max_sequence_length, device)
        return (features, *ids)

    pipe.encode_prompt = encode_prompt


_KANDINSKY = {
    "out_channels": 8,
    "addition_embed_type": "image",
    "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "image_proj",
    "projection_class_embeddings_input_dim": WIDTH,
}
_FLUX_CONTROL = {"in_channels": 32, "out_channels": 16}
_HUNYUAN_DIT_TEXTS: dict[str, tuple[int, ...] | None] = {
    f"{sign}prompt_{name}{number}": shape
    for sign in ("", "negative_")
    for number, tokens in (("", 77), ("_2", 256))
    for name, shape in (("embeds", (tokens, WIDTH)), ("attention_mask", (tokens,)))
}
_QWEN = _dit("QwenImageTransformer2DModel", ("AutoencoderKLQwenImage", {}))
_FLUX2 = _dit("Flux2Transformer2DModel", ("AutoencoderKLFlux2", {}))
_SANA = _dit("SanaTransformer2DModel", ("AutoencoderDC", {}))
_HUNYUAN_DIT = _dit("HunyuanDiT2DModel", ("AutoencoderKL", {"levels": 4}))
_HUNYUAN_IMAGE = "HunyuanImageTransformer2DModel"
_WAN_16 = ("AutoencoderKLWan", {"patch_size": 2, "in_channels": 12, "out_channels": 12})


def _kandinsky_5(**config: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    vae = ("AutoencoderKL", {"shift_factor": 0.1, "levels": 4})
    return _dit("Kandinsky5Transformer3DModel", vae, **config)


_KANDINSKY_5 = Case(
    _kandinsky_5(),
    embeddings={
        f"{sign}prompt_{name}": shape
        for sign in ("", "negative_")
        for name, shape in (("embeds_qwen", (_TOKENS, WIDTH)), ("embeds_clip", (WIDTH,)))
    },
    call={
        f"{sign}prompt_cu_seqlens": torch.tensor([0, _TOKENS], dtype=torch.int32)
        for sign in ("", "negative_")
    },
    images=1,
    prepare=_stay_small,
)

# By regular expressions over the names of pipelines; the first that fits. Those that enlarge every picture to a million
# pixels, or have parts of a fixed width, have no case.
CASES: dict[str, Case] = {
    "AuraFlow": Case(_dit("AuraFlowTransformer2DModel", _kl())),
    "BriaFibo2": Case(
        _dit("BriaFibo2Transformer2DModel", ("AutoencoderKLFlux2", {})),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
        embeddings={f"{sign}prompt_embeds": (3, _TOKENS, WIDTH) for sign in ("", "negative_")},
        images=1,
    ),
    "BriaFiboEdit": Case(
        _dit("BriaFiboTransformer2DModel", _WAN_16),
        prepare=_encode_fibo,
        call={"prompt": '{"edit_instruction": "a fox"}'},
        images=1,
    ),
    "BriaFibo": Case(
        _dit("BriaFiboTransformer2DModel", _WAN_16),
        prepare=_encode_fibo,
        call={"prompt": '{"text": "a fox"}'},
        images=1,
    ),
    "Bria": Case(_dit("BriaTransformer2DModel", _kl(0.1))),
    "Chroma": Case(_dit("ChromaTransformer2DModel", _kl(0.1)), prepare=_tell_guidance),
    "CogView3Plus": Case(
        _dit("CogView3PlusTransformer2DModel", _kl()),
        ("CogVideoXDDIMScheduler", {"rescale_betas_zero_snr": False}),
    ),
    "CogView4Control": Case(
        _dit("CogView4Transformer2DModel", _kl(), in_channels=8), prepare=_encode_the_mean
    ),
    "CogView4": Case(_dit("CogView4Transformer2DModel", _kl())),
    "Cosmos2TextToImage": Case(
        _dit("CosmosTransformer3DModel", ("AutoencoderKLWan", {})),
        ("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True}),
        components={"safety_checker": _Unchecked()},
    ),
    "ErnieImage": Case(_dit("ErnieImageTransformer2DModel", ("AutoencoderKLFlux2", {}))),
    "Flux2Klein": Case(_FLUX2, images=1),
    "Flux2": Case(_FLUX2, images=1),
    "FluxFill": Case(_dit("FluxTransformer2DModel", _kl(0.1), in_channels=16 + 16 + 64, out_channels=16)),
    "FluxControlNet": Case(
        {**_dit("FluxTransformer2DModel", _kl(0.1)), "controlnet": ("FluxControlNetModel", {})}
    ),
    "FluxControl": Case(_dit("FluxTransformer2DModel", _kl(0.1), **_FLUX_CONTROL)),
    "FluxKontext": Case(
        _dit("FluxTransformer2DModel", _kl(0.1)), call={"_auto_resize": False, "max_area": SIZE**2}
    ),
    "Flux": Case(_dit("FluxTransformer2DModel", _kl(0.1))),
    "GlmImage": Case(
        _dit("GlmImageTransformer2DModel", _kl()),
        prepare=_tell_statistics,
        images=1,
        call={"prior_token_ids": torch.arange(64).view(1, 64) % 16},
    ),
    "HiDream": Case(
        _dit("HiDreamImageTransformer2DModel", _kl(0.1)),
        embeddings={f"{sign}prompt_embeds_llama3": None for sign in ("", "negative_")},
        call={f"{sign}prompt_embeds_llama3": _features(2, 1, _TOKENS, WIDTH) for sign in ("", "negative_")},
        prepare=_stay_small_by_default,
        images=1,
    ),
    "HunyuanDiTControlNet": Case(
        {**_HUNYUAN_DIT, "controlnet": ("HunyuanDiT2DControlNetModel", {})},
        ("DDPMScheduler", {}),
        embeddings=_HUNYUAN_DIT_TEXTS,
    ),
    "HunyuanDiT": Case(_HUNYUAN_DIT, ("DDPMScheduler", {}), embeddings=_HUNYUAN_DIT_TEXTS),
    "HunyuanImageRefiner": Case(
        _dit(
            _HUNYUAN_IMAGE,
            ("AutoencoderKLHunyuanImageRefiner", {}),
            in_channels=16,
            out_channels=8,
            patch_size=(1, 1, 1),
            rope_axes_dim=(2, 2, 4),
            text_embed_2_dim=None,
        ),
        images=1,
    ),
    "HunyuanImage": Case(_dit(_HUNYUAN_IMAGE, ("AutoencoderKLHunyuanImage", {})), images=1),
    "Ideogram4": Case(
        {
            **_dit("Ideogram4Transformer2DModel", ("AutoencoderKLFlux2", {})),
            "unconditional_transformer": ("Ideogram4Transformer2DModel", {}),
        },
        call={
            "prompt": "a fox",
            "max_sequence_length": _TOKENS,
            "guidance_schedule": None,
            "guidance_scale": 3.0,
        },
        prepare=_encode_ideogram,
        images=1,
    ),
    "Kandinsky3": Case(
        {"unet": ("Kandinsky3UNet", {}), "movq": ("VQModel", {})},
        ("DDPMScheduler", _BETAS),
        embeddings={"attention_mask": (_TOKENS,), "negative_attention_mask": (_TOKENS,)},
        images=1,
    ),
    "Kandinsky5I2I": replace(_KANDINSKY_5, networks=_kandinsky_5(visual_cond=True)),
    "Kandinsky5": _KANDINSKY_5,
    "KandinskyV22Inpaint(?!Combined)": Case(
        {
            "unet": ("UNet2DConditionModel", {**_KANDINSKY, "in_channels": 9}),
            "movq": ("VQModel", {}),
        },
        ("DDPMScheduler", {**_BETAS, "variance_type": "learned_range"}),
        call={"mask_image": Image.new("L", (SIZE, SIZE), 255)},  # after its last step it pastes again
        images=1,
        embeddings={"image_embeds": (WIDTH,), "negative_image_embeds": (WIDTH,)},
    ),
    "KandinskyV22(?!.*Combined)": Case(
        {"unet": ("UNet2DConditionModel", _KANDINSKY), "movq": ("VQModel", {})},
        ("DDPMScheduler", {**_BETAS, "variance_type": "learned_range"}),
        embeddings={"image_embeds": (WIDTH,), "negative_image_embeds": (WIDTH,)},
    ),
    "Kolors": Case(_unet(**_SDXL), _EULER, prepare=_encode_kolors),
    "Krea2": Case(
        _dit("Krea2Transformer2DModel", ("AutoencoderKLQwenImage", {})),
        components={"text_encoder_select_layers": (0, 1, 2)},
        embeddings={"prompt_embeds": (_TOKENS, 3, WIDTH), "negative_prompt_embeds": (_TOKENS, 3, WIDTH)},
    ),
    "LatentConsistencyModel": Case(_unet(time_cond_proj_dim=32), ("LCMScheduler", _BETAS)),
    "Lumina2": Case(_dit("Lumina2Transformer2DModel", _kl(0.1))),
    "Lumina": Case(_dit("LuminaNextDiT2DModel", _kl())),
    "NucleusMoE": Case(_dit("NucleusMoEImageTransformer2DModel", ("AutoencoderKLQwenImage", {}))),
    "OmniGen": Case(
        _dit("OmniGenTransformer2DModel", ("AutoencoderKL", {"levels": 4})),
        components={"tokenizer": _Tokenizer()},
        call={"prompt": "a fox"},
        images=1,
    ),
    "Ovis": Case(_dit("OvisImageTransformer2DModel", _kl(0.1)), call={"negative_prompt": None}),
    "PRXPixel": Case({"transformer": ("PRXTransformer2DModel", {"in_channels": 3})}, images=1),
    "PRX": Case(_dit("PRXTransformer2DModel", _kl(0.1)), images=1),
    "QwenImage21": Case(
        _dit("QwenImage21Transformer2DModel", ("AutoencoderKLQwenImage21", {})),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
        components={"processor": _Processor()},
    ),
    "QwenImageControlNetInpaint": Case(
        {**_QWEN, "controlnet": ("QwenImageControlNetModel", {"extra_condition_channels": 4})}
    ),
    "QwenImageControlNet": Case({**_QWEN, "controlnet": ("QwenImageControlNetModel", {})}),
    "QwenImage(?!Edit|Layered)": Case(_QWEN),
    "SanaControlNet": Case(
        {**_SANA, "controlnet": ("SanaControlNetModel", {})}, call={"negative_prompt": None}
    ),
    "SanaSprint": Case(
        _dit(
            "SanaTransformer2DModel",
            ("AutoencoderDC", {}),
            guidance_embeds=True,
            qk_norm="rms_norm_across_heads",
        ),
        ("SCMScheduler", {}),
        call={"intermediate_timesteps": None},
    ),
    "SanaPAG": Case(_SANA, components={"pag_applied_layers": "blocks.0"}, call={"negative_prompt": None}),
    "Sana": Case(_SANA, call={"negative_prompt": None}),
    "StableCascadeDecoder": Case(
        {"decoder": ("StableCascadeUNet", {}), "vqgan": ("PaellaVQModel", {})},
        ("DDPMWuerstchenScheduler", {}),
        embeddings={
            "image_embeddings": (4, 4, 4),
            "prompt_embeds": (_TOKENS, WIDTH),
            "prompt_embeds_pooled": (1, WIDTH),
            "negative_prompt_embeds": (_TOKENS, WIDTH),
            "negative_prompt_embeds_pooled": (1, WIDTH),
        },
    ),
    "StableDiffusion3ControlNetInpaint": Case(
        {
            **_dit("SD3Transformer2DModel", _kl(0.1)),
            "controlnet": ("SD3ControlNetModel", {"extra_conditioning_channels": 1}),
        }
    ),
    "StableDiffusion3ControlNet": Case(
        {**_dit("SD3Transformer2DModel", _kl(0.1)), "controlnet": ("SD3ControlNetModel", {})}
    ),
    "StableDiffusion3Inpaint": Case(
        {
            "transformer": ("SD3Transformer2DModel", {"in_channels": 16, "out_channels": 16}),
            "vae": ("AutoencoderKL", {"shift_factor": 0.1, "latent_channels": 16}),
        }
    ),
    "StableDiffusion3PAG": Case(
        _dit("SD3Transformer2DModel", _kl(0.1)), components={"pag_applied_layers": "blocks.0"}
    ),
    "StableDiffusion3": Case(_dit("SD3Transformer2DModel", _kl(0.1))),
    "StableDiffusionDepth2Img": Case(
        _unet(in_channels=5), _DDIM, call={"depth_map": torch.rand(1, SIZE, SIZE)}
    ),
    "StableDiffusionInstructPix2Pix": Case(_unet(in_channels=8), _DDIM),
    "StableDiffusionXL.*ControlNetXS": Case(
        {**_unet(**_SDXL, layers_per_block=2), "controlnet": ("ControlNetXSAdapter", {})}, _EULER
    ),
    "StableDiffusionXL.*ControlNet(?!Union)": Case(
        {**_unet(**_SDXL), "controlnet": ("ControlNetModel", {})}, _EULER
    ),
    "StableDiffusionXL(?!ControlNetUnion).*(Img2Img|Inpaint)": Case(
        _unet(**_SDXL), _EULER, components={"requires_aesthetics_score": False}
    ),
    "StableDiffusionXL(?!ControlNetUnion)": Case(_unet(**_SDXL), _EULER),
    "StableDiffusion.*ControlNetXS": Case(
        {**_unet(layers_per_block=2), "controlnet": ("ControlNetXSAdapter", {})}, _DDIM
    ),
    "StableDiffusion.*ControlNet(?!Union)": Case({**_unet(), "controlnet": ("ControlNetModel", {})}, _DDIM),
    "(Stable|Alt)Diffusion(?!LDM3D|XLControlNetUnion)": Case(_unet(), _DDIM),
    "ZImageControlNetInpaint": Case(
        {
            **_dit("ZImageTransformer2DModel", _kl(0.1)),
            "controlnet": ("ZImageControlNetModel", {"control_in_dim": 9}),
        },
        images=1,
        lists=True,
    ),
    "ZImageControlNet": Case(
        {**_dit("ZImageTransformer2DModel", _kl(0.1)), "controlnet": ("ZImageControlNetModel", {})},
        lists=True,
    ),
    "ZImage(?!Omni)": Case(_dit("ZImageTransformer2DModel", _kl(0.1)), lists=True),
}

_WITH_IMAGE = re.compile(
    "Img2Img|Inpaint|Fill|Kontext|StableDiffusion(XL)?ControlNet(PAG|XS)?Pipeline|Edit|Refiner|I2I|Pix2Pix|Depth2Img"
)


def case_of(kind: type[DiffusionPipeline]) -> Case | None:
    """How a class of pipelines is made and called in small; None if it is not told here."""
    return next((case for pattern, case in CASES.items() if re.match(pattern, kind.__name__)), None)


def tiny_pipeline(kind: type[DiffusionPipeline]) -> DiffusionPipeline:
    """A pipeline with random weights; its text encoders are missing."""
    case = case_of(kind)
    if case is None:
        raise ValueError(
            f"Argument `kind` must be a pipeline that `CASES` tells of, but got {kind.__name__}."
        )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks: dict[str, Any] = {}
        for name, (network, config) in case.networks.items():
            networks[name] = tiny_network(network, networks.get("unet"), **config)
    scheduler, settings = case.scheduler
    given: dict[str, Any] = {
        **networks,
        "scheduler": getattr(diffusers, scheduler)(**settings),
        "requires_safety_checker": False,
        "add_watermarker": False,
        **case.components,
    }
    wanted = inspect.signature(kind.__init__).parameters
    missing = {
        name: None
        for name, parameter in wanted.items()
        if name not in given
        and parameter.default is inspect.Parameter.empty
        and name not in ("self", "kwargs")
    }
    pipe = kind(**{name: value for name, value in given.items() if name in wanted}, **missing)
    pipe.set_progress_bar_config(disable=True)
    if case.prepare is not None:
        case.prepare(pipe)
    return pipe


def tiny_call(
    kind: type[DiffusionPipeline], steps: int = 3, images: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Arguments for a call of a tiny pipeline: all but the generator and the callback.

    Args:
        kind: The class of the pipeline.
        steps: How many steps it takes.
        images: How many prompts it gets, no more than its case has; as many as that if None.
        seed: Of the embeddings in the place of the prompts.
    """
    case = case_of(kind)
    if case is None:
        raise ValueError(
            f"Argument `kind` must be a pipeline that `CASES` tells of, but got {kind.__name__}."
        )
    wanted = inspect.signature(kind.__call__).parameters
    prompt, count = "prompt" in case.call, images or case.images
    shapes = {
        name: None if prompt else _shape(name) for name in wanted if re.search("prompt.*(embeds|mask)", name)
    }
    generator = torch.Generator().manual_seed(seed)
    arguments: dict[str, Any] = {
        name: torch.ones(count, *shape, dtype=torch.bool)
        if "mask" in name
        else torch.randn(count, *shape, generator=generator)
        for name, shape in {**shapes, **case.embeddings}.items()
        if shape is not None
    }
    if case.lists:
        arguments = {name: list(value) for name, value in arguments.items()}
    arguments.update({"height": SIZE, "width": SIZE, "num_inference_steps": steps, "output_type": "np"})
    if _WITH_IMAGE.search(kind.__name__):
        arguments.update(
            image=_picture(), mask_image=_mask(), strength=1.0 if "Inpaint" in kind.__name__ else 0.75
        )
    arguments.update(control_image=_picture(8), control_mask=_mask(), use_resolution_binning=False)
    arguments.update(case.call)
    return {name: value for name, value in arguments.items() if name in wanted}


def _shape(name: str) -> tuple[int, ...] | None:
    if "ip_adapter" in name:
        return None
    if "mask" in name:
        return (_TOKENS,)
    return (WIDTH,) if "pooled" in name else (_TOKENS, WIDTH)
