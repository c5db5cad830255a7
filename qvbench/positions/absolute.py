"""Absolute positions added to the scaled embeddings: sinusoidal and learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qvbench.errors import UserError
from qvbench.positions.interface import Position


class Sinusoidal(Position):
    """Sines and cosines of the position ("default" in the paper's tables 2 to 4).

    Of Vaswani et al. 2017, section 3.5, in float32: even columns hold ``sin(p / 10000^(2i/d))``,
    odd columns the cosine of the same angle.
    """

    label = "sinusoidal"
    fixed = True

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        length, width = x.shape[1:]
        positions = torch.arange(start, start + length, device=x.device, dtype=torch.float32)
        columns = torch.arange((width + 1) // 2, device=x.device, dtype=torch.float32)
        frequencies = torch.exp(columns * (-2.0 * math.log(10000.0) / width))
        angles = positions[:, None] * frequencies
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]
        return x + table.to(x.dtype)


class Learned(Position):
    """A learned vector per position (Gehring et al. 2017; Devlin et al. 2019).

    Encoder and decoder have a table each. Its entries start with a deviation of ``d^-0.5``, as
    fairseq's do: smaller than the scaled embeddings, which an untrained table must not drown.

    Args:
        max_length: positions there are; a longer sequence is a UserError.
        std: deviation of the entries at the start; ``d^-0.5`` if not given. GPT-2's, whose
            embeddings are not scaled, is 0.02.
    """

    label = "learned"
    max_length: int

    def __init__(
        self,
        num_heads: int,
        d_model: int | None = None,
        max_length: int = 512,
        std: float | None = None,
    ) -> None:
        super().__init__(num_heads, d_model)
        if d_model is None or max_length < 1:
            raise UserError("Learned: needs d_model, and max_length from 1 on")
        if std is not None and not std >= 0:
            raise UserError(f"Learned: std must be at least 0, got {std}")
        self.max_length = max_length
        self.table = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5 if std is None else std)

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        end = start + x.shape[1]
        if end > self.max_length:
            has = f"there are {self.max_length} positions; raise max_length"
            raise UserError(f"Learned: a sequence of {end} tokens, but {has}")
        return x + self.table[start:end].to(x.dtype)
