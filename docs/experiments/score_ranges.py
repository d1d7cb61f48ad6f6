"""What scores of a model are usually like: the middle nine tenths of them on the demo's samples, by task.

    python -m docs.experiments.score_ranges --output unisim_metrics/assets/typical_scores.json

The samples are those of `unisim bench demo`: photographs of scikit-image, plain and distorted, and drawn scenes. All
their alternatives are scored, right and wrong ones. What the file says stands in `unisim models --json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unisim_metrics import UniSimScore
from unisim_metrics.benchmark.datasets import load_dataset
from unisim_metrics.benchmark.demo import write_demo
from unisim_metrics.models import PerceptualModel, load_model
from unisim_metrics.models.typical import TypicalRange
from unisim_metrics.tasks import ATTRIBUTES, METHODS, Method, Task
from unisim_metrics.text_files import write_text

SETS: dict[Task, str] = {
    "image-image": "nights",
    "image-text": "hpdv2",
    "caption": "polaris",
    "quality": "kadid-10k",
    "brightness": "koniq-brightness",
    "colorfulness": "koniq-colorfulness",
    "contrast": "koniq-contrast",
    "sharpness": "koniq-sharpness",
}
ASKED: list[tuple[Task, Method | None]] = [
    (task, method) for task in SETS for method in (METHODS if task in ("quality", *ATTRIBUTES) else (None,))
]
"""The tasks, quality and attributes by either method."""

PERCENTILES = (5, 50, 95)
_AT_ONCE = 32


def measure(
    model: PerceptualModel, task: Task, method: Method | None, root: Path, most: int | None = None
) -> TypicalRange:
    """Return the percentiles of the scores of a task.

    Args:
        model: The model.
        task: The task.
        method: How quality and attributes are scored; None for other tasks.
        root: Where the demo's sets are.
        most: How many samples at most; None for all.
    """
    samples = load_dataset(SETS[task], root).samples()[:most]
    pairs = list(
        dict.fromkeys(
            (alternative, sample.reference) for sample in samples for alternative in sample.alternatives
        )
    )
    metric = UniSimScore(model, task=task, method=method or "naive", reduction="none")
    for start in range(0, len(pairs), _AT_ONCE):
        candidates, references = zip(*pairs[start : start + _AT_ONCE], strict=True)
        metric.update(list(candidates), None if references[0] is None else list(references))
    low, middle, high = np.percentile(metric.compute().double().numpy(), PERCENTILES).round(3).tolist()
    return {
        "task": task,
        "method": method,
        "low": low,
        "middle": middle,
        "high": high,
        "n": len(pairs),
        "samples": f"demo {SETS[task]}",
        "signature": metric.signature,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the file, and print the table of the documentation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="unisim-mini", help="what `load_model` takes")
    parser.add_argument("--samples", type=int, help="samples of each set at most")
    parser.add_argument("--output", type=Path, help="the JSON file, in which other models stay")
    options = parser.parse_args(arguments)
    model = load_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        root = write_demo(Path(folder), 0, list(SETS.values()))
        found = [measure(model, task, method, root, options.samples) for task, method in ASKED]
    print("| task | method | 5 % | 50 % | 95 % | scores |\n|---|---|--:|--:|--:|--:|")
    for row in found:
        shown = f"`{row['method']}`" if row["method"] else ""
        figures = f"{row['low']:.3f} | {row['middle']:.3f} | {row['high']:.3f} | {row['n']}"
        print(f"| `{row['task']}` | {shown} | {figures} |")
    if options.output is not None:
        known = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
        write_text(options.output, json.dumps({**known, options.model: found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
