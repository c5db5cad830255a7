"""What records and profiles say of a network: parameters, FLOPs, attention kernels.

FLOPs are counted by :class:`torch.utils.flop_counter.FlopCounterMode` on a copy of the network on
the meta device. Counted are matrix products, 2 FLOPs per multiply-add, over all pairs of query and
key, masked or not. Embeddings (a lookup), norms, softmax, dropout and positions are none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qvbench.attention import Attention, precomputed
from qvbench.attention.triton import FUSED, REFERENCE, SDPA
from qvbench.errors import UserError
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.layers import FeedForward

Network = EncoderDecoder | DecoderOnly


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Parameters of a network, and those of its attention layers; shared ones count once."""
    layers = nn.ModuleList(m for m in network.modules() if isinstance(m, Attention))
    return {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in (("total", network), ("attention", layers))
    }


def attention_backend(network: nn.Module) -> dict[str, str] | None:
    """Which kernel computed self-attention, and why; none before the first batch.

    No scheme acts in cross-attention, which comes last; one layer that fell back speaks for all.
    """
    layers = [module for module in network.modules() if isinstance(module, Attention)]
    used = {of.backend.name: of.backend for of in reversed(layers) if of.backend is not None}
    names = (name for name in (REFERENCE, FUSED, SDPA) if name in used)
    return next((used[name]._asdict() for name in names), None)


class Size(NamedTuple):
    """A batch without padding: B sentences of S source and T target tokens. A decoder-only network
    is trained on the T alone, and decodes them after a prompt of S."""

    batch: int = 1
    source: int = 32
    target: int = 32  # as many are predicted

    def per_target_token(self, flops: int) -> float:
        """The batch's FLOPs per target token; a whole number as such."""
        tokens = self.batch * self.target
        return flops / tokens if flops % tokens else flops // tokens


def recorded_flops(network: Any) -> dict[str, dict[str, float]]:
    """FLOPs per target token by phase, of a batch of the default size, under the record's key;
    empty for other networks, for one with fewer positions, and for a user's mechanism that does not
    run on shapes alone."""
    if not isinstance(network, Network):
        return {}
    size = Size()
    try:
        flops = {name: size.per_target_token(n.total) for name, n in count(network, size).items()}
    except (NotImplementedError, RuntimeError, UserError):
        return {}
    return {"flops_per_target_token": flops}


class Flops(NamedTuple):
    """FLOPs of a batch: of the whole network, and of its attention layers."""

    total: int
    attention: int


def stacks(network: Network) -> tuple[Any, Any]:
    """The layers that read a source, or a prompt, and those that write the target."""
    if isinstance(network, EncoderDecoder):
        return network.encoder, network.decoder
    return network.layers, network.layers


def hidden_states(network: Any, source: Tensor, target: Tensor) -> Tensor:
    """Of the target (B, T, d), as training has them."""
    inputs = (source, target) if isinstance(network, EncoderDecoder) else (target,)
    hidden: Tensor = network(*inputs)
    return hidden


def count(network: Any, size: Size) -> dict[str, Flops]:
    """FLOPs of a batch by phase.

    * ``train``: forward and backward through network and output layer.
    * ``prefill``: encode the source and fill the caches of cross-attention, or of the prompt.
    * ``decode``: T steps from caches alone, one hypothesis per sentence. Step t attends to t tokens
      of the target and S of the source: linear in t, so two steps determine them all.
    """
    network = without_memory(network, "meta")
    ids = torch.empty(size.batch, size.source + size.target, dtype=torch.int64, device="meta")
    source, target = ids.split([size.source, size.target], 1)
    with counter() as train:
        logits = network.project(hidden_states(network, source, target))
        F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    steps = []
    with precomputed(network):
        with counter() as prefill:
            state = network.start(source)
        for _ in range(2):
            with counter() as counted:
                network.step(target[:, 0], state)
            steps.append(counted.get_total_flops())
    first, second = steps
    decode = size.target * first + size.target * (size.target - 1) // 2 * (second - first)

    def feed_forward(layers: nn.Module) -> int:
        """Multiply-adds per token: one per entry of a matrix, none per bias."""
        networks = (module for module in layers.modules() if isinstance(module, FeedForward))
        weights = (weight for each in networks for weight in each.parameters())
        return sum(weight.numel() for weight in weights if weight.dim() > 1)

    reads, writes = stacks(network)
    reading = feed_forward(reads) * size.source
    writing = (feed_forward(writes) + network.output_weight.numel()) * size.target
    trained = writing if reads is writes else reading + writing
    totals = {
        "train": (train.get_total_flops(), 3 * trained),
        "prefill": (prefill.get_total_flops(), reading),
        "decode": (decode, writing),
    }
    # What is neither feed-forward nor output layer is attention's.
    return {
        phase: Flops(total, total - 2 * size.batch * others)
        for phase, (total, others) in totals.items()
    }


@contextmanager
def counter() -> Iterator[FlopCounterMode]:
    """PyTorch's, with attention as the products that define it: fused kernels compute scores
    again in their backward pass, no part of what a model costs."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
        yield mode


def without_memory(network: Network, device: str) -> Any:
    """A copy in evaluation mode of shapes alone: on the meta device, or within a FakeTensorMode."""
    shapes: dict[int, Tensor] = {}
    for tensor in chain(network.parameters(), network.buffers()):
        shape = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        trained = isinstance(tensor, nn.Parameter)
        shapes[id(tensor)] = nn.Parameter(shape, tensor.requires_grad) if trained else shape
    return copy.deepcopy(network, memo=shapes).eval()
