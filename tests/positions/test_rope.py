"""Rotary positions: other people's code, and what a rotation is.

transformers is imported where it is asked: that takes seconds.
"""

from __future__ import annotations

import copy

import pytest
import torch

from qvbench.attention import build_attention
from qvbench.errors import UserError
from qvbench.positions import build_position


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("width", [2, 8, 64])
def test_it_is_what_gpt_j_rotates(start, width):
    """Pairs of other columns, a series of other angles, a rotation to the other side."""
    from transformers.models.gptj.modeling_gptj import (
        apply_rotary_pos_emb,
        create_sinusoidal_positions,
    )

    x = torch.randn(2, 3, 40, width)
    sine, cosine = create_sinusoidal_positions(start + 40, width)[None, start:].chunk(2, -1)
    expected = apply_rotary_pos_emb(x.transpose(1, 2), sine, cosine).transpose(1, 2)
    ours = build_position("rope", num_heads=3).rotate(x, start)
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("base", [10000.0, 500.0])
def test_it_is_what_llama_rotates_up_to_the_order_of_columns(base):
    """A base that is not passed on, or pairs that are more than another order of columns."""
    from transformers.models.llama import modeling_llama
    from transformers.models.llama.configuration_llama import LlamaConfig

    parameters = {"rope_type": "default", "rope_theta": base}
    config = LlamaConfig(hidden_size=32, num_attention_heads=2, rope_parameters=parameters)
    q, k = (torch.randn(2, 2, 40, 16) for _ in range(2))
    cosine, sine = modeling_llama.LlamaRotaryEmbedding(config)(q, torch.arange(40)[None])
    halves = torch.arange(16).view(8, 2).t().flatten()  # our pairs' firsts, then their seconds
    theirs = modeling_llama.apply_rotary_pos_emb(q[..., halves], k[..., halves], cosine, sine)
    rope = build_position("rope", num_heads=2, base=base)
    for ours, expected in zip((rope.rotate(q), rope.rotate(k)), theirs, strict=True):
        torch.testing.assert_close(ours[..., halves], expected, rtol=0, atol=2e-5)


def test_bfloat16_keeps_far_angles():
    """Angles in 16 bits: beyond position 256, neighbours would be rotated alike."""
    rope = build_position("rope", num_heads=1)
    x = torch.ones(1, 1, 2, 8)
    exact = rope.rotate(x, 1000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = rope.rotate(x.bfloat16(), 1000)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.01)


def test_the_value_of_qv_is_not_rotated():
    """One tensor is key and value: rotating it in place would rotate both."""
    rope = build_position("rope", num_heads=2)
    qv = build_attention("qv", d_model=16, num_heads=2, position=rope).double()
    x = torch.randn(1, 1, 16, dtype=torch.float64)
    only = qv(x)  # of one token, attention is its value
    torch.testing.assert_close(only, qv.output(qv.value(x)), rtol=0, atol=1e-12)
    x = torch.randn(1, 6, 16, dtype=torch.float64)
    q, k, v = qv.project(x)
    expected = (rope.rotate(q) @ rope.rotate(k).mT / 8**0.5).softmax(-1) @ v
    torch.testing.assert_close(qv(x), qv.merge(expected))


def test_odd_widths_are_refused_at_construction():
    """A last column that is left out of the rotation; a width that is not rotated refused."""
    rope = build_position("rope", num_heads=2)
    wide = build_attention("qkv", d_model=10, num_heads=2, head_dim_qk=6, position=rope)
    assert wide(torch.randn(1, 3, 10)).shape == (1, 3, 10)  # values of 5
    with pytest.raises(UserError, match="a head's width is 5; make it even"):
        build_attention("qkv", d_model=10, num_heads=2, position=rope)
    with pytest.raises(UserError, match=r"QKV with RoPE: .* width is 7; make it even"):
        build_attention("qkv", d_model=8, num_heads=2, head_dim_qk=7, position=rope)
    with pytest.raises(UserError, match="make it even"):
        rope.rotate(torch.randn(1, 2, 3, 7))
    with pytest.raises(UserError, match="base must exceed 1"):
        build_position("rope", num_heads=2, base=1.0)


def test_what_it_keeps_serves_every_later_use(monkeypatch):
    """Catches angles computed at every step, those of another type or too few positions, what
    validation kept and training cannot use, and a copy with the original's."""
    rope = build_position("rope", num_heads=2)
    made = []
    turns = rope.turns
    monkeypatch.setattr(rope, "turns", lambda *args: made.append(args) or turns(*args))
    x = torch.randn(1, 2, 40, 6)
    with torch.inference_mode():
        for end in range(1, 41):
            rope.rotate(x[:, :, end - 1 : end], end - 1)
    assert len(made) == 1
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(rope.rotate(x, 3).square().sum(), x)
    torch.testing.assert_close(gradient, 2 * x)  # rotations keep lengths
    assert len(made) == 1
    far = rope.rotate(x, 300)
    assert len(made) == 2
    exact = build_position("rope", num_heads=2).rotate(x.double(), 300)
    torch.testing.assert_close(far.double(), exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(rope.rotate(x.double(), 300), exact, rtol=0, atol=1e-13)
    assert copy.deepcopy(rope)._kept is None
