"""What a search around the best noise gains over as many independent candidates, in one table.

    python -m docs.experiments.noise_search

Tiny pipelines with random denoisers, those of `fitted_pipelines`, look for images like crops of photographs: once by
`best_of_n` over independent seeds, and for each radius by `search="zero-order"`, both with the same first candidates
and as many images in all. A second model that has no part in the choice judges the chosen images too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from unisim_metrics import load_model
from unisim_metrics.integrations.diffusers import best_of_n

from .fitted_pipelines import SecondModel, command_line, interval, print_table
from .tiny_pipelines import TINY, tiny_inputs

RADII = (0.3, 0.5, 0.7)
HEADER = """\
| pipeline | candidates | score | gain | second model |
| --- | --- | --- | --- | --- |"""


def measure(
    kind: str,
    vae: Any,
    references: Sequence[Image.Image],
    n: int,
    rounds: int,
    steps: int,
    radii: Sequence[float] = RADII,
) -> Iterator[str]:
    """Measure one pipeline.

    Args:
        kind: A key of `TINY`.
        vae: Its autoencoder.
        references: What the images are to be like, one a search.
        n: Candidates of a round.
        rounds: Rounds of a search.
        steps: Sampling steps.
        radii: Radii of neighbourhoods.

    Yields:
        A line of the table for the independent candidates, and one for each radius.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe: Any = TINY[kind]()
    pipe.register_modules(vae=vae)
    pipe.set_progress_bar_config(disable=True)
    model, second = load_model(), SecondModel()

    def chosen(**settings: Any) -> tuple[Tensor, Tensor]:
        """Scores of the chosen images, by the model that chose and by the second."""
        results = [
            best_of_n(
                pipe,
                reference=reference,
                model_name_or_path=model,
                seed=1000 * index,
                num_inference_steps=steps,
                output_type="pt",
                **tiny_inputs(kind, 1, index),
                **settings,
            )
            for index, reference in enumerate(references)
        ]
        images = torch.stack([result.best for result in results])
        return torch.stack([result.scores[0] for result in results]), second.scores(images, references)

    scores, others = chosen(n=n * rounds)
    yield f"| {kind} | {n * rounds} independent | {scores.mean():.4f} | | |"
    for radius in radii:
        searched, judged = chosen(n=n, search="zero-order", rounds=rounds, radius=radius)
        gains = f"{interval(searched - scores)} | {interval(judged - others)}"
        yield f"| {kind} | {rounds} × {n}, radius {radius} | {searched.mean():.4f} | {gains} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = command_line(__doc__ or "")
    parser.add_argument("--radii", nargs="+", type=float, default=list(RADII))
    parser.add_argument("--references", type=int, default=32, help="searches of each pipeline")
    parser.add_argument("--n", type=int, default=4, help="candidates of a round")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args(arguments)

    def rows(kind: str, vae: AutoencoderKL, references: Sequence[Image.Image]) -> Iterator[str]:
        return measure(kind, vae, references, options.n, options.rounds, options.steps, options.radii)

    print_table(options, HEADER, options.references, rows)


if __name__ == "__main__":
    main()
