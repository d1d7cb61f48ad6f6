"""How often a model has to encode for the benchmark, and how long the runner takes beside the bare encoder.

    python -m docs.experiments.speed.benchmark --root DATA
    python -m docs.experiments.speed.benchmark --root DATA --model unisim-mini --dataset koniq-10k

The count needs annotations only. It compares each image and text once with one call for every occurrence, as the
reference implementation does: it asks about quality and attributes twice, once in each way, and loads the model anew
for each.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from unisim_metrics.benchmark.data.image_reading import ImageKey, show
from unisim_metrics.benchmark.datasets import load_dataset
from unisim_metrics.benchmark.running.planning import PlannedSet, plan_set
from unisim_metrics.benchmark.running.runner import run
from unisim_metrics.benchmark.samples import Item
from unisim_metrics.benchmark.tasks import TASKS, task_of
from unisim_metrics.images import prepare_image, preprocess
from unisim_metrics.models import load_model
from unisim_metrics.models.encoders.base import EncoderModel, default_batch_size

__all__ = ["Effort", "Timing", "count", "measure", "plan_all"]


@dataclass(frozen=True)
class Effort:
    """What a set, or all of them, ask of an encoder.

    Attributes:
        name: The set.
        images: Images, each as often as samples and ways of asking show it.
        unique_images: Images that no set before it has.
        texts: Texts, likewise.
        unique_texts: Texts, likewise.
        loads: How often the model is loaded for it.
    """

    name: str
    images: int
    unique_images: int
    texts: int
    unique_texts: int
    loads: int

    @classmethod
    def total(cls, efforts: Sequence[Effort]) -> Effort:
        """Return the sum over sets."""
        return cls(
            "all",
            sum(effort.images for effort in efforts),
            sum(effort.unique_images for effort in efforts),
            sum(effort.texts for effort in efforts),
            sum(effort.unique_texts for effort in efforts),
            sum(effort.loads for effort in efforts),
        )


@dataclass(frozen=True)
class Timing:
    """What the same images and texts cost, medians, in seconds by the clock or of the processor.

    Attributes:
        encoder: The bare passes of the model over pixels and texts that are ready.
        runner: All of `run`, from files to figures, without a cache.
        cached: The same with all embeddings in the cache.
    """

    encoder: float
    runner: float
    cached: float


def plan_all(
    root: Path, datasets: Sequence[str] = (), n: int | None = None, seed: int = 0
) -> tuple[list[PlannedSet], dict[str, str]]:
    """Plan sets, images there or not, and say why some cannot be planned."""
    names = datasets or [name for task in TASKS for name in task.datasets]
    plans: list[PlannedSet] = []
    failures: dict[str, str] = {}
    for name in names:
        try:
            plans.append(plan_set(load_dataset(name, root), "test", n, seed))
        except OSError as error:
            failures[name] = str(error)
    return plans, failures


def count(plans: Iterable[PlannedSet]) -> list[Effort]:
    """Count what sets ask of an encoder, in their order."""
    images: set[ImageKey] = set()
    texts: set[str] = set()
    efforts = []
    for planned in plans:
        ways = len(task_of(planned.dataset.task).methods)
        shown = list(_occurrences(planned))
        efforts.append(
            Effort(
                planned.dataset.id,
                ways * sum(isinstance(item, Path) for item in shown),
                len(images.union(planned.images)) - len(images),
                sum(isinstance(item, str) for item in shown) + len(planned.prompts),
                len(texts.union(planned.texts)) - len(texts),
                ways,
            )
        )
        images.update(planned.images)
        texts.update(planned.texts)
    return efforts


def measure(
    model: EncoderModel, plans: Sequence[PlannedSet], folder: Path, rounds: int, n: int | None = None
) -> tuple[Timing, Timing]:
    """Time the bare encoder and the runner, in turn.

    Args:
        model: The model.
        plans: The sets, whose images are there.
        folder: Where embeddings are kept meanwhile.
        rounds: How often each runs, after one that does not count.
        n: How many samples of each set were planned.

    Returns:
        The times by the clock, and those of the processor, which other programs disturb less. (They say nothing of an
        accelerator.)
    """
    names = [planned.dataset.id for planned in plans]
    ask = partial(run, model, names, plans[0].dataset.root, n=n, seed=plans[0].seed, progress=False)
    candidates: dict[str, Callable[[_Clock], object]] = {
        "encoder": partial(_encode_bare, model, plans),
        "runner": lambda clock: clock.time(lambda: ask(cache=False)),
        "cached": lambda clock: clock.time(lambda: ask(cache=folder)),
    }
    clocks: dict[str, list[_Clock]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, work in candidates.items():
            clock = _Clock()
            work(clock)
            if turn:
                clocks[name].append(clock)
    return (
        Timing(**{name: statistics.median(clock.wall for clock in found) for name, found in clocks.items()}),
        Timing(
            **{name: statistics.median(clock.processor for clock in found) for name, found in clocks.items()}
        ),
    )


class _Clock:
    """Adds up what pieces of work take."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.processor = 0.0

    def time(self, work: Callable[[], object]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor


def _occurrences(planned: PlannedSet) -> Iterator[Item]:
    if planned.retrieval is not None:
        yield from (*planned.retrieval.queries, *planned.retrieval.gallery)
    for sample in planned.samples:
        if sample.reference is not None:
            yield sample.reference
        yield from sample.alternatives


@torch.no_grad()
def _encode_bare(model: EncoderModel, plans: Sequence[PlannedSet], clock: _Clock) -> None:
    """Pass each image and text once; what comes before the passes is not timed."""
    images = {key: planned.dataset for planned in plans for key in planned.images}
    texts = sorted({text for planned in plans for text in planned.texts}, key=len)
    size = default_batch_size(model)
    keys = list(images)
    for at in range(0, len(keys), size):
        crops = [
            prepare_image(show(images[key], key.path) if key.shown_by else key.path, model.preprocessing)
            for key in keys[at : at + size]
        ]
        pixels = preprocess(torch.stack(crops), model.preprocessing, device=model.device, dtype=model.dtype)
        # What comes back to the host is there.
        clock.time(lambda pixels=pixels: model.encode_pixels(pixels).cpu())  # type: ignore[misc]
    for at in range(0, len(texts), size):
        tokens = {name: ids.to(model.device) for name, ids in model.tokenize(texts[at : at + size]).items()}
        clock.time(lambda tokens=tokens: model.encode_tokens(tokens).cpu())  # type: ignore[misc]


def table(efforts: Sequence[Effort]) -> str:
    """Return the counts as a Markdown table."""
    lines = [
        "| set | images, every occurrence | once | ratio | texts, every occurrence | once | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for effort in (*efforts, Effort.total(efforts)):
        cells = [effort.name]
        for every, once in ((effort.images, effort.unique_images), (effort.texts, effort.unique_texts)):
            cells += [f"{every:,}", f"{once:,}", f"{once / every:.3f}" if every else "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="the data root")
    parser.add_argument("--dataset", action="append", default=[], help="a set; all of the paper by default")
    parser.add_argument("--n", type=int, help="samples of each set; as many as in the paper by default")
    parser.add_argument("--seed", type=int, default=0, help="which draw of the samples")
    parser.add_argument("--model", help="time this model, too: the runner beside the bare encoder")
    parser.add_argument("--device", help="where the model runs")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    arguments = parser.parse_args()
    plans, failures = plan_all(arguments.root, arguments.dataset, arguments.n, arguments.seed)
    for name, reason in failures.items():
        print(f"Not counted: {name}. {reason}")
    if not plans:
        parser.exit(1)
    efforts = count(plans)
    print(table(efforts))
    print(f"\nThe model is loaded once instead of {Effort.total(efforts).loads} times.")
    if arguments.model is None:
        return
    model = load_model(arguments.model, device=arguments.device)
    if not isinstance(model, EncoderModel):
        parser.error(f"{arguments.model} is no encoder.")
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        timings = measure(model, plans, Path(folder), arguments.rounds, arguments.n)
    print(
        f"\nOn {platform.machine()}, {model.device}, torch {torch.__version__}, {arguments.rounds} rounds:\n"
    )
    print("| ratio of medians | by the clock | of the processor's time |")
    print("| --- | --- | --- |")
    for what, name in (("runner", "runner"), ("runner, all embeddings cached", "cached")):
        ratios = " | ".join(f"{getattr(timing, name) / timing.encoder:.3f}" for timing in timings)
        print(f"| {what} / bare encoder | {ratios} |")


if __name__ == "__main__":
    main()
