"""What mechanisms declare, against PyTorch's flop counter and the tensors of a decoding."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from qvbench.attention import ATTENTION
from qvbench.attention.cost import Cost
from qvbench.errors import UserError
from qvbench.models import formula
from qvbench.models.formula import Size
from qvbench.positions import POSITIONS
from qvbench.profile.counting import DisagreementError, count, counter, run
from tests.pairs import D_MODEL, MECHANISMS, Part, allowed, label
from tests.profile.conftest import VOCABULARY, build

ODD = Size(batch=3, source=7, target=5)
SCHEMES: list[Part] = [(name, {}) for name in POSITIONS]


def built_pairs() -> list[Any]:
    """All that are not refused; a scheme on the embeddings is none to the mechanism."""
    pairs = []
    for mechanism in MECHANISMS:
        for scheme in SCHEMES:
            inside = ("none", {}) if POSITIONS[scheme[0]].absolute else scheme
            if allowed(mechanism, inside):
                name = f"{label(mechanism)}-{label(scheme)}"
                pairs.append(pytest.param(mechanism, scheme, id=name))
    return pairs


@pytest.mark.parametrize(("mechanism", "scheme"), built_pairs())
def test_formula_flop_counter_and_caches_agree(mechanism, scheme):
    """A declared cost that forgets a product, or counts one that decoding does not do; a cache
    that holds other than is declared. Lengths are odd and differ, so that none can stand for
    another."""
    network = build(mechanism, scheme)
    counts = count(network, ODD)
    layer = network.decoder[0]
    assert counts.cache == (layer.attention.cache_size, layer.cross_attention.cache_size)


def test_every_mechanism_is_counted():
    """A registry's mechanism that the pairs above leave out."""
    counted = {pair.values[0][0] for pair in built_pairs()}
    assert counted == set(ATTENTION)
    for scheme in ("none", "agf"):
        assert {p.values[0][0] for p in built_pairs() if p.values[1][0] == scheme} == counted


@pytest.mark.parametrize("size", [Size(1, 1, 1), Size(2, 1, 4), Size(1, 9, 1), Size(5, 8, 8)])
def test_formula_holds_at_the_edges(size):
    """Kernels that take another way for a single sentence, query or key."""
    for mechanism in (("qkv", {}), ("qvka", {}), ("mla", {})):
        count(build(mechanism, ("agf", {})), size)


def qkv_by_hand(size: Size) -> dict[str, int]:
    """QKV's FLOPs from the textbook, for the network of ``build``: d 32, 12 between, 1 + 2 layers.

    A token costs 8 d^2 in an attention's four projections, 4 d for each token looked at.
    """
    (b, s, t), d, f = size, D_MODEL, 12
    feed_forward, output = 4 * d * f, 2 * d * VOCABULARY
    encoder = s * (8 * d * d + 4 * d * s + feed_forward)
    own = t * (8 * d * d + 4 * d * t)
    queries, memory, looks = t * 4 * d * d, s * 4 * d * d, 4 * d * s * t
    decoder = own + queries + memory + looks + t * feed_forward
    past = 4 * d * t * (t + 1) // 2
    steps = t * 8 * d * d + past + queries + looks + t * feed_forward
    return {
        "train": 3 * b * (encoder + 2 * decoder + t * output),
        "prefill": b * (encoder + 2 * memory),
        "decode": b * (2 * steps + t * output),
    }


def test_qkv_is_the_textbooks():
    """Formula and counter that are wrong in the same way: of another phase, or of a part left out
    of both."""
    counts = count(build(("qkv", {}), ("none", {})), ODD)
    assert {phase: work.total for phase, work in counts.work.items()} == qkv_by_hand(ODD)


@pytest.mark.parametrize("field", [field.name for field in fields(Cost)])
@pytest.mark.parametrize("wrong", ["cost", "cached_cost"])
def test_a_wrong_cost_is_caught(monkeypatch, field, wrong):
    """A comparison that compares nothing: one multiply-add too many in one field must show."""
    cls = ATTENTION["qvka"]
    network = build(("qvka", {}), ("none", {}))
    right = getattr(network.decoder[0].attention, wrong)
    changed = replace(right, **{field: getattr(right, field) + 1})
    monkeypatch.setattr(cls, wrong, property(lambda self: changed))
    if (wrong, field) == ("cached_cost", "frozen"):
        count(network, ODD)  # decoding has no gradient
        return
    with pytest.raises(DisagreementError, match="qvka declares"):
        count(network, ODD)


def test_a_wrong_cache_size_is_caught(monkeypatch):
    """Cache numbers taken from the declaration instead of the tensors."""
    network = build(("gqa", {}), ("none", {}))
    right = network.decoder[0].attention.cache_size
    monkeypatch.setattr(ATTENTION["gqa"], "cache_size", property(lambda self: right + 1))
    with pytest.raises(DisagreementError, match=f"leaves {right} numbers"):
        count(network, ODD)


def test_a_frozen_matrix_costs_no_gradient_of_its_own():
    """`frozen` left out of the backward pass on both sides."""
    learned, frozen = (
        count(build(("shared_key", {"frozen": f}), ("none", {})), ODD) for f in (False, True)
    )
    layers_by_tokens = ODD.source + 2 * (ODD.target + ODD.source)
    saved = 2 * ODD.batch * layers_by_tokens * D_MODEL * (D_MODEL // 4)
    assert learned.work["train"].total - frozen.work["train"].total == saved
    assert learned.work["decode"] == frozen.work["decode"]


def test_attention_is_counted_as_its_products():
    """A kernel that recomputes scores in its backward pass, or that the counter does not know."""
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 7, 7))
    with counter() as forward:
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    with counter() as backward:
        y.sum().backward()
    product = 2 * 2 * 3 * 5 * 7 * 8
    assert forward.get_total_flops() == 2 * product
    assert backward.get_total_flops() == 4 * product


def test_counting_twice_gives_the_same():
    """What is folded once for given weights, counted to the first batch."""
    network = build(("keyless", {}), ("none", {}))
    assert run(network, ODD)[0] == run(network, ODD)[0]


def test_decoding_looks_at_a_growing_past():
    """The mean over the steps taken as the last step, or as the first."""
    network = build(("qv", {}), ("none", {}))
    costs = [formula.decode(network, Size(1, 4, t)).total for t in range(1, 5)]
    steps = [after - before for before, after in pairwise(costs)]
    assert {b - a for a, b in pairwise(steps)} == {2 * 2 * 2 * D_MODEL}


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=label)
def test_caches_are_in_the_type_that_bytes_are_counted_in(mechanism):
    """A mechanism that keeps float32 under autocast: twice the bytes that are printed."""
    try:
        network = build(mechanism, ("agf", {})).eval()
    except UserError:
        pytest.fail("agf is refused")
    ids = torch.randint(1, VOCABULARY, (2, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        state = network.start(ids)
        network.step(ids[:, 0], state)
    kept = [t for cache in (*state.caches, *state.sources) for t in cache.kv()]
    assert {t.dtype for t in kept} == {torch.bfloat16}
