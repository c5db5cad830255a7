"""Running measures over target tokens: sums over the whole set, divided once at the end.

A mean of batch means would weigh a token by the size of its batch, and so depend on batching,
workers and devices. These metrics take counts that are summed already and stay on their device:
an update never waits for it. Whole numbers are kept as int64 and sums of losses as float64, so
that the order of the batches leaves no trace that anyone could see.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class TokenAccuracy(Metric):
    """Share of right target tokens in per cent: the paper's (OpenNMT-py's) accuracy.

    Right is a non-padding target token, the end token included, that is the arg-max under teacher
    forcing (OpenNMT-py, ``onmt/utils/loss.py``). NaN while no token has been counted.
    """

    full_state_update = False
    higher_is_better = True
    correct: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correct", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, correct: Tensor, tokens: Tensor) -> None:
        """Add a batch: scalars, its right tokens and all its target tokens."""
        self.correct += correct.to(torch.int64)
        self.tokens += tokens.to(torch.int64)

    def compute(self) -> Tensor:
        """Per cent, float64."""
        return 100 * self.correct.double() / self.tokens


class TokenLoss(Metric):
    """Mean loss of a target token: in nats, where the loss is a negative log-likelihood.

    NaN while no token has been counted.
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, total: Tensor, tokens: Tensor) -> None:
        """Add a batch: scalars, the sum of its tokens' losses and the number of its tokens."""
        self.total += total.to(torch.float64)
        self.tokens += tokens.to(torch.int64)

    def compute(self) -> Tensor:
        """Loss per token, float64."""
        return self.total / self.tokens


class Perplexity(TokenLoss):
    """exp of the mean negative log-likelihood of a target token, over the whole set.

    Feed it the likelihood itself, not a loss with label smoothing in it.
    """

    def compute(self) -> Tensor:
        """Perplexity per token, float64."""
        return super().compute().exp()
