"""Families of decay fitted to attention that falls off as one of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qvbench.inside.distance import (
    FAMILIES,
    Fit,
    by_reach,
    chosen_family,
    compare,
    fit_family,
    mean_by_offset,
    rope_exponent,
)
from qvbench.inside.shares import Floats
from tests.inside.helpers import falls_off, maps, trees, uniform

LONGEST = 40
# Of each family a member that no other one comes near.
TRUTHS: dict[str, tuple[float, ...]] = {
    "power law": (1.5,),
    "exponential": (0.2,),
    "logarithmic": (np.log(3.0),),
    "stretched exponential": (1.0, np.log(0.5)),
}


def draws(decay: Callable[[Floats], Floats], count: int, longest: int = LONGEST) -> Floats:
    """Distances drawn with replacement, of reaches drawn too: (count / 10, R, L) counts."""
    rng = np.random.default_rng(0)
    weights = np.zeros((count // 10, longest, longest))
    distance = np.arange(1.0, longest + 1)
    for n in range(count):
        reach = int(rng.integers(longest // 2, longest + 1))
        share = decay(distance[:reach])
        weights[n // 10, reach - 1, rng.choice(reach, p=share / share.sum())] += 1
    return weights


@pytest.mark.parametrize("name", TRUTHS)
def test_each_family_is_recovered_and_chosen(name: str) -> None:
    """Catches a likelihood without the bounded support's normalizer, and a test with its sign lost:
    of 10,000 draws the parameters lie in their intervals and no other family is as near."""
    decay = FAMILIES[name][0]
    truth = np.array(TRUTHS[name])
    weights = draws(lambda d: np.exp(decay(d, truth)), 10_000)
    fits = {other: fit_family(other, weights) for other in FAMILIES}
    for interval, value in zip(fits[name].parameters.values(), truth, strict=True):
        assert interval.low - 0.1 * abs(value) < value < interval.high + 0.1 * abs(value)
        assert interval.mean == pytest.approx(value, rel=0.25, abs=0.1)
        assert interval.high - interval.low < 2
    assert chosen_family(list(fits.values())).family == name
    for other, fit in fits.items():
        if other != name and "stretched" not in other:  # which has all the rest for a limit
            z, p = compare(fits[name], fit)
            assert z > 0
            assert p < 0.05, other


@pytest.mark.parametrize("left", [True, False])
def test_an_exponent_of_attention_by_hand(left: bool) -> None:
    """Catches one direction read for the other, and positions that have no such distance counted:
    attention of sentences of many lengths, exponent 1.5 exactly."""
    sentences = trees(200, 5, 30)
    both = maps(sentences, uniform, falls_off(lambda d: d**-1.5))
    if not left:
        both = [np.tril(m.transpose(0, 2, 1)) + np.triu(m) for m in both]
    weights = np.stack([by_reach(m, 29, left) for m in both])
    found = fit_family("power law", weights[:, 1]).parameters["exponent"]
    assert found.mean == pytest.approx(1.5, abs=0.05)
    assert fit_family("power law", weights[:, 0]).parameters["exponent"].mean == pytest.approx(
        0, abs=0.05
    ), "uniform attention does not fall off"


def test_an_interval_of_an_exponent_holds_the_truth() -> None:
    """Catches errors as of independent draws: ten draws of a sentence that are one and the same."""
    held, trials, distance = 0, 60, np.arange(1.0, 21)
    rng = np.random.default_rng(3)
    share = distance**-1.5 / (distance**-1.5).sum()
    for _ in range(trials):
        weights = np.zeros((200, 20, 20))
        weights[np.arange(200), -1, rng.choice(20, size=200, p=share)] = 10
        found = fit_family("power law", weights).parameters["exponent"]
        held += found.low < 1.5 < found.high
    assert held / trials > 0.85


def test_families_alike_are_not_told_apart() -> None:
    """Catches a difference found where there is none: an exponential is a stretched one."""
    weights = draws(lambda d: np.exp(-0.2 * d), 4000)
    found = compare(
        fit_family("exponential", weights), fit_family("stretched exponential", weights)
    )
    assert found[1] > 0.01
    law = fit_family("power law", weights)
    assert compare(law, law) == (0, 1)


def test_mean_attention_is_of_pairs_that_have_the_offset() -> None:
    """Catches means over all words, which fall off because long distances are few."""
    attention = [np.full((1, 3, 3), 0.5), np.full((1, 5, 5), 0.5)]
    attention[1][0, 0, 4] = 0.25
    mean = mean_by_offset(attention, 5)[0]
    assert np.isnan(mean[[0, -1]]).all()
    np.testing.assert_allclose(mean[1:-1], [0.5] * 8 + [0.25])
    assert by_reach(attention[0], 2, True).tolist() == [[[0.5, 0], [0.5, 0.5]]]


def test_a_gain_over_no_attention_is_unknown() -> None:
    """Catches a division by zero where no held-out sentence looks that way."""
    assert np.isnan(Fit("power law", {}, np.zeros(2), 0.0).gain)


def test_the_line_for_rope() -> None:
    """Catches the ratio turned round: a long base has exponent 1, as T grows it goes to -1."""
    assert rope_exponent(10_000, 1024) == pytest.approx((20_000 - 1448.155) / 21448.155, abs=1e-5)
    assert rope_exponent(1e12, 10) == pytest.approx(1)
    assert rope_exponent(1, 2**0.5) == pytest.approx(0)  # type: ignore[arg-type]
