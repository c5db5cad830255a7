"""Learning rates against formulas worked out by hand."""

from __future__ import annotations

import pytest

from qvbench.errors import UserError
from qvbench.training.schedules import Constant, InverseSquareRoot, LinearDecay, Noam


def test_noam_is_the_recipes():
    """The width or the warm-up in the wrong power."""
    noam = Noam(factor=2.0, warmup_steps=4000)
    assert noam.learning_rate(1, 1024) == pytest.approx(2 / 32 / 4000**1.5)
    assert noam.learning_rate(4000, 1024) == pytest.approx(2 / 32 / 4000**0.5)
    assert noam.learning_rate(16000, 1024) == pytest.approx(noam.learning_rate(4000, 1024) / 2)
    assert noam.learning_rate(4000, 256) == pytest.approx(2 * noam.learning_rate(4000, 1024))


def test_inverse_square_root_peaks_at_the_end_of_the_warmup():
    """A peak one step off, or a decay that starts from the first step."""
    schedule = InverseSquareRoot(peak=0.005, warmup_steps=2000)
    assert schedule.learning_rate(1000, 128) == pytest.approx(0.0025)
    assert schedule.learning_rate(2000, 128) == pytest.approx(0.005)
    assert schedule.learning_rate(8000, 128) == pytest.approx(0.0025)


def test_linear_decay_ends_at_zero():
    """A rate below zero after the end, or one that never gets there."""
    schedule = LinearDecay(peak=0.01, total_steps=301, warmup_steps=100)
    assert schedule.learning_rate(50, 128) == pytest.approx(0.005)
    assert schedule.learning_rate(100, 128) == pytest.approx(0.01)
    assert schedule.learning_rate(300, 128) == pytest.approx(0.01 / 201)
    assert schedule.learning_rate(301, 128) == schedule.learning_rate(999, 128) == 0.0


def test_constant_after_its_warmup():
    """A division by a warm-up of no steps."""
    assert Constant(0.1).learning_rate(1, 128) == 0.1
    assert Constant(0.1, warmup_steps=10).learning_rate(5, 128) == pytest.approx(0.05)
    assert Constant(0.1, warmup_steps=10).learning_rate(11, 128) == 0.1


@pytest.mark.parametrize(
    "schedule",
    [
        Noam(warmup_steps=40),
        InverseSquareRoot(peak=0.01, warmup_steps=40),
        LinearDecay(peak=0.01, total_steps=200, warmup_steps=40),
    ],
)
def test_the_highest_rate_is_that_of_the_last_warmup_step(schedule):
    """A warm-up that is a step too long or too short, or a second peak after it."""
    rates = [schedule.learning_rate(step, 128) for step in range(1, 301)]
    assert rates.index(max(rates)) == 40 - 1
    assert rates.count(max(rates)) == 1


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        (Noam, {"factor": 0.0}),
        (Noam, {"warmup_steps": 0}),
        (InverseSquareRoot, {"peak": -1.0}),
        (InverseSquareRoot, {"peak": 1.0, "warmup_steps": 0}),
        (LinearDecay, {"peak": 1.0, "total_steps": 100}),
        (LinearDecay, {"peak": 0.0, "total_steps": 300}),
        (LinearDecay, {"peak": 1.0, "total_steps": 300, "warmup_steps": 0}),
        (Constant, {"rate": 0.0}),
        (Constant, {"rate": 1.0, "warmup_steps": -1}),
    ],
)
def test_impossible_settings_are_refused(schedule, settings):
    """A run that learns nothing, or a division by zero at its first step."""
    with pytest.raises(UserError, match=schedule.__name__):
        schedule(**settings)
