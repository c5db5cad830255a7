"""What must hold for every mechanism with every position scheme that it accepts."""

from __future__ import annotations

import pytest
import torch

from qvbench.attention import ATTENTION, precomputed
from qvbench.attention.cache import KVCache, reorder
from qvbench.errors import UserError
from qvbench.models.layers import initialize
from qvbench.positions import POSITIONS
from tests.pairs import D_MODEL, build, label, telling_pairs

PAIRS = [pytest.param(m, s, id=f"{label(m)}-{label(s)}") for m, s in telling_pairs()]
every_pair = pytest.mark.parametrize(("mechanism", "scheme"), PAIRS)


def double(mechanism, scheme):
    """A layer in float64, none of whose parameters is at a neutral initial value."""
    torch.manual_seed(0)
    attention = build(mechanism, scheme).double().eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, parameter.detach().mean().item(), 0.3)
    return attention


def tokens(length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(3, length, D_MODEL, generator=generator, dtype=torch.float64)


def test_every_part_is_in_some_pair():
    """A mechanism or scheme that refuses everything, and so is never tested."""
    assert {pair.values[0][0] for pair in PAIRS} == set(ATTENTION)
    inside = {name for name in POSITIONS if not POSITIONS[name].absolute}
    assert {pair.values[1][0] for pair in PAIRS} == inside


@pytest.mark.parametrize("mechanism", ["qk_tied", "single"])
@pytest.mark.parametrize(
    "scheme", [("agf", {"directional": False}), ("alibi", {"directional": False})]
)
def test_one_vector_for_query_and_key_refuses_what_is_symmetric(mechanism, scheme):
    """A scheme chosen for word order that cannot give any."""
    with pytest.raises(UserError, match="nothing tells left from right; take directional: true"):
        build((mechanism, {}), scheme)


@pytest.mark.parametrize("queries", [5, 2 * D_MODEL], ids=["few", "many"])
@every_pair
@torch.no_grad()
def test_what_is_recalled_is_what_was_attended(mechanism, scheme, queries):
    """A matrix on the wrong side, a scale or rotation lost on the way or done twice, a mask not
    passed on; by latents, or of many queries by the keys that are made of them."""
    attention = double(mechanism, scheme)
    x, m = tokens(queries), tokens(queries + 2)
    mask = torch.ones(3, queries + 2, dtype=torch.bool)
    mask[1, 4:] = False
    whole = attention(x, m, mask=mask)
    with precomputed(attention):
        recalled = attention.attend_cached(x, attention.cache_entries(m), mask=mask)
    torch.testing.assert_close(recalled, whole, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize(
    "mechanism", ["qkv", "qvka", "gqa", "v_shared", "mla", "shared_key", "qk_tied"]
)
def test_a_cached_key_is_rotated_once(mechanism, monkeypatch):
    """Keys of all tokens rotated again at every step, which at 2,000 takes longer than all else."""
    attention, cache = double((mechanism, {}), ("rope", {})), KVCache()
    lengths: list[int] = []
    rotate = type(attention.position).rotate

    def counted(self, x, start=0):
        lengths.append(x.shape[2])
        return rotate(self, x, start)

    attention.step(tokens(9), cache)
    monkeypatch.setattr(type(attention.position), "rotate", counted)
    attention.step(tokens(1), cache)
    assert lengths == [1, 1]


@every_pair
@torch.no_grad()
def test_steps_through_reorders_are_the_whole_pass(mechanism, scheme):
    """A prefix that is remembered at the wrong place, or a reorder that mixes tensors up."""
    attention = double(mechanism, scheme)
    x = tokens(23)
    cache, order = KVCache(), torch.arange(3)
    seen = 0
    for new in (5, 1, 1, 9, 1, 6):  # prefixes of several tokens among single ones
        stepped = attention.step(x[:, seen : seen + new], cache)
        seen += new
        whole = attention(x[:, :seen], causal=True)[:, -new:]
        torch.testing.assert_close(stepped, whole, rtol=0, atol=1e-10)
        order = torch.tensor([2, 0, 1])
        reorder([cache], order)
        x = x[order]
    assert sum(t.shape[1] * t.shape[3] for t in cache.kv()) == attention.cache_size


@pytest.mark.parametrize(
    ("mechanism", "scheme"), [pair for pair in PAIRS if pair.values[1][0] == "agf"]
)
def test_nothing_outlives_the_weights_that_it_was_made_of(mechanism, scheme):
    """A product kept from a validation before: fused Adam moves weights and leaves no trace."""
    attention, fresh = double(mechanism, scheme), double(mechanism, scheme)
    optimizer = torch.optim.Adam(attention.parameters(), lr=0.1, fused=True)
    x = tokens(6)
    with torch.inference_mode():
        before = attention(x, causal=True)
    attention(x, causal=True).square().sum().backward()
    optimizer.step()
    fresh.load_state_dict(attention.state_dict())
    with torch.inference_mode():
        after = attention(x, causal=True)
        torch.testing.assert_close(after, fresh(x, causal=True), rtol=0, atol=1e-12)
    assert not torch.allclose(before, after)


DEVICES = [("cpu", None), ("cpu", torch.bfloat16)]
if torch.cuda.is_available():
    DEVICES += [("cuda", torch.float16), ("cuda", torch.bfloat16)]


@every_pair
def test_forward_and_gradients_are_finite(mechanism, scheme):
    """A softmax or a power law in 16 bits, and a parameter that nothing reaches."""
    for device, autocast in DEVICES:
        check_finite(mechanism, scheme, device, autocast)


def check_finite(mechanism, scheme, device, autocast):
    torch.manual_seed(1)
    attention = build(mechanism, scheme)
    initialize(attention)
    attention = attention.to(device)
    x = 8 * torch.randn(2, 33, D_MODEL, device=device)
    mask = torch.ones(2, 33, dtype=torch.bool, device=device)
    mask[1, 20:] = False
    with torch.autocast(device, dtype=autocast, enabled=autocast is not None):
        y = attention(x, mask=mask)
    assert y.isfinite().all()
    y.float().pow(2).sum().backward()
    for name, parameter in attention.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
