"""KERPLE: its kernels against a loop over the equations, and in whole attention."""

from __future__ import annotations

import math

import pytest
import torch

from qvbench.attention import build_attention
from qvbench.errors import UserError
from qvbench.positions import build_position
from qvbench.positions.kerple import Kerple

KERNELS = ("logarithmic", "power")


def scheme(kernel: str, *, directional: bool = True, heads: int = 4) -> Kerple:
    torch.manual_seed(0)
    settings = {"kernel": kernel, "directional": directional}
    position = build_position("kerple", num_heads=heads, **settings)
    assert isinstance(position, Kerple)
    return position.double()


@pytest.mark.parametrize("directional", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_bias_is_that_of_the_equations(kernel: str, directional: bool) -> None:
    """Catches sides, heads or r1 and r2 mixed up, and queries that do not stand at the end."""
    position = scheme(kernel, directional=directional)
    r1, r2 = position.r1.tolist(), position.r2.tolist()
    whole, last, middle = position.bias(9, 9), position.bias(2, 9), position.bias(3, 9, first=4)
    for head in range(4):
        for query in range(9):
            for key in range(9):
                side = 1 if directional and key > query else 0
                a, b, distance = r1[side][head], r2[side][head], abs(query - key)
                expected = a * (math.log(1 + b * distance) if kernel[0] == "l" else distance**b)
                assert whole[head, query, key].item() == pytest.approx(-expected, abs=1e-12)
    torch.testing.assert_close(last, whole[:, -2:])
    torch.testing.assert_close(middle, whole[:, 4:7])
    assert torch.equal(whole, whole.mT) == position.symmetric != directional


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_starts_and_stays_in_its_range(kernel: str) -> None:
    """Catches a start at zero or beyond the exponent 2, where the kernel is no longer one that
    falls off, and steps that lead there."""
    position = scheme(kernel, heads=500)
    most = {"logarithmic": (2, 1), "power": (1, 2)}[kernel]
    for values, end in zip((position.r1, position.r2), most, strict=True):
        assert 0.01 <= values.min() < 0.05 * end
        assert 0.95 * end < values.max() <= end + 1e-6
    for far in (-30.0, 30.0):
        torch.nn.init.constant_(position.raw_r2, far)
        assert (position.r2 > 0).all()
        assert kernel == "logarithmic" or (position.r2 <= 2).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_finite_and_right(kernel: str) -> None:
    """Catches the gradient of 0 ** r2, and one that leaves a parameter out."""
    position = scheme(kernel, heads=2)

    def bias(r1: torch.Tensor, r2: torch.Tensor) -> torch.Tensor:
        parameters = {"raw_r1": r1, "raw_r2": r2}
        return torch.func.functional_call(
            _Bias(position), {f"p.{k}": v for k, v in parameters.items()}, ()
        )

    assert torch.autograd.gradcheck(bias, tuple(position.parameters()))
    position.bias(1, 1).sum().backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in position.parameters())


class _Bias(torch.nn.Module):
    def __init__(self, position: Kerple) -> None:
        super().__init__()
        self.p = position

    def forward(self) -> torch.Tensor:
        return self.p.bias(4, 5)


def test_the_logarithmic_kernel_is_a_power_law_on_the_weight() -> None:
    """Catches a bias that is added before the logits are scaled, or twice."""
    position = scheme("logarithmic")
    attention = build_attention("qkv", d_model=16, num_heads=4, position=position).double()
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    q, k, v = attention.project(x)
    distance = (torch.arange(7)[:, None] - torch.arange(7)).abs()
    law = (1 + position.r2[0][:, None, None] * distance) ** -position.r1[0][:, None, None]
    weights = (q @ k.mT / 2).exp().tril() * law
    expected = attention.merge(weights / weights.sum(-1, keepdim=True) @ v)
    torch.testing.assert_close(attention(x, causal=True), expected)


def test_an_unknown_kernel_is_refused() -> None:
    """Catches a misspelled kernel that silently is the other one."""
    with pytest.raises(UserError, match="unknown kernel 'log'; known are: logarithmic, power"):
        build_position("kerple", num_heads=2, kernel="log")
