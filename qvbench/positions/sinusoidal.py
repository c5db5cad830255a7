"""Sinusoidal positions added to the embeddings ("default" in the paper's tables 2 to 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qvbench.positions.interface import Position


def sinusoids(
    length: int, width: int, start: int = 0, device: torch.device | None = None
) -> Tensor:
    """The table of Vaswani et al. 2017, section 3.5: (length, width), float32.

    Even columns hold ``sin(p / 10000^(2i/width))``, odd columns the cosine of the same angle.
    """
    positions = torch.arange(start, start + length, device=device, dtype=torch.float32)
    pairs = (width + 1) // 2
    columns = torch.arange(pairs, device=device, dtype=torch.float32)
    frequencies = torch.exp(columns * (-2.0 * math.log(10000.0) / width))
    angles = positions[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


class Sinusoidal(Position):
    """Sines and cosines of the absolute position, added to the scaled embeddings."""

    def __init__(self, num_heads: int, d_model: int | None = None) -> None:
        super().__init__(num_heads, d_model)
        self.label = "sinusoidal"

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Embeddings (B, L, d) plus the table's rows ``start`` to ``start + L``."""
        return x + sinusoids(x.shape[1], x.shape[2], start, x.device).to(x.dtype)
