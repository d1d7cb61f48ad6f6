"""Turn a stage's result into the directory that ships, with weights of half the size."""

from __future__ import annotations

import json
from pathlib import Path

from .two_towers import load, save


def export(source: Path, out: Path) -> None:
    """Write `source` (a stage's result) to `out` with float16 weights that load as float32.

    Rounding to float16 halves the file; computing in it would cost accuracy on CPUs, so that the
    configuration asks for float32 and every loader widens the weights.
    """
    model, tokenizer = load(source)
    save(model.half(), tokenizer, out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
        part.pop("_name_or_path", None)  # of the machine that trained it
    _write(config, out / "config.json")
    settings = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    # The name that every version of transformers knows this class by.
    _write(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}, out / "tokenizer_config.json")


def _write(content: object, path: Path) -> None:
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
