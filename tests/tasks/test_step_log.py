"""What the log says of training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from qvbench.models.loss import TokenTotals
from qvbench.tasks import steps
from qvbench.tasks.steps import StepLog


def ids(padding: int) -> tuple[torch.Tensor, ...]:
    source = torch.ones(2, 5, dtype=torch.int64)
    source[0, 5 - padding :] = 0
    return source, torch.ones(2, 5, dtype=torch.int64)


def totals(nll: float, tokens: int, correct: int, sampled: int | None = None) -> TokenTotals:
    values = (nll + 1.0, nll, tokens, correct, tokens if sampled is None else sampled)
    return TokenTotals(*(torch.tensor(float(v)) for v in values))


def itself(sums: torch.Tensor) -> torch.Tensor:
    return sums


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr(steps.time, "perf_counter", lambda: now.time)
    return now


def test_a_line_is_per_token_and_without_validation(clock: SimpleNamespace) -> None:
    """Catches a mean of batch means, and a throughput that falls with every validation."""
    log = StepLog()
    log.start()
    log.add(totals(30.0, 10, 5), ids(0), 0)
    log.add(totals(10.0, 30, 5), ids(4), 0)
    log.end_step(torch.tensor(40), [torch.tensor([3.0]), torch.tensor([4.0])], 0.5)
    clock.time += 2
    log.pause()
    clock.time += 50
    log.resume()
    clock.time += 2
    assert log.pending_target_tokens() == 40
    line = log.line(itself)
    assert line["train/nll"] == 1.0
    assert line["train/loss"] == pytest.approx(42 / 40)
    assert line["train/accuracy"] == 25.0
    assert line["train/tokens_per_second"] == 10.0
    assert line["train/padding_efficiency"] == pytest.approx(36 / 40)
    assert line["train/grad_norm"] == 5.0
    assert log.line(itself) == {}
    assert log.pending_target_tokens() == 0


def test_a_line_is_of_its_own_steps_alone(clock: SimpleNamespace) -> None:
    """Catches sums, tokens or seconds of the line before, or tokens of the last step alone."""
    log = StepLog()
    log.start()
    log.add(totals(100.0, 10, 10), ids(0), 0)
    log.end_step(torch.tensor(10), [torch.ones(1)], 0.5)
    clock.time += 30
    log.line(itself)
    for nll in (30.0, 10.0):
        log.add(totals(nll, 10, 4, sampled=8), ids(0), 0)
        log.end_step(torch.tensor(10), [torch.ones(1)], 0.5)
        clock.time += 2
    assert log.pending_target_tokens() == 20
    line = log.line(itself)
    assert line["train/nll"] == 2.0
    assert line["train/accuracy"] == 50.0
    assert line["train/tokens_per_second"] == 5.0


def test_a_line_that_is_due_while_the_clock_is_stopped(clock: SimpleNamespace) -> None:
    """Catches seconds of a validation, counted because the line itself stops the clock again."""
    log = StepLog()
    log.start()
    log.add(totals(10.0, 10, 5), ids(0), 0)
    log.end_step(torch.tensor(10), [torch.ones(1)], 0.5)
    clock.time += 2
    log.pause()
    clock.time += 50
    assert log.line(itself)["train/tokens_per_second"] == 5.0


def test_the_gradient_norm_is_of_all_together() -> None:
    """Catches a mean of norms instead of the norm of everything."""
    log = StepLog()
    log.end_step(torch.tensor(1), [torch.full((2, 2), 1.5), torch.tensor([4.0])], 0.5)
    torch.testing.assert_close(log.gradient_norm, torch.tensor(5.0))
