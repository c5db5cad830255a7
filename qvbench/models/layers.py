"""What networks are built of: embeddings, layers around attention, and their initial weights.

Shape letters: B batch, L tokens, T target length, S source length, N hypotheses, d model width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qvbench.attention import Attention, core
from qvbench.attention.cache import KV, KVCache
from qvbench.attention.core import autocasts, without_autocast
from qvbench.errors import UserError
from qvbench.positions import Position

LAYER_NORM_EPS = 1e-6  # OpenNMT-py's
GPT2_STD = 0.02  # of initial weights

Sublayer = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Sublayer] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),  # GPT-2's
    "silu": F.silu,
}


def check_settings(sizes: dict[str, int], dropouts: tuple[float, ...]) -> None:
    """UserError for a size of a network below 1, and a dropout that is no probability below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"network: {name} must be at least 1, got {size}")
    if not all(0 <= p < 1 for p in dropouts):
        raise UserError("network: dropout probabilities must be in [0, 1)")


def self_attentions(
    layers: int,
    build_attention: Callable[..., Attention],
    build_position: Callable[[], Position],
) -> list[Attention]:
    """Of the layers of a stack, each with a position module of its own unless one serves all; a
    scheme that acts on the embeddings is in none."""
    schemes = [build_position() for _ in range(layers)]
    if schemes[0].shared:
        schemes = schemes[:1] * layers
    return [build_attention(position=None if s.absolute else s) for s in schemes]


def in_compute_dtype(x: Tensor) -> Tensor:
    """``x`` as autocast would hand it to a matrix product: cast once here, not once in each."""
    return x.to(torch.get_autocast_dtype(x.device.type)) if autocasts(x) else x


def float32_logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Logits (..., V) of hidden states (..., d), in float32 at least, under autocast too: rounded
    to bfloat16, one best token in a hundred would be tied with another."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with without_autocast(hidden):
        return F.linear(hidden.to(dtype), weight.to(dtype), bias.to(dtype))


class Embeddings(nn.Module):
    """Token vectors times a scale, plus the position scheme if it is absolute."""

    def __init__(
        self, tokens: nn.Embedding, position: Position, dropout: float, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.position = position if position.absolute else Position(position.num_heads)
        self.dropout = dropout
        self.scale = scale

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Ids (B, L), the first at position ``start``, to (B, L, d)."""
        x = self.tokens(ids)
        if self.scale != 1.0:
            x = x * self.scale
        return core.dropout(self.position.embed(x, start), self.dropout, self.training)


class PreNorm(nn.Module):
    """``x + dropout(f(norm(x)))``: the recipe's placement."""

    def __init__(self, build_norm: Callable[[], nn.Module], dropout: float) -> None:
        super().__init__()
        self.norm = build_norm()
        self.dropout = dropout

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        y = sublayer(in_compute_dtype(self.norm(x)))
        return x + core.dropout(y, self.dropout, self.training)


class PostNorm(PreNorm):
    """``norm(x + dropout(f(x)))``: the original Transformer's placement."""

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        y = sublayer(in_compute_dtype(x))
        normed: Tensor = self.norm(x + core.dropout(y, self.dropout, self.training))
        return normed


NORM_PLACEMENTS: dict[str, type[PreNorm]] = {"pre": PreNorm, "post": PostNorm}


class FeedForward(nn.Module):
    """``W_2 dropout(activation(W_1 x))``, without bias in the recipe."""

    def __init__(
        self, d_model: int, width: int, dropout: float, activation: str, bias: bool = False
    ) -> None:
        super().__init__()
        self.widen = nn.Linear(d_model, width, bias=bias)
        self.narrow = nn.Linear(width, d_model, bias=bias)
        self.dropout = dropout
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.widen(x))
        return self.narrow(core.dropout(hidden, self.dropout, self.training))


class SwiGLU(FeedForward):
    """``W_2 dropout(silu(W_g x) * W_1 x)`` (Shazeer 2020, arXiv:2002.05202, equation 6)."""

    def __init__(self, d_model: int, width: int, dropout: float, bias: bool = False) -> None:
        super().__init__(d_model, width, dropout, "silu", bias)
        self.gate = nn.Linear(d_model, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.gate(x)) * self.widen(x)
        return self.narrow(core.dropout(hidden, self.dropout, self.training))


class _SelfAttentionLayer(nn.Module):
    """Self-attention and feed-forward, each in a ``residual`` (norm, dropout, sum)."""

    def __init__(
        self, attention: Attention, feed_forward: FeedForward, residual: Callable[[], PreNorm]
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_residual = residual()
        self.feed_forward_residual = residual()


class EncoderLayer(_SelfAttentionLayer):
    """Every token attends to all of its sentence."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, S, d) with a mask (B, S), true at tokens, to (B, S, d)."""
        x = self.attention_residual(x, lambda y: self.attention(y, mask=mask))
        return self.feed_forward_residual(x, self.feed_forward)


class CausalLayer(_SelfAttentionLayer):
    """Every token attends to those up to itself: a layer of a decoder without an encoder."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, d) to (B, L, d), with a further mask (B, 1, L, L) where there is one. Padding may
        stand on the right, hidden by the causal mask."""
        x = self.attention_residual(x, lambda y: self.attention(y, mask=mask, causal=True))
        return self.feed_forward_residual(x, self.feed_forward)

    def step(self, x: Tensor, cache: KVCache) -> Tensor:
        """The next tokens of N rows, (N, new, d) to (N, new, d), which join the cache."""
        x = self.attention_residual(x, lambda y: self.attention.step(y, cache))
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


def initialize_gpt2(network: nn.Module, layers: list[CausalLayer]) -> None:
    """GPT-2's start (Radford et al. 2019, section 2.3, and its code): normal with a deviation of
    0.02, divided by the root of their number in the matrices that write into the residual stream;
    zero for biases.

    Of linear layers and embeddings: what a mechanism holds for each head and what a position scheme
    learns start as they say themselves.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=GPT2_STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for layer in layers:
        for writes in (layer.attention.output, layer.feed_forward.narrow):
            nn.init.normal_(writes.weight, std=GPT2_STD * (2 * len(layers)) ** -0.5)
