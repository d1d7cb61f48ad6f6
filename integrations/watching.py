"""Watching for reward hacking: whether a reward rises while a judge that rewards nothing falls."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# A change counts only where it also exceeds so many standard errors of its own.
_STANDARD_ERRORS = 4.0


@dataclass(frozen=True, eq=False)
class Watch:
    """Judges that watch a reward without rewarding, and when to warn.

    Scores are averaged over windows, one after the other. A warning comes, once a judge, at the end of a window in
    which the judge's mean is lower, and the reward's higher, than in the window in which the judge stood highest. Each
    has to differ by its threshold, and by four standard errors in which the images of a prompt count as one draw: the
    prompts have to come in random order. Scores that are not finite are left out.

    Args:
        judges: By name, what watches: a `PointwiseReward`, or a model for the task that its name says, as `load_model`
            takes it: `{"quality": "clip-iqa"}`.
        window: How many images make a window; it closes with the call that fills it.
        rise: By how much the reward has to rise, in standard deviations of single images in the first window.
        fall: By how much the judge has to fall, in standard deviations of single images in the first window.

    Raises:
        ValueError: If there is no judge, the window has fewer than two images, or a threshold is negative.
        TypeError: If the judges are no mapping.
    """

    judges: Mapping[str, Any]
    window: int = 1024
    rise: float = 0.25
    fall: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.judges, Mapping):
            raise TypeError(
                f"Argument `watch` must name its judges, a mapping or a `Watch`, but got {type(self.judges).__name__}."
            )
        if not self.judges:
            raise ValueError("Argument `watch` must name at least one judge, but it is empty.")
        if not self.window >= 2:
            raise ValueError(f"Argument `window` must be at least 2 images, but got {self.window}.")
        for name in ("rise", "fall"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"Argument `{name}` must be at least 0 standard deviations, but got {getattr(self, name)}."
                )


class Level(NamedTuple):
    """The mean of a window, its standard error, and the standard deviation of single images."""

    mean: float
    error: float
    deviation: float

    def exceeds(self, other: Level, least: float) -> bool:
        """Whether this level is higher, by at least so much and beyond noise."""
        noise = _STANDARD_ERRORS * math.hypot(self.error, other.error)
        return self.mean > other.mean and self.mean - other.mean >= max(least, noise)


@dataclass
class Window:
    """Sums of the scores in a window, by prompt."""

    count: int = 0
    squares: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, score: float, prompt: str) -> None:
        """Add the score of an image."""
        self.count += 1
        self.squares += score * score
        self.sums[prompt] += score
        self.counts[prompt] += 1

    def level(self) -> Level:
        """The level of what was added."""
        mean = sum(self.sums.values()) / self.count
        deviation = math.sqrt(max(self.squares / self.count - mean * mean, 0.0))
        error = deviation / math.sqrt(self.count)
        prompts = len(self.sums)
        if prompts > 1:  # a single one is no draw of prompts
            spread = sum((total - self.counts[prompt] * mean) ** 2 for prompt, total in self.sums.items())
            error = max(error, math.sqrt(spread * prompts / (prompts - 1)) / self.count)
        return Level(mean, error, deviation)


class Parting(NamedTuple):
    """A judge that fell: since which image, from where to where, and the reward's way, if it has one."""

    since: int
    judge: tuple[float, float]
    reward: tuple[float, float] | None

    def message(self, name: str) -> str:
        """What a user is told of the judge of this name."""
        fell = f"the judge {name!r} fell by {self.judge[0] - self.judge[1]:.3g} ({_way(self.judge)})"
        rose = ""
        if self.reward is not None:
            rose = f", while the reward rose by {self.reward[1] - self.reward[0]:.3g} ({_way(self.reward)})"
        return (
            f"Since the window that ended with image {self.since}, {fell}{rose}. The policy may be exploiting the"
            " reward: look at its newest images; if they are worse, go back to a checkpoint of that time, and add the"
            " judge to the reward or hold the policy closer to where it began. This is said once for each judge."
        )


@dataclass
class Drift:
    """Follows a reward and one judge of it, window after window; plain numbers, which copies and pickles keep."""

    window: int
    rise: float
    fall: float
    seen: int = 0
    reward: Window = field(default_factory=Window)
    judge: Window = field(default_factory=Window)
    # Levels of the reward and the judge: in the first window, and in that in which the judge stood highest.
    first: tuple[Level, Level] | None = None
    best: tuple[Level, Level] | None = None
    best_at: int = 0
    warned: bool = False

    def update(
        self, rewards: Sequence[float] | None, scores: Sequence[float], prompts: Sequence[str]
    ) -> Parting | None:
        """Add a batch, and say whether the two have parted, which is said once.

        Args:
            rewards: N rewards; None, always or never, if their mean tells nothing: then the judge's fall is enough.
            scores: The judge's N scores.
            prompts: The N prompts.
        """
        for reward, score, prompt in zip(rewards or [0.0] * len(scores), scores, prompts, strict=True):
            self.seen += 1
            if math.isfinite(reward) and math.isfinite(score):
                self.reward.add(reward, prompt)
                self.judge.add(score, prompt)
        if self.reward.count < self.window:
            return None
        now = self.reward.level(), self.judge.level()
        self.reward, self.judge = Window(), Window()
        if self.first is None or self.best is None:
            self.first = now
        elif not self.warned:
            falls = self.best[1].exceeds(now[1], self.fall * self.first[1].deviation)
            rises = rewards is None or now[0].exceeds(self.best[0], self.rise * self.first[0].deviation)
            self.warned = falls and rises
            if self.warned:
                ways = [(before.mean, after.mean) for before, after in zip(self.best, now, strict=True)]
                return Parting(self.best_at, ways[1], None if rewards is None else ways[0])
        if self.best is None or now[1].mean > self.best[1].mean:
            self.best, self.best_at = now, self.seen
        return None


def _way(means: tuple[float, float]) -> str:
    return f"{means[0]:.4g} to {means[1]:.4g}"
