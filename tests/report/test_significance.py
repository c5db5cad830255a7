"""Tests and intervals on simulated data whose truth is known, and against other people's code."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from qvbench.report.bootstrap import crossed_interval
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


def test_the_score_is_per_token() -> None:
    """A mean of sentences' accuracies, which weighs short ones more."""
    right = np.array([[1, 0], [1, 4]])
    interval = crossed_interval(right, np.array([1, 9]))
    assert interval.mean == pytest.approx((10 + 50) / 2)
    assert crossed_interval(right[:1], np.array([1, 9])).low is None
