"""What guidance gains on tiny pipelines whose denoisers have random weights, in one table.

    python -m docs.experiments.guidance_gain

Each pipeline makes the images of 64 seeds with and without guidance, each towards a crop of a photograph of its
own, by the likeness that the bundled model sees. What pipelines, photographs and the second model are, tells
`fitted_pipelines`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from unisim_metrics.functional import unisim_score
from unisim_metrics.integrations.diffusers.augmentation import Augmentation
from unisim_metrics.integrations.diffusers.guidance import UniSimGuidanceCallback
from unisim_metrics.integrations.diffusers.rewards import UniSimReward

from .fitted_pipelines import SecondModel, command_line, interval, print_table
from .tiny_pipelines import TINY, tiny_inputs

_VIEWS: dict[str, Any] = {"augmentation": Augmentation(views=2), "inner_steps": 3}
FORMS: dict[str, dict[str, Any]] = {
    "the picture alone": {},
    "3 × 2 views": _VIEWS,
    "3 × 2 views, through the denoiser": {**_VIEWS, "through_denoiser": True},
}
HEADER = """\
| pipeline | gradient of | reward | seeds raised | second model |
| --- | --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Row:
    """A way of guiding a pipeline.

    Attributes:
        pipeline: A key of `TINY`.
        form: A key of `FORMS`.
        gains: By how much the reward rose, for each seed.
        second: By how much the score of the second model rose, likewise.
    """

    pipeline: str
    form: str
    gains: Tensor
    second: Tensor

    @property
    def raised(self) -> float:
        """The share of the seeds whose reward rose."""
        return float((self.gains > 0).float().mean())

    def __str__(self) -> str:
        return (
            f"| {self.pipeline} | {self.form} | {interval(self.gains)} | {self.raised:.1%}"
            f" | {interval(self.second)} |"
        )


class Experiment:
    """A tiny pipeline, one reference and one set of embeddings in the place of a prompt for each seed.

    Args:
        kind: A key of `TINY`.
        vae: The autoencoder.
        references: One image a seed.
        steps: Sampling steps.
        batch: Images at a time.
    """

    def __init__(
        self, kind: str, vae: AutoencoderKL, references: Sequence[Image.Image], steps: int, batch: int
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.pipe: Any = TINY[kind]()
        self.pipe.register_modules(vae=vae)
        self.pipe.set_progress_bar_config(disable=True)
        self.kind = kind
        self.references = references
        self.steps = steps
        self.batch = batch

    def images(self, form: str | None = None) -> Tensor:
        """The images of all seeds, guided in one of the `FORMS` or not at all."""
        seeds = range(len(self.references))
        parts = [seeds[first : first + self.batch] for first in seeds[:: self.batch]]
        return torch.cat([self._sample(part, form) for part in parts])

    def _sample(self, seeds: range, form: str | None) -> Tensor:
        if form is None:
            return self._call(seeds, None)
        reward = UniSimReward(reference=[self.references[seed] for seed in seeds])
        with UniSimGuidanceCallback(self.pipe, reward, **FORMS[form]) as callback:
            return self._call(seeds, callback)

    def _call(self, seeds: range, callback: UniSimGuidanceCallback | None) -> Tensor:
        inputs = [tiny_inputs(self.kind, 1, seed) for seed in seeds]
        arguments = {
            name: torch.cat([one[name] for one in inputs]) if isinstance(value, Tensor) else value
            for name, value in inputs[0].items()
        }
        images: Tensor = self.pipe(
            **arguments,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=self.steps,
            output_type="pt",
            callback_on_step_end=callback,
        ).images
        return images


def measure(experiment: Experiment, forms: Sequence[str]) -> Iterator[Row]:
    """Measure ways of guiding one pipeline.

    Args:
        experiment: The pipeline, its seeds and references.
        forms: Keys of `FORMS`.

    Yields:
        A row for each form.
    """
    references, second = experiment.references, SecondModel()

    def scores(images: Tensor) -> Tensor:
        first = unisim_score(images, references, "unisim-mini", reduction="none")
        return torch.stack([first, second.scores(images, references)])

    before = scores(experiment.images())
    for form in forms:
        gains, others = scores(experiment.images(form)) - before
        yield Row(experiment.kind, form, gains, others)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = command_line(__doc__ or "")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seeds", type=int, default=64, help="images of each pipeline")
    parser.add_argument("--batch", type=int, default=16, help="images at a time")
    options = parser.parse_args(arguments)

    def rows(kind: str, vae: AutoencoderKL, references: Sequence[Image.Image]) -> Iterator[Row]:
        return measure(Experiment(kind, vae, references, options.steps, options.batch), options.forms)

    print_table(options, HEADER, options.seeds, rows)


if __name__ == "__main__":
    main()
