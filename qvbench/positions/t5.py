"""T5's relative position buckets (Raffel et al. 2020, arXiv:1910.10683, section 2.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qvbench.errors import UserError
from qvbench.positions.interface import Position, by_offset, distances


def bucket(offset: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """The bucket of each offset (key minus query), an integer tensor of any shape.

    Half of the buckets are for keys to the right. Of each half the first hold a distance each;
    the rest grow in the logarithm up to ``max_distance``, beyond which all share the last.
    """
    half = num_buckets // 2
    exact = half // 2
    distance = offset.abs()
    ratio = (distance.clamp(min=1).double() / exact).log() / math.log(max_distance / exact)
    grown = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return half * (offset > 0) + torch.where(distance < exact, distance, grown)


class T5(Position):
    """A learned bias on each logit, by head and by the bucket of the offset of key from query.

    Unlike in T5, left and right have buckets of their own in the decoder too, logits are divided by
    the root of the head's width as for all schemes, and the table starts at zero, as no position.

    Args:
        num_buckets: rows of the table, a multiple of 4; half of them for each side.
        max_distance: from which on all keys of a side share a bucket.
        shared: one table for all layers of a stack, as T5 has it, or one per layer.
    """

    def __init__(
        self,
        num_heads: int,
        d_model: int | None = None,
        num_buckets: int = 32,
        max_distance: int = 128,
        shared: bool = True,
    ) -> None:
        super().__init__(num_heads, d_model)
        if num_buckets < 4 or num_buckets % 4:
            raise UserError(f"T5: num_buckets must be a multiple of 4, got {num_buckets}")
        if max_distance <= num_buckets // 4:
            given = f"num_buckets {num_buckets}, got {max_distance}"
            raise UserError(f"T5: max_distance must exceed a quarter of {given}")
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.shared = shared
        self.table = nn.Parameter(torch.zeros(num_buckets, num_heads))

    def bias(self, q_len: int, k_len: int, first: int | None = None) -> Tensor:
        distance = distances(q_len, k_len, first, self.table.device)
        each = bucket(distance, self.num_buckets, self.max_distance)
        return by_offset(self.table[each].t(), q_len, k_len)
