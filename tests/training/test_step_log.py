"""What the log says of training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from qvbench.data.batching import Batch
from qvbench.models.loss import TokenTotals
from qvbench.tasks import step_log
from qvbench.tasks.step_log import StepLog, gradient_norm


def batch(padding: int) -> Batch:
    source = torch.ones(2, 5, dtype=torch.int64)
    source[0, 5 - padding :] = 0
    return Batch(source, torch.ones(2, 5, dtype=torch.int64), torch.arange(2))


def totals(nll: float, tokens: int, correct: int, judged: int | None = None) -> TokenTotals:
    values = (nll + 1.0, nll, tokens, correct, tokens if judged is None else judged)
    return TokenTotals(*(torch.tensor(float(v)) for v in values))


def task(scaler: object = None, steps: float = 0.0, global_step: int = 0) -> SimpleNamespace:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.5}], state={0: {"step": steps}})
    plugin = SimpleNamespace(scaler=scaler)
    trainer = SimpleNamespace(precision_plugin=plugin, global_step=global_step)
    return SimpleNamespace(optimizers=lambda: optimizer, trainer=trainer)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr(step_log.time, "perf_counter", lambda: now.time)
    return now


def test_a_line_is_per_token_and_without_validation(clock):
    """A mean of batch means, and a throughput that falls whenever the model is validated."""
    log = StepLog()
    log.start()
    log.add(batch(0), totals(30.0, 10, 5))
    log.add(batch(4), totals(10.0, 30, 5))
    log.end_step(torch.tensor(40), [torch.tensor([3.0]), torch.tensor([4.0])])
    clock.time += 2
    log.pause()
    clock.time += 50
    log.resume()
    clock.time += 2
    assert log.pending_target_tokens() == 40
    line = log.values(task())
    assert line["train/nll"] == 1.0
    assert line["train/loss"] == pytest.approx(42 / 40)
    assert line["train/accuracy"] == 25.0
    assert line["train/tokens_per_second"] == 10.0
    assert line["train/padding_efficiency"] == pytest.approx(36 / 40)
    assert line["train/grad_norm"] == 5.0
    assert line["new_target_tokens"] == 40.0
    assert log.values(task()) == {}
    assert log.pending_target_tokens() == 0


def test_a_line_is_of_its_own_steps_alone(clock):
    """Sums, tokens or seconds of the last line in this one; only its last step in the tokens."""
    log = StepLog()
    log.start()
    log.add(batch(0), totals(100.0, 10, 10))
    log.end_step(torch.tensor(10), [torch.ones(1)])
    clock.time += 30
    log.values(task())
    for nll in (30.0, 10.0):
        log.add(batch(0), totals(nll, 10, 4, judged=8))
        log.end_step(torch.tensor(10), [torch.ones(1)])
        clock.time += 2
    line = log.values(task())
    assert line["train/nll"] == 2.0
    assert line["train/accuracy"] == 50.0
    assert line["new_target_tokens"] == 20.0
    assert line["train/tokens_per_second"] == 5.0


def test_a_line_that_is_due_while_the_clock_is_stopped(clock):
    """The seconds of a validation, counted because the line itself stops the clock again."""
    log = StepLog()
    log.start()
    log.add(batch(0), totals(10.0, 10, 5))
    log.end_step(torch.tensor(10), [torch.ones(1)])
    clock.time += 2
    log.pause()
    clock.time += 50
    assert log.values(task())["train/tokens_per_second"] == 5.0


def test_skipped_steps_are_those_the_optimizer_did_not_count(clock):
    """Steps lost to overflow that nobody sees."""
    log = StepLog()
    log.start()
    log.add(batch(0), totals(30.0, 10, 5))
    log.end_step(torch.tensor(10), [torch.ones(1)])
    scaler = SimpleNamespace(get_scale=lambda: 1024.0)
    line = log.values(task(scaler, steps=7.0, global_step=10))
    assert (line["train/skipped_steps"], line["train/loss_scale"]) == (3.0, 1024.0)


def test_the_gradient_norm_is_of_all_together():
    """A mean of norms instead of the norm of everything."""
    gradients = [torch.full((2, 2), 1.5), torch.tensor([4.0])]
    torch.testing.assert_close(gradient_norm(gradients), torch.tensor(5.0))
