"""The fused output layer and loss against PyTorch's own, and its chunks against each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from qvbench.models import loss
from qvbench.models.loss import training_totals, validation_scores


def _inputs(dtype: torch.dtype, rows: int = 37, vocabulary: int = 53, width: int = 11):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(vocabulary, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, vocabulary, (rows,), generator=generator)
    tensors = [t.to(dtype).requires_grad_() for t in (hidden, weight, bias)]
    return tensors, targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("chunk", [8, 37, 1024])
def test_loss_and_gradients_are_pytorchs(monkeypatch, smoothing, chunk):
    """A wrong closed form for the smoothed part, or a chunk counted twice."""
    monkeypatch.setattr(loss, "CHUNK_ROWS", chunk)
    ours, targets = _inputs(torch.float64)
    theirs, _ = _inputs(torch.float64)
    totals = training_totals(*ours, targets, smoothing)
    (totals.smoothed * 0.25).backward()
    logits = F.linear(*theirs)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    (expected * 0.25).backward()
    torch.testing.assert_close(totals.smoothed, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(totals.nll, F.cross_entropy(logits, targets, reduction="sum"))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-10)


def test_training_and_validation_count_the_same():
    """Two definitions of accuracy or loss, one for each phase."""
    tensors, targets = _inputs(torch.float64)
    targets[:20] = F.linear(*tensors).argmax(-1)[:20]
    train = training_totals(*tensors, targets, 0.1)
    valid = validation_scores(*tensors, targets, 0.1)
    assert train.tokens == train.sampled == len(valid.correct) == 37
    assert train.correct == valid.correct.sum() >= 20
    torch.testing.assert_close(train.smoothed, valid.smoothed.sum())
    torch.testing.assert_close(train.nll, valid.nll.sum())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float32(dtype):
    """A half-precision sum over the vocabulary, or probabilities that underflow to zero."""
    exact, targets = _inputs(torch.float32, rows=64, vocabulary=4096, width=16)
    low, _ = _inputs(torch.float32, rows=64, vocabulary=4096, width=16)
    reference = training_totals(*exact, targets, 0.1)
    reference.smoothed.backward()
    with torch.autocast("cpu", dtype=dtype):
        totals = training_totals(*low, targets, 0.1)
    totals.smoothed.backward()
    torch.testing.assert_close(totals.smoothed, reference.smoothed, rtol=5e-3, atol=0)
    for mine, other in zip(low, exact, strict=True):
        error = (mine.grad - other.grad).norm() / other.grad.norm()
        assert error < 0.02


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("others", [1, 500])
def test_a_likely_target_keeps_its_gradient_in_bfloat16(others: int, smoothing: float) -> None:
    """Catches one taken from a probability of eight bits: a target that is nearly certain has no
    gradient, or a wrong one, while the other tokens have theirs."""
    logits = torch.tensor([[8.0, *[0.0] * others]])
    weight = logits.t().bfloat16().requires_grad_()
    hidden, bias = torch.ones(1, 1), torch.zeros(1 + others)
    inputs = [x.bfloat16().requires_grad_() for x in (hidden, bias)]
    training_totals(inputs[0], weight, inputs[1], torch.tensor([0]), smoothing).smoothed.backward()
    found = inputs[1].grad  # of one row, that of its logits
    assert found is not None
    expected = logits.softmax(-1)[0] - smoothing / (1 + others)
    expected[0] -= 1 - smoothing
    if (others, smoothing) == (1, 0.0):
        assert found[0].item() == pytest.approx(-3.35e-4, rel=0.01)
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=1e-6)
    assert abs(found.float().sum()) < 0.01 * found.float().abs().sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_impossible_target_costs_what_it_costs(dtype: torch.dtype) -> None:
    """Catches log(0) where float32 probabilities underflow: a NaN that would end a run, or a loss
    of 87 nats where it is 400, which hides that a run diverges."""
    hidden = torch.tensor([[200.0], [-0.5]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    bias = torch.zeros(2, requires_grad=True)
    targets = torch.tensor([1, 1])
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        totals = training_totals(hidden, weight, bias, targets, 0.1)
    totals.smoothed.backward()
    logits = F.linear(hidden, weight, bias)
    nll = F.cross_entropy(logits, targets, reduction="sum")
    smoothed = F.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(totals.nll, nll, rtol=1e-4, atol=0)
    torch.testing.assert_close(totals.smoothed, smoothed, rtol=1e-4, atol=0)
    (expected,) = torch.autograd.grad(smoothed, hidden)
    torch.testing.assert_close(hidden.grad, expected, rtol=1e-2, atol=0)
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
