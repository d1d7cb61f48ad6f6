"""What a guided step costs, as ratios to a step without guidance, in one table.

    python -m docs.experiments.speed.guidance

The pipeline has the architecture of Stable Diffusion at an eighth of its width, random weights and classifier-free
guidance, and makes one image of 256 × 256 pixels. Its parts stand to one another as those of the real one do.
"""

from __future__ import annotations

import argparse
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unisim_metrics.integrations.diffusers.augmentation import Augmentation
from unisim_metrics.integrations.diffusers.guidance import UniSimGuidanceCallback
from unisim_metrics.integrations.diffusers.rewards import UniSimReward

SIZE = 256
_TEXT = 192  # width of the text embeddings
FORMS: dict[str, dict[str, Any]] = {
    "preview": {},
    "preview, checkpointing": {"checkpointing": True},
    "preview by an `AutoencoderTiny`": {"vae": "tiny"},
    "preview, 4 views": {"augmentation": Augmentation()},
    "denoiser": {"through_denoiser": True},
    "denoiser, checkpointing": {"through_denoiser": True, "checkpointing": True},
}
HEADER = """\
| gradient through | time | memory |
| --- | --- | --- |"""


class PeakMemory(TorchDispatchMode):
    """The most bytes that the tensors made while it is entered hold at a time; weights are not among them.

    Args:
        known: Tensors that were there before.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._live = {tensor.untyped_storage()._cdata for tensor in known}

    def reset(self) -> None:
        """Begin anew with what is there now."""
        self.peak = self.now

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: UntypedStorage) -> None:
        if storage._cdata not in self._live:
            self._live.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._live.discard(key)
        self.now -= size


class Meter:
    """A callback around another one, that notes the seconds and the peak bytes of each step.

    Args:
        callback: The other one.
        memory: What counts memory, if it is to be noted.
    """

    def __init__(
        self, callback: Callable[..., dict[str, Any]] | None = None, memory: PeakMemory | None = None
    ) -> None:
        self.callback = callback
        self.memory = memory
        self.seconds: list[float] = []
        self.peaks: list[int] = []
        self._last = time.perf_counter()

    def __call__(self, pipe: Any, index: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What the pipeline calls after each step."""
        result = kwargs if self.callback is None else self.callback(pipe, index, timestep, kwargs)
        self.seconds.append(time.perf_counter() - self._last)
        if self.memory is not None:
            self.peaks.append(self.memory.peak)
            self.memory.reset()
        self._last = time.perf_counter()
        return result


def small_pipeline(width: int = 40) -> StableDiffusionPipeline:
    """Stable Diffusion with `width` channels (320 in the real one) and random weights."""
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        norm_num_groups=8,
        cross_attention_dim=_TEXT,
    )
    wide = max(8, width * 2 // 5)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(wide, 2 * wide, 4 * wide, 4 * wide),
        layers_per_block=2,
        norm_num_groups=8,
    )
    pipe = StableDiffusionPipeline(
        vae=vae.eval(),
        unet=unet.eval(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def small_preview_vae(width: int = 40) -> AutoencoderTiny:
    """The `AutoencoderTiny` that goes with `small_pipeline`."""
    channels = (max(8, width // 5),) * 4
    return AutoencoderTiny(encoder_block_out_channels=channels, decoder_block_out_channels=channels).eval()


def measure(pipe: StableDiffusionPipeline, form: dict[str, Any], pairs: int) -> tuple[float, float]:
    """Measure a way of guiding.

    Args:
        pipe: The pipeline.
        form: Arguments of `UniSimGuidanceCallback`.
        pairs: How many guided steps are measured, each next to one that is not guided.

    Returns:
        Seconds, and peak bytes with the weights, of a guided step, divided by those of a step without guidance;
        all of them medians.
    """
    embeddings = torch.randn(2, 1, 77, _TEXT, generator=torch.Generator().manual_seed(0))
    reward = UniSimReward("a photo of an astronaut")
    own, added = _weights(pipe.unet, pipe.vae), _weights(form.get("vae"), reward.model)
    held, held_more = (sum(weight.nbytes for weight in part) for part in (own, added))
    steps = 2 * pairs + 1
    ratios = []
    for memory in (None, PeakMemory([*own, *added])):
        callback = UniSimGuidanceCallback(
            pipe, reward, window=(0.0, 1.0), schedule=lambda share: round(share * steps) % 2, **form
        )
        with callback, memory or nullcontext():
            meter = Meter(callback, memory)
            pipe(
                prompt_embeds=embeddings[0],
                negative_prompt_embeds=embeddings[1],
                num_inference_steps=steps,
                generator=torch.Generator().manual_seed(0),
                height=SIZE,
                width=SIZE,
                output_type="latent",
                callback_on_step_end=meter,
            )
        # The first step pays for what comes before it, and is not counted.
        if memory is None:
            ratios.append(_median(meter.seconds[1::2]) / _median(meter.seconds[2::2]))
        else:
            guided = held + held_more + _median(meter.peaks[1::2])
            ratios.append(guided / (held + _median(meter.peaks[2::2])))
    return ratios[0], ratios[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--pairs", type=int, default=5, help="guided steps that are measured of each form")
    parser.add_argument("--width", type=int, default=40, help="channels of the U-Net, 320 in the real one")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    pipe, tiny = small_pipeline(options.width), small_preview_vae(options.width)
    print(HEADER)
    for name in options.forms:
        form = {key: tiny if value == "tiny" else value for key, value in FORMS[name].items()}
        seconds, memory = measure(pipe, form, options.pairs)
        print(f"| {name} | {seconds:.2f} | {memory:.2f} |", flush=True)


def _weights(*modules: Any) -> list[Tensor]:
    return [weight for module in modules if module is not None for weight in module.parameters()]


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


if __name__ == "__main__":
    main()
