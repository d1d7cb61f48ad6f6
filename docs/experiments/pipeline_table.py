"""What works in which pipeline: every image pipeline of the installed diffusers, tried with tiny random components.

python -m docs.experiments.pipeline_table [--only REGULAR_EXPRESSION] [--uses USE ...] [--write PAGE]
"""

from __future__ import annotations

import argparse
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, LCMScheduler, SCMScheduler
from diffusers.pipelines.pag.pag_utils import PAGMixin
from torch import Tensor

from unisim_metrics import load_model
from unisim_metrics.integrations.diffusers import (
    UniSimGuidanceCallback,
    UniSimReward,
    UniSimScoreCallback,
    best_of_n,
    optimize_latents,
)
from unisim_metrics.integrations.diffusers.callback import check_pipeline
from unisim_metrics.integrations.diffusers.families import family_of
from unisim_metrics.integrations.diffusers.latents import LatentDecoder
from unisim_metrics.integrations.diffusers.listening import wrapped
from unisim_metrics.integrations.diffusers.sampling import check_call, check_makes_images, images_of, replaced

from .pipelines.cases import case_of, tiny_call, tiny_pipeline

PROMPT = "a red fox in the snow"
USES = ("score", "guide", "through the denoiser", "best of N", "prune", "optimise")
WORKS = "works"
NOT_RUN = "not run"
_BEGIN, _END = "<!-- begin of the table -->", "<!-- end of the table -->"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Row:
    """A pipeline.

    Attributes:
        name: Of its class.
        uses: For each of `USES` that was tried: `WORKS`, `NOT_RUN` where it is accepted and has no tiny form here, or
            why it is refused.
    """

    name: str
    uses: dict[str, str]


def image_pipelines() -> dict[str, type[DiffusionPipeline]]:
    """The pipelines of the installed diffusers that make images, by their names."""
    kinds = {}
    for name in dir(diffusers):
        kind = getattr(diffusers, name) if name.endswith("Pipeline") else None
        if not inspect.isclass(kind) or not issubclass(kind, DiffusionPipeline) or kind is DiffusionPipeline:
            continue
        if kind.__module__.startswith("diffusers.utils"):
            continue  # stands for one that misses a package
        try:
            check_makes_images(_bare(kind))
        except ValueError:
            continue
        kinds[name] = kind
    return kinds


def _bare(kind: type[DiffusionPipeline]) -> DiffusionPipeline:
    """A pipeline without components, enough for what is refused by its class."""
    bare: DiffusionPipeline = object.__new__(kind)
    return bare


def _check_class(bare: Any) -> None:
    bare.scheduler = DDIMScheduler()
    check_pipeline(bare)
    if family_of(bare).refused is not None:
        LatentDecoder(bare)


def tried(kind: type[DiffusionPipeline], model: Any, uses: Sequence[str] = USES) -> Row:
    """Try uses of a pipeline.

    Args:
        kind: The class of the pipeline.
        model: Scores and rewards.
        uses: Some of `USES`.

    Raises:
        AssertionError: If a use is not refused, and does other than it says.
    """
    if case_of(kind) is None or "callback_on_step_end" not in inspect.signature(kind.__call__).parameters:
        bare = _bare(kind)
        callback = _refusal(lambda: _check_class(bare)) or NOT_RUN
        best = _refusal(lambda: check_call(bare, ("generator",), {}, {})) or NOT_RUN
        latents = (
            _refusal(lambda: check_call(bare, ("generator", "latents", "output_type"), {}, {})) or NOT_RUN
        )
        values = (callback, callback, callback, best, callback, latents)
        told = dict(zip(USES, values, strict=True))
        return Row(kind.__name__, {use: told[use] for use in uses})
    pipe, call, single = tiny_pipeline(kind), tiny_call(kind), tiny_call(kind, images=1)
    checks: dict[str, Callable[[], None]] = {
        "score": lambda: check_score(pipe, call, model),
        "guide": lambda: check_guidance(pipe, call, model, through_denoiser=False),
        "through the denoiser": lambda: check_guidance(pipe, call, model, through_denoiser=True),
        "best of N": lambda: _ignore(check_best_of_n(pipe, single, model)),
        "prune": lambda: check_pruning(pipe, single, model),
        "optimise": lambda: check_optimization(pipe, call, model),
    }
    return Row(kind.__name__, {use: _refusal(checks[use]) or WORKS for use in uses})


def check_score(pipe: Any, call: dict[str, Any], model: Any) -> None:
    """Check that scores change no bit, and that previews are what the pipeline makes of the predicted images.

    The predicted images are those of the scheduler itself, or follow from σ here; the pipeline decodes each of them
    in a run of its own, whose last latents it takes the place of.
    """
    told: list[Tensor] = []
    previews: list[Tensor] = []
    callback = UniSimScoreCallback(pipe, PROMPT, model_name_or_path=model)

    def hear(*arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = callback(*arguments)
        step = callback.recorder.last
        assert step is not None
        previews.append(callback.decoder.preview(step, step.x0()).clamp(0, 1))
        return result

    def tell(given: dict[str, Any], result: Any) -> None:
        told.append(_x0(pipe, given, result))

    with callback, wrapped(pipe.scheduler, "step", _ignore, tell):
        images = _images(pipe, call, hear)
    plain = _images(pipe, call)
    assert torch.equal(images, plain), "the images are others with the callback"
    assert bool(callback.scores.isfinite().all()), "a score is not finite"
    assert len(told) == len(previews) == len(callback.steps), "a step was not scored"
    for x0, preview in zip(told, previews, strict=True):
        with _last_result(pipe, x0):
            decoded = _images(pipe, call, _last_latents(x0))
        _assert_close(preview, decoded, "the preview is not what the pipeline decodes")


def check_guidance(pipe: Any, call: dict[str, Any], model: Any, through_denoiser: bool) -> None:
    """Check that guidance without scale changes no bit, and with one moves the images."""
    reward = UniSimReward(PROMPT, model_name_or_path=model)
    plain = _images(pipe, call)
    for scale in (0.0, 0.3):
        with UniSimGuidanceCallback(
            pipe, reward, scale=scale, window=(0.0, 0.7), through_denoiser=through_denoiser
        ) as callback:
            images = _images(pipe, call, callback)
        assert torch.equal(images, plain) == (scale == 0), f"the images are wrong with a scale of {scale}"
        assert bool(images.isfinite().all()), "a pixel is not finite"
    assert callback.steps, "no step was guided"


def check_best_of_n(pipe: Any, call: dict[str, Any], model: Any, *, levels: int = 0, **settings: Any) -> int:
    """Check that the best of two images is what the pipeline makes of its seed alone, but for levels; return that."""
    call = {name: value for name, value in call.items() if name != "output_type"}
    result = best_of_n(pipe, n=2, reference=PROMPT, model_name_or_path=model, **settings, **call)
    again = images_of(pipe(**call, generator=torch.Generator().manual_seed(result.seeds[0])))[0]
    apart = np.abs(np.asarray(result.best, dtype=int) - np.asarray(again, dtype=int)).max()
    assert apart <= levels, "the best image is not that of its seed"
    seed: int = result.seeds[0]
    return seed


def check_pruning(pipe: Any, call: dict[str, Any], model: Any) -> None:
    """Check that the image that is left of two is that of its seed alone, in the second place too.

    Where pipelines start from a picture, the autoencoder lays out two pictures otherwise in memory than one, and what
    follows rounds otherwise: there the images may be a level apart.
    """
    pairs = [pair for first in range(0, 20, 2) for pair in ((first, first + 1), (first + 1, first))]
    settings: dict[str, Any] = {"prune": {0: 1}, "levels": 1 if "image" in call else 0}
    assert any(check_best_of_n(pipe, call, model, seed=pair, **settings) == pair[1] for pair in pairs), (
        "the second of two was never left"
    )


def check_optimization(pipe: Any, call: dict[str, Any], model: Any) -> None:
    """Check that the rewards are those of the images that the pipeline makes of the latents."""
    reward = UniSimReward(PROMPT, model_name_or_path=model)
    call = dict(call)
    checkpointing = not isinstance(pipe, PAGMixin)
    result = optimize_latents(
        pipe, call.pop("prompt", None), reward, steps=1, checkpointing=checkpointing, **call
    )
    rewards = reward(_tensor(result.images))
    _assert_close(result.rewards.amax(0), rewards, "the rewards are not those of the images", 1e-3)


# How the table calls what a refusal says, by words of the message; the page explains each.
_REASONS = {
    "takes `callback_on_step_end`": "no callback",
    "passes `latents` to its callback": "no latents",
    "those of one picture": "several",
    "no weighted sum": "no sum",
    "whose candidates cannot be told apart": "batch",
    "takes `latents`": "no noise",
    "takes `generator`": "no seed",
    "takes `output_type`": "no noise",
    "as `latents` what it draws itself": "other noise",
    "gradients through": "no gradient",
}
_SIGNS = {WORKS: "✓", NOT_RUN: "○"}


def cell(use: str) -> str:
    """A use in the table."""
    if use in _SIGNS:
        return _SIGNS[use]
    known = [short for words, short in _REASONS.items() if words in use]
    assert known, f"no word stands for: {use}"
    return known[0]


def cells(row: Row) -> list[str]:
    """The line of a pipeline in the table."""
    return [row.name.removesuffix("Pipeline"), *map(cell, row.uses.values())]


def table(lines: Mapping[str, Sequence[str]]) -> str:
    """The table in Markdown, of the cells of each pipeline by its name."""
    rows = [["pipeline", *USES], ["---"] * (1 + len(USES)), *([name, *uses] for name, uses in lines.items())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def updated(
    lines: Mapping[str, Sequence[str]], names: Iterable[str], rows: Iterable[Row]
) -> dict[str, list[str]]:
    """The table of some pipelines, with the cells that it had and those that were tried.

    Args:
        lines: The table before.
        names: All pipelines that are to stand in it.
        rows: What was tried.

    Raises:
        ValueError: If a cell was never tried.
    """
    tried_now = {row.name.removesuffix("Pipeline"): row for row in rows}
    found = {}
    for name in (name.removesuffix("Pipeline") for name in names):
        now = {use: cell(told) for use, told in tried_now[name].uses.items()} if name in tried_now else {}
        before = dict(zip(USES, lines.get(name, ()), strict=False))
        missing = [use for use in USES if use not in now and use not in before]
        if missing:
            raise ValueError(f"The page must have `{missing[0]}` of {name} if it is not tried.")
        found[name] = [now.get(use) or before[use] for use in USES]
    return found


def read_table(page: str) -> dict[str, list[str]]:
    """The cells of each pipeline on a page, by its name."""
    between = page.split(_BEGIN)[1].split(_END)[0]
    lines = [
        [part.strip() for part in line.strip("| \n").split("|")] for line in between.strip().splitlines()[2:]
    ]
    return {name: uses for name, *uses in lines}


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the pipelines, and print the table or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="try the pipelines whose names it is found in")
    parser.add_argument("--uses", nargs="+", choices=USES, default=USES, help="try these columns alone")
    parser.add_argument(
        "--write", type=Path, help="a page with a table to be replaced; what is not tried stays"
    )
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    diffusers.utils.logging.set_verbosity_error()
    model = load_model()
    rows = []
    kinds = image_pipelines()
    for name, kind in kinds.items():
        if re.search(options.only, name):
            rows.append(tried(kind, model, options.uses))
            print(*cells(rows[-1]), sep=" | ", flush=True)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        lines = updated(read_table(page), kinds, rows)
        start, end = page.index(_BEGIN) + len(_BEGIN), page.index(_END)
        options.write.write_text(f"{page[:start]}\n{table(lines)}{page[end:]}", encoding="utf-8")


def _x0(pipe: Any, given: dict[str, Any], result: Any) -> Tensor:
    """The predicted image of a step: as the scheduler tells it, or by its σ."""
    if len(result) > 1 and not isinstance(pipe.scheduler, LCMScheduler):
        told: Tensor = result[1]
        return told
    scheduler, sample, output = pipe.scheduler, given["sample"].float(), given["model_output"].float()
    if hasattr(scheduler, "sigmas"):
        by_sigma: Tensor = sample - scheduler.sigmas[scheduler.step_index - 1] * output
        return by_sigma
    alpha: Tensor = (
        scheduler.alphas_cumprod[given["timestep"]]
        if hasattr(scheduler, "alphas_cumprod")
        else scheduler._alpha_cumprod(given["timestep"][:1], sample.device)
    )
    by_alpha: Tensor = (sample - (1 - alpha).sqrt() * output) / alpha.sqrt()
    return by_alpha


@contextmanager
def _last_result(pipe: Any, latents: Tensor) -> Iterator[None]:
    """Let the scheduler's last step give these, where the pipeline decodes what it gives beside the next sample."""

    def other(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            return (latents, latents) if pipe.scheduler.step_index == pipe.num_timesteps else result

        return stepped

    if isinstance(pipe.scheduler, LCMScheduler | SCMScheduler):
        with replaced(pipe.scheduler, "step", other):
            yield
    else:
        yield


def _last_latents(latents: Tensor) -> Callable[..., dict[str, Any]]:
    """A callback that gives these in the place of the latents of the last step."""

    def replace(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        last = index == getattr(pipe, "num_timesteps", len(pipe.scheduler.timesteps)) - 1
        if not last:
            return {}
        # What a pipeline keeps beside them, such as a picture to be edited, follows them.
        beside = tensors["latents"][..., latents.shape[-1] :]
        tensors["latents"].copy_(
            torch.cat([latents.to(beside), beside], dim=-1)
        )  # in place: not all heed a return
        return {"latents": tensors["latents"]}

    return replace


def _images(pipe: Any, call: dict[str, Any], callback: Any = None) -> Tensor:
    """Images `[B, 3, H, W]` of seed 0."""
    if callback is not None:
        call = {**call, "callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": ["latents"]}
    return _tensor(images_of(pipe(**call, generator=torch.Generator().manual_seed(0))))


def _tensor(images: Any) -> Tensor:
    pixels: Tensor = torch.from_numpy(images)
    return pixels.permute(0, 3, 1, 2)


def _ignore(told: Any) -> None:
    pass


def _assert_close(given: Tensor, expected: Tensor, message: str, tolerance: float = TOLERANCE) -> None:
    assert given.shape == expected.shape, f"{message}: {tuple(given.shape)} is not {tuple(expected.shape)}"
    difference = float((given - expected).abs().max())
    if torch.equal((expected * 255).round() / 255, expected):
        tolerance = max(tolerance, 1 / 255)  # one pipeline rounds its images before it hands them out
    assert difference <= tolerance, f"{message}: {difference:.1e} apart"


def _refusal(use: Callable[[], None]) -> str | None:
    """Why a use is refused; None if it is not."""
    try:
        use()
    except ValueError as error:
        return str(error)
    return None


if __name__ == "__main__":
    main()
