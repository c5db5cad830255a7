"""What the whole model computes, in closed form: FLOPs of training, of prefill and of decoding.

Counted are matrix products, 2 FLOPs a multiply-add: attention by what its mechanism declares
(:class:`~qvbench.attention.cost.Cost`), feed-forward layers, and the output layer. Every pair of
query and key counts, masked or not, since dense kernels compute them all. Embeddings (a look-up),
norms, softmax, dropout and position schemes are no matrix products.

Shape letters: B sentences, S source length, T target length, d model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

from qvbench.attention import Attention
from qvbench.attention.cost import Cost
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.layers import DecoderLayer, EncoderLayer, FeedForward

FLOPS_PER_MULTIPLY_ADD = 2


class Size(NamedTuple):
    """A batch without padding.

    Attributes:
        batch: sentences, B.
        source: source tokens of each, S.
        target: target tokens of each, T; as many are predicted.
    """

    batch: int
    source: int
    target: int

    @property
    def target_tokens(self) -> int:
        """Target tokens of the batch."""
        return self.batch * self.target


REFERENCE = Size(batch=1, source=32, target=32)
"""What ``qvbench profile`` counts unless told otherwise, and what a run's record tells."""


@dataclass(frozen=True)
class Work:
    """FLOPs by the part of the model that they are done in."""

    attention: int = 0
    feed_forward: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """FLOPs of all parts."""
        return self.attention + self.feed_forward + self.output

    def __add__(self, other: Work) -> Work:
        return Work(
            self.attention + other.attention,
            self.feed_forward + other.feed_forward,
            self.output + other.output,
        )


def flops_per_target_token(network: EncoderDecoder, size: Size = REFERENCE) -> dict[str, float]:
    """FLOPs of each phase for a target token, as ``qvbench profile`` gives them.

    Raises:
        NotImplementedError: the mechanism declares no cost.
    """
    phases = {"train": training, "prefill": prefill, "decode": decode}
    return {
        name: per_target_token(phase(network, size).total, size) for name, phase in phases.items()
    }


def per_target_token(flops: int, size: Size) -> float:
    """A batch's FLOPs for each of its target tokens; a whole number as such."""
    whole, rest = divmod(flops, size.target_tokens)
    return flops / size.target_tokens if rest else whole


def training(network: EncoderDecoder, size: Size) -> Work:
    """Forward and backward of a batch: the network, its output layer, and their gradients.

    The gradient of a product is two products of its size. The inputs of the first layers need one
    too, because the embeddings are trained. The loss itself is no product.
    """
    batch, source, target = size
    forward, backward = 0, 0
    for layer in _encoder(network):
        forward += layer.attention.cost.forward(source, source)
        backward += layer.attention.cost.backward(source, source)
    for decoder_layer in _decoder(network):
        own, cross = decoder_layer.attention.cost, decoder_layer.cross_attention.cost
        forward += own.forward(target, target) + cross.forward(target, source)
        backward += own.backward(target, target) + cross.backward(target, source)
    feed_forward = source * _feed_forward(_encoder(network))
    feed_forward += target * _feed_forward(_decoder(network))
    return _flops(
        batch * (forward + backward),
        3 * batch * feed_forward,
        3 * batch * target * _output(network),
    )


def prefill(network: EncoderDecoder, size: Size) -> Work:
    """Encode the source and remember it for the cross-attention of every decoder layer."""
    batch, source, _ = size
    attention = sum(
        when_precomputed(layer.attention).forward(source, source) for layer in _encoder(network)
    )
    attention += source * sum(
        layer.cross_attention.cached_cost.memory for layer in _decoder(network)
    )
    return _flops(batch * attention, batch * source * _feed_forward(_encoder(network)), 0)


def decode(network: EncoderDecoder, size: Size) -> Work:
    """T steps from caches alone, one hypothesis a sentence.

    Step t remembers its token and looks at t keys of the target's past, the token itself counted,
    and at S keys of the source.
    """
    batch, source, target = size
    attention = 0
    for layer in _decoder(network):
        own, cross = layer.attention.cached_cost, layer.cross_attention.cached_cost
        attention += sum(own.memory + own.attend_cached(1, t) for t in range(1, target + 1))
        attention += target * cross.attend_cached(1, source)
    return _flops(
        batch * attention,
        batch * target * _feed_forward(_decoder(network)),
        batch * target * _output(network),
    )


def when_precomputed(attention: Attention) -> Cost:
    """The cost of a layer's ``forward`` where weights are fixed and precomputed, as in decoding.

    A mechanism that reads its keys alike in ``forward`` and in ``attend_cached``, and yet asks
    less of a query in ``attend_cached``, has multiplied matrices on the query's side into one, for
    ``forward`` too.
    """
    cost, cached = attention.cost, attention.cached_cost
    precomputes = (cost.key, cost.pair) == (cached.key, cached.pair)
    return replace(cost, query=cached.query) if precomputes else cost


def _flops(attention: int, feed_forward: int, output: int) -> Work:
    """Multiply-adds as FLOPs."""
    return Work(*(FLOPS_PER_MULTIPLY_ADD * n for n in (attention, feed_forward, output)))


def _feed_forward(layers: Iterable[EncoderLayer | DecoderLayer]) -> int:
    """Multiply-adds a token in the feed-forward networks of layers."""
    return sum(_weights(layer.feed_forward) for layer in layers)


def _weights(network: FeedForward) -> int:
    return network.widen.weight.numel() + network.narrow.weight.numel()


def _output(network: EncoderDecoder) -> int:
    """Multiply-adds a token in the output layer: d V."""
    return network.output_weight.numel()


def _encoder(network: EncoderDecoder) -> list[EncoderLayer]:
    return cast("list[EncoderLayer]", list(network.encoder))


def _decoder(network: EncoderDecoder) -> list[DecoderLayer]:
    return cast("list[DecoderLayer]", list(network.decoder))
