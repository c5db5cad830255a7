"""Learning rates against formulas worked out by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from qvbench.errors import UserError
from qvbench.training.schedules import (
    Constant,
    Cosine,
    InverseSquareRoot,
    LinearDecay,
    Noam,
    Schedule,
    end_with_training,
)


def test_noam_is_the_recipes() -> None:
    """Catches the width or the warm-up in the wrong power."""
    noam = Noam(factor=2.0, warmup_steps=4000)
    assert noam.learning_rate(1, 1024) == pytest.approx(2 / 32 / 4000**1.5)
    assert noam.learning_rate(4000, 1024) == pytest.approx(2 / 32 / 4000**0.5)
    assert noam.learning_rate(16000, 1024) == pytest.approx(noam.learning_rate(4000, 1024) / 2)
    assert noam.learning_rate(4000, 256) == pytest.approx(2 * noam.learning_rate(4000, 1024))


def test_inverse_square_root_peaks_at_the_end_of_the_warmup() -> None:
    """Catches a peak one step off, or a decay that starts from the first step."""
    schedule = InverseSquareRoot(peak=0.005, warmup_steps=2000)
    assert schedule.learning_rate(1000, 128) == pytest.approx(0.0025)
    assert schedule.learning_rate(2000, 128) == pytest.approx(0.005)
    assert schedule.learning_rate(8000, 128) == pytest.approx(0.0025)


def test_linear_decay_ends_at_zero() -> None:
    """Catches a rate below zero after the end, or one that never gets there."""
    schedule = LinearDecay(peak=0.01, total_steps=300, warmup_steps=100)
    assert schedule.learning_rate(50, 128) == pytest.approx(0.005)
    assert schedule.learning_rate(100, 128) == pytest.approx(0.01)
    assert schedule.learning_rate(300, 128) == pytest.approx(0.01 / 201)
    assert schedule.learning_rate(301, 128) == schedule.learning_rate(999, 128) == 0.0


def test_half_a_cosine_ends_at_the_final_rate() -> None:
    """Catches a cosine that is half as long or twice as long, or rises again after the end."""
    schedule = Cosine(peak=0.01, final=0.001, total_steps=300, warmup_steps=100)
    assert schedule.learning_rate(50, 128) == pytest.approx(0.005)
    assert schedule.learning_rate(150, 128) == pytest.approx(0.0055 + 0.0045 * 0.5**0.5)
    assert schedule.learning_rate(200, 128) == pytest.approx(0.0055)
    assert schedule.learning_rate(300, 128) == schedule.learning_rate(999, 128) == 0.001


def test_a_training_shorter_than_its_warmup_only_warms_up() -> None:
    """Catches a division by zero, or a negative rate, in a run of a few steps to try things."""
    for total_steps in (3, 99, 100):
        for schedule in (
            LinearDecay(peak=0.01, total_steps=total_steps, warmup_steps=100),
            Cosine(peak=0.01, final=0.001, total_steps=total_steps, warmup_steps=100),
        ):
            for step in (1, 2, total_steps):
                assert schedule.learning_rate(step, 128) == pytest.approx(0.01 * step / 100)


def test_constant_after_its_warmup() -> None:
    """Catches a division by a warm-up of no steps."""
    assert Constant(0.1).learning_rate(1, 128) == 0.1
    assert Constant(0.1, warmup_steps=10).learning_rate(5, 128) == pytest.approx(0.05)
    assert Constant(0.1, warmup_steps=10).learning_rate(11, 128) == 0.1


@pytest.mark.parametrize(
    "schedule",
    [
        Noam(warmup_steps=40),
        InverseSquareRoot(peak=0.01, warmup_steps=40),
        LinearDecay(peak=0.01, total_steps=300, warmup_steps=40),
        Cosine(peak=0.01, final=0.001, total_steps=300, warmup_steps=40),
    ],
)
def test_the_highest_rate_is_that_of_the_last_warmup_step(schedule: Schedule) -> None:
    """Catches a warm-up that is a step too long or too short, or a second peak after it."""
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
        (LinearDecay, {"peak": 1.0, "total_steps": 0}),
        (LinearDecay, {"peak": 0.0, "total_steps": 300}),
        (LinearDecay, {"peak": 1.0, "total_steps": 300, "warmup_steps": 0}),
        (Cosine, {"peak": 1.0, "final": 0.0}),
        (Constant, {"rate": 0.0}),
        (Constant, {"rate": 1.0, "warmup_steps": -1}),
    ],
)
def test_impossible_settings_are_refused(
    schedule: type[Schedule], settings: dict[str, float]
) -> None:
    """Catches a run that learns nothing, or a division by zero at its first step."""
    with pytest.raises(UserError, match=schedule.__name__):
        schedule(**settings)


def linear(total_steps: int | None) -> dict[str, Any]:
    return {"class_path": "LinearDecay", "init_args": {"peak": 0.1, "total_steps": total_steps}}


def test_a_decay_ends_with_the_training() -> None:
    """Catches `--trainer.max_steps 1500` that trains 500 steps at rate zero and says nothing."""
    schedule = linear(None)
    end_with_training(schedule, 1500)
    assert schedule == linear(1500)
    end_with_training(schedule, 1500)  # the resolved config, given again
    assert schedule == linear(1500)
    given = linear(700)
    end_with_training(given, -1)  # a budget of tokens or minutes
    assert given == linear(700)
    for other in (None, {"class_path": "Noam", "init_args": {"factor": 2.0}}):
        before = copy.deepcopy(other)
        end_with_training(other, 1500)
        assert other == before


def test_a_decay_that_does_not_end_with_the_training_is_refused() -> None:
    """Catches a rate that is cut off half way, or zero long before the end."""
    with pytest.raises(UserError, match=r"total_steps is 1000, but trainer\.max_steps is 1500"):
        end_with_training(linear(1000), 1500)
    with pytest.raises(UserError, match="LinearDecay ends with the training"):
        end_with_training(linear(None), -1)
    for total_steps in (None, 1000):  # the config of a run that was trained, only tested
        end_with_training(linear(total_steps), -1 if total_steps is None else 7, fit=False)
