"""Best of N: several images of one prompt, ranked, each of which can be made again from its seed alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from unisim_metrics.models.answering import SCORED_ALONE, check_answers
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike, check_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Task, check_method, check_task, modalities, resolve_task

from .batches import Batches, check_batch, drawn_for_each
from .noise import Noise, drawn
from .pruning import Pruned, Pruner, check_pruning
from .sampling import as_wanted, check_call, images_of, output_type_for

Search = Literal["random", "zero-order"]
_RESERVED = {
    "generator": "each candidate has its own, pass `seed`",
    "latents": "each candidate has its own, drawn from its seed",
    "num_images_per_prompt": "pass the number of candidates as `n`, and how many to make at a time as `batch_size`",
    "return_dict": "the result is a `BestOfN`",
}


@dataclass(frozen=True)
class BestOfN:
    """Candidates, the best first; a tie counts for the earlier seed.

    Attributes:
        images: As the pipeline makes them: PIL images, or with `output_type="pt"` a tensor `[N, 3, H, W]`, black at
            0 and white at 1, also of pipelines whose own tensors have black at −1.
        scores: Their scores, float32 `[N]` on the CPU.
        seeds: Their seeds; `pipe(prompt, generator=torch.Generator().manual_seed(seed))` makes one again, if it is
            not the neighbour of another.
        noises: Their noises; `with result.noises[0].drawn() as generator: pipe(prompt, generator=generator)` makes
            any of them again.
        signature: What makes the scores: model and weights, task, prompts, preprocessing, version.
        pruned: The candidates that were dropped on the way, in the order in which they were.
    """

    images: Any
    scores: Tensor
    seeds: list[int]
    noises: list[Noise]
    signature: str
    pruned: list[Pruned]

    @property
    def best(self) -> Any:
        """The best image."""
        return self.images[0]


def best_of_n(
    pipe: DiffusionPipeline,
    prompt: str | None = None,
    n: int = 4,
    *,
    reference: Any = None,
    model_name_or_path: ModelLike = "unisim-mini",
    task: Task | None = None,
    method: Method = "naive",
    prompts: PromptsLike = None,
    seed: int | Sequence[int] = 0,
    batch_size: int = 1,
    prune: Mapping[int, int] | None = None,
    search: Search = "random",
    rounds: int | None = None,
    radius: float = 0.5,
    **pipe_kwargs: Any,
) -> BestOfN:
    """Make N images of a prompt and rank them (N-alternative forced choice; Section 3.1 of arXiv 2412.10594).

    The images are ranked by their closeness to `reference`: the prompt, another text, or an image; for quality
    and attributes (`task="quality"`) by that alone. Any model serves, encoder or generative.

    With the default `batch_size` every image is, bit for bit, what the pipeline makes of its seed alone; with
    `prune` too, but for a grey level here and there where the pipeline starts from a picture. Larger batches are
    faster on an accelerator; there the last bits of an image depend on the size of its batch, as with any call of the
    pipeline.

    With `search="zero-order"` (Ma et al. 2025, arXiv 2501.09732) the candidates of the first round are followed by
    rounds of as many neighbours of the best noise so far. It needs no gradient and nothing of the pipeline but that
    it draws its noise from a generator; it costs `rounds` times as much.

    Args:
        pipe: The pipeline.
        prompt: The prompt; None if embeddings are passed instead.
        n: How many candidates; with `search="zero-order"` in each round.
        reference: What they are ranked by; the prompt if None.
        model_name_or_path: What `load_model` takes. What is loaded by name goes to the pipeline's device.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        seed: The first of consecutive seeds, or as many seeds as there are candidates in all rounds. Noise is drawn
            on the CPU, alike for every device.
        batch_size: How many candidates pass the denoiser at a time.
        prune: How many candidates to keep after which step (steps count from 0): `{9: 4, 19: 2}` keeps the four
            with the best previews after the tenth step, and two of them after the twentieth.
        search: `"random"`: every candidate has noise of its own; `"zero-order"`: see above.
        rounds: How many rounds a search has, at least 2; 4 if None.
        radius: The weight of fresh noise in a neighbour, above 0 and at most 1, where it is no neighbour any more.
        pipe_kwargs: What else the pipeline is called with.

    Returns:
        The candidates that were made to the end, the best first.

    Raises:
        TypeError: If `pipe` is no pipeline of diffusers, does not take one of `pipe_kwargs`, or the reference is
            neither image nor text.
        ValueError: If an argument is out of its range, the reference does not fit the task, or the pipeline or
            its scheduler does not allow to drop candidates. All of it is found before the first step.

    Examples:
        ```python
        import torch
        from diffusers import DiffusionPipeline
        from unisim_metrics.integrations.diffusers import best_of_n

        pipe = DiffusionPipeline.from_pretrained("stabilityai/stable-diffusion-xl-base-1.0")
        prompt = "a red fox in the snow"
        result = best_of_n(pipe, prompt, n=8)
        result.best.save("fox.png")
        pipe(prompt, generator=torch.Generator().manual_seed(result.seeds[0]))  # the same
        ```
    """
    rounds = _rounds(search, rounds, radius, prune)
    seeds = _seeds(seed, n, rounds)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"Argument `batch_size` must be an integer of at least 1, but got {batch_size!r}.")
    if prompt is not None and not isinstance(prompt, str):
        raise ValueError(
            f"Argument `prompt` must be one text, but got {prompt!r}: rank one prompt at a time."
        )
    together = prune is not None or batch_size > 1
    reserved = dict(_RESERVED)
    if prune is not None:
        reserved["callback_on_step_end"] = "with `prune` the callback is that which drops candidates"
        reserved["callback_on_step_end_tensor_inputs"] = reserved["callback_on_step_end"]
    several = together and (prompt is not None or "prompt" in pipe_kwargs)
    needed = ("generator", "num_images_per_prompt") if several else ("generator",)
    check_call(pipe, needed, reserved, pipe_kwargs)
    wanted = pipe_kwargs.get("output_type", "pil")
    if wanted not in ("pil", "pt"):
        raise ValueError(f"Argument `output_type` must be one of ('pil', 'pt'), but got {wanted!r}.")
    if output_type_for(pipe, wanted) != wanted:
        pipe_kwargs["output_type"] = output_type_for(pipe, wanted)
    if prune is not None:
        check_pruning(pipe, prune, n, pipe_kwargs)
    if together:
        check_batch(pipe)
    judge = _Judge(model_name_or_path, prompt, reference, task, method, prompts, pipe._execution_device)

    given = pipe_kwargs if prompt is None else {"prompt": prompt, **pipe_kwargs}
    dropped: list[Pruned] = []
    if prune is not None:

        def run(arguments: dict[str, Any]) -> tuple[Pruner, Any]:
            pruner = Pruner(pipe, prune, seeds, judge.scores, batch_size)
            with pruner, drawn_for_each(pipe, pruner.generators):
                return pruner, pipe(**arguments, generator=pruner.generators, callback_on_step_end=pruner)

        pruner, output = Batches(pipe, given).call(run, n)
        noises, dropped = [Noise((one,)) for one in pruner.seeds], pruner.dropped
        images = pruner.survivors(as_wanted(images_of(output), wanted))
        scores = judge.scores(images)
    else:
        noises, images, scores = [], [], torch.empty(0)
        for start in range(0, n * rounds, n):
            fresh = seeds[start : start + n]
            if start == 0:
                new = [Noise((one,)) for one in fresh]
            else:
                best = noises[int(scores.argmax())]
                new = [best.neighbour(one, radius) for one in fresh]
            made = _joined([as_wanted(batch, wanted) for batch in _made(pipe, given, new, batch_size)])
            noises += new
            images = made if start == 0 else _joined([images, made])
            # In a choice the score of a candidate hangs on the others.
            scores = torch.cat([scores, judge.scores(made)]) if judge.apart else judge.scores(images)
    order = scores.argsort(descending=True, stable=True)
    return BestOfN(
        images=images[order.to(images.device)]
        if isinstance(images, Tensor)
        else [images[place] for place in order],
        scores=scores[order],
        seeds=[noises[place].seeds[-1] for place in order],
        noises=[noises[place] for place in order],
        signature=judge.signature,
        pruned=dropped,
    )


def _made(pipe: Any, given: Mapping[str, Any], noises: Sequence[Noise], batch_size: int) -> list[Any]:
    """The images of some noises, batch by batch."""
    if batch_size == 1:
        return [images_of(_called(pipe, [noise], given)) for noise in noises]
    batches = Batches(pipe, given)
    parts = [noises[start : start + batch_size] for start in range(0, len(noises), batch_size)]
    return [images_of(batches.call(partial(_called, pipe, part), len(part))) for part in parts]


def _called(pipe: Any, noises: Sequence[Noise], arguments: Mapping[str, Any]) -> Any:
    """What a pipeline makes of some noises."""
    with drawn(noises) as generators:
        if len(generators) == 1:
            return pipe(**arguments, generator=generators[0])
        with drawn_for_each(pipe, generators):
            return pipe(**arguments, generator=generators)


def _joined(batches: Sequence[Any]) -> Any:
    """Batches of images as one."""
    if isinstance(batches[0], Tensor):
        return torch.cat(list(batches))
    return [image for batch in batches for image in batch]


class _Judge:
    """Scores candidates against one reference, all in one choice."""

    def __init__(
        self,
        model_name_or_path: ModelLike,
        prompt: str | None,
        reference: Any,
        task: Task | None,
        method: Method,
        prompts: PromptsLike,
        device: torch.device,
    ) -> None:
        task = check_task(task)
        if isinstance(reference, list | tuple):
            raise ValueError(
                f"Argument `reference` must be one image or text, but got a {type(reference).__name__}."
            )
        if reference is None and (task is None or modalities(task)[1] is not None):
            if prompt is None:
                raise ValueError("Argument `reference` or `task` must be given where there is no `prompt`.")
            reference = prompt
        picture = Image.new("RGB", (32, 32))
        self.task = resolve_task(task, picture, reference, names=("images", "reference"))
        if self.task == "odd-one-out":
            raise ValueError(
                "Argument `task` must not be 'odd-one-out', which takes no more than three images."
            )
        self.method = check_method(method)
        self.prompts = check_prompts(prompts)
        self.references = None if reference is None else [reference]
        self.model = as_model(model_name_or_path)
        if isinstance(model_name_or_path, str | os.PathLike):
            self.model.to(device)
        self.apart = check_answers(self.model, self.task) in SCORED_ALONE
        self.signature = signature(self.model, self.task, self.method, self.prompts)
        # What does not fit is to be found now, not when all the images are made.
        self.scores([picture, picture])

    @torch.no_grad()
    def scores(self, images: Any) -> Tensor:
        """Scores `[N]` of a tensor of N images or a list of them, float32 on the CPU."""
        if len(images) == 1:
            # A choice needs two; the other one changes nothing for an encoder, and the rank of one is the first.
            images = torch.cat([images, images]) if isinstance(images, Tensor) else [*images, *images]
            return self.scores(images)[:1]
        groups = images.unsqueeze(0) if isinstance(images, Tensor) else [images]
        scores = self.model.compare(self.references, groups, self.task, self.method, self.prompts)[0]
        if not bool(scores.isfinite().all()):
            raise ValueError(
                f"Model {self.model.name!r} gave scores that are not finite: load it with `dtype=torch.float32`."
            )
        return scores.float().cpu()


def _rounds(search: Search, rounds: int | None, radius: float, prune: Mapping[int, int] | None) -> int:
    if search not in get_args(Search):
        raise ValueError(f"Argument `search` must be one of {get_args(Search)}, but got {search!r}.")
    if search == "random":
        if rounds is not None:
            raise ValueError(
                f"Argument `rounds` must be None without `search='zero-order'`, but got {rounds!r}: ask for more"
                " candidates by `n`."
            )
        return 1
    if prune is not None:
        raise ValueError(
            "Argument `prune` must be None with `search='zero-order'`, which keeps all candidates."
        )
    if rounds is not None and (not isinstance(rounds, int) or rounds < 2):
        raise ValueError(f"Argument `rounds` must be an integer of at least 2, but got {rounds!r}.")
    if not 0 < radius <= 1:
        raise ValueError(f"Argument `radius` must be above 0 and at most 1, but got {radius!r}.")
    return 4 if rounds is None else rounds


def _seeds(seed: int | Sequence[int], n: int, rounds: int) -> list[int]:
    if not isinstance(n, int) or n < 2:
        raise ValueError(f"Argument `n` must be an integer of at least 2, but got {n!r}.")
    if isinstance(seed, int):
        return list(range(seed, seed + n * rounds))
    seeds = list(seed)
    if len(seeds) != n * rounds or len(set(seeds)) != len(seeds):
        raise ValueError(
            f"Argument `seed` must be an integer or {n * rounds} different ones, but got {seeds}."
        )
    return seeds
