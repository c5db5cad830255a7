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
from qvbench.attention.core import Dropout, without_autocast
from qvbench.positions import Position

LAYER_NORM_EPS = 1e-6  # OpenNMT-py's

Sublayer = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Sublayer] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


def in_compute_dtype(x: Tensor) -> Tensor:
    """``x`` as autocast would hand it to a matrix product: cast once here, not once in each."""
    device = x.device.type
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if enabled else x


def float32_logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Logits (..., V) of hidden states (..., d), in float32 at least, under autocast too: rounded
    to bfloat16, one best token in a hundred would be tied with another."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with without_autocast(hidden):
        return F.linear(hidden.to(dtype), weight.to(dtype), bias.to(dtype))


class Embeddings(nn.Module):
    """Token vectors times the square root of the width, plus an absolute position scheme."""

    def __init__(self, tokens: nn.Embedding, position: Position, dropout: float) -> None:
        super().__init__()
        self.tokens = tokens
        self.position = position
        self.dropout = Dropout(dropout)
        self.scale = tokens.embedding_dim**0.5

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Ids (B, L), the first at position ``start``, to (B, L, d)."""
        return self.dropout(self.position.embed(self.tokens(ids) * self.scale, start))


class PreNorm(nn.Module):
    """``x + dropout(f(norm(x)))``: the recipe's placement."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        return x + self.dropout(sublayer(in_compute_dtype(self.norm(x))))


class PostNorm(PreNorm):
    """``norm(x + dropout(f(x)))``: the original Transformer's placement."""

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        return self.norm(x + self.dropout(sublayer(in_compute_dtype(x))))


NORM_PLACEMENTS: dict[str, type[PreNorm]] = {"pre": PreNorm, "post": PostNorm}


class FeedForward(nn.Module):
    """``W_2 dropout(activation(W_1 x))``, without bias as in the recipe."""

    def __init__(self, d_model: int, width: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.widen = nn.Linear(d_model, width, bias=False)
        self.narrow = nn.Linear(width, d_model, bias=False)
        self.dropout = Dropout(dropout)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.dropout(self.activation(self.widen(x))))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each in a ``residual`` (norm, dropout, sum)."""

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
        return self.feed_forward_residual(x, self.feed_forward)


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention (without positions, of which source and target have
    no common axis), feed-forward."""

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
        """(B, T, d) over the encoder's output (B, S, d) with mask (B, S): (B, T, d). Targets need
        none: padding stands on the right, hidden by the causal mask."""
        x = self.attention_residual(x, lambda y: self.attention(y, causal=True))
        x = self.cross_attention_residual(x, lambda y: self.cross_attention(y, memory, mask=mask))
        return self.feed_forward_residual(x, self.feed_forward)

    def step(self, x: Tensor, cache: KVCache, source: KV, mask: Tensor) -> Tensor:
        """The next token of N hypotheses, (N, 1, d) to (N, 1, d), from caches alone. The N / B of
        a sentence are queries of one cross-attention: the source is cached once per sentence."""

        def over_source(y: Tensor) -> Tensor:
            queries = y.view(mask.shape[0], -1, y.shape[-1])
            return self.cross_attention.attend_cached(queries, source, mask=mask).view_as(y)

        x = self.attention_residual(x, lambda y: self.attention.step(y, cache))
        x = self.cross_attention_residual(x, over_source)
        return self.feed_forward_residual(x, self.feed_forward)


def initialize(module: nn.Module) -> None:
    """Glorot-uniform (Glorot & Bengio 2010, equation 16) for every matrix, zero for biases.

    Embeddings included, as OpenNMT-py does. A stack (n, rows, columns) is initialized matrix by
    matrix: PyTorch would take its first axis for a fan. Position schemes initialize themselves.
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
