"""Position schemes by name. A new scheme is one file and one line here."""

from __future__ import annotations

from typing import Any

from qvbench.positions.absolute import Learned, Sinusoidal
from qvbench.positions.agf import AGF
from qvbench.positions.alibi import ALiBi
from qvbench.positions.interface import NoPosition, Position, PositionFactory
from qvbench.positions.kerple import Kerple
from qvbench.positions.rope import RoPE
from qvbench.positions.t5 import T5
from qvbench.registry import Registry

POSITIONS: Registry[Position] = Registry("position scheme")
POSITIONS.register("none", NoPosition)
POSITIONS.register("sinusoidal", Sinusoidal)
POSITIONS.register("learned", Learned)
POSITIONS.register("rope", RoPE)
POSITIONS.register("alibi", ALiBi)
POSITIONS.register("t5", T5)
POSITIONS.register("kerple", Kerple)
POSITIONS.register("agf", AGF)


def build_position(name: str, *, num_heads: int, **settings: Any) -> Position:
    """A position scheme by its registry name; UserError, which lists the names, if unknown."""
    return POSITIONS[name](num_heads=num_heads, **settings)


__all__ = ["POSITIONS", "Position", "PositionFactory", "build_position"]
