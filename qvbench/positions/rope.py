"""RoPE: rotary positions (Su et al. 2021, RoFormer, arXiv:2104.09864, section 3.2)."""

from __future__ import annotations

from typing import Any

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

    shared = True  # what it keeps is the same for all layers

    def __init__(self, num_heads: int, d_model: int | None = None, base: float = 10000.0) -> None:
        super().__init__(num_heads, d_model)
        if base <= 1:
            raise UserError(f"RoPE: base must exceed 1, got {base}")
        self.base = base
        self._kept: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # a copy may be on another device

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
        # A rotation of a pair is a product of complex numbers, which one kernel computes.
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).to(dtype))
        turned = pairs * self._turns_from(start, length, width, pairs)
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)

    def turns(self, start: int, length: int, width: int, like: Tensor) -> Tensor:
        """``exp(1j * p * base^(-2 i / D))`` of positions p from ``start`` on and pairs i: complex
        (length, D / 2), of the type and on the device of ``like``."""
        settings: dict[str, Any] = {"device": like.device, "dtype": like.dtype.to_real()}
        exponents = torch.arange(0, width, 2, **settings) / width
        positions = torch.arange(start, start + length, **settings)
        angles = positions[:, None] * self.base**-exponents
        return torch.complex(angles.cos(), angles.sin())

    def _turns_from(self, start: int, length: int, width: int, like: Tensor) -> Tensor:
        """:meth:`turns`, kept from call to call; queries before the first key have none kept."""
        if start < 0 or torch.compiler.is_compiling():
            return self.turns(start, length, width, like)
        kept, end = self._kept, start + length
        fits = kept is not None and kept.shape[0] >= end and 2 * kept.shape[1] == width
        if kept is None or not fits or (kept.dtype, kept.device) != (like.dtype, like.device):
            # Made in validation or decoding, it is still to serve a training.
            with torch.inference_mode(False), torch.no_grad():
                kept = self.turns(0, max(64, 1 << (end - 1).bit_length()), width, like)
            self._kept = kept
        return kept[start:end]
