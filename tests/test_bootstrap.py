"""The bootstrap's draws and percentiles: every resample equally likely, the same on any machine."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from scipy import stats

from unisim_metrics.statistics.bootstrap import draws, percentiles
from unisim_metrics.statistics.stream import Stream


def test_every_resample_is_equally_likely() -> None:
    """All 27 draws of three samples, counted by chi-squared."""
    drawn = np.concatenate(list(draws(3, 27_000, Stream("uniform"))), axis=1)
    codes, counts = np.unique(drawn.T @ [9, 3, 1], return_counts=True)
    assert codes.tolist() == [9 * a + 3 * b + c for a, b, c in itertools.product(range(3), repeat=3)]
    assert stats.chisquare(counts).pvalue > 0.001


def test_same_draws_on_any_machine() -> None:
    block = next(draws(5000, 300, Stream("nights", 0)))
    assert block[:3, :3].tolist() == [[4397, 3656, 4727], [2470, 4665, 3778], [3065, 200, 238]]
    assert hashlib.sha256(block.astype("<i8").tobytes()).hexdigest().startswith("f8640ff4a8fb9859")


def test_percentiles_are_resamples() -> None:
    resampled = np.random.default_rng(0).permutation(1999) / 1000
    assert percentiles(1.0, resampled).low == pytest.approx(0.049)
    assert percentiles(1.0, resampled).high == pytest.approx(1.949)
    assert percentiles(1.0, resampled, 0.9).low == pytest.approx(0.099)
    assert percentiles(0.01, resampled).low == 0.01


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`confidence` must lie between 0 and 1, but got 95"):
        percentiles(0.5, np.zeros(3), confidence=95)
    with pytest.raises(ValueError, match="`resampled` must hold at least one"):
        percentiles(0.5, np.array([np.nan]))
