"""FLOPs and caches, against textbook counts and against real tensors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

from qvbench.attention import ATTENTION, build_attention, core, precomputed
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.facts import Size, count, counter, recorded_flops
from qvbench.positions import POSITIONS, build_position
from tests.pairs import D_MODEL, MECHANISMS, Part, label
from tests.pairs import build as one_layer
from tests.profile.conftest import VOCABULARY, build

pytestmark = pytest.mark.slow  # every one builds networks, and all run in `make test`

ODD = Size(batch=3, source=7, target=3)
PAPER = Size(batch=2, source=30, target=40)


class Layer(NamedTuple):
    """Multiply-adds of an attention layer, of :meth:`forward` and of a cached query.

    ``query`` includes the output projection; ``memory`` is made of a token once, ``key`` of a key
    whenever it is read; ``pair`` is the score and the weighted sum of a query and a key.
    """

    query: int
    memory: int
    key: int
    pair: int
    cached_query: int
    cached_pair: int

    def forward(self, queries: int, keys: int) -> int:
        return self.query * queries + (self.memory + self.key) * keys + self.pair * queries * keys


def paper_layers() -> dict[str, Layer]:
    """At the paper's size: d 1024, 16 heads of 64; a context of 64, and latents of 256."""
    d, heads, width = 1024, 16, 64
    context, rank = 64, 256
    up = heads * width * (context + width)  # W^K of all heads
    latent_up = heads * width * rank
    return {
        "qkv": Layer(2 * d * d, 2 * d * d, 0, 2 * d, 2 * d * d, 2 * d),
        "qv": Layer(2 * d * d, d * d, 0, 2 * d, 2 * d * d, 2 * d),
        "qvka": Layer(
            *(2 * d * d, d * d + d * context, up, 2 * d),
            *(2 * d * d + up, heads * (context + 2 * width)),
        ),
        "mla": Layer(
            *(2 * d * d, d * rank, 2 * latent_up, 2 * d),
            *(2 * d * d + 2 * latent_up, heads * 2 * rank),
        ),
    }


@pytest.mark.parametrize("name", ["qkv", "qv", "qvka", "mla"])
def test_paper_sized_networks_cost_what_a_textbook_says(name: str) -> None:
    """Catches a phase or a part of the network left out, and products counted twice."""
    layer, d, ffn, vocabulary = paper_layers()[name], 1024, 2048, 1000
    with torch.device("meta"):
        network = EncoderDecoder(
            vocabulary,
            0,
            lambda **s: build_attention(name, **s),
            lambda **s: build_position("agf", **s),
            d_model=d,
            num_heads=16,
            ffn_dim=ffn,
            encoder_layers=1,
            decoder_layers=2,
        )
    b, s, t = PAPER
    feed_forward, output = 2 * d * ffn, d * vocabulary
    attention = layer.forward(s, s) + 2 * (layer.forward(t, t) + layer.forward(t, s))
    train = attention + (s + 2 * t) * feed_forward + t * output
    prefill = layer.forward(s, s) + s * (2 * layer.memory + feed_forward)
    own = t * (layer.memory + layer.cached_query) + t * (t + 1) // 2 * layer.cached_pair
    cross = t * layer.cached_query + t * s * layer.cached_pair
    decode = 2 * (own + cross + t * feed_forward) + t * output
    counted = count(network, PAPER)
    expected = {"train": 3 * train, "prefill": prefill, "decode": decode}
    assert {phase: n.total for phase, n in counted.items()} == {
        phase: 2 * b * n for phase, n in expected.items()
    }
    parts = {
        "train": 3 * attention,
        "prefill": layer.forward(s, s) + s * 2 * layer.memory,
        "decode": 2 * (own + cross),
    }
    assert {phase: n.attention for phase, n in counted.items()} == {
        phase: 2 * b * n for phase, n in parts.items()
    }


@pytest.mark.parametrize("bias", [False, True])
def test_a_decoder_only_network_costs_what_a_textbook_says(bias: bool) -> None:
    """Catches a prompt that is trained on, or left out of what decoding attends to; a stack that
    counts twice, as what reads and as what writes; and biases that attention is to pay for."""
    layer, d, ffn, vocabulary, layers = paper_layers()["qkv"], 1024, 2048, 1000, 3
    with torch.device("meta"):
        network = DecoderOnly(
            vocabulary,
            -1,
            lambda **s: build_attention("qkv", **s),
            lambda **s: build_position("rope", **s),
            d_model=d,
            num_heads=16,
            ffn_dim=ffn,
            layers=layers,
            bias=bias,
        )
    b, s, t = PAPER
    feed_forward, output = 2 * d * ffn, d * vocabulary
    pairs = t * s + t * (t + 1) // 2
    attention = {
        "train": 3 * layers * layer.forward(t, t),
        "prefill": layers * layer.forward(s, s),
        "decode": layers * (t * (layer.memory + layer.cached_query) + pairs * layer.cached_pair),
    }
    others = {
        "train": 3 * t * (layers * feed_forward + output),
        "prefill": s * layers * feed_forward,
        "decode": t * (layers * feed_forward + output),
    }
    for phase, counted in count(network, PAPER).items():
        assert counted.attention == 2 * b * attention[phase], phase
        assert counted.total == 2 * b * (attention[phase] + others[phase]), phase


def run(network: EncoderDecoder, size: Size) -> tuple[dict[str, int], Any]:
    """FLOPs of a batch by phase on real tensors, through all steps; the state at the end."""
    network.eval()
    ids = torch.randint(1, VOCABULARY, (size.batch, size.source + size.target))
    source, target = ids.split([size.source, size.target], 1)
    with counter() as train:
        logits = network.project(network(source, target))
        F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    with precomputed(network):
        with counter() as prefill:
            state = network.start(source)
        with counter() as decode:
            for t in range(size.target):
                network.step(target[:, t], state)
    counters = {"train": train, "prefill": prefill, "decode": decode}
    return {name: found.get_total_flops() for name, found in counters.items()}, state


def built() -> list[Any]:
    """Every mechanism, and those that cache something else under a scheme that rotates."""
    pairs = []
    for mechanism in MECHANISMS:
        plain, rotated = (one_layer(mechanism, (name, {})) for name in ("agf", "rope"))
        for name in ("agf", "rope")[: 1 + (plain.cache_size != rotated.cache_size)]:
            pairs.append(pytest.param(mechanism, (name, {}), id=f"{label(mechanism)}-{name}"))
    return pairs


@pytest.mark.parametrize(("mechanism", "scheme"), built())
def test_shapes_alone_cost_what_real_tensors_do(mechanism: Part, scheme: Part) -> None:
    """Catches another path on the meta device, a decoding whose steps do not grow evenly, and a
    cache that holds other than ``cache_size``."""
    network = build(mechanism, scheme)
    ran, state = run(network, ODD)
    assert {name: phase.total for name, phase in count(network, ODD).items()} == ran
    for layer, cache, source in zip(network.decoder, state.caches, state.sources, strict=True):
        for kept, attention in ((cache, layer.attention), (source, layer.cross_attention)):
            assert sum(t.shape[1] * t.shape[3] for t in kept.kv()) == attention.cache_size


@pytest.mark.parametrize("scheme", ["agf", "alibi"])
def test_a_long_sequence_is_counted_like_a_short_one(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Catches queries in blocks, of which the keys that nobody sees are left out, and those logits
    counted again that the backward pass computes again."""
    network = build(("qvka", {}), (scheme, {}))
    whole = count(network, ODD)
    monkeypatch.setattr(core, "MAX_LOGITS", 1)
    assert count(network, ODD) == whole


def test_position_schemes_cost_no_products() -> None:
    """Catches a scheme whose lookup is written as a matrix product."""
    costs = {name: count(build(("qkv", {}), (name, {})), ODD) for name in POSITIONS}
    assert all(cost == costs["none"] for cost in costs.values()), costs


@pytest.mark.parametrize("size", [Size(1, 1, 1), Size(2, 1, 4), Size(1, 9, 1)])
def test_edges(size: Size) -> None:
    """Catches kernels that take another path for a single sentence, query or key."""
    for mechanism in ("qkv", "qvka"):
        network = build((mechanism, {}), ("agf", {}))
        counted = {name: phase.total for name, phase in count(network, size).items()}
        assert counted == run(network, size)[0]


def test_counting_leaves_the_network_as_it_was() -> None:
    """Catches gradients, a mode or a precomputed weight that counting leaves behind."""
    network = build(("keyless", {}), ("agf", {})).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert count(network, ODD) == count(network, ODD)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(m.backend is None for m in network.modules() if hasattr(m, "backend"))


def test_a_frozen_matrix_costs_no_gradient_of_its_own() -> None:
    """Catches a copy whose parameters are all trained."""
    learned, frozen = (
        count(build(("shared_key", {"frozen": f}), ("none", {})), ODD) for f in (False, True)
    )
    layers_by_tokens = ODD.source + 2 * (ODD.target + ODD.source)
    saved = 2 * ODD.batch * layers_by_tokens * D_MODEL * (D_MODEL // 4)
    assert learned["train"].total - frozen["train"].total == saved
    assert learned["decode"] == frozen["decode"]


def test_attention_is_counted_as_its_products() -> None:
    """Catches a kernel that recomputes scores in its backward pass, or that is not counted."""
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 7, 7))
    with counter() as forward:
        y = F.scaled_dot_product_attention(q, k, v)
    with counter() as backward:
        y.sum().backward()
    product = 2 * 2 * 3 * 5 * 7 * 8
    assert forward.get_total_flops() == 2 * product
    assert backward.get_total_flops() == 4 * product


def test_decoding_attends_to_a_growing_past() -> None:
    """Catches the mean over the steps taken as the last step, or as the first."""
    network = build(("qv", {}), ("none", {}))
    costs = [count(network, Size(1, 4, t))["decode"].total for t in range(1, 5)]
    steps = [after - before for before, after in pairwise(costs)]
    assert {b - a for a, b in pairwise(steps)} == {2 * 2 * 2 * D_MODEL}


def test_a_record_has_what_profile_counts() -> None:
    """Catches FLOPs of a batch for those of a token, or of another length than profile's."""
    network = build(("qvka", {}), ("agf", {}))
    recorded = recorded_flops(network)["flops_per_target_token"]
    counted = count(network, Size())
    assert recorded == {phase: found.total / 32 for phase, found in counted.items()}


def test_a_mechanism_that_needs_values_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a user's own mechanism refused for what only a report would show."""
    network = build(("qv", {}), ("agf", {}))
    split = ATTENTION["qv"].split
    monkeypatch.setattr(ATTENTION["qv"], "split", lambda *a: (a[1].sum().item(), split(*a))[1])
    assert recorded_flops(network) == {}


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=label)
def test_caches_are_in_the_type_that_bytes_are_counted_in(mechanism: Part) -> None:
    """Catches float32 kept under autocast: twice the bytes that are printed."""
    network = build(mechanism, ("agf", {})).eval()
    ids = torch.randint(1, VOCABULARY, (2, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        state = network.start(ids)
        network.step(ids[:, 0], state)
    kept = [t for cache in (*state.caches, *state.sources) for t in cache.kv()]
    assert {t.dtype for t in kept} == {torch.bfloat16}
