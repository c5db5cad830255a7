"""The same FLOPs as PyTorch counts them, and the caches that a decoding leaves, held to what the
mechanisms declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from qvbench.attention import ATTENTION, precomputed
from qvbench.models import formula
from qvbench.models.encoder_decoder import DecoderState, EncoderDecoder
from qvbench.models.formula import Size, Work
from qvbench.models.layers import DecoderLayer

PHASES: dict[str, Callable[[EncoderDecoder, Size], Work]] = {
    "train": formula.training,
    "prefill": formula.prefill,
    "decode": formula.decode,
}
"""What is counted, by the names of the profile's keys."""


class DisagreementError(RuntimeError):
    """What a mechanism declares is not what its layers do: a fault in the mechanism's file."""


class CacheNumbers(NamedTuple):
    """Numbers that one decoder layer keeps.

    Attributes:
        own: of a target token, for self-attention.
        cross: of a source token, for cross-attention.
    """

    own: int
    cross: int


class Counts(NamedTuple):
    """What a batch costs.

    Attributes:
        work: FLOPs of the whole batch by phase, of which the flop counter counted the same.
        cache: read off the tensors after the last step.
    """

    work: dict[str, Work]
    cache: CacheNumbers


def count(network: EncoderDecoder, size: Size) -> Counts:
    """Count a batch of random tokens by formula and by running it; dropout is off.

    Raises:
        DisagreementError: the two differ, or a cache holds other than was declared.
    """
    network.eval()
    work = {phase: by_formula(network, size) for phase, by_formula in PHASES.items()}
    ran, state = run(network, size)
    wrong = [
        f"{phase}: {work[phase].total} FLOPs by formula, {ran[phase]} counted"
        for phase in PHASES
        if work[phase].total != ran[phase]
    ]
    name = ATTENTION.name_of(type(network.encoder[0].attention))
    if wrong:
        raise DisagreementError(
            f"the cost that {name} declares is not that of its products, for {size}: "
            + "; ".join(wrong)
        )
    return Counts(work, read_cache(network, state))


def run(network: EncoderDecoder, size: Size) -> tuple[dict[str, int], DecoderState]:
    """FLOPs of the batch by phase, as PyTorch's flop counter counts them; the state at the end."""
    source, target = random_tokens(network, size)
    flops = {}
    with counter() as train:
        # Plainly: the fused loss of training computes the same three products, and a few for logs.
        logits = network.project(network(source, target))
        F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    flops["train"] = train.get_total_flops()
    network.zero_grad(set_to_none=True)
    with precomputed(network):  # what is folded once for given weights is no cost of a batch
        with counter() as prefill:
            state = network.start(source)
        with counter() as decode:
            for t in range(size.target):
                network.step(target[:, t], state)
    flops |= {"prefill": prefill.get_total_flops(), "decode": decode.get_total_flops()}
    return flops, state


@contextmanager
def counter() -> Iterator[FlopCounterMode]:
    """PyTorch's flop counter, with attention computed as the products that it is defined by.

    Fused kernels compute the scores again in their backward pass, which saves memory and is no
    part of what a model costs; and the counter does not know all of them.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
        yield mode


def random_tokens(network: EncoderDecoder, size: Size) -> tuple[Tensor, Tensor]:
    """Source (B, S) and target (B, T) ids without padding, always the same."""
    weight = network.output_weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(
        1, weight.shape[0], (size.batch, size.source + size.target), generator=generator
    )
    source, target = ids.to(weight.device).split([size.source, size.target], 1)
    return source.contiguous(), target.contiguous()


def read_cache(network: EncoderDecoder, state: DecoderState) -> CacheNumbers:
    """Numbers kept per token and decoder layer, read off the tensors of a decoding.

    Raises:
        DisagreementError: a layer's tensors hold other than its ``cache_size``.
    """
    found = set()
    layers = cast("list[DecoderLayer]", list(network.decoder))
    for layer, cache, source in zip(layers, state.caches, state.sources, strict=True):
        read = CacheNumbers(cache.elements_per_token(), source.elements_per_token())
        declared = CacheNumbers(layer.attention.cache_size, layer.cross_attention.cache_size)
        if read != declared:
            raise DisagreementError(
                f"{type(layer.attention).__name__}: a token leaves {read.own} numbers for "
                f"self-attention and {read.cross} for cross-attention, but cache_size says "
                f"{declared.own} and {declared.cross}"
            )
        found.add(read)
    (numbers,) = found  # one recipe builds all layers
    return numbers
