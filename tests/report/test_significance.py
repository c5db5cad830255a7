"""Tests and intervals on simulated data whose truth is known, and against other people's code."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from qvbench.report.bootstrap import Sentences, crossed, crossed_interval, less
from qvbench.report.significance import (
    holm,
    p_equivalence,
    p_value,
    pooled_deviation,
    power,
    seeds_needed,
    table_of_tests,
)

TRIALS = 3000


def rate(found: list[bool]) -> float:
    return sum(found) / len(found)


def draws(seeds: int, mean: float, deviation: float = 0.1) -> list[list[float]]:
    """Differences of made-up seeds, TRIALS times over."""
    random = np.random.default_rng(seeds)
    values: list[list[float]] = random.normal(mean, deviation, (TRIALS, seeds)).tolist()
    return values


def test_p_agrees_with_scipy() -> None:
    """One-sided for two-sided, a normal distribution for Student's."""
    for values in draws(4, 0.1)[:20]:
        expected = stats.ttest_1samp(values, 0).pvalue
        assert p_value(values) == pytest.approx(expected, rel=1e-6)
        low = stats.ttest_1samp(values, -0.2, alternative="greater").pvalue
        high = stats.ttest_1samp(values, 0.2, alternative="less").pvalue
        assert p_equivalence(values, 0.2) == pytest.approx(max(low, high), rel=1e-6)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_false_positives_are_at_their_level(seeds: int) -> None:
    """A test that finds what is not there: a difference of zero, or sameness at the very margin."""
    margin = 0.3  # far from both ends, so that one of the two tests decides
    error = 3.3 * (0.05 * 0.95 / TRIALS) ** 0.5
    differ = rate([p_value(values) < 0.05 for values in draws(seeds, 0.0)])
    assert differ == pytest.approx(0.05, abs=error)
    same = rate([p_equivalence(values, margin) < 0.05 for values in draws(seeds, margin)])
    assert same == pytest.approx(0.05, abs=error)


@pytest.mark.parametrize("mean", [-0.3, 0.3])
def test_equivalence_is_seldom_shown_outside_the_margin(mean: float) -> None:
    """A test that looks at one side alone, or a 90 % interval taken for a level of 10 %.

    At either margin; and where the seeds are so few and wide that nothing can be shown, never more
    often than that.
    """
    error = 3.3 * (0.05 * 0.95 / TRIALS) ** 0.5
    same = rate([p_equivalence(values, 0.3) < 0.05 for values in draws(5, mean)])
    assert same == pytest.approx(0.05, abs=error)
    wide = rate([p_equivalence(values, 0.3) < 0.05 for values in draws(5, mean, 1.0)])
    assert wide <= 0.05 + error
    beyond = rate([p_equivalence(values, 0.3) < 0.05 for values in draws(5, 1.5 * mean)])
    assert beyond < 0.05


@pytest.mark.parametrize(("seeds", "deviation"), [(5, 0.1), (10, 0.15)])
def test_equivalence_is_found_as_often_as_its_interval_fits(seeds: int, deviation: float) -> None:
    """Equivalence that is never shown, however many the seeds.

    With a true difference of zero it is shown when the mean is nearer to zero than the margin less
    the reach of a 90 % interval: the chance of it, by integration over the deviation's chi.
    """
    margin, freedom = 0.2, seeds - 1
    spread = deviation * np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom)
    room = np.clip(margin - stats.t.ppf(0.95, freedom) * spread / seeds**0.5, 0, None)
    expected = float(np.mean(2 * stats.norm.cdf(room * seeds**0.5 / deviation) - 1))
    found = rate([p_equivalence(values, margin) < 0.05 for values in draws(seeds, 0.0, deviation)])
    assert found == pytest.approx(expected, abs=0.03)
    assert expected > 0.5, "a case that shows something"


@pytest.mark.parametrize(("seeds", "gap"), [(3, 0.2), (5, 0.1), (10, 0.1)])
def test_power_is_as_predicted(seeds: int, gap: float) -> None:
    """A promise of seeds that would not do."""
    found = rate([p_value(values) < 0.05 for values in draws(seeds, gap)])
    assert found == pytest.approx(power(seeds, 0.1, gap), abs=0.03)


def test_the_seeds_needed_are_the_fewest() -> None:
    """One seed too many or too few; and against a printed table: d = 0.5 takes 34 pairs."""
    assert seeds_needed(1.0, 0.5) == 34
    for deviation, gap in product((0.1, 0.4), (0.0386, 0.5)):
        needed = seeds_needed(deviation, gap)
        assert needed is not None
        assert power(needed, deviation, gap) >= 0.8
        assert needed == 2 or power(needed - 1, deviation, gap) < 0.8
    assert seeds_needed(1000.0, 0.01) is None
    assert seeds_needed(0.0, 0.1) == 2


def test_holm_by_hand() -> None:
    """Bonferroni for all, an order of p-values turned round by their factors, p above 1."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.7, "b": 0.6}) == {"b": 1.0, "a": 1.0}


def test_a_table_seldom_has_a_false_verdict() -> None:
    """Ten rows without a difference: uncorrected, two tables in five would show one."""
    random = np.random.default_rng(1)
    wrong = []
    for rows in random.normal(0, 0.1, (400, 10, 5)):
        tests = table_of_tests({str(n): row.tolist() for n, row in enumerate(rows)})
        wrong.append(any(test.verdict in ("better", "worse") for test in tests.values()))
    assert rate(wrong) <= 0.05 + 3.3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_table_seldom_calls_equivalent_what_is_not() -> None:
    """Ten rows at the margin: uncorrected, two tables in five would call one equivalent."""
    random = np.random.default_rng(2)
    wrong = []
    for rows in random.normal(0.3, 0.1, (400, 10, 5)):
        tests = table_of_tests({str(n): row.tolist() for n, row in enumerate(rows)}, 0.3)
        wrong.append(any(test.p_equivalence < 0.05 for test in tests.values()))
    assert rate(wrong) <= 0.05 + 3.3 * (0.05 * 0.95 / 400) ** 0.5


def test_the_seeds_needed_find_the_gap() -> None:
    """A number of seeds on the page that finds the gap less often than it promises."""
    gap, deviation = 0.1, 0.12
    needed = seeds_needed(deviation, gap)
    assert needed is not None
    found = rate([p_value(values) < 0.05 for values in draws(needed, gap, deviation)])
    assert found == pytest.approx(0.8, abs=0.06)  # whole seeds: a little above, and chance
    assert found >= 0.8 - 0.03


def test_verdicts_in_words() -> None:
    """Unshown sold as equal, a sign turned round, one seed with a verdict."""
    tests = table_of_tests(
        {
            "up": [0.5, 0.51, 0.52],
            "down": [-0.5, -0.51, -0.52],
            "same": [0.001, -0.001, 0.0],
            "wide": [1.0, -1.0, 0.1],
            "alone": [5.0],
            "identical": [0.0, 0.0, 0.0],
        }
    )
    words = {name: test.verdict for name, test in tests.items()}
    assert words == {
        "up": "better",
        "down": "worse",
        "same": "equivalent",
        "wide": "not shown",
        "identical": "equivalent",
    }


def test_the_margin_decides_what_is_equivalent() -> None:
    values = {"a": [0.05, -0.04, 0.0, 0.02, -0.03]}
    assert table_of_tests(values, 0.1)["a"].verdict == "equivalent"
    assert table_of_tests(values, 0.02)["a"].verdict == "not shown"


def test_deviations_are_pooled_by_their_freedom() -> None:
    assert pooled_deviation({"a": [0.0, 2.0], "b": [1.0]}) == pytest.approx(2**0.5)
    assert pooled_deviation({"a": [0.0, 2.0], "b": [1.0, 1.0, 1.0]}) == pytest.approx(
        (2 / 3) ** 0.5
    )
    assert pooled_deviation({"b": [1.0]}) is None


@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_sentence", "of_both"),
    [(3, 1.0, 10.0, 10.0), (5, 1.0, 5.0, 20.0), (5, 0.3, 20.0, 5.0), (10, 0.5, 8.0, 8.0)],
)
def test_crossed_intervals_hold_the_truth(
    seeds: int, of_seed: float, of_sentence: float, of_both: float
) -> None:
    """Seeds or sentences taken for fixed; what both share counted thrice; percentiles of few seeds.

    Each interval is of another 100 sentences and other seeds; the truth is the population's.
    """
    random = np.random.default_rng(seeds)
    sentences, truth, trials = 100, 60.0, 1000
    tokens = np.full(sentences, 100.0)
    held = []
    for _ in range(trials):
        right = (
            truth
            + of_seed * random.normal(size=(seeds, 1))
            + of_sentence * random.normal(size=(1, sentences))
            + of_both * random.normal(size=(seeds, sentences))
        )
        interval = crossed_interval(right, tokens)
        assert interval.low is not None
        assert interval.high is not None
        held.append(interval.low <= truth <= interval.high)
    assert 0.93 <= rate(held) <= 0.97


@pytest.mark.parametrize("seeds", [3, 5])
def test_crossed_intervals_of_differences_hold_the_truth(seeds: int) -> None:
    """Pairs torn apart by the resampling: what both systems find hard would widen the interval.

    Both share the difficulty of a sentence and the luck of a seed; sentences differ in length.
    """
    random = np.random.default_rng(seeds)
    sentences, gap, trials = 100, 0.5, 600
    held, reach = [], []
    for _ in range(trials):
        tokens = random.integers(500, 4000, sentences)
        shared = 60 + 10 * random.normal(size=sentences) + random.normal(size=(seeds, 1))
        own = 4 * random.normal(size=(2, seeds, sentences))
        offsets = np.array([0.0, gap])[:, None, None] + 0.3 * random.normal(size=(2, seeds, 1))
        scores = np.rint((shared + own + offsets) / 100 * tokens).astype(np.int64)
        runs = [
            {seed: Sentences(scores[system, seed], tokens) for seed in range(seeds)}
            for system in (0, 1)
        ]
        paired, single = crossed(less(runs[1], runs[0])), crossed(runs[1])
        assert paired is not None
        assert single is not None
        held.append((paired.low or 0) <= gap <= (paired.high or 0))
        reach.append(((paired.high or 0) - paired.mean, (single.high or 0) - single.mean))
    assert 0.93 <= rate(held) <= 0.97
    paired_reach, single_reach = np.mean(reach, axis=0)
    assert paired_reach < 0.75 * single_reach


def test_the_score_is_per_token() -> None:
    """A mean of sentences' accuracies, which weighs short ones more."""
    right = np.array([[1, 0], [1, 4]])
    interval = crossed_interval(right, np.array([1, 9]))
    assert interval.mean == pytest.approx((10 + 50) / 2)
    assert crossed_interval(right[:1], np.array([1, 9])).low is None
