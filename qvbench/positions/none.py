"""No position information at all."""

from __future__ import annotations

from qvbench.positions.interface import Position


class NoPosition(Position):
    """None: attention sees a bag of tokens (and, in a decoder, how many came before)."""
