"""Intervals against hand, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from qvbench.report.statistics import paired_differences, t_interval


def test_an_interval_by_hand() -> None:
    """The normal quantile for Student's, n for n - 1, a deviation for an error of the mean."""
    interval = t_interval([1.0, 2.0, 3.0])
    half = 4.30265 * 1.0 / 3**0.5  # two degrees of freedom, from a printed table
    assert (interval.mean, interval.count) == (2.0, 3)
    assert interval.low == pytest.approx(2 - half, abs=1e-5)
    assert interval.high == pytest.approx(2 + half, abs=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_intervals_agree_with_scipy(count: int) -> None:
    """A pairing by place instead of by seed, and the interval of an unpaired test."""
    random = np.random.default_rng(count)
    a, b = random.normal(93, 0.4, count), random.normal(92.8, 0.4, count)
    seeds = [int(seed) for seed in random.permutation(count)]
    values = dict(zip(seeds, map(float, a), strict=True))
    baseline = {seed: float(b[seeds.index(seed)]) for seed in sorted(seeds)} | {99: 1.0}
    test = stats.ttest_rel(a, b).confidence_interval(0.95)
    interval = t_interval(paired_differences(values, baseline))
    assert interval.low == pytest.approx(test.low)
    assert interval.high == pytest.approx(test.high)
    single = stats.ttest_1samp(a, 0).confidence_interval(0.95)
    interval = t_interval(list(map(float, a)))
    assert (interval.low, interval.high) == pytest.approx((single.low, single.high))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_coverage(count: int) -> None:
    """Intervals that hold the truth less, or more, often than they say.

    Both variants have the luck of a seed in common, which the pairs take out.
    """
    random = np.random.default_rng(count)
    trials, truth = 4000, 0.2
    luck = random.normal(0, 1, (trials, count))
    base = 93 + luck + random.normal(0, 0.3, (trials, count))
    other = 93 + truth + luck + random.normal(0, 0.3, (trials, count))
    held = 0
    for a, b in zip(other.tolist(), base.tolist(), strict=True):
        interval = t_interval(paired_differences(dict(enumerate(a)), dict(enumerate(b))))
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= truth <= interval.high
    error = 3.3 * (0.05 * 0.95 / trials) ** 0.5
    assert held / trials == pytest.approx(0.95, abs=error)


def test_pairs_take_out_what_seeds_share() -> None:
    """Differences taken between means, whose interval keeps the luck of the seeds."""
    luck = [0.0, 3.0, -4.0]
    base = {seed: 90 + value for seed, value in enumerate(luck)}
    other = {seed: value + 0.5 + 0.01 * seed for seed, value in base.items()}
    interval = t_interval(paired_differences(other, base))
    assert interval.low is not None
    assert interval.low > 0


def test_one_seed_bears_no_interval() -> None:
    """A single difference sold as a result."""
    alone = t_interval([2.5])
    assert (alone.mean, alone.low, alone.high) == (2.5, None, None)
    assert paired_differences({1: 2.0}, {2: 2.0}) == []
