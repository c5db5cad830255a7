"""Intervals and tests by hand, against other people's code, and on data whose truth is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from qvbench.report.statistics import (
    Sentences,
    crossed,
    crossed_interval,
    holm,
    p_equivalence,
    p_value,
    paired_differences,
    power,
    seeds_needed,
    t_interval,
    table_of_tests,
)

TRIALS = 1000
ERROR = 3.3 * (0.05 * 0.95 / TRIALS) ** 0.5


def rate(found: list[bool]) -> float:
    return sum(found) / len(found)


def draws(seeds: int, mean: float, deviation: float = 0.1) -> list[list[float]]:
    """Differences of made-up seeds, TRIALS times over."""
    random = np.random.default_rng(seeds)
    values: list[list[float]] = random.normal(mean, deviation, (TRIALS, seeds)).tolist()
    return values


def test_an_interval_by_hand() -> None:
    """Catches the normal quantile for Student's, n for n - 1, deviation for standard error."""
    interval = t_interval([1.0, 2.0, 3.0])
    half = 4.30265 * 1.0 / 3**0.5  # two degrees of freedom, from a printed table
    assert (interval.mean, interval.number) == (2.0, 3)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    alone = t_interval([2.5])
    assert alone.mean == 2.5
    assert np.isnan([alone.low, alone.high]).all(), "one seed has no interval"
    same = t_interval([0.1, 0.1, 0.1])
    assert (same.low, same.high) == (same.mean, same.mean)


def test_pairs_are_by_seed() -> None:
    """Catches a pairing by place instead of by seed, and the interval of an unpaired test."""
    random = np.random.default_rng(3)
    a, b = random.normal(93, 0.4, 5), random.normal(92.8, 0.4, 5)
    seeds = [int(seed) for seed in random.permutation(5)]
    values = dict(zip(seeds, map(float, a), strict=True))
    baseline = {seed: float(b[seeds.index(seed)]) for seed in sorted(seeds)} | {99: 1.0}
    test = stats.ttest_rel(a, b).confidence_interval(0.95)
    interval = t_interval(paired_differences(values, baseline))
    assert (interval.low, interval.high) == pytest.approx((test.low, test.high))
    assert paired_differences({1: 2.0}, {2: 2.0}) == []


def test_p_agrees_with_scipy() -> None:
    """Catches one-sided for two-sided, a normal distribution for Student's, one bound of two."""
    for values in draws(4, 0.1)[:20]:
        expected = stats.ttest_1samp(values, 0).pvalue
        assert p_value(values) == pytest.approx(expected, rel=1e-6)
        low = stats.ttest_1samp(values, -0.2, alternative="greater").pvalue
        high = stats.ttest_1samp(values, 0.2, alternative="less").pvalue
        assert p_equivalence(values, 0.2) == pytest.approx(max(low, high), rel=1e-6)
    assert (p_value([0.0, 0.0]), p_value([1.0, 1.0])) == (1, 0)
    assert (p_equivalence([0.1, 0.1], 0.2), p_equivalence([0.3, 0.3], 0.2)) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_cover_the_truth(count: int) -> None:
    """Catches intervals that hold the truth less, or more, often than they say.

    Both variants have the luck of a seed in common, which the pairs take out.
    """
    random, truth, held = np.random.default_rng(count), 0.2, []
    luck = random.normal(0, 1, (TRIALS, count))
    base = 93 + luck + random.normal(0, 0.3, (TRIALS, count))
    other = 93 + truth + luck + random.normal(0, 0.3, (TRIALS, count))
    for a, b in zip(other.tolist(), base.tolist(), strict=True):
        interval = t_interval(paired_differences(dict(enumerate(a)), dict(enumerate(b))))
        held.append(interval.low <= truth <= interval.high)
    assert rate(held) == pytest.approx(0.95, abs=ERROR)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
def test_false_positives_are_at_their_level(seeds: int) -> None:
    """Catches a test that finds what is not there: a difference of zero, or sameness at a margin.

    And equivalence by one side alone, or by a 90 % interval taken for a level of 10 %.
    """
    differ = rate([p_value(values) < 0.05 for values in draws(seeds, 0.0)])
    assert differ == pytest.approx(0.05, abs=ERROR)
    for mean in (-0.3, 0.3):  # far from the other margin, so that one of the two tests decides
        same = rate([p_equivalence(values, 0.3) < 0.05 for values in draws(seeds, mean)])
        assert same == pytest.approx(0.05, abs=ERROR)
    wide = rate([p_equivalence(values, 0.3) < 0.05 for values in draws(seeds, 0.3, 1.0)])
    assert wide <= 0.05 + ERROR
    beyond = rate([p_equivalence(values, 0.3) < 0.05 for values in draws(seeds, 0.45)])
    assert beyond < 0.05


def test_equivalence_is_found_as_often_as_its_interval_fits() -> None:
    """Catches equivalence that is never shown, however many the seeds.

    With a true difference of zero it is shown when the mean is nearer to zero than the margin less
    the reach of a 90 % interval: the chance of it, by integration over the deviation's chi.
    """
    margin, seeds, deviation = 0.2, 5, 0.1
    spread = deviation * np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, 4) / 4)
    room = np.clip(margin - stats.t.ppf(0.95, 4) * spread / seeds**0.5, 0, None)
    expected = float(np.mean(2 * stats.norm.cdf(room * seeds**0.5 / deviation) - 1))
    found = rate([p_equivalence(values, margin) < 0.05 for values in draws(seeds, 0.0)])
    assert found == pytest.approx(expected, abs=0.03)
    assert expected > 0.5, "a case that shows something"


@pytest.mark.parametrize(("seeds", "gap"), [(3, 0.2), (5, 0.1), (10, 0.1)])
def test_power_is_as_predicted(seeds: int, gap: float) -> None:
    """Catches a promise of seeds that would not do."""
    found = rate([p_value(values) < 0.05 for values in draws(seeds, gap)])
    assert found == pytest.approx(power(seeds, 0.1, gap), abs=0.035)


def test_the_seeds_needed_are_the_fewest() -> None:
    """Catches one seed too many or too few; a printed table has 34 pairs for d = 0.5."""
    assert seeds_needed(1.0, 0.5) == 34
    for deviation, gap in product((0.1, 0.4), (0.0386, 0.5)):
        needed = seeds_needed(deviation, gap)
        assert needed is not None
        assert power(needed, deviation, gap) >= 0.8
        assert needed == 2 or power(needed - 1, deviation, gap) < 0.8
    assert seeds_needed(1000.0, 0.01) is None
    assert seeds_needed(0.0, 0.1) == 2


def test_holm_by_hand() -> None:
    """Catches Bonferroni for all, an order turned round by the factors, p above 1."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.7, "b": 0.6}) == {"b": 1.0, "a": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_a_table_seldom_has_a_false_verdict(mean: float) -> None:
    """Catches ten rows uncorrected: two tables in five would call one different, or equivalent."""
    wrong = []
    for rows in np.random.default_rng(1).normal(mean, 0.1, (300, 10, 5)):
        tests = table_of_tests({str(n): row.tolist() for n, row in enumerate(rows)}, 0.3).values()
        p_values = [test.p if mean == 0 else test.p_equivalence for test in tests]
        wrong.append(min(p_values) < 0.05)
    assert rate(wrong) <= 0.05 + 3.3 * (0.05 * 0.95 / 300) ** 0.5


def test_verdicts_in_words() -> None:
    """Catches inconclusive sold as equal, a sign turned round, one seed with a verdict.

    Where less is better, as for a loss, more is worse.
    """
    rows = {
        "up": [0.5, 0.51, 0.52],
        "down": [-0.5, -0.51, -0.52],
        "same": [0.001, -0.001, 0.0],
        "wide": [1.0, -1.0, 0.1],
        "alone": [5.0],
        "identical": [0.0, 0.0, 0.0],
    }
    expected = {"up": "better", "down": "worse", "same": "equivalent", "wide": "inconclusive"}
    expected["identical"] = "equivalent"
    assert {name: test.verdict for name, test in table_of_tests(rows).items()} == expected
    loss = table_of_tests(rows, higher_is_better=False)
    assert {n: t.verdict for n, t in loss.items()} == expected | {"up": "worse", "down": "better"}
    narrow = table_of_tests({"a": [0.05, -0.04, 0.0, 0.02, -0.03]}, 0.02)
    assert narrow["a"].verdict == "inconclusive", "the margin decides"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_sentence", "of_both"),
    [(3, 1.0, 10.0, 10.0), (5, 1.0, 5.0, 20.0), (10, 0.5, 8.0, 8.0)],
)
def test_crossed_intervals_hold_the_truth(
    seeds: int, of_seed: float, of_sentence: float, of_both: float
) -> None:
    """Catches seeds or sentences taken for fixed, and what both share counted thrice.

    Each interval is of another 100 sentences and other seeds; the truth is the population's.
    """
    random = np.random.default_rng(seeds)
    sentences, truth, held = 100, 60.0, []
    tokens = np.full(sentences, 100.0)
    for _ in range(600):
        correct = (
            truth
            + of_seed * random.normal(size=(seeds, 1))
            + of_sentence * random.normal(size=(1, sentences))
            + of_both * random.normal(size=(seeds, sentences))
        )
        interval = crossed_interval(correct, tokens)
        held.append(interval.low <= truth <= interval.high)
    assert 0.93 <= rate(held) <= 0.97


@pytest.mark.slow
def test_crossed_intervals_of_differences_hold_the_truth() -> None:
    """Catches pairs torn apart by the resampling: what both find hard would widen the interval.

    Both share the difficulty of a sentence and the luck of a seed; sentences differ in length.
    """
    seeds, sentences, gap = 5, 100, 0.5
    random = np.random.default_rng(seeds)
    held, reach = [], []
    for _ in range(400):
        tokens = random.integers(500, 4000, sentences)
        shared = 60 + 10 * random.normal(size=sentences) + random.normal(size=(seeds, 1))
        own = 4 * random.normal(size=(2, seeds, sentences))
        offsets = np.array([0.0, gap])[:, None, None] + 0.3 * random.normal(size=(2, seeds, 1))
        scores = np.rint((shared + own + offsets) / 100 * tokens).astype(np.int64)
        runs = [
            {seed: Sentences(scores[system, seed], tokens) for seed in range(seeds)}
            for system in (0, 1)
        ]
        paired, single = crossed(runs[1], runs[0]), crossed(runs[1])
        assert paired is not None
        assert single is not None
        held.append(paired.low <= gap <= paired.high)
        reach.append((paired.high - paired.mean, single.high - single.mean))
    assert 0.93 <= rate(held) <= 0.97
    paired_reach, single_reach = np.mean(reach, axis=0)
    assert paired_reach < 0.75 * single_reach


def test_a_score_is_per_token() -> None:
    """Catches a mean of sentences' accuracies, which weighs short ones more."""
    correct = np.array([[1, 0], [1, 4]])
    interval = crossed_interval(correct, np.array([1, 9]))
    assert interval.mean == pytest.approx((10 + 50) / 2)
    assert np.isnan(crossed_interval(correct[:1], np.array([1, 9])).low)
