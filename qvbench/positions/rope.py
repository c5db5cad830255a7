"""RoPE: rotary positions (Su et al. 2021, RoFormer, arXiv:2104.09864, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from qvbench.errors import UserError
from qvbench.positions.interface import Position


class RoPE(Position):
    """Queries and a copy of the keys rotated by their position, so that scores know the offset.

    Columns ``2 i`` and ``2 i + 1`` are a pair, as in the source, turned at position p by the angle
    ``p * base^(-2 i / D)``. (Much code pairs column i with ``i + D / 2``: the same up to the order
    of the projections' rows.) In QV the value itself is not rotated.
    """

    def __init__(self, num_heads: int, d_model: int | None = None, base: float = 10000.0) -> None:
        super().__init__(num_heads, d_model)
        if base <= 1:
            raise UserError(f"RoPE: base must exceed 1, got {base}")
        self.base = base

    def incompatible_with(self, head_dim: int) -> str | None:
        reason = f"it rotates pairs of columns, but a head's width is {head_dim}; make it even"
        return reason if head_dim % 2 else None

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """As the base class has it; UserError if D is odd."""
        length, width = x.shape[-2:]
        if reason := self.incompatible_with(width):
            raise UserError(f"RoPE: {reason}")
        # Float32 at least: in 16 bits, far angles are noise.
        dtype = torch.promote_types(x.dtype, torch.float32)
        positions = torch.arange(start, start + length, device=x.device, dtype=dtype)
        exponents = torch.arange(0, width, 2, device=x.device, dtype=dtype) / width
        angles = positions[:, None] * self.base**-exponents
        # A rotation of a pair is a product of complex numbers, which one kernel computes.
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).to(dtype))
        turned = pairs * torch.complex(angles.cos(), angles.sin())
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)
