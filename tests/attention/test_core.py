"""The kernel: PyTorch's fast path against ours, masks, precision, dropout."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from qvbench.attention import build_attention, core
from qvbench.attention.core import dropout
from qvbench.errors import UserError


def qkv(length: int = 7, dtype: torch.dtype = torch.float64, heads: int = 4, width: int = 6):
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(3, heads, length, width, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for _ in range(3)
    ]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **terms: Any) -> torch.Tensor:
    return core.softmax_attention(q, k, v, core.Terms(**terms))


def padding_mask(length: int) -> torch.Tensor:
    mask = torch.ones(3, 1, 1, length, dtype=torch.bool)
    mask[1, ..., length // 2 :] = False
    return mask


@pytest.mark.parametrize("length", [1, 7, 31])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_coefficient_of_one_is_pytorchs_attention(length, causal, masked):
    """Two paths to one result that have drifted apart: forward and gradients."""
    fast, slow = qkv(length), qkv(length)
    mask = padding_mask(length) if masked and length > 1 else None
    ones = torch.ones(4, length, length, dtype=torch.float64)
    a = attend(*fast, mask=mask, causal=causal)
    b = attend(*slow, mask=mask, causal=causal, coefficient=ones, value_scaling=True)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(a)
    a.backward(cotangent)
    b.backward(cotangent)
    for x, y in zip(fast, slow, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("coefficient", [None, torch.ones(4, 7, 7, dtype=torch.float64)])
def test_a_query_that_may_look_nowhere_gets_zeros(coefficient):
    """NaN from a softmax over nothing, in the output or in a gradient."""
    q, k, v = qkv()
    mask = torch.ones(3, 1, 7, 7, dtype=torch.bool)
    mask[0, 0, :6] = False  # every row of the first sentence but one
    y = attend(q, k, v, mask=mask, coefficient=coefficient)
    assert (y[0, :, :6] == 0).all()
    assert (y[0, :, 6] != 0).any()
    y.sum().backward()
    for x in (q, k, v):
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("coefficient", [False, True])
def test_queries_are_the_last_positions(coefficient):
    """A causal mask aligned to the first key, as PyTorch's flag has it, when the past is cached."""
    q, k, v = (t.detach() for t in qkv(9))
    c = torch.rand(4, 9, 9, dtype=torch.float64) if coefficient else None
    whole = attend(q, k, v, causal=True, coefficient=c)
    for new in (1, 4):
        part = c[:, -new:] if coefficient else None
        last = attend(q[:, :, -new:], k, v, causal=True, coefficient=part)
        torch.testing.assert_close(last, whole[:, :, -new:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("coefficient", [False, True])
def test_shared_heads_are_repeated_group_by_group(groups, coefficient):
    """Heads dealt out in turn instead of in groups: a wrong GQA that trains all the same."""
    q, _, _ = qkv()
    _, k, v = qkv(heads=groups)
    c = torch.rand(4, 7, 7, dtype=torch.float64) if coefficient else None
    y = attend(q, k, v, coefficient=c)
    for head in range(4):
        group = head * groups // 4
        one = attend(
            q[:, head : head + 1],
            k[:, group : group + 1],
            v[:, group : group + 1],
            coefficient=None if c is None else c[head : head + 1],
        )
        torch.testing.assert_close(y[:, head : head + 1], one, rtol=0, atol=1e-12)


def test_a_bias_is_added_with_and_without_a_mask():
    """A bias lost where a mask is given as well."""
    q, k, v = (t.detach() for t in qkv())
    bias = torch.randn(4, 7, 7, dtype=torch.float64)
    ones = torch.ones(4, 7, 7, dtype=torch.float64)
    for settings in ({}, {"causal": True}, {"mask": padding_mask(7)}):
        a = attend(q, k, v, bias=bias, **settings)
        b = attend(q, k, v, bias=bias, coefficient=ones, **settings)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("coefficient", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_near_float32(dtype, coefficient):
    """A product or a term lost where the operands are in half precision."""
    c = torch.rand(4, 31, 31) if coefficient else None
    exact = attend(*qkv(31, torch.float32), causal=True, coefficient=c)
    low = attend(*qkv(31, dtype), causal=True, coefficient=c)
    assert low.dtype == dtype
    assert (low.float() - exact).norm() / exact.norm() < 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_coefficient_keeps_its_precision(dtype):
    """A coefficient, or the logits times it, rounded to half precision: 0.9975 would be 1."""
    q = torch.full((1, 1, 1, 4), 10.0, dtype=dtype)
    k = torch.full((1, 1, 2, 4), 5.0, dtype=dtype)
    v = torch.tensor([1.0, 0.0], dtype=dtype).view(1, 1, 2, 1).expand(-1, -1, -1, 4)
    y = attend(q, k, v, coefficient=torch.tensor([1.0, 0.9975]).view(1, 1, 2))
    assert abs(y[0, 0, 0, 0].item() - torch.sigmoid(torch.tensor(0.25))) < 0.005


def test_logits_out_of_half_precisions_range_stay_finite():
    """Products summed before they are scaled overflow float16."""
    q = torch.full((1, 1, 2, 64), 40.0, dtype=torch.float16)
    y = attend(q, q, q, coefficient=torch.ones(1, 2, 2))
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_dropout_keeps_the_mean_and_its_own_gradient(p):
    """A probability the wrong way round, a scale forgotten, a backward pass with another mask."""
    torch.manual_seed(0)
    x = torch.ones(400, 401, requires_grad=True)
    y = dropout(x, p)
    y.backward(torch.full_like(y, 2.0))
    kept = (y != 0).float().mean().item()
    deviation = math.sqrt(p * (1 - p) / x.numel())
    assert abs(kept - (1 - p)) < 5 * deviation
    assert torch.equal(x.grad, 2 * y.detach())
    assert torch.allclose(y[y != 0], torch.tensor(1 / (1 - p)))
    columns = (y != 0).float().mean(0)
    assert columns.std() < 1.3 * math.sqrt(p * (1 - p) / 400)  # no pattern by position


def test_dropout_follows_the_seed_and_the_mode():
    """Random numbers from a generator of its own, which no checkpoint restores."""
    x = torch.randn(50, 7)
    torch.manual_seed(3)
    first = dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(dropout(x, 0.5), first)
    assert dropout(x, 0.5, training=False) is x


@pytest.mark.parametrize("training", [True, False])
def test_a_bias_keeps_its_precision_in_bfloat16(training):
    """A bias rounded to the queries' dtype, in validation too: 100.25 would be 100."""
    q = torch.zeros(1, 1, 1, 8, dtype=torch.bfloat16, requires_grad=True)
    k = torch.zeros(1, 1, 2, 8, dtype=torch.bfloat16)
    v = torch.tensor([1.0, 0.0], dtype=torch.bfloat16).view(1, 1, 2, 1).expand(-1, -1, -1, 8)
    bias = torch.tensor([-100.25, -100.0]).view(1, 1, 2)
    expected = torch.sigmoid(torch.tensor(-0.25))
    with torch.set_grad_enabled(training):
        assert abs(attend(q, k, v, bias=bias)[0, 0, 0, 0].item() - expected) < 0.005


@pytest.mark.parametrize("p", [1 - 2**-16, 1 - 2**-17, 0.999995])
def test_dropout_of_almost_everything_drops_it(p: float) -> None:
    """Catches a 16-bit threshold that wraps around: everything kept, two hundred thousandfold."""
    torch.manual_seed(0)
    kept = (dropout(torch.ones(1000, 1000), p) != 0).sum()
    assert kept < 1000 * 1000 * 6e-5


@pytest.mark.parametrize("p", [-0.5, 1.0, 1.5, float("nan")])
def test_dropout_has_to_be_a_probability_below_one(p: float) -> None:
    """Catches a division by zero in the first training pass, or numbers from a wrong one."""
    with pytest.raises(UserError, match=r"QV: dropout must be in \[0, 1\), got"):
        build_attention("qv", d_model=8, num_heads=2, dropout=p)
