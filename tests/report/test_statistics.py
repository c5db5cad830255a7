"""Intervals and verdicts by hand, against scipy, and on simulated seeds whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from scipy import stats

from qvbench.report.statistics import (
    ALPHA,
    Finding,
    Floats,
    estimate,
    finding,
    over_sentences,
    power,
    power_of_equivalence,
    seeds_needed,
)

SEEDS = (3, 5, 10)
TRIALS = 3000
NOISE = 3.3 * (0.05 * 0.95 / TRIALS) ** 0.5  # a true rate of 5 % exceeds it once in 2,000 tests
SPREADS = ((0.3, 0.3), (0.3, 1.2), (1.2, 0.3))  # of a variant and of the baseline
ALIKE = (0.0, 0.3)  # correlation of the scores of one seed


def draw(seeds: int, spreads: Floats, correlation: float, trials: int = TRIALS) -> Floats:
    """(trials, variants, seeds) scores around zero; seeds may have some luck in common."""
    random = np.random.default_rng(seeds)
    luck = random.normal(size=(trials, 1, seeds))
    own = random.normal(size=(trials, len(spreads), seeds))
    both = np.sqrt(correlation) * luck + np.sqrt(1 - correlation) * own
    scores: Floats = both * np.asarray(spreads)[:, None]
    return scores


def rounded_down(freedom: float) -> int:
    return int(freedom + 1e-9)


def test_an_interval_by_hand() -> None:
    """Catches the normal quantile for Student's, n for n - 1, deviation for standard error."""
    interval = estimate([(1, [1.0, 2.0, 3.0])]).interval()
    half = 4.30265 * 1.0 / 3**0.5  # two degrees of freedom, from a printed table
    assert interval == pytest.approx((2, 2 - half, 2 + half), abs=1e-5)
    alone = estimate([(1, [2.5])])
    assert (alone.mean, *np.isnan(alone.interval()[1:])) == (2.5, True, True), "one seed has none"
    same = estimate([(1, [0.1, 0.1, 0.1])]).interval()
    assert (same.low, same.high) == pytest.approx((0.1, 0.1))
    assert np.isnan(estimate([(1, []), (-1, [1.0])]).mean)


def test_a_difference_agrees_with_scipy() -> None:
    """Catches equal variances taken for granted, pairs of seeds, one-sided p for two-sided."""
    for values, base in draw(5, np.array([0.3, 1.2]), 0.0, 20) + np.array([[[0.5], [0.0]]]):
        found = estimate([(1, values.tolist()), (-1, base[:4].tolist())])
        welch = stats.ttest_ind(values, base[:4], equal_var=False)
        assert found.freedom == rounded_down(welch.df)
        assert found.mean / found.error == pytest.approx(welch.statistic)
        assert found.p == pytest.approx(2 * stats.t.sf(abs(welch.statistic), found.freedom))
        low, high = stats.t.interval(0.9, found.freedom, found.mean, found.error)
        assert found.margin() == pytest.approx(max(-low, high)), "Schuirmann: the 90 % interval"
    certain = estimate([(1, [1.0, 1.0]), (-1, [1.0, 1.0])])
    assert (certain.p, certain.margin()) == (1, 0)
    assert estimate([(1, [1.0, 1.0]), (-1, [0.0, 0.0])]).p == 0


def test_a_difference_of_differences() -> None:
    """Catches a sign lost, and errors that are not those of all four."""
    groups = [[1.0, 3.0], [0.0, 2.0], [5.0, 5.0], [1.0, 1.0]]
    found = estimate(zip((1, -1, -1, 1), groups, strict=True))
    assert (found.mean, found.error) == (2 - 1 - 5 + 1, pytest.approx(2**0.5))
    assert found.freedom == 2, "of the two that are spread"


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "correlation"), list(product(SEEDS, ALIKE)))
def test_intervals_cover_the_truth(seeds: int, correlation: float) -> None:
    """Catches intervals that hold the truth less, or more, often than they say.

    Seeds that have something in common make them wide, never too narrow; so do three seeds, whose
    degrees of freedom are rounded down.
    """
    for spreads in SPREADS:
        held = []
        for values, base in draw(seeds, np.array(spreads), correlation).tolist():
            _, low, high = estimate([(1, values), (-1, base)]).interval()
            held.append(low <= 0 <= high)
        assert np.mean(held) > 0.95 - NOISE
        if correlation == 0:
            assert np.mean(held) < (0.985 if seeds == 3 else 0.97)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "correlation"), list(product(SEEDS, ALIKE)))
def test_equivalence_is_shown_in_vain_at_its_level(seeds: int, correlation: float) -> None:
    """Catches sameness found at the margin: by one side alone, or at the level of an interval."""
    for spreads, side in product(SPREADS, (-1, 1)):
        margin = side * 8 * max(spreads)  # far from the other one, so that one of the tests decides
        wrong = []
        for values, base in draw(seeds, np.array(spreads), correlation, 1000).tolist():
            found = estimate([(1, [value + margin for value in values]), (-1, base)])
            wrong.append(found.margin() < abs(margin))
        assert np.mean(wrong) <= 0.05 + 3.3 * (0.05 * 0.95 / 1000) ** 0.5
        assert correlation > 0 or seeds == 3 or np.mean(wrong) > 0.02


def tables(
    seeds: int, correlation: float, truths: Floats, margin: float
) -> Iterator[list[Finding]]:
    """What pages of ten variants find, of which some scatter as four times the baseline."""
    spreads = np.array([0.3, *np.geomspace(0.1, 1.2, len(truths))])
    for base, *rows in draw(seeds, spreads, correlation, 1000).tolist():
        page = []
        for row, truth in zip(rows, truths, strict=True):
            difference = estimate([(1, [value + truth for value in row]), (-1, base)])
            found = finding(difference, len(rows), margin)
            assert found is not None
            page.append(found)
        yield page


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "correlation"), list(product(SEEDS, ALIKE)))
def test_a_page_seldom_has_a_false_verdict(seeds: int, correlation: float) -> None:
    """Catches rows uncorrected, and differences and sameness that have a level each.

    Half of the rows differ by nothing and half by the margin: all can be called wrong, and an
    interval that leaves out the truth is as bad.
    """
    margin, wrong, left_out = 2.0, [], []
    truths = np.array([0, margin] * 5)
    for page in tables(seeds, correlation, truths, margin):
        pairs = list(zip(page, truths, strict=True))
        false = [{"better", "worse"} if truth == 0 else {"worse", "equivalent"} for truth in truths]
        wrong.append(any(f.verdict in bad for f, bad in zip(page, false, strict=True)))
        left_out.append(any(not f.interval.low <= truth <= f.interval.high for f, truth in pairs))
    noise = 3.3 * (0.05 * 0.95 / 1000) ** 0.5
    assert np.mean(wrong) <= 0.05 + noise
    assert np.mean(left_out) <= 0.05 + noise


def test_verdicts_in_words() -> None:
    """Catches inconclusive sold as equal, a sign turned round, a row judged by itself.

    Where less is better, as for a loss, more is worse.
    """

    def verdict(values: list[float], questions: int = 1, margin: float = 0.1, **less: bool) -> str:
        found = finding(
            estimate([(1, values), (-1, [0.0, 0.01, -0.01])]), questions, margin, **less
        )
        return found.verdict if found else ""

    up, same = [0.5, 0.51, 0.52], [0.001, -0.001, 0.0]
    assert verdict(up) == "better"
    assert verdict([-value for value in up]) == "worse"
    assert verdict(up, higher_is_better=False) == "worse"
    assert verdict(same) == "equivalent"
    assert verdict(same, margin=0.01) == "inconclusive", "the margin decides"
    assert verdict([0.1, 0.12, 0.2]) == "better"
    assert verdict([0.1, 0.12, 0.2], questions=20) == "inconclusive"
    assert not verdict([0.5]), "one seed"


def test_the_verdict_is_the_intervals() -> None:
    """Catches a row whose interval leaves out zero and whose verdict says otherwise."""
    for questions, shift in product((1, 3, 20), np.linspace(0, 2, 40)):
        found = finding(estimate([(1, [shift, shift + 0.5]), (-1, [0.0, 0.2, 0.1])]), questions)
        assert found is not None
        assert (found.verdict == "better") == (found.interval.low > 0) == (found.p < ALPHA)


@pytest.mark.parametrize(
    ("seeds", "spreads", "gap"), [(3, (0.1, 0.1), 0.3), (5, (0.1, 0.2), 0.3), (10, (0.1, 0.1), 0.1)]
)
def test_power_is_as_predicted(seeds: int, spreads: tuple[float, float], gap: float) -> None:
    """Catches a promise of seeds that would not do, for a difference or for sameness."""
    different, same = [], []
    for values, base in draw(seeds, np.array(spreads), 0.0).tolist():
        found = estimate([(1, values), (-1, base)])
        same.append(found.margin() < gap)
        different.append(found._replace(mean=found.mean + gap).p < ALPHA)
    assert np.mean(different) == pytest.approx(power(seeds, spreads, gap), abs=0.035)
    assert np.mean(same) == pytest.approx(power_of_equivalence(seeds, spreads, gap), abs=0.035)


def test_the_seeds_needed_are_the_fewest() -> None:
    """Catches one seed too many or too few; a printed table has 64 of each for d = 0.5."""
    assert seeds_needed(power, (1.0, 1.0), 0.5) == 64
    for of, gap in product((power, power_of_equivalence), (0.0386, 0.5)):
        needed = seeds_needed(of, (0.1, 0.4), gap)
        assert needed is not None
        assert of(needed, (0.1, 0.4), gap) >= 0.8 > of(needed - 1, (0.1, 0.4), gap)
        assert seeds_needed(of, (1000.0, 1000.0), 0.01) is None
        assert seeds_needed(of, (0.0, 0.0), 0.1) == 2


def test_equivalence_takes_the_seeds_of_a_printed_formula() -> None:
    """Catches one side of two: of many, 2 (z(0.95) + z(0.9))² (s / margin)² of each."""
    needed = seeds_needed(power_of_equivalence, (1.0, 1.0), 0.1)
    assert needed == pytest.approx(2 * (1.64485 + 1.28155) ** 2 / 0.1**2, abs=3)


# Seeds and sentences


def scored(
    random: np.random.Generator, seeds: int, tokens: Floats, hard: Floats, spreads: Floats
) -> Floats:
    """Seeds of a variant on sentences that are hard for all; spreads of seed and of both."""
    of_seed, of_both = spreads
    luck = of_seed * random.normal(size=(seeds, 1))
    share = 60 + hard + luck + of_both * random.normal(size=(seeds, len(tokens)))
    correct: Floats = share / 100 * tokens
    return correct


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_sentence", "of_both"),
    [(3, 1.0, 10.0, 10.0), (5, 1.0, 5.0, 20.0), (10, 0.5, 8.0, 8.0)],
)
def test_intervals_over_sentences_hold_the_truth(
    seeds: int, of_seed: float, of_sentence: float, of_both: float
) -> None:
    """Catches seeds or sentences taken for fixed, and what both share counted twice.

    Each interval is of another 100 sentences and other seeds; the truth is the population's.
    """
    random = np.random.default_rng(seeds)
    tokens, held = np.full(100, 100.0), []
    for _ in range(1000):
        hard = of_sentence * random.normal(size=100)
        of_run = scored(random, seeds, tokens, hard, np.array([of_seed, of_both]))
        _, low, high = over_sentences([(1, of_run)], tokens)
        held.append(low <= 60 <= high)
    assert 0.93 <= np.mean(held) <= 0.975


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_of_differences_over_sentences_hold_the_truth(seeds: int) -> None:
    """Catches sentences taken for independent: what both find hard would widen the interval.

    One variant scatters more over its seeds, and has sentences of its own that it finds hard.
    """
    random = np.random.default_rng(seeds)
    held, reach = [], []
    for _ in range(1000):
        tokens = random.integers(5, 40, 100).astype(float)
        hard, own = 10 * random.normal(size=100), 4 * random.normal(size=100)
        one = scored(random, seeds, tokens, hard + own, np.array([0.8, 4.0]))
        other = scored(random, seeds, tokens, hard, np.array([0.3, 4.0]))
        both = over_sentences([(1, one), (-1, other)], tokens)
        single = over_sentences([(1, one)], tokens)
        held.append(both.low <= 0 <= both.high)
        reach.append((both.high - both.mean, single.high - single.mean))
    assert 0.93 <= np.mean(held) <= 0.985
    of_both, of_single = np.mean(reach, axis=0)
    assert of_both < 0.95 * of_single


def test_other_sentences_never_make_sure() -> None:
    """Catches an interval for more questions that is narrower than for one."""
    random = np.random.default_rng(1)
    tokens = np.full(50, 20.0)
    for _ in range(200):
        groups = [
            (sign, scored(random, 3, tokens, random.normal(size=50), np.array([0.5, 5.0])))
            for sign in (1, -1)
        ]
        scores = [(s, (100 * c.sum(1) / tokens.sum()).tolist()) for s, c in groups]
        assert over_sentences(groups, tokens).high >= estimate(scores).interval().high


def test_a_score_is_per_token() -> None:
    """Catches a mean of sentences' accuracies, which weighs short ones more."""
    correct, tokens = np.array([[1.0, 0.0], [1.0, 4.0]]), np.array([1.0, 9.0])
    assert over_sentences([(1, correct)], tokens).mean == pytest.approx((10 + 50) / 2)
    assert np.isnan(over_sentences([(1, correct[:1])], tokens).low)
