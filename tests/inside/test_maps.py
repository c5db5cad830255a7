"""The maps are the model's own: what they hold gives what each layer gave."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qvbench.attention import ATTENTION, core
from qvbench.inside.maps import LayerMap, attentions, capture
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS
from tests.pairs import MECHANISMS, SCHEMES, Part, allowed, label

pytestmark = pytest.mark.slow  # every test builds networks; `make test` runs them

SOURCE = torch.tensor([[5, 6, 7, 8, 3, 9, 4], [9, 8, 3, 0, 0, 0, 0]])
TARGET = torch.tensor([[2, 9, 8, 7, 6], [2, 4, 4, 0, 0]])
EVERY_SCHEME: list[Part] = [*SCHEMES, ("sinusoidal", {}), ("learned", {})]
each_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS, ids=map(label, MECHANISMS))


def strange(network_class: Any, mechanism: Part, scheme: Part, **layers: int) -> Any:
    """A network in float64, none of its parameters at a neutral initial value."""
    torch.manual_seed(0)
    attention = functools.partial(ATTENTION[mechanism[0]], **mechanism[1])
    position = functools.partial(POSITIONS[scheme[0]], **scheme[1])
    sizes = {"d_model": 32, "num_heads": 4, "ffn_dim": 24}
    network = network_class(11, 0, attention, position, **sizes, **layers).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, parameter.detach().mean().item(), 0.3)
    return network


def captured(mechanism: Part, scheme: Part) -> list[tuple[nn.Module, LayerMap]]:
    """The maps of both kinds of network, each with its attention."""
    translator = strange(EncoderDecoder, mechanism, scheme, encoder_layers=1, decoder_layers=1)
    language = strange(DecoderOnly, mechanism, scheme, layers=1)
    maps = [*capture(translator, SOURCE, TARGET), *capture(language, TARGET)]
    layers = [layer for net in (translator, language) for _, _, layer in attentions(net)]
    # Modules are listed layer by layer and so do they act: encoder, then decoder.
    return list(zip(layers, maps, strict=True))


def output_of(attention: Any, found: LayerMap) -> Tensor:
    weights = found.probabilities
    if found.factor is not None:
        weights = weights * found.factor
    values = core.repeat_heads(found.values, weights.shape[1])
    heads = torch.einsum("bhqk,bhkd->bqhd", weights, values.expand(-1, weights.shape[1], -1, -1))
    return attention.output(heads.flatten(2))


@each_mechanism
def test_probabilities_times_values_are_the_layers_output(mechanism: Part) -> None:
    """Catches maps of another scale, mask, rotation or coefficient than the model's, and PCM-V
    left out or counted twice."""
    for scheme in filter(functools.partial(allowed, mechanism), EVERY_SCHEME):
        for attention, found in captured(mechanism, scheme):
            torch.testing.assert_close(
                output_of(attention, found), found.output, rtol=0, atol=1e-10
            )
            assert (found.factor is not None) == attention.position.value_scaling


@each_mechanism
def test_rows_sum_to_one_and_see_what_they_may(mechanism: Part) -> None:
    """Catches PCM-V's factor within the probabilities, and attention to padding or the future."""
    scheme = next(s for s in reversed(SCHEMES) if allowed(mechanism, s))  # PCM-V where it may be
    kinds = []
    for _, found in captured(mechanism, scheme):
        kinds.append(found.kind)
        p = found.probabilities
        torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]), rtol=0, atol=1e-12)
        if found.kind in ("encoder", "cross"):
            assert not p[1, :, :, 3:].any()
        else:
            assert not p.triu(1).any()
    assert kinds == ["encoder", "decoder", "cross", "causal"]


@pytest.mark.parametrize("scheme", [("none", {}), ("rope", {}), ("t5", {}), ("alibi", {})])
def test_queries_and_keys_are_those_that_were_scored(scheme: Part) -> None:
    """Catches queries before their rotation beside keys after it."""
    for attention, found in captured(("gqa", {"num_kv_heads": 2}), scheme):
        q, k = found.queries, core.repeat_heads(found.keys, found.queries.shape[1])
        logits = q @ k.mT / q.shape[-1] ** 0.5
        bias = attention.position.bias(q.shape[2], k.shape[2])
        logits = logits if bias is None else logits + bias
        expected = logits.masked_fill(found.probabilities == 0, -torch.inf).softmax(-1)
        torch.testing.assert_close(found.probabilities, expected, rtol=0, atol=1e-12)


def test_a_network_is_left_as_it_was() -> None:
    """Catches hooks that stay, and maps of one pass that grow by the next."""
    network = strange(DecoderOnly, ("qv", {}), ("agf", {}), layers=2)
    before = network(TARGET)
    assert [found.name for found in capture(network, TARGET)] == [
        "layers.0.attention",
        "layers.1.attention",
    ]
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(network(TARGET), before)
