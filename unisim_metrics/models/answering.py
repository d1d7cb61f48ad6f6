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
"""

MAIN_VIEW = "main"
"""The space in which a model embeds images and texts alike."""

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


def answers_of(model: object) -> Mapping[Task, Way]:
    """Return the tasks that a model answers, in the order of `TASKS`, each with the way in which it does.

    Args:
        model: A model that says so in its attribute `tasks`. One without answers all tasks: by choices if its attribute
            `embeds` is false, else by embeddings.
    """
    declared: Mapping[Task, Way] | None = getattr(model, "tasks", None)
    if declared is None:
        return dict.fromkeys(TASKS, "embeddings" if getattr(model, "embeds", True) else "choices")
    return {task: declared[task] for task in TASKS if task in declared}


def view_of(model: object, task: Task) -> str:
    """Return the space in which a model embeds the images of a task; `MAIN_VIEW` unless its `view_of` says another."""
    own = getattr(model, "view_of", None)
    return MAIN_VIEW if own is None else cast(str, own(task))


def check_answers(model: Any, task: Task, ways: Sequence[Way] = get_args(Way), name: str = "task") -> Way:
    """Return the way in which a model answers a task.

    Args:
        model: The model.
        task: The task.
        ways: The ways that will do.
        name: How the caller names the argument that holds the task, for error texts.

    Raises:
        ValueError: If the model does not answer the task, or in none of these ways. The text names what it can.
    """
    answers = answers_of(model)
    known = getattr(model, "name", type(model).__name__)
    if task not in answers:
        raise ValueError(
            f"Argument `{name}` must be one of {tuple(answers)}, which model {known!r} answers, but got {task!r}."
        )
    if answers[task] not in ways:
        raise ValueError(
            f"Argument `{name}` must not be {task!r} for model {known!r}, which answers it by a choice among"
            " alternatives and has no score for one alone. Use `UniSimRanking` or `unisim_rank` with two or more, or an"
            " encoder such as 'unisim-vit-l-14'."
        )
    return answers[task]


class StandIn:
    """Answers what a model answers, with embeddings from elsewhere; a subclass says from where.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name: str = model.name

    @property
    def tasks(self) -> Mapping[Task, Way]:
        """The tasks that the model answers, each with its way."""
        return answers_of(self.model)

    def view_of(self, task: Task) -> str:
        """The space in which the model embeds the images of a task."""
        return view_of(self.model, task)

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
