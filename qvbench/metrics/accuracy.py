"""Token accuracy and losses of a whole set: sums over target tokens, divided once at the end."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class TokenMeans(Metric):
    """Accuracy, loss, smoothed loss and perplexity per target token, over all batches and devices.

    A mean of batch means would weigh a token by the size of its batch. Sums are kept as float64 on
    the device, whole numbers exactly: an update never waits, and the order of the batches leaves
    no trace. All means are NaN while no token has been counted.
    """

    full_state_update = False
    sums: Tensor  # (3,): correct, negative log-likelihood, smoothed loss
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, correct: Tensor, nll: Tensor, smoothed: Tensor) -> None:
        """Add target tokens (N,): whether the arg-max is right, and both losses in nats."""
        self.sums += torch.stack([each.sum().double() for each in (correct, nll, smoothed)])
        self.tokens += len(correct)

    def compute(self) -> dict[str, Tensor]:
        """The means, float64; ``accuracy`` in per cent.

        Accuracy is the paper's (OpenNMT-py, ``onmt/utils/loss.py``): the share of target tokens,
        the end token included and padding not, that are the arg-max under teacher forcing.
        """
        correct, nll, smoothed = self.sums.unbind()
        loss = nll / self.tokens
        return {
            "accuracy": 100 * correct / self.tokens,
            "loss": loss,
            "smoothed_loss": smoothed / self.tokens,
            "perplexity": loss.exp(),
        }
