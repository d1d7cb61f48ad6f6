"""What the two ways of fine-tuning the scene model share: its LoRA, validation on the way and at the end, the command.

Prompts name no colour; purple is wanted. Judges are the share of pictures whose vivid pixels are purple, in which
UniSim has no part, and the similarity to drawn references by `unisim-mini`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn

from unisim_metrics.integrations.validation import UniSimValidation, ValidationResult

from .drawing import GROUNDS, SHAPES, Colour, Ground, Shape, caption, draw, random_scene
from .judge import object_colour

COLOUR: Colour = "purple"


class Settings(Protocol):
    """What every way of fine-tuning is told, a dataclass with more in it."""

    @property
    def rank(self) -> int:
        """The rank of the LoRA."""


SettingsT = TypeVar("SettingsT", bound=Settings)

_REFERENCES = 60_000_000  # the first seed of references, which nothing else was made with


@dataclass(frozen=True)
class Sampling:
    """How the pictures of a validation are made.

    Attributes:
        seeds: Pictures a prompt.
        steps: Of the sampler.
        guidance_scale: Of classifier-free guidance.
    """

    seeds: int = 4
    steps: int = 16
    guidance_scale: float = 2.5


def wanted_scenes(version: int = 0) -> list[tuple[str, Image.Image]]:
    """Prompts of each shape on each ground without a colour, with a drawn reference of the colour that is wanted.

    Args:
        version: Another one has other references.
    """
    places: list[tuple[Shape, Ground]] = [(shape, ground) for shape in SHAPES for ground in GROUNDS]
    return [
        (
            caption(shape, None, ground),
            draw(random_scene(first, shape=shape, colour=COLOUR, ground=ground)),
        )
        for first, (shape, ground) in enumerate(places, _REFERENCES + version * len(places))
    ]


def share_of_the_colour(images: Sequence[Image.Image], *_: Any) -> list[float]:
    """1 for each picture whose vivid pixels are of the colour that is wanted, else 0."""
    return [float(object_colour(image) == COLOUR) for image in images]


class FineTuning:
    """A pipeline whose denoiser learns a LoRA, and what its pictures are judged to be.

    Args:
        pipe: The pipeline. Its denoiser is frozen but for the LoRA.
        rank: Of the LoRA.
        sampling: How pictures are made.
        out: The run's folder: `validation.jsonl`, and the LoRA of the best step in `best`, for `load_lora_weights`.
    """

    def __init__(self, pipe: StableDiffusionPipeline, rank: int, sampling: Sampling, out: Path) -> None:
        self.pipe, self.sampling, self.out = pipe, sampling, out
        self.validation = _validation(sampling, 0, out / "validation.jsonl")
        self.weights = add_lora(pipe.unet, rank)

    def validate(self, step: int) -> None:
        """Validate, print what was found, and keep the LoRA if it is the best so far."""
        result = _run(self.validation, self.pipe, step, self.sampling)
        print(result, flush=True)
        if result.is_best:
            layers = get_peft_model_state_dict(self.pipe.unet)
            self.pipe.save_lora_weights(self.out / "best", unet_lora_layers=layers)

    def draw_curves(self) -> None:
        """Write the curves of all judges as one picture, `curves.png`."""
        from matplotlib import pyplot as plt

        names = self.validation.judges.names
        figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3), layout="constrained")
        for name, each in zip(names, axes, strict=True):
            self.validation.plot(name, each)
        figure.savefig(self.out / "curves.png", dpi=120)
        plt.close(figure)


def add_lora(unet: nn.Module, rank: int) -> list[nn.Parameter]:
    """Freeze a denoiser, put a LoRA on its attentions and convolutions, and return what is to be trained."""
    unet.requires_grad_(False)
    targets = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "time_emb_proj"]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))  # type: ignore[operator]
    return [weight for weight in unet.parameters() if weight.requires_grad]


@torch.no_grad()
def embed_prompts(pipe: StableDiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """The hidden states of prompts, as the pipeline has them, `[N, tokens, width]`; equal ones once."""
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
    embedded: Tensor = pipe.encode_prompt(list(rows), pipe.device, 1, False)[0]
    return embedded[[rows[prompt] for prompt in prompts]]


def confirm(model: Path, best: Path, sampling: Sampling) -> ValidationResult:
    """Hold a LoRA against the model that it was trained on, by seeds and references that did not choose its step.

    The best of many steps is so partly by chance, and so is its gain. What this returns has it of step 1 on step 0.
    """
    pipe = StableDiffusionPipeline.from_pretrained(model)
    validation = _validation(sampling, 1)
    _run(validation, pipe, 0, sampling)
    pipe.load_lora_weights(best)
    return _run(validation, pipe, 1, sampling)


def _validation(sampling: Sampling, version: int, path: Path | None = None) -> UniSimValidation:
    prompts, references = zip(*wanted_scenes(version), strict=True)
    return UniSimValidation(
        prompts,
        {COLOUR: share_of_the_colour, "image-image": "unisim-mini"},
        references=references,
        seeds_per_prompt=sampling.seeds,
        seed=version * len(prompts) * sampling.seeds,  # each picture has one of its own
        batch_size=10,
        path=path,
    )


def _run(
    validation: UniSimValidation, pipe: StableDiffusionPipeline, step: int, sampling: Sampling
) -> ValidationResult:
    return validation.run(
        pipe, step, num_inference_steps=sampling.steps, guidance_scale=sampling.guidance_scale
    )


def fine_tune(
    description: str,
    settings: type[SettingsT],
    options: Sequence[str],
    learn: Callable[[FineTuning, SettingsT], None],
) -> None:
    """Read the arguments of a command, let a pipeline learn, and tell what has come of it.

    Args:
        description: Of the command.
        settings: A dataclass of what is done.
        options: Names of those whole numbers in it that the command takes.
        learn: Trains the weights of the run, and validates it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="the folder of a trained pipeline")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    for name in options:
        default = getattr(settings, name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default} if not given")
    for name in ("seeds", "steps"):
        default = getattr(Sampling, name)
        parser.add_argument(f"--validation-{name}", type=int, default=default, help=f"{default} if not given")
    arguments = vars(parser.parse_args())
    model, out = arguments.pop("model"), arguments.pop("out")
    sampling = Sampling(arguments.pop("validation_seeds"), arguments.pop("validation_steps"))
    chosen = settings(**arguments)
    out.mkdir(parents=True, exist_ok=True)
    run = FineTuning(StableDiffusionPipeline.from_pretrained(model), chosen.rank, sampling, out)
    learn(run, chosen)
    run.draw_curves()
    best = run.validation.best_step
    if not best:
        print("no step is better than the base")
        return
    print(f"step {best} against the base, by other seeds and references:")
    for name, figures in confirm(model, out / "best", sampling).figures.items():
        assert figures.gain is not None  # only a first step has none
        gain = figures.gain.mean
        print(f"  {name:11} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], p = {figures.gain.p:.2g}")
