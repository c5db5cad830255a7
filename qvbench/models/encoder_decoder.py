"""The encoder-decoder Transformer of the recipe, around any mechanism and position scheme.

Shape letters: B batch, S source length, T target length, N hypotheses, d model width, V vocabulary.
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
    LAYER_NORM_EPS,
    NORM_PLACEMENTS,
    DecoderLayer,
    Embeddings,
    EncoderLayer,
    FeedForward,
    check_settings,
    float32_logits,
    in_compute_dtype,
    initialize,
    self_attentions,
)
from qvbench.positions import Position, PositionFactory


@dataclass
class DecoderState:
    """What decoding carries along: N hypotheses for B sentences, those of one in adjacent rows."""

    caches: list[KVCache]  # one per layer, the past of each hypothesis
    sources: list[KVCache]  # one per layer, keys and values of each sentence
    mask: Tensor  # (B, S), true at source tokens
    length: int = 0  # tokens decoded so far

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        """Hypothesis n continues old hypothesis ``rows[n]`` (N',) of one of ``sentences`` (B',),
        all unless given. What continues in its place is not copied."""
        reorder(self.caches, rows)
        if sentences is not None:
            reorder(self.sources, sentences)
            self.mask = self.mask.index_select(0, sentences)


class EncoderDecoder(nn.Module):
    """Encoder-decoder Transformer with shared embeddings and output layer.

    Pre-norm with a final layer norm, embeddings times sqrt(d), ReLU feed-forward, no biases but
    the output layer's, Glorot initialization: OpenNMT-py's Transformer. The mechanism serves
    self-attention of encoder and decoder and cross-attention; the position scheme acts on the
    embeddings or, one module per layer, in self-attention.

    Args:
        vocab_size: entries of the joint vocabulary, V.
        ffn_dim: width between the two feed-forward matrices.
        dropout: on embeddings and on what each sublayer adds.
        attention_dropout: on attention weights.
        ffn_dropout: on feed-forward activations.
        norm: layer norm before each sublayer (``pre``) or after its residual (``post``).
    """

    def __init__(
        self,
        vocab_size: int,
        padding_id: int,
        attention: AttentionFactory,
        position: PositionFactory,
        *,
        d_model: int = 512,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        ffn_dropout: float = 0.1,
        norm: Literal["pre", "post"] = "pre",
        activation: Literal["relu", "gelu", "silu"] = "relu",
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "d_model": d_model, "num_heads": num_heads}
        sizes |= {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
        sizes["ffn_dim"] = ffn_dim
        check_settings(sizes, (dropout, attention_dropout, ffn_dropout))
        self.padding_id = padding_id
        self.d_model = d_model

        feed_forward = partial(FeedForward, d_model, ffn_dim, ffn_dropout, activation)
        layer_norm = partial(nn.LayerNorm, d_model, eps=LAYER_NORM_EPS)
        residual = partial(NORM_PLACEMENTS[norm], layer_norm, dropout)
        build_position = partial(position, num_heads=num_heads, d_model=d_model)
        build_attention = partial(
            attention, d_model=d_model, num_heads=num_heads, dropout=attention_dropout
        )

        def stack(layers: int) -> list[Attention]:
            return self_attentions(layers, build_attention, build_position)

        def final_norm() -> nn.Module:
            return layer_norm() if norm == "pre" else nn.Identity()

        def embeddings() -> Embeddings:
            return Embeddings(tokens, build_position(), dropout, scale=d_model**0.5)

        tokens = nn.Embedding(vocab_size, d_model)
        self.source_embeddings = embeddings()
        self.target_embeddings = embeddings()
        self.encoder = nn.ModuleList(
            EncoderLayer(own, feed_forward(), residual) for own in stack(encoder_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(own, build_attention(position=None), feed_forward(), residual)
            for own in stack(decoder_layers)
        )
        self.encoder_norm = final_norm()
        self.decoder_norm = final_norm()
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        initialize(self)

    @property
    def attention(self) -> Attention:
        """One of its layers, all of the same mechanism."""
        return self._decoder_layers()[0].attention

    @property
    def position(self) -> Position:
        """One module of the position scheme, from the embeddings or from a layer."""
        embedded = self.target_embeddings.position
        return embedded if embedded.absolute else self.attention.position

    @property
    def max_length(self) -> int | None:
        """Tokens that its position scheme has positions for; None for any number."""
        return self.position.max_length

    @property
    def cache_per_token(self) -> dict[str, int]:
        """Elements that a decoder layer caches per target token (self) and source token (cross)."""
        layer = self._decoder_layers()[0]
        return {"self": layer.attention.cache_size, "cross": layer.cross_attention.cache_size}

    @property
    def output_weight(self) -> Tensor:
        """(V, d): the embeddings' table."""
        return self.source_embeddings.tokens.weight

    def encode(self, source: Tensor) -> Tensor:
        """Source ids (B, S) to the encoder's output (B, S, d)."""
        mask = self.source_mask(source)
        x = self.source_embeddings(source)
        for layer in self.encoder:
            x = layer(x, mask)
        return in_compute_dtype(self.encoder_norm(x))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source ids (B, S) and target ids without their last (B, T) to hidden states (B, T, d), of
        which that at t predicts target token t + 1."""
        memory, mask = self.encode(source), self.source_mask(source)
        x = self.target_embeddings(target)
        for layer in self.decoder:
            x = layer(x, memory, mask)
        return self.decoder_norm(x)

    def project(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., d) to logits (..., V)."""
        return nn.functional.linear(hidden, self.output_weight, self.output_bias)

    def start(self, source: Tensor) -> DecoderState:
        """Prefill: encode (B, S) and cache it, for any number of hypotheses per sentence."""
        memory = self.encode(source)
        layers = [layer.cross_attention for layer in self._decoder_layers()]
        sources = [KVCache.of(layer.cache_entries(memory)) for layer in layers]
        return DecoderState([KVCache() for _ in layers], sources, self.source_mask(source))

    def step(self, tokens: Tensor, state: DecoderState) -> Tensor:
        """Last tokens (N,) of all hypotheses to logits (N, V) of their next, in float32."""
        x = self.target_embeddings(tokens[:, None], state.length)
        layers = self._decoder_layers()
        for layer, cache, source in zip(layers, state.caches, state.sources, strict=True):
            x = layer.step(x, cache, source.kv(), state.mask)
        state.length += 1
        return float32_logits(self.decoder_norm(x[:, 0]), self.output_weight, self.output_bias)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))

    def source_mask(self, source: Tensor) -> Tensor:
        return source != self.padding_id


class NetworkFactory(Protocol):
    """What a config makes of a network: built once the vocabulary is known."""

    def __call__(
        self,
        *,
        vocab_size: int,
        padding_id: int,
        attention: AttentionFactory,
        position: PositionFactory,
    ) -> EncoderDecoder: ...
