"""Mechanisms that share heads, keys or matrices, each against the one that it reduces to."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from qvbench.attention import build_attention, precomputed
from qvbench.errors import UserError
from qvbench.positions import build_position

D_MODEL, HEADS, HEAD_DIM = 32, 4, 8


def build(name: str, position: str = "agf", **settings):
    torch.manual_seed(0)
    scheme = build_position(position, num_heads=HEADS, d_model=D_MODEL)
    attention = build_attention(name, d_model=D_MODEL, num_heads=HEADS, position=scheme, **settings)
    return attention.double().eval()


def inputs():
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(2, n, D_MODEL, generator=generator).double() for n in (5, 7))


def assert_same(one, other):
    x, m = inputs()
    assert_close(one(x, causal=True), other(x, causal=True), rtol=0, atol=1e-12)
    assert_close(one(x, m), other(x, m), rtol=0, atol=1e-12)


def copy(source, target, **renamed):
    """Give ``target`` the parameters of ``source``, some under another name."""
    state = {k: v for k, v in source.state_dict().items() if k in target.state_dict()}
    for new, value in renamed.items():
        state[f"{new}.weight"] = value
    target.load_state_dict(state)


def tiled(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """Rows of ``groups`` heads, each repeated for the query heads of its group."""
    heads = weight.unflatten(0, (groups, -1))
    return heads.repeat_interleave(HEADS // groups, 0).flatten(0, 1)


@pytest.mark.parametrize("groups", [1, 2, HEADS])
def test_groups_share_in_order(groups):
    """Query heads that take the key or value of another group (interleaved, not blocked), or that
    share where each has a head of its own."""
    qkv = build("qkv")
    gqa = build("gqa", num_kv_heads=groups)
    copy(gqa, qkv, key=tiled(gqa.key.weight, groups), value=tiled(gqa.value.weight, groups))
    assert_same(gqa, qkv)
    v_shared = build("v_shared", num_value_heads=groups)
    copy(v_shared, qkv, value=tiled(v_shared.value.weight, groups))
    assert_same(v_shared, qkv)
    gqa_qv = build("gqa_qv", num_kv_heads=groups)
    copy(gqa_qv, gqa, key=gqa_qv.value.weight)
    assert_same(gqa_qv, gqa)
    qvka, few = build("qvka"), build("qvka", num_value_heads=groups)
    copy(few, qvka, value=tiled(few.value.weight, groups))
    assert_same(few, qvka)


@pytest.mark.parametrize("name", ["gqa", "gqa_qv", "v_shared", "qvka"])
def test_shared_heads_divide_the_query_heads(name):
    """Heads left over in silence."""
    setting = "num_kv_heads" if name.startswith("gqa") else "num_value_heads"
    for groups in (0, 3, 8):
        with pytest.raises(UserError, match=f"{setting} must divide num_heads 4, got {groups}"):
            build(name, **{setting: groups})


def test_shared_key_is_one_key_for_all_heads():
    """A key a head, or one that is not a head's width."""
    shared, qkv = build("shared_key"), build("qkv")
    copy(shared, qkv, key=tiled(shared.key.weight, 1))
    assert_same(shared, qkv)


def test_a_frozen_key_is_not_trained():
    """A projection that is called frozen and moves, or takes the value's gradient along."""
    shared = build("shared_key", frozen=True, bias=True)
    x, m = inputs()
    shared(x, m).sum().backward()
    still = {name for name, p in shared.named_parameters() if p.grad is None}
    assert still == {"key.weight", "key.bias"}
    assert sum(p.numel() for p in shared.parameters()) == sum(
        p.numel() for p in build("shared_key", bias=True).parameters()
    )


def test_tied_and_single_projections():
    """Q = K and Q = K = V with the wrong one of the three tied."""
    tied, qkv = build("qk_tied"), build("qkv")
    copy(tied, qkv, query=tied.query_key.weight, key=tied.query_key.weight)
    assert_same(tied, qkv)
    single, qv = build("single"), build("qv")
    copy(single, qv, query=single.projection.weight, value=single.projection.weight)
    assert_same(single, qv)


def test_wider_keys_that_hold_nothing_more_change_nothing():
    """The value's width in the scale or the split of wider queries and keys."""
    wide, qkv = build("qkv", head_dim_qk=18), build("qkv")
    copy(wide, qkv, query=qkv.query.weight, key=qkv.key.weight)
    narrow = {"query": (18 / HEAD_DIM) ** 0.5, "key": 1.0}
    for name, factor in narrow.items():
        weight = getattr(wide, name).weight
        weight.data.zero_()
        rows = weight.data.unflatten(0, (HEADS, 18))
        rows[:, :HEAD_DIM] = factor * getattr(qkv, name).weight.unflatten(0, (HEADS, HEAD_DIM))
    assert_same(wide, qkv)


@pytest.mark.parametrize("bias", [False, True])
def test_keyless_with_identity_maps_is_qv(bias):
    """A map on the wrong side of the query, transposed, or applied to the value."""
    keyless, qv = build("keyless", bias=bias), build("qv", bias=bias)
    keyless.load_state_dict(qv.state_dict(), strict=False)
    keyless.routing.data.copy_(torch.eye(HEAD_DIM))
    assert_same(keyless, qv)


@pytest.mark.parametrize("bias", [False, True])
def test_keyless_folds_its_two_query_matrices_exactly_and_anew(bias):
    """A folded matrix that outlives its weights: fused Adam moves them and leaves no trace."""
    keyless, never_folded = build("keyless", bias=bias), build("keyless", bias=bias)
    optimizer = torch.optim.Adam(keyless.parameters(), lr=0.1, fused=True)
    x, m = inputs()
    for _ in range(3):
        keyless(x, m).square().sum().backward()
        optimizer.step()
        never_folded.load_state_dict(keyless.state_dict())
        plain = never_folded(x, m)
        with precomputed(keyless):
            assert_close(keyless(x, m), plain, rtol=0, atol=1e-12)
        with torch.no_grad():
            assert_close(keyless(x, m), plain, rtol=0, atol=1e-12)


def test_what_is_precomputed_is_read():
    """A fold that nobody uses, or that stays when the context is left by an error."""
    keyless = build("keyless")
    x, m = inputs()
    plain = keyless(x, m)

    def search():
        with precomputed(nn.ModuleList([keyless])):
            keyless.routing.data.zero_()
            assert_close(keyless(x, m), plain, rtol=0, atol=1e-12)
            raise ValueError("of the search")

    with pytest.raises(ValueError, match="of the search"):
        search()
    assert not torch.allclose(keyless(x, m), plain)


PAPER = {"d_model": 1024, "num_heads": 16}
D, H, W = 1024, 16, 64  # width, heads, head width


@pytest.mark.parametrize(
    ("name", "settings", "parameters", "numbers"),
    [
        ("gqa", {"num_kv_heads": 4}, 2 * D * D + 2 * D * 4 * W, 2 * 4 * W),
        ("gqa", {"num_kv_heads": 1}, 2 * D * D + 2 * D * W, 2 * W),
        ("gqa_qv", {"num_kv_heads": 4}, 2 * D * D + D * 4 * W, 4 * W),
        ("v_shared", {"num_value_heads": 4}, 3 * D * D + D * 4 * W, D + 4 * W),
        ("shared_key", {}, 3 * D * D + D * W, D + W),
        ("shared_key", {"frozen": True}, 3 * D * D + D * W, D + W),
        ("qk_tied", {}, 3 * D * D, 2 * D),
        ("single", {}, 2 * D * D, D),
        ("keyless", {}, 3 * D * D + H * W * W, D),
        ("qkv", {"head_dim_qk": 128}, 6 * D * D, 3 * D),
        ("qvka", {"num_value_heads": 1}, 2 * D * D + 2 * D * W + H * 2 * W * W, 2 * W),
        ("qvka", {"context": "per_head"}, 4 * D * D + H * 2 * W * W, 2 * D),
        ("mla", {}, 2 * D * D + 256 * (D + 1) + 2 * 256 * D, 256),
        (
            "mla",
            {"value_rank": 128, "key_rank": 512, "query_rank": 384, "latent_norm": False},
            D * D + 384 * 2 * D + (128 + 512) * 2 * D,
            128 + 512,
        ),
        ("mla_qv", {}, 2 * D * D + 256 * (D + 1) + 256 * D, 256),
    ],
)
def test_parameters_and_cache_are_the_closed_form(name, settings, parameters, numbers):
    """A projection too many or too few, or a cache that is not the leanest."""
    with torch.device("meta"):
        attention = build_attention(name, **PAPER, **settings)
    assert sum(p.numel() for p in attention.parameters()) == parameters
    assert attention.cache_size == numbers


@pytest.mark.parametrize(
    ("name", "settings", "numbers"),
    [
        ("qv", {}, D),  # a copy of the value is rotated when it is read
        ("qvka", {}, 2 * D),  # the key's matrix cannot move past a rotation
        ("mla", {}, 256 + 32),  # DeepSeek-V2's latent and rotary key
        ("mla", {"rope_dim": 64}, 256 + 64),
        ("mla_qv", {}, D),
    ],
)
def test_cache_under_a_rotating_scheme(name, settings, numbers):
    """A lean form that is not exact any more, or a full one that need not be kept."""
    with torch.device("meta"):
        position = build_position("rope", num_heads=16)
        attention = build_attention(name, **PAPER, position=position, **settings)
    assert attention.cache_size == numbers
