"""UniSimRanking: forced choice among N candidates, over many groups, as a torchmetric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from unisim_metrics.columns import one_for_each
from unisim_metrics.maths.ranking import check_choices, choose, meetings, rank, wins
from unisim_metrics.metrics.base import BUNDLED, FIXED_POINT, UniSimMetric
from unisim_metrics.metrics.clusters import SLOTS, ClustersLike, cluster_slots
from unisim_metrics.models.answering import check_answers
from unisim_metrics.models.comparing import Embedder, check_groups, compare
from unisim_metrics.models.kept import ModelLike
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.statistics.tallies import spread_of_clusters, spread_of_groups
from unisim_metrics.tasks import Method, Task


class UniSimRanking(UniSimMetric):
    """N-alternative forced choice: which of several candidates is closest to a reference, over many groups.

    The positions of the candidates are what is compared: with one generator a position, `win_rate` and
    `win_matrix` compare the generators. With human choices, `accuracy` is the share of groups in which the
    model chooses as people do (Section 3.1 of arXiv 2412.10594).

    As input to `update` the metric takes

    - `candidates`: B groups of N ≥ 2 images or texts, a tensor `[B, N, C, H, W]`, an array `[B, N, H, W, C]` or
      nested sequences; groups may differ in size.
    - `references`: B images or texts, or one text, as a plain `str`, for all; absent for quality, attributes and
      odd-one-out.
    - `choices`: the index of the alternative that people chose, integers `[B]`; may be absent.
    - `clusters`: with `clustered` what each group is of, such as its prompt: integers `[B]` or B names.

    As output of `compute` it returns a dictionary

    - `win_rate` `[N]`: share of its groups that a position wins (a tie for the first place is shared).
    - `mean_rank` `[N]`: mean rank of a position, 1 is best; ties share their mean rank.
    - `win_matrix` `[N, N]`: share of their meetings in which position i beats position j (a tie counts a
      half); NaN on the diagonal and where two never met.
    - `accuracy`: only where choices were given, over the groups that had one; a tie counts for the first.
    - `unanswered`: only where a generative model gave answers that name no alternative: the share of the groups
      that it left so. They count in none of the other figures.

    With `confidence`, and any group, also

    - `win_rate_interval` `[N, 2]`, `win_matrix_interval` `[N, N, 2]`: where the intervals of the two begin and end
      (score intervals).
    - `p_values` `[N, N]`: the two-sided p-value of the exact sign test between two positions; NaN as in `win_matrix`.
      They are of one pair each: correct them for their number (Holm) to speak of all.
    - `strengths` `[N]`, `strengths_interval` `[N, 2]`: from three positions on, Bradley-Terry strengths by maximum
      likelihood, natural logarithms of mean 0, with intervals from a sandwich over groups. If positions never lost to
      others, each two that met are given half a win each way.

    Groups count as independent. Where several are of one prompt they are not, and intervals would be too narrow: with
    `clustered` all groups of a cluster count as one. Sums are kept in 1,024 slots, a cluster's slot being a hash of its
    name. Clusters that meet in one slot count as one, too, which leaves the figures as they are and makes intervals a
    little wider: by a hundredth where there are hundreds of clusters or more.

    Args:
        model_name_or_path: What `load_model` takes: a name, a directory, a Hub id, a model, an `nn.Module`.
        task: The task; inferred if None. Attributes and `odd-one-out` have to be named.
        method: How quality and attributes are scored, `"naive"` or `"clip-iqa"`. The latter ranks by the difference of
            the two similarities: its probabilities are in the same order, but many are 1.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        max_alternatives: The largest group that can be ranked; states have this size from the start, so that
            they never grow and synchronise exactly.
        confidence: How often the intervals hold the true figure, in (0, 1); None gives none. It needs three more
            states of the size of `win_matrix`: 25 kB for 32 alternatives, however many groups there are.
        clustered: Whether `update` is told what each group is of, so that intervals and p-values hold where groups are
            of the same. It needs `confidence`, and larger states: 9 MB for 32 alternatives, 0.2 MB for 4, however many
            groups and clusters there are.
        kwargs: What every torchmetrics `Metric` takes.

    Raises:
        ValueError: If an argument is out of its range, a model cannot be found, or it does not answer the task.

    Examples:
        >>> import torch
        >>> from unisim_metrics import UniSimRanking
        >>> ranking = UniSimRanking()
        >>> original = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8)
        >>> candidates = torch.stack([original, 255 - original], dim=1)
        >>> ranking.update(candidates, original, choices=torch.tensor([0]))
        >>> ranking.compute()["accuracy"]
        tensor(1.)
    """

    plot_lower_bound: float = 0.0
    plot_upper_bound: float = 1.0
    plot_legend_name: str = "Position"
    argument_names: ClassVar[tuple[str, str]] = ("candidates", "references")

    groups: Tensor
    first_places: Tensor
    half_ranks: Tensor
    half_wins: Tensor
    met: Tensor
    judged: Tensor
    correct: Tensor
    answered: Tensor
    unanswered: Tensor
    # These with `confidence` alone.
    first_place_squares: Tensor
    tied: Tensor
    half_win_products: Tensor
    half_wins_by_size: Tensor
    # These with `clustered` in their place.
    cluster_groups: Tensor
    cluster_first_places: Tensor
    cluster_half_wins: Tensor

    def __init__(
        self,
        model_name_or_path: ModelLike = BUNDLED,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        max_alternatives: int = 32,
        confidence: float | None = None,
        clustered: bool = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(max_alternatives, int) or max_alternatives < 2:
            raise ValueError(
                f"Argument `max_alternatives` must be an integer of at least 2, but got {max_alternatives}."
            )
        if confidence is not None and not (isinstance(confidence, float) and 0 < confidence < 1):
            raise ValueError(
                f"Argument `confidence` must be None or a float between 0 and 1, but got {confidence!r}."
            )
        if clustered and confidence is None:
            raise ValueError(
                "Argument `clustered` must come with `confidence`, since figures have no intervals without it."
            )
        super().__init__(model_name_or_path, task, method, prompts, **kwargs)
        self.max_alternatives = max_alternatives
        self.confidence = confidence
        self.clustered = clustered
        # All counts are integers (ranks and wins doubled for their halves), exact under any order of sums.
        line, square = (max_alternatives,), (max_alternatives, max_alternatives)
        shapes: dict[str, tuple[int, ...]] = {"groups": line, "first_places": line, "half_ranks": line}
        shapes |= {"half_wins": square, "met": square, "judged": (), "correct": ()}
        shapes |= {"answered": (), "unanswered": ()}
        if clustered:
            shapes |= {"cluster_groups": (SLOTS, *line), "cluster_first_places": (SLOTS, *line)}
            shapes |= {"cluster_half_wins": (SLOTS, *square)}
        elif confidence is not None:
            shapes |= {"first_place_squares": line, "tied": square, "half_win_products": square}
            shapes |= {"half_wins_by_size": square}
        for name, shape in shapes.items():
            self.add_state(name, default=torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(
        self,
        candidates: Any,
        references: Any = None,
        choices: Tensor | Sequence[int] | None = None,
        clusters: ClustersLike | None = None,
    ) -> None:
        """Rank a batch of groups and add it.

        Args:
            candidates: B groups of N ≥ 2 images or texts.
            references: B images or texts, one text for all, or None for quality, attributes and odd-one-out.
            choices: Index of the candidate that people chose in each group, integers `[B]`.
            clusters: What each group is of, integers `[B]` or B strings or integers; with `clustered`, and only then.

        Raises:
            ValueError: If the inputs do not fit together, or mean another task than those before.
            TypeError: If something is neither image nor text, choices are not integers, or clusters not names.
        """
        task = self._resolve(candidates, references)
        _, group_sizes = check_groups(candidates, references, task, self.argument_names)
        sizes = torch.tensor(group_sizes, device=self.device)
        if max(group_sizes) > self.max_alternatives:
            raise ValueError(
                f"Argument `candidates` must hold at most {self.max_alternatives} a group (`max_alternatives`),"
                f" but got {max(group_sizes)}."
            )
        human = None if choices is None else check_choices(choices, sizes)
        slots = self._slots(clusters, len(sizes))
        references = one_for_each(references, len(sizes)) if task == "image-text" else references
        scores = self._compare(candidates, references, task).to(self.device)
        answered = self._answered(scores, task)
        scores = self._prepare(scores[answered], int(sizes[answered].sum()))
        present = ~scores.isnan()
        ranks = rank(scores)
        best = (scores == scores.nan_to_num(nan=-torch.inf).amax(dim=-1, keepdim=True)) & present
        shares = best * (FIXED_POINT / best.sum(dim=-1, keepdim=True)).round().long()
        self._mark(task)
        self._add("groups", present.long().sum(dim=0))
        self._add("first_places", shares.sum(dim=0))
        self._add("half_ranks", (2 * ranks).nan_to_num().round().long().sum(dim=0))
        self._add("half_wins", wins(scores).sum(dim=0))
        self._add("met", meetings(scores).sum(dim=0))
        if slots is not None:
            kept = slots[answered]
            self._add_by_slot("cluster_groups", present.long(), kept)
            self._add_by_slot("cluster_first_places", shares, kept)
            self._add_by_slot("cluster_half_wins", wins(scores), kept)
        elif self.confidence is not None:
            self._add_spread(scores, best)
        self.answered = self.answered + answered.sum()
        self.unanswered = self.unanswered + (~answered).sum()
        if human is not None:
            self.judged = self.judged + answered.sum()
            self.correct = self.correct + (choose(scores) == human[answered]).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return `win_rate`, `mean_rank`, `win_matrix`, and where there are any `accuracy` and `unanswered`.

        With `confidence` also `win_rate_interval`, `win_matrix_interval`, `p_values`, and from three positions on
        `strengths` and `strengths_interval`.
        """
        size = int((self.groups > 0).sum())
        groups = self.groups[:size]
        result = {
            "win_rate": self.first_places[:size].to(self.dtype) / groups / FIXED_POINT,
            "mean_rank": self.half_ranks[:size].to(self.dtype) / groups / 2,
            "win_matrix": self.half_wins[:size, :size].to(self.dtype) / self.met[:size, :size] / 2,
        }
        if self.judged > 0:
            result["accuracy"] = self.correct.to(self.dtype) / self.judged
        if self.unanswered > 0:
            result["unanswered"] = self.unanswered.to(self.dtype) / (self.answered + self.unanswered)
        if self.confidence is not None and size:
            result |= {
                name: torch.from_numpy(values).to(groups.device, self.dtype)
                for name, values in self._spread(size, self.confidence).items()
            }
        return result

    def plot(
        self, val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None, ax: _AX_TYPE | None = None
    ) -> _PLOT_OUT_TYPE:
        """Plot the win rate of every position, now or over several steps.

        Args:
            val: A result of `compute` or `forward`, or several; None computes.
            ax: Matplotlib axes to draw on; None makes a figure.

        Returns:
            Figure and axes.
        """
        values = self.compute() if val is None else val
        return self._plot(
            values["win_rate"] if isinstance(values, dict) else [value["win_rate"] for value in values], ax
        )

    def _answered(self, scores: Tensor, task: Task) -> Tensor:
        """Which groups have an answer, bool `[B]`; scores that need no choice always are one, or an error."""
        if check_answers(self.model, task) != "choices":
            return torch.ones(len(scores), dtype=torch.bool, device=scores.device)
        return ~scores.isnan().all(dim=-1)

    def _compare(self, candidates: Any, references: Any, task: Task) -> Tensor:
        if self._shared_network:
            embedder = cast(Embedder, self._embedder())
            return compare(embedder, references, candidates, task, self.method, self.prompts)
        return self.model.compare(references, candidates, task=task, method=self.method, prompts=self.prompts)

    def _add_spread(self, scores: Tensor, best: Tensor) -> None:
        """Add what intervals are read from: squares and products of each group's shares and wins.

        Args:
            scores: `[B, N]`; a group has its first alternatives, the others are NaN.
            best: Which share the first place, bool `[B, N]`.
        """
        squares = best * (FIXED_POINT / best.sum(dim=-1, keepdim=True) ** 2).round().long()
        half_wins = wins(scores)
        totals = half_wins.sum(dim=-1)
        sizes = torch.nn.functional.one_hot((~scores.isnan()).sum(dim=-1) - 1, scores.shape[-1])
        self._add("first_place_squares", squares.sum(dim=0))
        self._add("tied", (half_wins == 1).long().sum(dim=0))
        # Not by matrix products, which CUDA does not have for integers.
        self._add("half_win_products", (totals.unsqueeze(-1) * totals.unsqueeze(-2)).sum(dim=0))
        self._add("half_wins_by_size", (sizes.unsqueeze(-1) * totals.unsqueeze(-2)).sum(dim=0))

    def _spread(self, size: int, confidence: float) -> dict[str, NDArray[np.float64]]:
        """Return intervals, p-values and strengths of the first `size` positions."""

        def counts(name: str, by_slot: bool = False) -> NDArray[np.int64]:
            state: Tensor = getattr(self, name)
            kept = (slice(None),) * by_slot + (slice(size),) * (state.ndim - by_slot)
            return np.asarray(state[kept].cpu().numpy())

        if self.clustered:
            groups, firsts, half_wins = (
                counts(f"cluster_{name}", by_slot=True) for name in ("groups", "first_places", "half_wins")
            )
            used = groups[:, 0] > 0
            # Thirds are rounded in the states.
            shares = np.minimum(firsts / FIXED_POINT, groups)
            return spread_of_clusters(groups[used], shares[used], half_wins[used], confidence)
        shares = np.minimum(counts("first_places") / FIXED_POINT, counts("groups"))
        return spread_of_groups(
            counts("groups"),
            shares,
            np.minimum(counts("first_place_squares") / FIXED_POINT, shares),
            counts("half_wins"),
            counts("tied"),
            counts("half_wins_by_size"),
            counts("half_win_products"),
            confidence,
        )

    def _slots(self, clusters: ClustersLike | None, count: int) -> Tensor | None:
        """Return the slot of each group's cluster, integers `[B]`; None without `clustered`."""
        if self.clustered and clusters is None:
            raise ValueError("Argument `clusters` must be given with `clustered=True`, but got None.")
        if not self.clustered and clusters is not None:
            raise ValueError("Argument `clusters` needs `UniSimRanking(confidence=..., clustered=True)`.")
        return None if clusters is None else cluster_slots(clusters, count).to(self.device)

    def _add_by_slot(self, name: str, values: Tensor, slots: Tensor) -> None:
        """Add values `[B, N, ...]` of groups to the slots of their clusters."""
        state: Tensor = getattr(self, name).clone()
        size = values.shape[-1]
        filled = (slice(None),) + (slice(size),) * (values.ndim - 1)
        state[filled].index_add_(0, slots, values)
        setattr(self, name, state)

    def _add(self, name: str, values: Tensor) -> None:
        """Add values of N positions to a state of `max_alternatives` positions."""
        state: Tensor = getattr(self, name)
        missing = self.max_alternatives - values.shape[-1]
        setattr(self, name, state + torch.nn.functional.pad(values, (0, missing) * values.ndim))
