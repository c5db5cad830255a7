"""Sums over the whole set: what a mean of means would get wrong."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from qvbench.metrics.accuracy import Perplexity, TokenAccuracy, TokenLoss

BATCHES = [(1, 1, 0.25), (30, 100, 310.0), (0, 7, 28.0)]  # right, tokens, summed loss


def updated(metric: TokenAccuracy | TokenLoss, batches: list[tuple[int, int, float]]) -> Tensor:
    for right, tokens, loss in batches:
        first = right if isinstance(metric, TokenAccuracy) else loss
        metric.update(torch.tensor(first), torch.tensor(tokens))
    return metric.compute()


def test_accuracy_is_per_cent_of_all_tokens() -> None:
    """Catches a mean of batch means (43.3 here) and a share that is not in per cent."""
    assert updated(TokenAccuracy(), BATCHES).item() == 100 * 31 / 108


def test_loss_and_perplexity_are_of_all_tokens() -> None:
    """Catches a mean of batch means, and a mean of perplexities."""
    mean = 338.25 / 108
    assert updated(TokenLoss(), BATCHES).item() == mean
    expected = torch.tensor(mean, dtype=torch.float64).exp().item()
    assert updated(Perplexity(), BATCHES).item() == pytest.approx(expected, rel=1e-12)


def test_counts_stay_exact_beyond_float32() -> None:
    """Catches float32 sums, where 2**24 + 1 is 2**24: a validation set has more tokens."""
    many = 2**24
    accuracy = TokenAccuracy()
    for right in [many, 1, 1, 1]:
        accuracy.update(torch.tensor(right), torch.tensor(right))
    accuracy.update(torch.tensor(0), torch.tensor(1))
    assert accuracy.compute().item() == 100 * (many + 3) / (many + 4)
    loss = TokenLoss()
    for part in [float(many), 0.5, 0.5]:
        loss.update(torch.tensor(part), torch.tensor(1))
    assert loss.compute().item() == (many + 1) / 3


def test_reset_forgets() -> None:
    """Catches an epoch whose accuracy is that of all epochs so far."""
    accuracy = TokenAccuracy()
    updated(accuracy, BATCHES)
    accuracy.reset()
    assert updated(accuracy, [(1, 2, 0.0)]).item() == 50


def _rank(rank: int, address: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    mine = BATCHES[rank::2]
    assert updated(TokenAccuracy(), mine).item() == 100 * 31 / 108
    assert updated(TokenLoss(), mine).item() == 338.25 / 108
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_sum_their_counts(tmp_path: object) -> None:
    """Catches states that are averaged or kept apart between devices."""
    mp.spawn(_rank, args=(f"{tmp_path}/rendezvous",), nprocs=2)
