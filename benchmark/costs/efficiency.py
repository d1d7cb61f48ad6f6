"""What models cost: parameters, throughput beside CLIP ViT-B/32 in the same run, peak memory."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unisim_metrics.models.answering import answers_of

from ..results.files import Environment, describe_environment
from ..results.records import Amount, Count, Line, Record, read_record, write_record

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import CLIPTokenizer

    from unisim_metrics.models.protocol import PerceptualModel

BASELINE = "CLIP ViT-B/32"
"""The model that throughput is a ratio to: its architecture, with random weights."""

FILE_NAME = "efficiency.json"
SIZE = 512
"""Images are squares of so many pixels, before they are prepared."""

_SCHEMA_VERSION = 1
# What transformers calls the tokens that open_clip names otherwise.
_CLIP_NAMES = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
_CAPTION = "a brown dog runs across the grass with a red ball in its mouth"


class ModelEfficiency(Record):
    """What a model costs.

    Attributes:
        name: Its name.
        parameters: How many weights it has.
        images: How many times as many images it embeds in a second as the baseline; None for one that embeds none.
        texts: Texts likewise.
        comparisons: Comparisons of two images with a reference likewise; None for one that does not answer those.
        peak_memory_bytes: The largest memory of a process that does nothing else, libraries included; on an
            accelerator, what its tensors take there.
    """

    name: Line
    parameters: Count
    images: Amount | None = None
    texts: Amount | None = None
    comparisons: Amount | None = None
    peak_memory_bytes: Count


class EfficiencyReport(Record):
    """What models cost, measured in one run.

    Attributes:
        schema_version: The version of this layout.
        baseline: The model that throughput is a ratio to.
        models: The models, the baseline first.
        batch_size: How many images or texts were embedded together; comparisons had a quarter of it.
        rounds: Of how many rounds the medians are.
        threads: How many threads torch used.
        environment: Where it was.
    """

    schema_version: int = _SCHEMA_VERSION
    baseline: Line
    models: tuple[ModelEfficiency, ...]
    batch_size: Count
    rounds: Count
    threads: Count
    environment: Environment


def measure_efficiency(
    models: Sequence[str],
    *,
    baseline: str = BASELINE,
    batch_size: int = 32,
    rounds: int = 10,
    device: str | None = None,
) -> EfficiencyReport:
    """Measure what models cost, from uint8 images of 512×512 pixels and texts to scores.

    Memory is measured first, in a process for each model. Then all models stand in this one and take turns, so that
    whatever else the machine does slows them alike.

    Args:
        models: Names, directories, Hub ids, as `load_model` takes them.
        baseline: The model that throughput is a ratio to, likewise; by default a CLIP ViT-B/32 with random weights,
            on which speed does not depend.
        batch_size: Images or texts that are embedded together.
        rounds: How often each model is timed; medians count.
        device: Where the models run; an accelerator if there is one.

    Raises:
        ValueError: If an argument is out of its range, or a model occurs twice.
        OSError: If a model cannot be loaded.
    """
    import torch

    if batch_size < 4 or rounds < 1:
        raise ValueError(
            f"Arguments `batch_size` and `rounds` must be at least 4 and 1, but got {batch_size} and {rounds}."
        )
    names = [baseline, *models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Argument `models` must name each model once, and not the baseline, but got {twice}."
        )
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    memory = {name: _measure_memory(name, batch_size, where) for name in names}
    loaded = {name: load(name, where) for name in names}
    throughput = measure_throughput(loaded, baseline, batch_size=batch_size, rounds=rounds)
    return EfficiencyReport(
        baseline=baseline,
        models=tuple(
            ModelEfficiency(
                name=name,
                parameters=count_parameters(model),
                peak_memory_bytes=memory[name],
                **throughput[name],
            )
            for name, model in loaded.items()
        ),
        batch_size=batch_size,
        rounds=rounds,
        threads=torch.get_num_threads(),
        environment=describe_environment(where),
    )


def measure_throughput(
    models: Mapping[str, PerceptualModel], baseline: str, *, batch_size: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Return how many times as much as the baseline each model does in a second, by kind of work.

    Args:
        models: The models by name, all on one device.
        baseline: One of them, which does all kinds.
        batch_size: Images or texts that are embedded together.
        rounds: How often each model is timed, in turn; medians count.
    """
    work = {name: workload(model, batch_size) for name, model in models.items()}
    throughput: dict[str, dict[str, float]] = {name: {} for name in models}
    for kind in work[baseline]:
        candidates = {
            name: partial(_timed, work[name][kind], model.device)
            for name, model in models.items()
            if kind in work[name]
        }
        seconds = medians(candidates, rounds)
        for name in candidates:
            throughput[name][kind] = seconds[baseline] / seconds[name]
    return throughput


def load(name: str, device: torch.device) -> PerceptualModel:
    """Return a model; for `BASELINE` one with random weights."""
    from unisim_metrics.models import load_model

    if name != BASELINE:
        return load_model(name, device=str(device))
    from transformers import CLIPConfig, CLIPModel

    from unisim_metrics.images import Preprocessing
    from unisim_metrics.models.encoders.clip import CLIPEncoder

    tokenizer = clip_tokenizer()
    config = CLIPConfig(
        text_config={"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    )
    model = CLIPModel(config).train(False).requires_grad_(False)
    return CLIPEncoder(model, tokenizer, BASELINE, Preprocessing(size=224)).to(device)


def clip_tokenizer() -> CLIPTokenizer:
    """Return CLIP's own tokenizer, whose vocabulary comes with open_clip."""
    import open_clip
    from transformers import CLIPTokenizer

    own = open_clip.SimpleTokenizer()
    vocabulary = {_CLIP_NAMES.get(token, token): index for token, index in own.encoder.items()}
    return CLIPTokenizer(vocabulary, list(own.bpe_ranks), model_max_length=own.context_length)


def count_parameters(model: PerceptualModel) -> int:
    """Return how many weights a model has; 0 for one that does not tell."""
    parameters: Callable[[], Iterable[Tensor]] | None = getattr(model, "parameters", None)
    return 0 if parameters is None else sum(weight.numel() for weight in parameters())


def workload(model: PerceptualModel, batch_size: int) -> dict[str, Callable[[], object]]:
    """Return what a model is timed at, by kind."""
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch_size, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images = images.to(model.device)
    texts = [f"{_CAPTION} {index}" for index in range(batch_size)]
    # Three images a comparison.
    few = batch_size // 4
    pairs = [list(pair) for pair in zip(images[few : 2 * few], images[2 * few : 3 * few], strict=True)]

    def compare() -> Tensor:
        return model.compare(list(images[:few]), pairs, task="image-image")

    answers = answers_of(model)
    work: dict[str, Callable[[], object]] = {}
    if "image-image" in answers:
        work["comparisons"] = compare
    if "embeddings" in answers.values():
        work["images"] = lambda: model.embed_images(images)
    if answers.get("image-text") == "embeddings":
        work["texts"] = lambda: model.embed_texts(texts)
    return work


def write_efficiency(report: EfficiencyReport, results: str | Path) -> Path:
    """Write `efficiency.json` into a folder of results, and return its path."""
    return write_record(Path(results) / FILE_NAME, report)


def read_efficiency(folders: Iterable[Path]) -> EfficiencyReport | None:
    """Read the first `efficiency.json` in folders of results; None if there is none.

    Raises:
        ValueError: If the file is no such report. The message names file and field.
    """
    paths = (folder / FILE_NAME for folder in folders)
    found = next((path for path in paths if path.is_file()), None)
    return None if found is None else read_record(found, EfficiencyReport)


def _timed(work: Callable[[], object], device: torch.device) -> None:
    import torch

    with torch.no_grad():
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _measure_memory(name: str, batch_size: int, device: torch.device) -> int:
    """Return what a process of its own needs for a model, in bytes.

    Raises:
        OSError: If it fails there. The message is its error.
    """
    command = [
        sys.executable,
        "-m",
        "unisim_metrics.benchmark.costs.memory",
        name,
        str(batch_size),
        str(device),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise OSError(f"Model {name!r} could not be measured in a process of its own: {lines[-1]}")
    return int(json.loads(done.stdout.strip().splitlines()[-1])["peak_memory_bytes"])


def medians(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each candidate.

    All run in turn, after one warm-up, in every round in another random order: what a candidate leaves behind, warm
    caches or threads that still wait for work, falls to each of the others alike.

    Args:
        candidates: What is timed. A candidate must wait for what it started on an accelerator.
        rounds: How often each runs.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    order = random.Random(0)
    for index in range(rounds + 1):
        for name in order.sample(list(candidates), len(candidates)):
            start = time.perf_counter()
            candidates[name]()
            if index > 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
