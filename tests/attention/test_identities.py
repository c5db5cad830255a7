"""Where one mechanism reduces to another: the strongest tests there are, and they need no GPU."""

from __future__ import annotations

import pytest
import torch

from qvbench.attention import ATTENTION, build_attention
from qvbench.errors import UserError
from qvbench.positions import POSITIONS, build_position

D_MODEL, HEADS = 24, 3
HEAD_DIM = D_MODEL // HEADS


def build(name: str, position: str = "none", **settings):
    torch.manual_seed(0)
    scheme = build_position(position, num_heads=HEADS, d_model=D_MODEL)
    return build_attention(
        name, d_model=D_MODEL, num_heads=HEADS, position=scheme, **settings
    ).double()


def inputs(q_len: int = 5, k_len: int = 7):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, q_len, D_MODEL, generator=generator, dtype=torch.float64)
    m = torch.randn(2, k_len, D_MODEL, generator=generator, dtype=torch.float64)
    return x, m


@pytest.mark.parametrize("position", POSITIONS)
def test_qv_is_qkv_with_the_values_for_keys(position):
    """QV that scores against anything else than its values."""
    qkv, qv = build("qkv", position), build("qv", position)
    shared = {k: v for k, v in qkv.state_dict().items() if not k.startswith("key")}
    qv.load_state_dict(shared)
    qkv.key.weight.data.copy_(qkv.value.weight)
    x, _ = inputs()
    torch.testing.assert_close(qv(x, causal=True), qkv(x, causal=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("context", ["shared", "per_head"])
@pytest.mark.parametrize("position", POSITIONS)
def test_qvka_whose_key_matrix_passes_the_value_on_is_qv(position, context):
    """Context and value the wrong way round in [G; V], or a key that is not made from both."""
    qvka, qv = build("qvka", position, context=context, context_dim=5), build("qv", position)
    qvka.load_state_dict(qv.state_dict(), strict=False)
    qvka.key_weight.data.zero_()
    qvka.key_weight.data[:, 5:] = torch.eye(HEAD_DIM)
    x, _ = inputs()
    torch.testing.assert_close(qvka(x, causal=True), qv(x, causal=True), rtol=0, atol=1e-12)


def test_qvka_is_equation_8():
    """The equation itself, head by head, against the batched form."""
    attention = build("qvka", context_dim=5)
    x, m = inputs()
    q, k, v = attention.project(x, m)
    g = m @ attention.context.weight.T
    for head in range(HEADS):
        rows = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        value = m @ attention.value.weight[rows].T
        key = torch.cat((g, value), -1) @ attention.key_weight[head]
        torch.testing.assert_close(v[:, head], value)
        torch.testing.assert_close(k[:, head], key)
        torch.testing.assert_close(q[:, head], x @ attention.query.weight[rows].T)


@pytest.mark.parametrize("name", ATTENTION)
def test_projections_have_the_documented_shapes(name):
    """The contract that other code builds on: heads second, lengths third."""
    attention = build(name)
    x, m = inputs()
    q, k, v = attention.project(x, m)
    assert q.shape == (2, HEADS, 5, HEAD_DIM)
    for t in (k, v):
        assert t.shape[0] == 2
        assert HEADS % t.shape[1] == 0
        assert t.shape[2] == 7
    assert attention(x).shape == x.shape


def test_width_must_divide_by_heads():
    """A head width rounded down in silence."""
    with pytest.raises(UserError, match="d_model 10 is not divisible by num_heads 3"):
        build_attention("qkv", d_model=10, num_heads=3)
    attention = build_attention("qkv", d_model=10, num_heads=3, head_dim=4)
    assert attention(torch.randn(1, 2, 10)).shape == (1, 2, 10)


def test_unknown_names_list_the_known_ones():
    """A typing mistake that costs a look into the source."""
    with pytest.raises(UserError, match=r"unknown attention mechanism 'qvk'.*qkv, qv, qvka"):
        build_attention("qvk", d_model=8, num_heads=2)
    with pytest.raises(UserError, match=r"unknown position scheme 'rope2'.*agf"):
        build_position("rope2", num_heads=2)
