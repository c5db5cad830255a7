"""Attention as a network used it: probabilities, queries, keys and values of every layer.

Shape letters: B batch, H heads, Hk and Hv key and value heads (divisors of H), Tq queries, Tk keys,
Dk key width, Dv value width, d model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qvbench.attention import Attention, core
from qvbench.models.layers import CausalLayer, DecoderLayer, EncoderLayer

Kind = Literal["encoder", "decoder", "cross", "causal"]

ATTENTIONS: dict[type[nn.Module], dict[str, Kind]] = {
    EncoderLayer: {"attention": "encoder"},
    DecoderLayer: {"attention": "decoder", "cross_attention": "cross"},
    CausalLayer: {"attention": "causal"},
}
"""Of each kind of layer its attentions, by the name of the attribute."""


@dataclass(frozen=True, eq=False)
class LayerMap:
    """One attention of a forward pass.

    ``probabilities * factor`` times ``values``, the heads side by side, through the output
    projection, is ``output``.

    Attributes:
        name: path in the network: ``encoder.0.attention``, ``decoder.2.cross_attention``.
        kind: ``encoder`` (self-attention to both sides), ``decoder`` (causal self-attention of an
            encoder-decoder), ``cross``, or ``causal`` (of a decoder-only network).
        layer: number within its stack, from 0.
        probabilities: (B, H, Tq, Tk), after softmax and mask; a row sums to one, or is zero where
            a query may look nowhere.
        factor: (H, Tq, Tk), what multiplies them before they meet the values (PCM-V); else None.
        queries: (B, H, Tq, Dk), as scored: after a scheme's rotation, before the division by
            the root of Dk.
        keys: (B, Hk, Tk, Dk), as scored. In QV they are the values.
        values: (B, Hv, Tk, Dv).
        output: (B, Tq, d), of the layer.
    """

    name: str
    kind: Kind
    layer: int
    probabilities: Tensor
    factor: Tensor | None
    queries: Tensor
    keys: Tensor
    values: Tensor
    output: Tensor


def capture(network: nn.Module, *ids: Tensor) -> list[LayerMap]:
    """The attentions of one pass, in the order in which they acted.

    Args:
        network: in evaluation mode, so that nothing is dropped out.
        ids: what its ``forward`` takes: source (B, S) and target (B, T), or text (B, L). What
            stands at padding is no part of a map's meaning; cut it off.
    """
    maps: list[LayerMap] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, kind, attention in attentions(network):
            hook = _recorder(name, kind, maps.append)
            hooks.callback(attention.register_forward_hook(hook, with_kwargs=True).remove)
        network(*ids)
    return maps


def attentions(network: nn.Module) -> Iterator[tuple[str, Kind, Attention]]:
    """Every attention of a network with its path and kind."""
    for path, module in network.named_modules():
        for attribute, kind in ATTENTIONS.get(type(module), {}).items():
            yield f"{path}.{attribute}", kind, getattr(module, attribute)


def _recorder(name: str, kind: Kind, record: Callable[[LayerMap], None]) -> Callable[..., None]:
    """A forward hook that records what an attention did."""
    number = int(name.split(".")[-2])

    def hook(
        attention: Attention, inputs: tuple[Tensor, ...], settings: dict[str, Any], output: Tensor
    ) -> None:
        q, k, v = attention.project(*inputs)
        batch, heads, q_len = q.shape[:3]
        k_len = k.shape[2]
        past = k_len - q_len
        mask = core.with_four_axes(settings.get("mask"), (batch, heads, q_len, k_len))
        q, k = attention.rotate(q, past), attention.rotate(k)
        terms = attention.terms(q_len, k_len, mask, settings.get("causal", False), past)
        # Kernels keep the weights to themselves. Where each value is a unit vector, their weighted
        # sum is the weights.
        units = torch.eye(k_len, dtype=q.dtype, device=q.device).expand(batch, 1, -1, -1)
        found = core.softmax_attention(q, k, units, terms._replace(value_scaling=False))
        factor = terms.coefficient if terms.value_scaling else None
        record(LayerMap(name, kind, number, found, factor, q, k, v, output))

    return hook
