"""The predicted image (x0) of every sampling step, heard from the scheduler while a pipeline runs.

diffusers gives a callback the latents after the step, but neither what the denoiser predicted nor what it made it
from. `StepRecorder` stands between the pipeline and `scheduler.step` for as long as it is entered, and keeps both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor, nn
from typing_extensions import Self

from .components import denoiser
from .families import Size
from .listening import SizeListener, wrapped
from .schedulers import (
    NoiseLevel,
    check_scheduler,
    first_timestep,
    learns_variance,
    limit_x0,
    next_signal,
    noise_level,
    predict_x0,
    prediction_type,
)


@dataclass(frozen=True)
class DenoiserCall:
    """One pass of the denoiser: what it was given, and its output."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


@dataclass(frozen=True)
class Step:
    """A step that the scheduler has taken.

    Attributes:
        timestep: That of the step.
        sample: The latents before the step.
        model_output: What the denoiser predicted, after classifier-free guidance.
        result: The latents after the step.
        level: The noise level of `sample`.
        scheduler: What took the step.
        size: Height and width of the pictures in pixels, if the pipeline told them before.
        calls: The passes of the denoiser that led to the prediction, if they were kept.
    """

    timestep: float
    sample: Tensor
    model_output: Tensor
    result: Tensor
    level: NoiseLevel
    scheduler: Any = field(repr=False)
    size: Size | None = None
    calls: tuple[DenoiserCall, ...] = field(default=(), repr=False)

    def x0(self) -> Tensor:
        """The predicted image: latents of the shape of `sample` in float32, clipped where the scheduler clips."""
        return limit_x0(self.scheduler, self.x0_from(self.sample, self.model_output))

    def x0_from(self, sample: Tensor, model_output: Tensor) -> Tensor:
        """The predicted image if the step had been given these: differentiable, not clipped."""
        if learns_variance(self.scheduler) and model_output.shape[1] == 2 * sample.shape[1]:
            model_output = model_output.chunk(2, dim=1)[0]
        return predict_x0(sample, model_output, self.level, prediction_type(self.scheduler))

    def next_signal(self) -> float:
        """The share of the image in `result`. To be asked before the next step."""
        return next_signal(self.scheduler, self.timestep)


class StepRecorder:
    """Keeps the last step of a pipeline's scheduler, while it is entered.

    `scheduler.step` is wrapped on the instance, and the denoiser gets a hook if its calls are kept; both are
    taken off on exit, also after an exception. What the pipeline computes stays the same to the bit. Several
    recorders may listen to one pipeline, the last entered leaving first.

    Args:
        pipe: The pipeline.
        keep_calls: Whether the passes of the denoiser are kept too (only by reference).
        before_step: Called with the latents before each step and the size of the pictures; what it raises ends
            the sampling.

    Attributes:
        last: The last step; None outside.
        size: Height and width of the pictures in pixels, to be set where the pipeline does not tell them.

    Raises:
        ValueError: If the predicted image cannot be told from the steps of the pipeline's scheduler.

    Examples:
        ```python
        from diffusers import DiffusionPipeline
        from unisim_metrics.integrations.diffusers.previews import StepRecorder

        pipe = DiffusionPipeline.from_pretrained("stabilityai/stable-diffusion-xl-base-1.0")
        prompt = "a red fox in the snow"
        previews = []

        def keep(pipe, index, timestep, tensors):
            previews.append(recorder.last.x0())
            return tensors

        with StepRecorder(pipe) as recorder:
            pipe(prompt, callback_on_step_end=keep)
        ```
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        keep_calls: bool = False,
        before_step: Callable[[Tensor, Size | None], None] | None = None,
    ) -> None:
        check_scheduler(pipe.scheduler)
        self.pipe = pipe
        self.last: Step | None = None
        self.size: Size | None = None
        self._keep_calls = keep_calls
        self._before_step = before_step
        self._calls: list[DenoiserCall] = []
        self._listener = SizeListener(pipe)
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        check_scheduler(self.pipe.scheduler)  # it may have been exchanged since
        with ExitStack() as undo:
            undo.enter_context(wrapped(self.pipe.scheduler, "step", self._before, self._after))
            undo.enter_context(self._listener)
            module = denoiser(self.pipe)
            if self._keep_calls and module is not None:
                undo.callback(module.register_forward_hook(self._keep, with_kwargs=True).remove)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()
        self.last = None
        self._calls = []

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Hear nothing of what the denoiser does meanwhile."""
        keep_calls, self._keep_calls = self._keep_calls, False
        try:
            yield
        finally:
            self._keep_calls = keep_calls

    def _before(self, arguments: dict[str, Any]) -> None:
        if self._before_step is not None:
            self._before_step(arguments["sample"], self.size or self._listener.size)

    def _after(self, arguments: dict[str, Any], result: Any) -> None:
        scheduler = self.pipe.scheduler
        timestep = first_timestep(arguments["timestep"])
        self.last = Step(
            timestep=timestep,
            sample=arguments["sample"].clone(),  # a pipeline may write the result into it
            model_output=arguments["model_output"],
            result=result[0],
            level=noise_level(scheduler, timestep),
            scheduler=scheduler,
            size=self.size or self._listener.size,
            calls=tuple(self._calls),
        )
        self._calls = []

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._keep_calls:
            self._calls.append(DenoiserCall(args, dict(kwargs), output[0]))
