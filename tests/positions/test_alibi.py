"""ALiBi in whole attention: what it tells of the order, and in 16 bits."""

from __future__ import annotations

import pytest
import torch

from qvbench.attention import build_attention
from qvbench.positions import build_position


def reversal_gap(**settings) -> float:
    """How far attention over a reversed sentence is from the reversed attention over it."""
    torch.manual_seed(0)
    position = build_position("alibi", num_heads=4, **settings)
    attention = build_attention("qkv", d_model=16, num_heads=4, position=position).double()
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    return (attention(x) - attention(x.flip(1)).flip(1)).abs().max().item()


def test_only_the_directional_form_tells_a_sentence_from_its_reverse():
    """Sides that are mixed up, or an attribute that says the opposite of what the bias does."""
    assert reversal_gap(directional=False) < 1e-12
    assert reversal_gap(directional=True) > 1e-3
    assert build_position("alibi", num_heads=4, directional=False).symmetric
    assert not build_position("alibi", num_heads=4).symmetric


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_a_decoder_sees_the_published_bias_in_either_form(heads):
    """Directions that take a part of the past from a head of the decoder."""
    directional = build_position("alibi", num_heads=heads).bias(6, 6)
    symmetric = build_position("alibi", num_heads=heads, directional=False).bias(6, 6)
    past = torch.ones(6, 6, dtype=torch.bool).tril()
    assert torch.equal(directional[:, past], symmetric[:, past])
    assert directional.isfinite().all()


def test_nothing_of_it_is_learned_or_saved():
    """Slopes that an optimizer moves, or that a checkpoint overwrites."""
    alibi = build_position("alibi", num_heads=4)
    assert not list(alibi.parameters())
    assert not alibi.state_dict()


@pytest.mark.parametrize("training", [True, False])
def test_a_bfloat16_pass_is_near_the_exact_one(training):
    """A bias that is lost, or doubled, where autocast casts the logits down, in training or in
    validation, which other kernels compute."""
    torch.manual_seed(0)
    position = build_position("alibi", num_heads=4)
    attention = build_attention("qkv", d_model=16, num_heads=4, position=position)
    x = torch.randn(2, 40, 16)
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    exact = attention(x, mask=mask, causal=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.set_grad_enabled(training):
        rounded = attention(x, mask=mask, causal=True)
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).abs().max()
    without = build_attention("qkv", d_model=16, num_heads=4)
    without.load_state_dict(attention.state_dict())
    assert error < 0.02 < (without(x, mask=mask, causal=True) - exact).abs().max() / 5
