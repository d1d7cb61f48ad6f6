"""What configurations of transformers and peft may say: they are data, and bring in no code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from unisim_metrics.errors import CheckpointError

# Adapters that are merged into the weights.
_MERGED_ADAPTERS = ("LORA", "LOHA", "LOKR", "ADALORA", "IA3", "OFT", "BOFT", "VERA", "HRA")
# Fields of an adapter's configuration that name modules, files or repositories to be read.
_READING_FIELDS = ("megatron_config", "megatron_core", "eva_config", "corda_config", "loftq_config")


def check_model_config(config: Mapping[str, Any], source: str) -> None:
    """Refuse a configuration of transformers that names code: an attention kernel is fetched from the Hub and run.

    Args:
        config: The configuration as it was read.
        source: What error texts call it.

    Raises:
        CheckpointError: If it does.
    """
    for name, value in _entries(config):
        if name.endswith("_implementation") and any("/" in kernel for kernel in _strings(value)):
            raise CheckpointError(
                f"The file {source} is refused: `{name}` asks for the kernel {value!r}, and kernels are code."
            )


def check_adapter_config(config: Mapping[str, Any], source: str) -> None:
    """Refuse an adapter that is not merged into weights, or that names modules to be imported.

    Args:
        config: The configuration of peft as it was read.
        source: What error texts call it.

    Raises:
        CheckpointError: If it is one of these.
    """
    from peft import LoraConfig

    kind = config.get("peft_type")
    if kind not in _MERGED_ADAPTERS:
        raise CheckpointError(
            f"The file {source} must be of an adapter that is merged, one of {_MERGED_ADAPTERS}, but `peft_type` is"
            f" {kind!r}."
        )
    defaults = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in dataclasses.fields(LoraConfig)
    }
    for name in _READING_FIELDS:
        if config.get(name) and config[name] != defaults.get(name):
            raise CheckpointError(
                f"The file {source} is refused: `{name}` asks to read or import {config[name]!r}."
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, at any depth."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield name, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
