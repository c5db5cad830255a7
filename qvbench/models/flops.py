"""What a network computes: FLOPs of training, prefill and decoding, as PyTorch counts them.

A copy of the network runs on the meta device, where tensors have shapes and no values, under
:class:`torch.utils.flop_counter.FlopCounterMode`. Counted are matrix products, 2 FLOPs per
multiply-add, over all pairs of query and key, masked or not, as dense kernels compute them.
Embeddings (a lookup), norms, softmax, dropout and position schemes are no matrix products.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qvbench.attention import precomputed
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.layers import FeedForward


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

    def per_target_token(self, flops: int) -> float:
        """The batch's FLOPs per target token; a whole number as such."""
        tokens = self.batch * self.target
        return flops / tokens if flops % tokens else flops // tokens


REFERENCE = Size(batch=1, source=32, target=32)
"""The batch that a run's record counts, and ``qvbench profile`` by default."""


class Flops(NamedTuple):
    """FLOPs of a batch: of the whole network, and of its attention layers."""

    total: int
    attention: int


def flops_per_target_token(network: EncoderDecoder, size: Size = REFERENCE) -> dict[str, float]:
    """FLOPs of each phase per target token."""
    return {name: size.per_target_token(n.total) for name, n in count(network, size).items()}


def count(network: EncoderDecoder, size: Size) -> dict[str, Flops]:
    """FLOPs of a batch by phase: train, prefill, decode."""
    return {name: phase(network, size) for name, phase in PHASES.items()}


def training(network: EncoderDecoder, size: Size) -> Flops:
    """Forward and backward of a batch: network, plain output layer, gradients of all products.

    The gradient of a product is two products of its size; a frozen matrix needs one of them only.
    """
    network = on_meta(network)
    source, target = _tokens(size)
    with counter() as counted:
        logits = network.project(network(source, target))
        F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    other = _feed_forward(network.encoder) * size.source
    other += (_feed_forward(network.decoder) + network.output_weight.numel()) * size.target
    return _split(counted.get_total_flops(), 3 * other * size.batch)


def prefill(network: EncoderDecoder, size: Size) -> Flops:
    """Encode the source and fill the cache of every decoder layer's cross-attention."""
    network = on_meta(network)
    source, _ = _tokens(size)
    with precomputed(network), counter() as counted:
        network.start(source)
    other = _feed_forward(network.encoder) * size.source
    return _split(counted.get_total_flops(), other * size.batch)


def decode(network: EncoderDecoder, size: Size) -> Flops:
    """T steps from caches alone, one hypothesis per sentence.

    Step t attends to t tokens of the target and S of the source. Its FLOPs are linear in t, so two
    steps determine them all.
    """
    network = on_meta(network)
    source, target = _tokens(size)
    steps = []
    with precomputed(network):
        state = network.start(source)
        for _ in range(2):
            with counter() as counted:
                network.step(target[:, 0], state)
            steps.append(counted.get_total_flops())
    first, second = steps
    total = size.target * first + size.target * (size.target - 1) // 2 * (second - first)
    other = _feed_forward(network.decoder) + network.output_weight.numel()
    return _split(total, other * size.batch * size.target)


PHASES: dict[str, Callable[[EncoderDecoder, Size], Flops]] = {
    "train": training,
    "prefill": prefill,
    "decode": decode,
}


@contextmanager
def counter() -> Iterator[FlopCounterMode]:
    """PyTorch's flop counter, with attention computed as the products that define it.

    Fused kernels compute the scores again in their backward pass, which saves memory and is no
    part of what a model costs; and the counter does not know all of them.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
        yield mode


def on_meta(network: EncoderDecoder) -> EncoderDecoder:
    """A copy in evaluation mode whose tensors take no memory."""
    shapes: dict[int, Tensor] = {}
    for tensor in chain(network.parameters(), network.buffers()):
        shape = tensor.detach().to("meta")
        trained = isinstance(tensor, nn.Parameter)
        shapes[id(tensor)] = nn.Parameter(shape, tensor.requires_grad) if trained else shape
    return copy.deepcopy(network, memo=shapes).eval()


def _tokens(size: Size) -> tuple[Tensor, Tensor]:
    """Source (B, S) and target (B, T) ids."""
    source, target = (
        torch.empty(size.batch, length, dtype=torch.int64, device="meta")
        for length in (size.source, size.target)
    )
    return source, target


def _feed_forward(layers: nn.Module) -> int:
    """Multiply-adds per token in the feed-forward networks of layers: one per weight."""
    networks = (module for module in layers.modules() if isinstance(module, FeedForward))
    return sum(weight.numel() for network in networks for weight in network.parameters())


def _split(total: int, other_multiply_adds: int) -> Flops:
    """What is neither feed-forward nor output layer is attention's."""
    return Flops(total, total - 2 * other_multiply_adds)
