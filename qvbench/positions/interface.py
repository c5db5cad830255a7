"""What a position scheme may do, and where: hooks, each the identity unless overridden.

Shape letters: B batch, H heads, L length, Lq queries, Lk keys, D head width, d model width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


class Position(nn.Module):
    """A position scheme; this base class is the scheme that does nothing.

    A scheme acts in up to four places: on the embeddings (:meth:`embed`), on queries and keys
    (:meth:`rotate`), on the logits (:meth:`coefficient` or :meth:`coefficient_table` multiplies,
    :meth:`bias` adds) and on the values (``value_scaling``: the coefficient multiplies them too).
    Where it acts is read off the hooks that it overrides.

    Unless ``first``, the position of the first query, is given, the queries are the *last*
    ``q_len`` of ``k_len`` positions, as in a decoding step.
    ``d_model`` is for schemes that hold one vector per position.
    """

    label: str = ""  # for tables and figures; the class's name unless set
    absolute: ClassVar[bool] = False  # acts on the embeddings, and not in self-attention
    rotates: ClassVar[bool] = False  # queries and keys
    multiplies: ClassVar[bool] = False  # the logits
    by_table: ClassVar[bool] = False  # and by a function of the signed distance alone
    adds: ClassVar[bool] = False  # to the logits

    fixed: bool = False  # embeds by vectors with entries of about 1, which training cannot shrink
    shared: bool = False  # one module serves all layers of a stack; otherwise one per layer
    symmetric: bool = False  # acts in attention, but alike to the left and right of a query
    max_length: int | None = None  # positions there are, where that is limited
    value_scaling: bool = False  # the coefficient multiplies the values too (PCM-V)

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.label = cls.__dict__.get("label", cls.__name__)

        def overrides(hook: str) -> bool:
            return getattr(cls, hook) is not getattr(Position, hook)

        cls.absolute = overrides("embed")
        cls.rotates = overrides("rotate")
        cls.multiplies = overrides("coefficient") or overrides("coefficient_table")
        cls.by_table = cls.multiplies and not overrides("coefficient")
        cls.adds = overrides("bias")

    def __init__(self, num_heads: int, d_model: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads

    def incompatible_with(self, head_dim: int) -> str | None:
        """Why the scheme cannot act on heads of a width, if it cannot."""
        return None

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Embeddings (B, L, d), the first of which stands at position ``start``."""
        return x

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """Queries or a copy of the keys (B, H, L, D), the first at position ``start``."""
        return x

    def coefficient_table(self, q_len: int, k_len: int, first: int | None = None) -> Tensor | None:
        """(H, Lq + Lk - 1), float32, of which entry ``n - m + Lq - 1`` is for query m and key n."""
        return None

    def coefficient(self, q_len: int, k_len: int, first: int | None = None) -> Tensor | None:
        """Factor (H, Lq, Lk) on the logits, from the table unless overridden; ``None`` is one."""
        table = self.coefficient_table(q_len, k_len, first)
        return None if table is None else by_offset(table, q_len, k_len)

    def bias(self, q_len: int, k_len: int, first: int | None = None) -> Tensor | None:
        """Term (H, Lq, Lk) added to the scaled logits; ``None`` is zero."""
        return None


class NoPosition(Position):
    """None: attention sees a bag of tokens (and, in a decoder, how many came before)."""

    label = "none"


def offsets(q_len: int, k_len: int, first: int | None, device: torch.device) -> Tensor:
    """Position of each key minus that of each query, (Lq, Lk), int64."""
    start = k_len - q_len if first is None else first
    keys = torch.arange(k_len, device=device)
    return keys - torch.arange(start, start + q_len, device=device)[:, None]


def distances(q_len: int, k_len: int, first: int | None, device: torch.device) -> Tensor:
    """What :func:`offsets` holds, once each and in order: (Lq + Lk - 1,), int64."""
    start = k_len - q_len if first is None else first
    return torch.arange(1 - q_len - start, k_len - start, device=device)


def by_offset(table: Tensor, q_len: int, k_len: int) -> Tensor:
    """A table (H, Lq + Lk - 1) in the order of :func:`distances` for each query and key: (H, Lq,
    Lk), of which entry (m, n) is the table's ``n - m + Lq - 1``."""
    entry = offsets(q_len, k_len, 0, table.device) + q_len - 1
    return table.index_select(1, entry.flatten()).unflatten(1, (q_len, k_len))


class PositionFactory(Protocol):
    """What a config makes of a scheme: the model calls it once per stack or per layer."""

    def __call__(self, *, num_heads: int, d_model: int) -> Position: ...
