"""Sums over the whole set: what a mean of means would get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from qvbench.metrics.accuracy import TokenMeans

BATCHES = [(1, 1, 0.25), (30, 100, 310.0), (0, 7, 28.0)]  # right, tokens, summed loss


def means(metric: TokenMeans, batches: list[tuple[int, int, float]]) -> dict[str, float]:
    for right, tokens, loss in batches:
        correct = torch.zeros(tokens, dtype=torch.float64)
        correct[:right] = 1
        nll = torch.zeros(tokens, dtype=torch.float64)
        nll[-1] = loss
        metric.update(correct, nll, 2 * nll)
    return {name: value.item() for name, value in metric.compute().items()}


def expected() -> dict[str, float]:
    mean = 338.25 / 108
    perplexity = torch.tensor(mean, dtype=torch.float64).exp().item()
    accuracy = 100 * 31 / 108
    return {
        "accuracy": accuracy,
        "loss": mean,
        "smoothed_loss": 2 * mean,
        "perplexity": perplexity,
    }


def test_means_are_of_all_tokens_and_reset_forgets() -> None:
    """Catches a mean of batch means (43.3 here), an accuracy that is not in per cent, a mean of
    perplexities or one of the smoothed loss, and an epoch whose means are of all epochs so far."""
    metric = TokenMeans()
    assert means(metric, BATCHES) == expected()
    metric.reset()
    assert means(metric, [(1, 2, 0.0)])["accuracy"] == 50


def test_counts_stay_exact_beyond_float32() -> None:
    """Catches float32 sums, where 2**24 + 1 is 2**24: a validation set has more tokens."""
    many = 2**24
    metric = TokenMeans()
    metric.update(torch.ones(many), torch.ones(many, dtype=torch.float64), torch.zeros(many))
    found = means(metric, [(1, 1, 0.5), (1, 1, 0.5), (0, 1, 0.0)])
    assert found["accuracy"] == 100 * (many + 2) / (many + 3)
    assert found["loss"] == (many + 1) / (many + 3)


def test_no_tokens_have_no_mean() -> None:
    """Catches an accuracy of 0 % or 100 % of an empty set."""
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(value.isnan() for value in TokenMeans().compute().values())


def _rank(rank: int, address: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    assert means(TokenMeans(), BATCHES[rank::2]) == expected()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_sum_their_counts(tmp_path: Path) -> None:
    """Catches states that are averaged or kept apart between devices."""
    mp.spawn(_rank, args=(f"{tmp_path}/rendezvous",), nprocs=2)
