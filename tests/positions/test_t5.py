"""T5's buckets in whole attention: the order, single steps, 16 bits."""

from __future__ import annotations

import torch

from qvbench.attention import build_attention
from qvbench.positions import build_position


def layer(*, trained: bool = True):
    """Attention with buckets, its table as after some training or as at the start."""
    torch.manual_seed(0)
    position = build_position("t5", num_heads=4)
    if trained:
        torch.nn.init.normal_(position.table)
    return build_attention("qkv", d_model=16, num_heads=4, position=position)


def reversal_gap(attention) -> float:
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    return (attention(x) - attention(x.flip(1)).flip(1)).abs().max().item()


def test_a_trained_table_tells_a_sentence_from_its_reverse():
    """One half of the buckets that serves both sides."""
    assert reversal_gap(layer(trained=False).double()) < 1e-12  # zeros: no position yet
    assert reversal_gap(layer().double()) > 1e-3


def test_the_first_step_of_training_moves_both_sides_apart():
    """A start from which the gradient never leaves the symmetric tables."""
    attention = layer(trained=False)
    attention(torch.randn(2, 9, 16)).square().sum().backward()
    gradient = attention.position.table.grad
    left, right = gradient[1:8], gradient[17:24]  # distances 1 to 7
    assert (left != 0).all()
    assert (right != 0).all()
    assert not torch.allclose(left, right)


def test_far_keys_share_the_last_bucket_of_their_side():
    """A table that is read beyond its end by sentences longer than in training."""
    position = layer().position
    bias = position.bias(700, 700)
    assert torch.equal(bias[:, 650, 0], position.table[15])
    assert torch.equal(bias[:, 0, 650], position.table[31])
    assert torch.equal(bias[:, 0, 0], position.table[0])


def test_a_bfloat16_pass_is_near_the_exact_one_and_its_gradient_float32():
    """A bias that is lost where autocast casts the logits down, a table in 16 bits."""
    attention = layer()
    x = torch.randn(2, 40, 16)
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    exact = attention(x, mask=mask, causal=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(x, mask=mask, causal=True)
    assert (rounded.float() - exact).abs().max() < 0.02
    rounded.float().square().sum().backward()
    table = attention.position.table
    assert table.dtype == table.grad.dtype == torch.float32
    assert table.grad[:16].isfinite().all()
    assert (table.grad[:16] != 0).any()
    assert (table.grad[16:] == 0).all()  # a causal query sees nothing to its right
