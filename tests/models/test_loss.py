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
