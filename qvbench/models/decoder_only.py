"""A decoder-only Transformer, GPT-2's or Llama's blocks, around any mechanism and position scheme.

Shape letters: B rows, L tokens, N hypotheses, d model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from qvbench.attention import Attention, AttentionFactory
from qvbench.attention.cache import KVCache, reorder
from qvbench.models.layers import (
    NORM_PLACEMENTS,
    CausalLayer,
    Embeddings,
    FeedForward,
    SwiGLU,
    check_settings,
    float32_logits,
    initialize,
    initialize_gpt2,
    self_attentions,
)
from qvbench.positions import Position, PositionFactory


@dataclass
class CausalState:
    """What decoding carries along of N hypotheses."""

    caches: list[KVCache]  # one per layer
    length: int = 0  # tokens in the caches

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        """Hypothesis n continues old hypothesis ``rows[n]`` (N',)."""
        reorder(self.caches, rows)


class DecoderOnly(nn.Module):
    """Decoder-only Transformer: causal layers between embeddings and an output layer.

    The defaults are GPT-2's (Radford et al. 2019) without biases; with ``rms`` norms, ``swiglu``,
    an output layer of its own, grouped heads and RoPE it is Llama's (Touvron et al. 2023). Biases
    within attention are a setting of the mechanism; the output layer has none.

    Args:
        vocab_size: entries of the vocabulary, V.
        padding_id: what stands for no token in ids; -1 where every id is a token.
        layers: how many.
        ffn_dim: width between the feed-forward matrices.
        dropout: on embeddings and on what each sublayer adds.
        attention_dropout: on attention weights.
        ffn_dropout: on feed-forward activations.
        norm: layer norms or RMS norms.
        norm_eps: added to a norm's variance.
        placement: norms before each sublayer, and one at the end (``pre``), or after each residual
            (``post``).
        activation: of the feed-forward; ``gelu_tanh`` is GPT-2's approximation, ``swiglu`` has a
            third matrix.
        bias: in feed-forward and layer norms.
        tied: the output layer is the embeddings' table.
        initialization: GPT-2's, or ``glorot``, as the encoder-decoder has it.
    """

    def __init__(
        self,
        vocab_size: int,
        padding_id: int,
        attention: AttentionFactory,
        position: PositionFactory,
        *,
        d_model: int = 768,
        num_heads: int = 12,
        layers: int = 12,
        ffn_dim: int = 3072,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        ffn_dropout: float = 0.0,
        norm: Literal["layer", "rms"] = "layer",
        norm_eps: float = 1e-5,
        placement: Literal["pre", "post"] = "pre",
        activation: Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu"] = "gelu",
        bias: bool = False,
        tied: bool = True,
        initialization: Literal["gpt2", "glorot"] = "gpt2",
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "d_model": d_model, "num_heads": num_heads}
        sizes |= {"layers": layers, "ffn_dim": ffn_dim}
        check_settings(sizes, (dropout, attention_dropout, ffn_dropout))
        self.padding_id = padding_id
        self.d_model = d_model

        def build_norm() -> nn.Module:
            if norm == "rms":
                return nn.RMSNorm(d_model, eps=norm_eps)
            return nn.LayerNorm(d_model, eps=norm_eps, bias=bias)

        def feed_forward() -> FeedForward:
            if activation == "swiglu":
                return SwiGLU(d_model, ffn_dim, ffn_dropout, bias)
            return FeedForward(d_model, ffn_dim, ffn_dropout, activation, bias)

        residual = partial(NORM_PLACEMENTS[placement], build_norm, dropout)
        build_position = partial(position, num_heads=num_heads, d_model=d_model)
        build_attention = partial(
            attention, d_model=d_model, num_heads=num_heads, dropout=attention_dropout
        )
        scheme = build_position()
        # By sqrt(d) where positions are fixed (Vaswani et al. 2017, section 3.4), which would drown
        # vectors that start with a deviation of 0.02.
        scale = d_model**0.5 if scheme.absolute and scheme.fixed else 1.0
        self.embeddings = Embeddings(nn.Embedding(vocab_size, d_model), scheme, dropout, scale)
        self.layers = nn.ModuleList(
            CausalLayer(own, feed_forward(), residual)
            for own in self_attentions(layers, build_attention, build_position)
        )
        self.final_norm = build_norm() if placement == "pre" else nn.Identity()
        self.output = None if tied else nn.Linear(d_model, vocab_size, bias=False)
        # A constant: losses and tasks know of an output layer with a bias.
        self.register_buffer("output_bias", torch.zeros(vocab_size), persistent=False)
        self.output_bias: Tensor
        if initialization == "gpt2":
            initialize_gpt2(self, self._layers())
        else:
            initialize(self)

    @property
    def attention(self) -> Attention:
        """One of its layers, all of the same mechanism."""
        return self._layers()[0].attention

    @property
    def position(self) -> Position:
        """One module of the position scheme, from the embeddings or from a layer."""
        embedded = self.embeddings.position
        return embedded if embedded.absolute else self.attention.position

    @property
    def max_length(self) -> int | None:
        """Tokens that its position scheme has positions for; None for any number."""
        return self.position.max_length

    @property
    def cache_per_token(self) -> dict[str, int]:
        """Elements that a layer caches per token."""
        return {"self": self.attention.cache_size, "cross": 0}

    @property
    def output_weight(self) -> Tensor:
        """(V, d): the embeddings' table where they are tied."""
        return (self.output or self.embeddings.tokens).weight

    def forward(self, ids: Tensor, documents: Tensor | None = None) -> Tensor:
        """Ids (B, L) to hidden states (B, L, d), of which that at t predicts token t + 1.

        ``documents`` (B, L) are equal for tokens of one document, which attend to each other alone.
        """
        mask = None
        if documents is not None:
            mask = documents[:, None, :, None] == documents[:, None, None, :]
        x: Tensor = self.embeddings(ids)
        for layer in self.layers:
            x = layer(x, mask)
        y: Tensor = self.final_norm(x)
        return y

    def project(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., d) to logits (..., V)."""
        return nn.functional.linear(hidden, self.output_weight)

    def start(self, prompt: Tensor) -> CausalState:
        """Prefill: cache the tokens (N, L) of a prompt, but for the last, which is the first to be
        given to :meth:`step`; L may be 0."""
        state = CausalState([KVCache() for _ in self.layers])
        if prompt.shape[1]:
            self._cached(prompt, state)
        return state

    def step(self, tokens: Tensor, state: CausalState) -> Tensor:
        """Last tokens (N,) of all hypotheses to logits (N, V) of their next, in float32."""
        hidden = self._cached(tokens[:, None], state)[:, 0]
        return float32_logits(hidden, self.output_weight, self.output_bias)

    def _cached(self, ids: Tensor, state: CausalState) -> Tensor:
        """The next ids (N, new), which join the caches, to hidden states (N, new, d)."""
        x: Tensor = self.embeddings(ids, state.length)
        for layer, cache in zip(self._layers(), state.caches, strict=True):
            x = layer.step(x, cache)
        state.length += ids.shape[1]
        y: Tensor = self.final_norm(x)
        return y

    def _layers(self) -> list[CausalLayer]:
        return cast("list[CausalLayer]", list(self.layers))


class DecoderOnlyFactory(Protocol):
    """What a config makes of a network: built once the vocabulary is known."""

    def __call__(
        self,
        *,
        vocab_size: int,
        padding_id: int,
        attention: AttentionFactory,
        position: PositionFactory,
    ) -> DecoderOnly: ...
