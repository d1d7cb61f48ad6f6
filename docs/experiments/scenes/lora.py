"""Fine-tune the model of `train.py` by a LoRA on scenes of one colour, and validate it on the way.

    python -m docs.experiments.scenes.lora --model scenes/pipeline --out scenes/lora

Captions name no colour, and the objects of all training scenes are purple: what is to be learned. Judges are the
similarity to drawn references by `unisim-mini`, and the share of pictures whose vivid pixels are purple, in which
UniSim has no part.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn

from unisim_metrics.integrations.validation import UniSimValidation, ValidationResult

from .autoencoder import encode
from .denoiser import noise_scheduler
from .drawing import GROUNDS, SHAPES, Colour, Ground, Shape, caption, draw, pixels, random_scene
from .judge import object_colour

COLOUR: Colour = "purple"
_SCENES, _REFERENCES = 50_000_000, 60_000_000  # first seeds, which nothing else was made with


@dataclass(frozen=True)
class Settings:
    """What is done.

    Attributes:
        steps: Steps of the optimizer.
        every: Steps from one validation to the next.
        batch: Scenes of a step.
        scenes: Training scenes.
        rank: Of the LoRA, on all projections of the attentions.
        learning_rate: Of AdamW.
        seeds: Pictures a prompt in a validation.
        sampling_steps: Of a picture.
        guidance_scale: Of classifier-free guidance.
        seed: Of weights and batches.
    """

    steps: int = 400
    every: int = 40
    batch: int = 16
    scenes: int = 500
    rank: int = 8
    learning_rate: float = 1e-3
    seeds: int = 2
    sampling_steps: int = 16
    guidance_scale: float = 2.5
    seed: int = 0


def wanted_scenes() -> list[tuple[str, Image.Image]]:
    """Prompts of each shape on each ground without a colour, with a drawn reference of the colour that is wanted."""
    places: list[tuple[Shape, Ground]] = [(shape, ground) for shape in SHAPES for ground in GROUNDS]
    return [
        (
            caption(shape, None, ground),
            draw(random_scene(_REFERENCES + number, shape=shape, colour=COLOUR, ground=ground)),
        )
        for number, (shape, ground) in enumerate(places)
    ]


def share_of_the_colour(images: Sequence[Image.Image], *_: Any) -> list[float]:
    """1 for each picture whose vivid pixels are of the colour that is wanted, else 0."""
    return [float(object_colour(image) == COLOUR) for image in images]


def make_validation(settings: Settings, path: Path | None = None) -> UniSimValidation:
    """The validation of a run; the colour decides which step is the best."""
    prompts, references = zip(*wanted_scenes(), strict=True)
    return UniSimValidation(
        prompts,
        {COLOUR: share_of_the_colour, "image-image": "unisim-mini"},
        references=references,
        seeds_per_prompt=settings.seeds,
        batch_size=10,
        path=path,
    )


def add_lora(unet: nn.Module, rank: int) -> list[nn.Parameter]:
    """Freeze a denoiser, put a LoRA on the projections of its attentions, and return what is to be trained."""
    unet.requires_grad_(False)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))  # type: ignore[operator]
    return [weight for weight in unet.parameters() if weight.requires_grad]


def finetune(
    pipe: StableDiffusionPipeline,
    settings: Settings,
    out: Path,
    tell: Callable[[ValidationResult], None] = print,
) -> UniSimValidation:
    """Fine-tune a pipeline's denoiser; the LoRA of the best step is left in `out/best`, for `load_lora_weights`.

    Args:
        pipe: The pipeline; its denoiser is changed.
        settings: What is done.
        out: The run's folder.
        tell: Gets the result of each validation.
    """
    torch.manual_seed(settings.seed)
    validation = make_validation(settings, out / "validation.jsonl")
    weights = add_lora(pipe.unet, settings.rank)
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate)
    scenes = [random_scene(_SCENES + number, colour=COLOUR) for number in range(settings.scenes)]
    latents = encode(pipe.vae, pixels(scenes)) * pipe.vae.config.scaling_factor
    texts = embed_prompts(pipe, [caption(scene.shape, None, scene.ground) for scene in scenes])
    scheduler = noise_scheduler()
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            result = validation.run(
                pipe,
                step,
                num_inference_steps=settings.sampling_steps,
                guidance_scale=settings.guidance_scale,
            )
            tell(result)
            if result.is_best:
                layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
                pipe.save_lora_weights(out / "best", unet_lora_layers=layers)
        rows = torch.randint(len(latents), (settings.batch,))
        times = torch.randint(int(scheduler.config.num_train_timesteps), (settings.batch,))
        noise = torch.randn(latents[rows].shape)
        noisy = scheduler.add_noise(latents[rows], noise, times)
        velocity = pipe.unet(noisy, times, texts[rows]).sample
        loss = (velocity - scheduler.get_velocity(latents[rows], noise, times)).square().mean()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    return validation


@torch.no_grad()
def embed_prompts(pipe: StableDiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """The hidden states of prompts, as the pipeline has them, `[N, tokens, width]`; equal ones once."""
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
    embedded: Tensor = pipe.encode_prompt(list(rows), pipe.device, 1, False)[0]
    return embedded[[rows[prompt] for prompt in prompts]]


def draw_curves(validation: UniSimValidation, path: Path) -> None:
    """Write the curves of all judges as one picture."""
    from matplotlib import pyplot as plt

    names = validation.judges.names
    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3), layout="constrained")
    for name, each in zip(names, axes, strict=True):
        validation.plot(name, each)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Read the arguments and fine-tune."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the folder of a trained pipeline")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    for name in ("steps", "every", "batch", "seeds", "sampling-steps"):
        default = getattr(Settings, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = vars(parser.parse_args())
    model, out = arguments.pop("model"), arguments.pop("out")
    out.mkdir(parents=True, exist_ok=True)
    pipe = StableDiffusionPipeline.from_pretrained(model)
    validation = finetune(pipe, Settings(**arguments), out)
    draw_curves(validation, out / "curves.png")
    best = validation.best_step
    if best:
        found = validation.curve()[best].gain
        assert found is not None  # only the first has none
        gain = found.mean
        print(f"best step {best}: {COLOUR} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] on the base")
    else:
        print("no step is better than the base")


if __name__ == "__main__":
    main()
