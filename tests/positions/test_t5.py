"""T5's buckets in whole attention, in 16 bits."""

from __future__ import annotations

import torch

from qvbench.attention import build_attention
from qvbench.positions import build_position


def test_a_bfloat16_pass_is_near_the_exact_one_and_its_gradient_float32():
    """A bias that is lost where autocast casts the logits down, in training or in validation, which
    other kernels compute; a table in 16 bits, or one that does not start as no position."""
    torch.manual_seed(0)
    position = build_position("t5", num_heads=4)
    assert not position.table.any()
    torch.nn.init.normal_(position.table)
    attention = build_attention("qkv", d_model=16, num_heads=4, position=position)
    x = torch.randn(2, 40, 16)
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    exact = attention(x, mask=mask, causal=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(x, mask=mask, causal=True)
        with torch.no_grad():
            validated = attention(x, mask=mask, causal=True)
    for found in (rounded, validated):
        assert (found.float() - exact).abs().max() < 0.02
    rounded.float().square().sum().backward()
    table = position.table
    assert table.dtype == table.grad.dtype == torch.float32
    assert table.grad[:16].isfinite().all()
    assert (table.grad[:16] != 0).any()
    assert (table.grad[16:] == 0).all()  # a causal query sees nothing to its right
