"""ALiBi: attention with linear biases (Press et al. 2022, arXiv:2108.12409)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qvbench.positions.interface import Position, offsets


def slopes(num_heads: int) -> list[float]:
    """The published slopes: ``2^(-8/n), 2^(-16/n), ...`` for n heads, a power of two.

    For another number, those of the next lower power of two, then every other one of the next
    higher, from the steepest on (the authors' code).
    """
    lower = 2 ** math.floor(math.log2(num_heads))
    first = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    between = [2 ** (-4 * (2 * i + 1) / lower) for i in range(num_heads - lower)]
    return first + between


class ALiBi(Position):
    """A fixed penalty on each logit, linear in the distance, steeper in some heads than others.

    The source has it for causal models. For encoders its authors propose
    (attention_with_linear_biases, issue 5), among others, slopes that differ to both sides: here
    keys to the right are penalized as by the head next in order (the last head's by the first),
    which is this suite's choice. A causal decoder sees the published bias.

    Args:
        directional: keys to the right have slopes of their own; else the distance alone counts,
            and an encoder is blind to reversal.
    """

    slope: Tensor

    def __init__(
        self, num_heads: int, d_model: int | None = None, directional: bool = True
    ) -> None:
        super().__init__(num_heads, d_model)
        self.label = "ALiBi" if directional else "ALiBi, symmetric"
        left = torch.tensor(slopes(num_heads))
        # One head has no next one: half its slope tells the sides apart.
        right = left.roll(-1) if num_heads > 1 else left / 2
        self.register_buffer("slope", torch.stack((left, right if directional else left)), False)
        self.symmetric = not directional

    def bias(self, q_len: int, k_len: int, first: int | None = None) -> Tensor:
        offset = offsets(q_len, k_len, first, self.slope.device).to(self.slope.dtype)
        left, right = self.slope[:, :, None, None]
        return torch.where(offset > 0, -right * offset, left * offset)
