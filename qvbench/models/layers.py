"""What networks are built of: embeddings, layers around attention, and their initial weights.

Shape letters: B batch, L tokens, T target length, S source length, N hypotheses, d model width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qvbench.attention import Attention
from qvbench.attention.cache import KV, KVCache
from qvbench.attention.dropout import Dropout
from qvbench.positions import Position

LAYER_NORM_EPS = 1e-6  # OpenNMT-py's

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}

Sublayer = Callable[[Tensor], Tensor]


def in_compute_dtype(x: Tensor) -> Tensor:
    """``x`` as autocast would hand it to a matrix product: cast once here, not once in each."""
    device = x.device.type
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if enabled else x


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


class PreNorm(nn.Module):
    """``x + dropout(f(norm(x)))``: the recipe's placement."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        normed: Tensor = x + self.dropout(sublayer(in_compute_dtype(self.norm(x))))
        return normed


class PostNorm(PreNorm):
    """``norm(x + dropout(f(x)))``: the original Transformer's placement."""

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        normed: Tensor = self.norm(x + self.dropout(sublayer(in_compute_dtype(x))))
        return normed


NORM_PLACEMENTS: dict[str, type[PreNorm]] = {"pre": PreNorm, "post": PostNorm}


class FeedForward(nn.Module):
    """``W_2 dropout(activation(W_1 x))``, without bias as in the recipe.

    Args:
        d_model: width in and out.
        width: width between.
        dropout: applied to the activations.
        activation: a name in ``ACTIVATIONS``.
    """

    def __init__(self, d_model: int, width: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.widen = nn.Linear(d_model, width, bias=False)
        self.narrow = nn.Linear(width, d_model, bias=False)
        self.dropout = Dropout(dropout)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(self.dropout(self.activation(self.widen(x))))
        return y


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward.

    Args:
        attention: the layer's mechanism with its position scheme.
        feed_forward: the position-wise network.
        residual: builds the wrapper of one sublayer (norm, dropout, sum).
    """

    def __init__(
        self, attention: Attention, feed_forward: FeedForward, residual: Callable[[], PreNorm]
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_residual = residual()
        self.feed_forward_residual = residual()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, S, d) with a mask (B, S), true at tokens, to (B, S, d)."""
        x = self.attention_residual(x, lambda y: self.attention(y, mask=mask))
        x = self.feed_forward_residual(x, self.feed_forward)
        return x


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention over the encoder's output, feed-forward.

    Args:
        attention: causal self-attention.
        cross_attention: attention over the source; has no position scheme, since source and
            target have no common axis of positions.
        feed_forward: the position-wise network.
        residual: builds the wrapper of one sublayer.
    """

    def __init__(
        self,
        attention: Attention,
        cross_attention: Attention,
        feed_forward: FeedForward,
        residual: Callable[[], PreNorm],
    ) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward
        self.attention_residual = residual()
        self.cross_attention_residual = residual()
        self.feed_forward_residual = residual()

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) over the encoder's output (B, S, d) with mask (B, S): (B, T, d).

        Targets need no mask of their own: padding stands on the right, where the causal mask
        hides it from every token.
        """
        x = self.attention_residual(x, lambda y: self.attention(y, causal=True))
        x = self.cross_attention_residual(x, lambda y: self.cross_attention(y, memory, mask=mask))
        x = self.feed_forward_residual(x, self.feed_forward)
        return x

    def step(self, x: Tensor, cache: KVCache, source: KV, mask: Tensor) -> Tensor:
        """The next token of N hypotheses, (N, 1, d) to (N, 1, d), from caches alone.

        The N / B hypotheses of a sentence stand together, and are queries of one cross-attention:
        what is remembered of the source is kept once a sentence, not once a hypothesis.
        """

        def over_source(y: Tensor) -> Tensor:
            queries = y.view(mask.shape[0], -1, y.shape[-1])
            return self.cross_attention.attend_cached(queries, source, mask=mask).view_as(y)

        x = self.attention_residual(x, lambda y: self.attention.step(y, cache))
        x = self.cross_attention_residual(x, over_source)
        x = self.feed_forward_residual(x, self.feed_forward)
        return x


def initialize(module: nn.Module) -> None:
    """Glorot-uniform (Glorot & Bengio 2010, equation 16) for every matrix, zero for biases.

    Embeddings included, as OpenNMT-py does. A stack of matrices (n, rows, columns) is initialized
    matrix by matrix: PyTorch would take its first axis for a fan. Norms keep one and zero;
    position schemes initialize themselves, their parameters are no matrices.
    """
    if isinstance(module, Position | nn.LayerNorm | nn.RMSNorm):
        return
    for name, parameter in module.named_parameters(recurse=False):
        if name.endswith("bias") or parameter.dim() < 2:
            nn.init.zeros_(parameter)
        else:
            for matrix in parameter if parameter.dim() == 3 else (parameter,):
                nn.init.xavier_uniform_(matrix)
    for child in module.children():
        initialize(child)
