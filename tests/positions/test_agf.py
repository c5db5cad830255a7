"""AGF and PCM-V against a loop over the paper's equations, and the properties of its kernels."""

from __future__ import annotations

import math

import pytest
import torch

from qvbench.attention import build_attention
from qvbench.errors import UserError
from qvbench.positions import build_position
from qvbench.positions.agf import DECAYS

HEADS, WIDTH = 3, 4
D_MODEL = HEADS * WIDTH


def agf(**settings):
    return build_position("agf", num_heads=HEADS, **settings)


def loop_over_equations(attention, x, mask, causal, value_scaling):
    """Equations 3 and 4 and PCM-V in float64, one number at a time; shares no code with ours."""
    q, k, v = attention.project(x)
    kernel = attention.position.kernel
    alpha = torch.nn.functional.softplus(kernel.raw_scale)
    beta = torch.nn.functional.softplus(kernel.raw_exponent)
    batch, length = x.shape[:2]
    outputs = []
    for b in range(batch):
        rows = []
        for m in range(length):
            heads = []
            for h in range(HEADS):
                seen = [
                    n for n in range(length) if bool(mask[b, 0, m, n]) and not (causal and n > m)
                ]
                logits, factors = [], []
                for n in seen:
                    side = 1 if n > m else 0
                    c = (1 + alpha[side, h] * abs(m - n)) ** (-beta[side, h])
                    score = sum(q[b, h, m, i] * k[b, h, n, i] for i in range(WIDTH))
                    logits.append(score / math.sqrt(WIDTH) * c)
                    factors.append(c)
                total = sum(logit.exp() for logit in logits)
                out = x.new_zeros(WIDTH)
                for n, logit, c in zip(seen, logits, factors, strict=True):
                    weight = logit.exp() / total
                    out = out + weight * (c if value_scaling else 1) * v[b, h, n]
                heads.append(out)
            rows.append(torch.cat(heads) @ attention.output.weight.T)
        outputs.append(torch.stack(rows))
    return torch.stack(outputs)


def mask_of_kind(kind: str, length: int) -> torch.Tensor:
    mask = torch.ones(2, 1, length, length, dtype=torch.bool)
    if kind == "padding":
        mask[1, :, :, length // 2 + 1 :] = False
    if kind == "one_row":
        mask[1, :, : length - 1] = False
    return mask


@pytest.mark.parametrize("value_scaling", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "causal", "length"),
    [("qkv", "all", False, 5), ("qkv", "all", True, 7), ("qkv", "padding", False, 5),
     ("qkv", "padding", True, 3), ("qkv", "one_row", False, 3), ("qkv", "one_row", True, 5),
     ("qkv", "all", False, 1), ("qv", "padding", True, 5), ("qvka", "padding", True, 5)],
)  # fmt: skip
def test_forward_and_gradients_are_equations_3_and_4(name, value_scaling, kind, causal, length):
    """A factor on the wrong side of the softmax, a direction swapped, a mask after the factor."""
    torch.manual_seed(2)
    position = agf(value_scaling=value_scaling, exponent_low=0.2, exponent_high=1.5, scale=0.7)
    attention = build_attention(name, d_model=D_MODEL, num_heads=HEADS, position=position).double()
    for parameter in position.parameters():  # both sides and all heads different
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(2, length, D_MODEL, dtype=torch.float64, requires_grad=True)
    mask = mask_of_kind(kind, length)
    wanted = [x, *attention.parameters()]
    ours = attention(x, mask=mask, causal=causal)
    loop = loop_over_equations(attention, x, mask, causal, value_scaling)
    torch.testing.assert_close(ours, loop, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(ours)
    grads = torch.autograd.grad(ours, wanted, cotangent, allow_unused=True)
    expected = torch.autograd.grad(loop, wanted, cotangent, allow_unused=True)
    for a, b in zip(grads, expected, strict=True):
        a = torch.zeros(()) if a is None else a
        b = torch.zeros(()) if b is None else b
        torch.testing.assert_close(a, b.expand_as(a), rtol=0, atol=1e-10, check_dtype=False)


@pytest.mark.parametrize("name", ["qkv", "qv", "qvka"])
def test_exponent_zero_is_no_position(name):
    """c = 1 everywhere must leave nothing of the scheme behind."""
    torch.manual_seed(0)
    plain = build_attention(name, d_model=D_MODEL, num_heads=HEADS).double()
    position = agf(
        value_scaling=True, kernel="fixed_power_law", exponent_low=0.0, exponent_high=0.0
    )
    with_agf = build_attention(name, d_model=D_MODEL, num_heads=HEADS, position=position).double()
    with_agf.load_state_dict(plain.state_dict(), strict=False)
    assert (position.coefficient(5, 5) == 1).all()
    x = torch.randn(2, 5, D_MODEL, dtype=torch.float64)
    torch.testing.assert_close(with_agf(x), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", DECAYS)
def test_kernels_start_on_one_and_fall(kernel):
    """A factor that grows with distance, is not positive, or does not leave the token itself."""
    for directional in (False, True):
        position = agf(kernel=kernel, directional=directional, exponent_low=0.1)
        c = position.coefficient(40, 40)
        assert c.shape == (HEADS, 40, 40)
        assert c.dtype == torch.float32
        assert torch.equal(c.diagonal(dim1=1, dim2=2), torch.ones(HEADS, 40))
        assert (c > 0).all()
        assert (c[:, 0].diff(dim=-1) <= 0).all()
        assert (c[:, 0, 1] < 1).all()


@pytest.mark.parametrize("kernel", DECAYS)
def test_decoding_sees_the_last_rows(kernel):
    """A query whose position is counted from the start of its own step."""
    c = agf(kernel=kernel, exponent_low=0.1)
    torch.testing.assert_close(c.coefficient(2, 9), c.coefficient(9, 9)[:, -2:])


def test_initial_exponents_are_spread_over_the_heads():
    """Heads that all start alike, or an inverse of softplus that is off."""
    c = agf(exponent_low=0.01, exponent_high=2.0).coefficient(4, 4)
    beta = torch.tensor([0.01, math.sqrt(0.02), 2.0])
    distances = torch.arange(4.0)
    law = (1 + distances) ** -beta[:, None]
    torch.testing.assert_close(c[:, 0], law)
    torch.testing.assert_close(c[:, 3].flip(-1), law)


def test_left_and_right_learn_apart():
    """Directions that share a parameter: the encoder would be blind to reversal."""
    position = agf()
    position.kernel.raw_exponent.data[1] += 1.0
    c = position.coefficient(5, 5)
    assert not torch.allclose(c[:, 0, 1:], c[:, 4, :4].flip(-1))
    symmetric = agf(directional=False).coefficient(5, 5)
    torch.testing.assert_close(symmetric, symmetric.mT)


@pytest.mark.parametrize(
    "settings",
    [{"kernel": "cubic"}, {"exponent_low": -1.0}, {"scale": 0.0}, {"exponent_low": 0.0},
     {"exponent_low": 3.0}],
)  # fmt: skip
def test_impossible_settings_are_refused(settings):
    """NaN parameters from the logarithm of zero, found after an hour."""
    with pytest.raises(UserError, match="AGF"):
        agf(**settings)


@pytest.mark.parametrize("kernel", sorted(set(DECAYS) - {"fixed_power_law"}))
def test_whatever_starts_can_learn(kernel: str) -> None:
    """Catches a start at which all gradients are zero: exponents of 0, through softplus."""
    flat = {"kernel": kernel, "exponent_low": 0.0, "exponent_high": 0.0}
    if kernel != "free_table":
        with pytest.raises(UserError, match=f"AGF: {kernel} cannot start from exponent 0"):
            agf(**flat)
        flat |= {"exponent_low": 1e-3, "exponent_high": 1e-3}
    position = agf(**flat)
    position.coefficient_table(8, 8).sum().backward()
    for parameter in position.parameters():
        assert parameter.isfinite().all()
        assert (parameter.grad[..., :7] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_power_law_is_float32_under_autocast(dtype):
    """Distances past 256 that bfloat16 cannot count, a power that float16 rounds to zero."""
    position = agf(value_scaling=True)
    exact = position.coefficient(400, 400)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(position.coefficient(400, 400), exact)
