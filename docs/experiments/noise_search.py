"""What a search around the best noise gains over as many independent candidates, in tables.

    python -m docs.experiments.noise_search
    python -m docs.experiments.noise_search --model scenes/pipeline

Images are looked for once by `best_of_n` over independent seeds, and for each radius by `search="zero-order"`, both
with the same first candidates and as many images in all. Who has no part in the choice judges the chosen images too.

The first command has tiny pipelines with random denoisers, those of `fitted_pipelines`, look for images like crops of
photographs, and a second model judge. The second takes the trained text-to-image model of `scenes.train`, its tasks
and its judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from unisim_metrics import load_model
from unisim_metrics.integrations.diffusers import best_of_n

from .fitted_pipelines import SecondModel, command_line, interval, print_table
from .scenes.comparison import TASKS, Comparison, Settings, Task
from .scenes.judge import Judge, train_judge
from .scenes.report import table
from .tiny_pipelines import TINY, tiny_inputs

RADII = (0.3, 0.5, 0.7)
_STEPS = 8
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


def measure_trained(
    pipe: StableDiffusionPipeline,
    judge: Judge,
    settings: Settings,
    rounds: int,
    radii: Sequence[float] = RADII,
    tasks: Sequence[Task] = TASKS,
) -> Iterator[str]:
    """Measure the trained model of scenes.

    Args:
        pipe: The pipeline.
        judge: The independent classifier.
        settings: How pictures are sampled; their candidates are those of all rounds.
        rounds: Rounds of a search.
        radii: Radii of neighbourhoods.
        tasks: What is asked for.

    Yields:
        A section for each task, whose table holds the searches against the independent candidates.
    """
    pipe.set_progress_bar_config(disable=True)
    before: Comparison | None = None
    for task in tasks:
        comparison = Comparison(pipe, task, judge, settings)
        if before is not None and before.prompts == comparison.prompts:
            comparison.candidates = before.candidates  # which no reward has touched
        before = comparison
        count = settings.candidates
        pictures = {f"best of {count} independent": comparison.best_of(count)}
        for radius in radii:
            pictures[f"{rounds} × {count // rounds}, radius {radius}"] = comparison.searched(rounds, radius)
        measured = {name: comparison.measure(column) for name, column in pictures.items()}
        yield f"### {task.title.capitalize()}\n\n{table(task, measured)}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = command_line(__doc__ or "")
    parser.set_defaults(steps=None)
    parser.add_argument("--model", type=Path, help="the folder of a trained pipeline of `scenes.train`")
    rewards = list(dict.fromkeys(task.reward for task in TASKS))
    parser.add_argument(
        "--rewards", nargs="+", choices=rewards, default=rewards, help="of a trained pipeline"
    )
    parser.add_argument("--radii", nargs="+", type=float, default=list(RADII))
    parser.add_argument("--references", type=int, default=32, help="searches of each pipeline, or each task")
    parser.add_argument("--n", type=int, default=4, help="candidates of a round")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args(arguments)
    if options.model is not None:
        torch.set_num_threads(options.threads)
        settings = Settings(
            seeds=options.references,
            candidates=options.n * options.rounds,
            steps=options.steps or Settings.steps,
        )
        pipe = StableDiffusionPipeline.from_pretrained(options.model, trust_remote_code=False)
        tasks = [task for task in TASKS if task.reward in options.rewards]
        for section in measure_trained(pipe, train_judge(), settings, options.rounds, options.radii, tasks):
            print(section, flush=True)
        return

    def rows(kind: str, vae: AutoencoderKL, references: Sequence[Image.Image]) -> Iterator[str]:
        steps = options.steps or _STEPS
        return measure(kind, vae, references, options.n, options.rounds, steps, options.radii)

    print_table(options, HEADER, options.references, rows)


if __name__ == "__main__":
    main()
