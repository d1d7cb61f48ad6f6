"""Listening to a pipeline while it runs: to the calls of one of its methods, and to the size of its pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from diffusers import DiffusionPipeline
from typing_extensions import Self

from .families import Size
from .sampling import replaced


@contextmanager
def wrapped(
    owner: Any,
    name: str,
    before: Callable[[dict[str, Any]], None],
    after: Callable[[dict[str, Any], Any], None] | None = None,
) -> Iterator[None]:
    """Listen to a method of one instance.

    Args:
        owner: The instance; its class stays as it is.
        name: The method.
        before: Called with the arguments of each call by name.
        after: Called with the arguments and the result.
    """

    def listening(method: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(method)

        def listened(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs)
            arguments.apply_defaults()
            before(arguments.arguments)
            result = method(*args, **kwargs)
            if after is not None:
                after(arguments.arguments, result)
            return result

        return listened

    with replaced(owner, name, listening):
        yield


class SizeListener:
    """Hears the size of the pictures of a running pipeline, while it is entered.

    Args:
        pipe: The pipeline.

    Attributes:
        size: Height and width in pixels; None before the pipeline runs, or if it does not tell them.
    """

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.size: Size | None = None
        self._pipe = pipe
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            # The first knows the size that was asked for, the second that which is made.
            for name in ("check_inputs", "prepare_latents"):
                if hasattr(self._pipe, name):
                    undo.enter_context(wrapped(self._pipe, name, self._hear))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()
        self.size = None

    def _hear(self, arguments: dict[str, Any]) -> None:
        size = (arguments.get("height"), arguments.get("width"))
        if None not in size:
            self.size = cast(Size, size)
