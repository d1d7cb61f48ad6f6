"""Which tasks a model answers, and by what: what all else asks of a model before it asks the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast, get_args

from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import TASKS, Method, Task

if TYPE_CHECKING:
    from torch import Tensor

Way: TypeAlias = Literal["embeddings", "scores", "choices"]
"""How a model answers a task.

`"embeddings"`: it embeds each item by itself, and the cosine of two embeddings is the score. `"scores"`: it scores a
pair, or a picture alone, in its method `score`. `"choices"`: it chooses among alternatives, in its method `compare`.
A model may answer one task in several ways: it compares in the first, and scores one alone in the first that can.
"""

MAIN_VIEW = "main"
"""The space in which a model embeds images and texts alike."""

ANY_WAY: tuple[Way, ...] = get_args(Way)
"""All ways: for who asks a model to compare."""

SCORED_ALONE: tuple[Way, ...] = ("embeddings", "scores")
"""The ways that give a prediction a score without others to choose from."""


class Scorer(Protocol):
    """A model that answers tasks by scores."""

    def score(
        self,
        preds: Any,
        target: Any,
        task: Task,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N images or texts against as many others, or by themselves where `target` is None: `[N]`."""


def ways_of(model: object) -> Mapping[Task, tuple[Way, ...]]:
    """Return the tasks that a model answers, in the order of `TASKS`, each with all ways in which it does.

    Args:
        model: A model that says so in its attribute `tasks`, by a way for each task, or by several, of which the first
            is how it compares. One without answers all tasks: by choices if its attribute `embeds` is false, else by
            embeddings.
    """
    declared: Mapping[Task, Way | tuple[Way, ...]] | None = getattr(model, "tasks", None)
    if declared is None:
        way: Way = "embeddings" if getattr(model, "embeds", True) else "choices"
        return dict.fromkeys(TASKS, (way,))
    ways = {task: declared[task] for task in TASKS if task in declared}
    return {task: (way,) if isinstance(way, str) else way for task, way in ways.items()}


def answers_of(model: object) -> Mapping[Task, Way]:
    """Return the tasks that a model answers, in the order of `TASKS`, each with the way in which it compares."""
    return {task: ways[0] for task, ways in ways_of(model).items()}


def view_of(model: object, task: Task) -> str:
    """Return the space in which a model embeds the images of a task; `MAIN_VIEW` unless its `view_of` says another."""
    own = getattr(model, "view_of", None)
    return MAIN_VIEW if own is None else cast(str, own(task))


def check_answers(model: Any, task: Task, ways: Sequence[Way] = ANY_WAY, name: str = "task") -> Way:
    """Return the way in which a model answers a task: the first of its own that will do.

    Args:
        model: The model.
        task: The task.
        ways: The ways that will do.
        name: How the caller names the argument that holds the task, for error texts.

    Raises:
        ValueError: If the model does not answer the task, or in none of these ways. The text names what it can.
    """
    answers = ways_of(model)
    known = getattr(model, "name", type(model).__name__)
    if task not in answers:
        raise ValueError(
            f"Argument `{name}` must be one of {tuple(answers)}, which model {known!r} answers, but got {task!r}:"
            f" `unisim models --task {task}` lists those that answer it."
        )
    way = next((way for way in answers[task] if way in ways), None)
    if way is None:
        alone = tuple(other for other in answers if not set(ways).isdisjoint(answers[other]))
        others = f" It scores one alone for {', '.join(alone)}." if alone else ""
        raise ValueError(
            f"Argument `{name}` must not be {task!r} for model {known!r}, which answers it by a choice among"
            f" alternatives and has no score for one alone.{others} Use `UniSimRanking` or `unisim_rank` with two or"
            " more, or an encoder such as 'unisim-vit-l-14'."
        )
    return way


def tag_of(model: Any, way: Way) -> str:
    """Return how a model prepares its inputs where it answers in a way; its `input_tag` unless its `tag_of` differs."""
    own = getattr(model, "tag_of", None)
    return cast(str, model.input_tag if own is None else own(way))


def input_tag_of(model: Any, task: Task | None, ways: Sequence[Way] = ANY_WAY) -> str:
    """Return how a model prepares its inputs for a task, for the signature.

    Args:
        model: The model.
        task: The task; None while it is still to be inferred.
        ways: The ways that will do for who asks.
    """
    answers = () if task is None else ways_of(model).get(task, ())
    way = next((way for way in answers if way in ways), None)
    return cast(str, model.input_tag) if way is None else tag_of(model, way)


class StandIn:
    """Answers what a model answers, with embeddings from elsewhere; a subclass says from where.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name: str = model.name

    @property
    def tasks(self) -> Mapping[Task, tuple[Way, ...]]:
        """The tasks that the model answers, each with its ways."""
        return ways_of(self.model)

    def view_of(self, task: Task) -> str:
        """The space in which the model embeds the images of a task."""
        return view_of(self.model, task)

    def tag_of(self, way: Way) -> str:
        """How the model prepares its inputs where it answers in a way."""
        return tag_of(self.model, way)

    def score(
        self,
        preds: Any,
        target: Any,
        task: Task,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N images or texts, `[N]`, as the model does."""
        return cast("Tensor", self.model.score(preds, target, task, method, prompts))

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N alternatives against each of B references, `[B, N]`, as the model does."""
        return cast("Tensor", self.model.compare(references, alternatives, task, method, prompts))
