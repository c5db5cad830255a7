"""No position information at all."""

from __future__ import annotations

from qvbench.positions.interface import Position


class NoPosition(Position):
    """None: attention sees a bag of tokens (and, in a decoder, how many came before)."""

    def __init__(self, num_heads: int, d_model: int | None = None) -> None:
        super().__init__(num_heads, d_model)
        self.label = "none"
