"""Token embeddings, scaled and with absolute positions."""

from __future__ import annotations

from torch import Tensor, nn

from qvbench.attention.dropout import Dropout
from qvbench.positions import Position


class Embeddings(nn.Module):
    """Token vectors times the square root of the width, plus an absolute position scheme.

    Args:
        tokens: the table, shared by encoder, decoder and output layer.
        position: scheme that acts on embeddings; one that does not is the identity here.
        dropout: applied to the sum.
    """

    def __init__(self, tokens: nn.Embedding, position: Position, dropout: float) -> None:
        super().__init__()
        self.tokens = tokens
        self.position = position
        self.dropout = Dropout(dropout)
        self.scale = tokens.embedding_dim**0.5

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Ids (B, L), the first of which stands at position ``start``, to (B, L, d)."""
        x: Tensor = self.dropout(self.position.embed(self.tokens(ids) * self.scale, start))
        return x
