"""Train the small text-to-image model on drawn scenes and leave it as a directory of `StableDiffusionPipeline`.

    python -m docs.experiments.scenes.train --out scenes

About half an hour on one core, without a download. What is interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerBase, VisionTextDualEncoderModel

from .autoencoder import (
    encode,
    sharpen_decoder,
    train_autoencoder,
)
from .denoiser import noise_scheduler, train_denoiser
from .drawing import pixels, random_scene
from .recipe import Recipe

log = logging.getLogger(__name__)


def train(out: Path, recipe: Recipe) -> Path:
    """Run the stages that have no result under `out` yet.

    Args:
        out: The run's folder: `autoencoder/`, `decoder/`, `denoiser/` and `pipeline/`, checkpoints on the way.
        recipe: What is done.

    Returns:
        The folder of the pipeline.

    Raises:
        ValueError: If `out` holds a run of another recipe.
    """
    _check_folder(out, recipe)
    scenes = pixels(map(random_scene, range(recipe.scenes)))
    log.info("%d scenes drawn", len(scenes))
    if not (out / "autoencoder").is_dir():
        _save(train_autoencoder(scenes, recipe, out / "autoencoder.pt"), out / "autoencoder")
    if not (out / "decoder").is_dir():
        trained = AutoencoderKL.from_pretrained(out / "autoencoder")
        _save(sharpen_decoder(trained, scenes, recipe, out / "decoder.pt"), out / "decoder")
    autoencoder = AutoencoderKL.from_pretrained(out / "decoder").eval()
    text_encoder, tokenizer = text_tower(recipe.tokens)
    if not (out / "denoiser").is_dir():
        latents: Tensor = encode(autoencoder, scenes) * autoencoder.config.scaling_factor
        denoiser = train_denoiser(latents, text_encoder, tokenizer, recipe, out / "denoiser.pt")
        _save(denoiser, out / "denoiser")
    StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel.from_pretrained(out / "denoiser").eval(),
        scheduler=DDIMScheduler.from_config(
            noise_scheduler().config, timestep_spacing="trailing", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out / "pipeline")
    return out / "pipeline"


def text_tower(tokens: int) -> tuple[BertModel, PreTrainedTokenizerBase]:
    """MiniLM out of the text tower of `unisim-mini`, and its tokenizer, for captions of at most so many tokens.

    The last layer of that tower makes one embedding of a text: every token becomes the mean of all. The denoiser
    attends to the tokens before it.
    """
    folder = str(files("unisim_metrics") / "assets" / "unisim-mini")
    tower: Any = VisionTextDualEncoderModel.from_pretrained(folder, trust_remote_code=False).text_model
    tower.encoder.layer = tower.encoder.layer[:-1]
    tower.config.num_hidden_layers -= 1
    tower.config.use_attention_mask = True  # has the pipeline mask what pads a prompt
    tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=tokens, trust_remote_code=False)
    return tower.eval().requires_grad_(False), tokenizer


def _check_folder(out: Path, recipe: Recipe) -> None:
    written = json.loads(json.dumps(asdict(recipe)))
    path = out / "recipe.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != written:
        raise ValueError(f"Argument `out` must not hold a run of another recipe, but {out} does, see {path}.")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _save(model: AutoencoderKL | UNet2DConditionModel, folder: Path) -> None:
    unfinished = folder.with_suffix(".unfinished")
    model.save_pretrained(unfinished)
    unfinished.rename(folder)


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start = time.perf_counter()
    folder = train(arguments.out, Recipe(seed=arguments.seed))
    log.info("%s after %.1f minutes", folder, (time.perf_counter() - start) / 60)


if __name__ == "__main__":
    main()
