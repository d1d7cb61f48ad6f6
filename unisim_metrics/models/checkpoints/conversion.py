"""Turning checkpoints into directories that anyone can load, with or without this package."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.clip import load_checkpoint
from unisim_metrics.models.checkpoints.directories import (
    PROCESSOR_FILES,
    is_adapter,
    load_adapter,
    load_base,
    no_progress_bar,
    read_dual_encoder,
    read_json,
)
from unisim_metrics.models.checkpoints.internvl import convert_internvl, is_internvl_checkpoint
from unisim_metrics.models.checkpoints.llava import is_llava_checkpoint
from unisim_metrics.models.checkpoints.llava_conversion import convert_llava
from unisim_metrics.models.checkpoints.vision_language import read_processor
from unisim_metrics.models.checkpoints.weight_checks import describe_keys
from unisim_metrics.models.lora import merge_lora
from unisim_metrics.models.sources.archives import unpacked
from unisim_metrics.models.sources.hub import fetch_snapshot

_ADAPTER_CARD = """\
---
library_name: peft
base_model: {base}
tags:
- unisim
- lora
---
A UniSim adapter: LoRA on the vision tower of CLIP, with its visual projection.

```python
from peft import PeftModel
from transformers import CLIPModel

model = PeftModel.from_pretrained(CLIPModel.from_pretrained("{base}"), "path/to/this/directory")
```

or `unisim_metrics.load_model("path/to/this/directory")`.
"""


def convert(
    source: str | Path,
    out: str | Path,
    base: Any = None,
    merged: bool = False,
    *,
    base_name: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """Write a checkpoint as an adapter directory or a merged directory.

    An adapter directory loads with ``PeftModel.from_pretrained(CLIPModel.from_pretrained(base), out)``, a
    merged one with ``CLIPModel.from_pretrained(out)``; both hold the tokenizer and the processor beside. An
    authors' LLaVA checkpoint, which has no adapter, becomes a directory that loads with
    ``LlavaForConditionalGeneration.from_pretrained(out)``, InternVL2.5 in its authors' layout one that loads with
    ``InternVLForConditionalGeneration.from_pretrained(out)``. ``out`` appears whole or not at all.

    Args:
        source: An authors' ``.pt``, an adapter directory, a full model's directory, an authors' LLaVA
            checkpoint: its directory, or a zip or tar archive of it; or a directory like
            ``OpenGVLab/InternVL2_5-8B`` of the Hub.
        out: The directory to write; it must be new or empty.
        base: Directory or Hub id of the base CLIP model; by default found from the source. For InternVL2.5 of an
            InternVL in transformers' layout whose processor is taken.
        merged: Whether to merge the adapter into the base.
        base_name: What the adapter's configuration and card call the base; by default the name it was loaded
            by, as an absolute path if that is a directory. Name the Hub id here before sharing an adapter.
        revision: Of the base on the Hub.
        cache_dir: Where the Hub's cache is, if not where ``huggingface_hub`` puts it.
        token: For a private repository.

    Returns:
        ``out`` as a path.

    Raises:
        FileNotFoundError: If there is no ``source``.
        FileExistsError: If ``out`` exists and is not empty.
        CheckpointError: If the source does not hold what its layout asks for, or its frozen weights are not
            the base's and an adapter is asked for.
        ValueError: If an adapter is asked for and the source is a full model.
        ModelUnavailableError: If the base has to be fetched and cannot be.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if not source.exists():
        raise FileNotFoundError(
            f"Argument `source` must be a file or directory, but there is no {str(source)!r}."
        )
    hub: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
    with no_progress_bar(), _new_directory(out) as directory, unpacked(source) as source:
        if source.is_dir() and is_llava_checkpoint(source):
            if base is not None or base_name is not None:
                raise ValueError(
                    f"Argument `base` must be left out for {source}, which holds a whole LLaVA model."
                )
            convert_llava(source, directory)
            return out
        if source.is_dir() and is_internvl_checkpoint(source):
            if base is None:
                raise ValueError(
                    f"Argument `base` must be given for {source}, an InternVL of its authors: a directory or Hub id of"
                    " one in transformers' layout with the same tokenizer, whose processor is taken."
                )
            beside = Path(base).expanduser()
            if not beside.is_dir():
                beside = fetch_snapshot(str(base), weights=False, **hub)
            convert_internvl(source, directory, read_processor(beside))
            return out
        if source.is_dir() and not is_adapter(source):
            if not merged:
                raise ValueError(
                    f"Argument `source` must be a checkpoint or an adapter to write an adapter, but {source}"
                    " holds a full model: its adapter is merged already. Use `merged=True`."
                )
            read_dual_encoder(source).save_pretrained(directory)
            copy_processor(source, directory)
            return out
        if source.is_dir():
            if base is None and revision is None:
                hub["revision"] = revision_of_base(source)
            loaded = load_base(base or base_of_adapter(source), **hub)
            model = load_adapter(source, loaded)
            foreign: tuple[str, ...] = ()
        else:
            checkpoint = load_checkpoint(source, base, **hub)
            model, loaded, foreign = checkpoint.model, checkpoint.base, checkpoint.foreign
        copy_processor(loaded.directory, directory)
        if source.is_dir():
            copy_processor(source, directory)
        if merged:
            merge_lora(model).save_pretrained(directory)  # type: ignore[operator]
            return out
        if foreign:
            raise CheckpointError(
                f"The checkpoint {source} was not trained from the base `{loaded.name}`, so an adapter of it"
                f" would give other embeddings: {describe_keys(different=foreign)}. Pass its own base, or"
                " use `merged=True`."
            )
        if base_name is None:
            base_name = str(loaded.directory.resolve()) if Path(loaded.name).is_dir() else loaded.name
        model.peft_config["default"].base_model_name_or_path = base_name
        # peft would look the base up on the Hub to see whether its embeddings were resized: they were not.
        model.save_pretrained(directory, save_embedding_layers=False)
        (directory / "README.md").write_text(_ADAPTER_CARD.format(base=base_name), encoding="utf-8")
    return out


def base_of_adapter(directory: Path) -> str:
    """The base that an adapter's configuration names.

    Raises:
        ValueError: If it names none.
    """
    name = read_json(directory / "adapter_config.json").get("base_model_name_or_path")
    if not name:
        raise ValueError(
            f"Argument `base` must be given for the adapter in {directory}, whose configuration does not"
            " name its base."
        )
    return str(name)


def revision_of_base(directory: Path) -> str | None:
    """The version of its base on the Hub that an adapter's configuration names, if it does."""
    revision = read_json(directory / "adapter_config.json").get("revision")
    return None if revision is None else str(revision)


def copy_processor(source: Path, target: Path) -> None:
    """Copy what stands in a model's directory of its tokenizer and its processor."""
    for name in PROCESSOR_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


@contextmanager
def _new_directory(out: Path) -> Iterator[Path]:
    """A directory beside ``out`` that takes its name when the block ends well, and is removed otherwise."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"Argument `out` must be a new or empty directory, but {str(out)!r} is in use.")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield work
        work.chmod(0o755)
        os.replace(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
