"""A module signs the same whatever wraps it, and a metric can be made under any default device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import TEXTS, OneByOne, count_letters, pixels
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from transformers import CLIPModel, CLIPTokenizerFast

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.functional import unisim_score
from unisim_metrics.images import Preprocessing

IMAGES = pixels(2)


class Towers(nn.Module):
    """A user's module with a part that can be wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.image = OneByOne()
        self.projection = nn.Linear(6, 4, bias=False)
        with torch.no_grad():
            self.projection.weight.copy_(torch.linspace(-1, 1, 24).view(4, 6))

    def encode_image(self, pixels: Any) -> Any:
        return self.projection(self.image.encode_image(pixels))

    def encode_text(self, counts: Any) -> Any:
        return self.projection(self.image.encode_text(counts))


def compile_a_part(module: Any) -> Any:
    module.projection = torch.compile(module.projection, backend="eager")
    return module


def checkpoint_a_part(module: Any) -> Any:
    module.projection = checkpoint_wrapper(module.projection)
    return module


WRAPPERS = {
    "compiled": lambda module: torch.compile(module, backend="eager"),
    "a part compiled": compile_a_part,
    "a part checkpointed": checkpoint_a_part,
    "DataParallel": nn.DataParallel,
    "DataParallel of compiled": lambda module: nn.DataParallel(torch.compile(module, backend="eager")),
}


def load(module: nn.Module) -> Any:
    return load_model(module, tokenizer=count_letters, preprocessing=Preprocessing(size=8))


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_module_signs_as_the_plain_one(wrap: Any) -> None:
    plain, wrapped = load(Towers()), load(wrap(Towers()))
    assert wrapped.weights_hash() == plain.weights_hash()
    assert wrapped.name == "Towers"
    assert UniSimScore(wrapped).signature == UniSimScore(plain).signature
    expected = unisim_score(IMAGES, TEXTS[:2], plain)
    torch.testing.assert_close(unisim_score(IMAGES, TEXTS[:2], wrapped), expected)
    changed = Towers()
    with torch.no_grad():
        changed.projection.weight.add_(1)
    assert load(wrap(changed)).weights_hash() != plain.weights_hash()


def test_a_compiled_clip_signs_as_the_plain_one(tiny_clip_dir: Path) -> None:
    tokenizer = CLIPTokenizerFast.from_pretrained(tiny_clip_dir)
    plain = load_model(CLIPModel.from_pretrained(tiny_clip_dir), tokenizer=tokenizer)
    for wrap in (lambda module: torch.compile(module, backend="eager"), nn.DataParallel):
        wrapped = load_model(wrap(CLIPModel.from_pretrained(tiny_clip_dir)), tokenizer=tokenizer)
        assert (wrapped.name, wrapped.weights_hash()) == ("CLIPModel", plain.weights_hash())
        assert torch.equal(unisim_score(IMAGES, TEXTS[:2], wrapped), unisim_score(IMAGES, TEXTS[:2], plain))


def test_a_metric_by_name_takes_the_default_device_and_its_model_the_cpu(tiny_clip_dir: Path) -> None:
    with torch.device("meta"):
        metric = UniSimScore(tiny_clip_dir)
    assert metric.device == metric.total.device == torch.device("meta")
    assert metric.model.device == torch.device("cpu")
    assert metric.signature == UniSimScore(tiny_clip_dir).signature
    assert "task=inferred" in repr(metric)
