"""Turn a finished run into the directory that ships: half-size weights, tokenizer, processor.

python -m unisim_metrics.training.mini.export RUN/perceptual OUT
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from transformers import CLIPImageProcessor

from unisim_metrics.training.mini.two_towers import load, preprocessing


def export(source: Path, out: Path) -> None:
    """Write `source` (a stage's result) to `out` with float16 weights that load as float32.

    Rounding to float16 halves the file; computing in it would cost accuracy on CPUs, so that the
    configuration asks for float32 and every loader widens the weights.
    """
    model, tokenizer = load(source)
    prepared = preprocessing(model)
    model.half().save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(out)
    CLIPImageProcessor(
        size={"shortest_edge": prepared.size},
        crop_size={"height": prepared.size, "width": prepared.size},
        image_mean=list(prepared.mean),
        image_std=list(prepared.std),
    ).save_pretrained(out)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="the last stage's folder of a run")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    export(arguments.source, arguments.out)


if __name__ == "__main__":
    main()
