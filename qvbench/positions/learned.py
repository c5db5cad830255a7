"""Learned absolute positions (Gehring et al. 2017; Devlin et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qvbench.errors import UserError
from qvbench.positions.interface import Position


class Learned(Position):
    """A learned vector per position, added to the scaled embeddings.

    Encoder and decoder have a table each. Its entries start with a deviation of ``d^-0.5``, as
    fairseq's do: smaller than the scaled embeddings, which an untrained table must not drown.

    Args:
        num_heads: unused.
        d_model: width of the vectors, d.
        max_length: positions there are; nothing is known of a later one.

    Raises:
        UserError: ``d_model`` is not given, or a sequence is longer than the table.
    """

    def __init__(self, num_heads: int, d_model: int | None = None, max_length: int = 512) -> None:
        super().__init__(num_heads, d_model)
        if d_model is None or max_length < 1:
            raise UserError("Learned: needs d_model, and max_length from 1 on")
        self.label = "learned"
        self.max_length = max_length
        self.table = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5)

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Embeddings (B, L, d) plus the table's rows ``start`` to ``start + L``."""
        end = start + x.shape[1]
        if end > self.max_length:
            raise UserError(
                f"Learned: a sequence of {end} tokens, but there are {self.max_length} positions; "
                "raise max_length"
            )
        return x + self.table[start:end].to(x.dtype)
