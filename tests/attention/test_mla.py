"""Latent attention: against QKV where nothing is compressed, and against DeepSeek-V2's.

transformers is imported where it is asked: that takes seconds.
"""

from __future__ import annotations

import pytest
import torch

from qvbench.attention import build_attention
from qvbench.errors import UserError
from qvbench.positions import build_position

D, HEADS, WIDTH = 32, 4, 8
LENGTH = 9


def build(name: str, position: str = "agf", **settings):
    torch.manual_seed(0)
    scheme = build_position(position, num_heads=HEADS, d_model=D)
    return build_attention(name, d_model=D, num_heads=HEADS, position=scheme, **settings).double()


def tokens(length: int = LENGTH) -> torch.Tensor:
    return torch.randn(2, length, D, generator=torch.Generator().manual_seed(1)).double()


def pass_through(latent) -> None:
    """Make a full-rank latent the token itself."""
    latent.down.weight.data.copy_(torch.eye(D))


@pytest.mark.parametrize("own_key_latent", [False, True])
def test_full_ranks_span_qkv(own_key_latent):
    """An up-projection that mixes heads, or a key made from the value's latent by mistake."""
    full = {"value_rank": D, "query_rank": D, "latent_norm": False}
    mla = build("mla", **full, **({"key_rank": D} if own_key_latent else {}))
    qkv = build("qkv")
    for latent in filter(None, (mla.value_latent, mla.key_latent, mla.query.latent)):
        pass_through(latent)
    mla.query.up.weight.data.copy_(qkv.query.weight)
    for name in ("key", "value", "output"):
        getattr(mla, name).weight.data.copy_(getattr(qkv, name).weight)
    x, m = tokens(), tokens(12)
    torch.testing.assert_close(mla(x, causal=True), qkv(x, causal=True), rtol=0, atol=1e-12)
    torch.testing.assert_close(mla(x, m), qkv(x, m), rtol=0, atol=1e-12)


def test_keyless_latent_attention_of_full_rank_is_qv():
    """A key that is the latent and not the value."""
    mla, qv = build("mla_qv", value_rank=D, latent_norm=False), build("qv")
    pass_through(mla.value_latent)
    mla.query.up.weight.data.copy_(qv.query.weight)
    for name in ("value", "output"):
        getattr(mla, name).weight.data.copy_(getattr(qv, name).weight)
    torch.testing.assert_close(mla(tokens()), qv(tokens()), rtol=0, atol=1e-12)


def test_latents_are_as_lean_as_their_ranks():
    """Keys and values that know more of the token than the latent does."""
    mla = build("mla", value_rank=3, key_rank=5, latent_norm=False)
    _, k, v = mla.project(tokens())
    for x, rank in ((k, 5), (v, 3)):
        flat = x.transpose(1, 2).flatten(2).flatten(0, 1)
        assert torch.linalg.matrix_rank(flat) == rank


@pytest.mark.parametrize("query_rank", [None, 12])
@pytest.mark.parametrize("recalled", [False, True])
def test_with_rope_it_is_deepseek_v2(query_rank, recalled):
    """Other people's reading of the same paper: norms, the order of the parts, the scale."""
    from transformers.models.deepseek_v2 import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import (
        DeepseekV2Attention,
        DeepseekV2RotaryEmbedding,
    )

    rotary = 4
    config = DeepseekV2Config(
        hidden_size=D,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        kv_lora_rank=10,
        q_lora_rank=query_rank,
        qk_rope_head_dim=rotary,
        qk_nope_head_dim=WIDTH,
        v_head_dim=WIDTH,
        head_dim=rotary,
        attn_implementation="eager",
    )
    torch.manual_seed(2)
    theirs = DeepseekV2Attention(config, layer_idx=0)
    ours = build("mla", "rope", value_rank=10, query_rank=query_rank, rope_dim=rotary).float()
    take_weights(ours, theirs)
    x = tokens().float()
    angles = DeepseekV2RotaryEmbedding(config)(x, torch.arange(LENGTH)[None])
    hidden = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)[None, None]
    expected = theirs(x, attention_mask=hidden, position_embeddings=angles)[0]
    if recalled:
        with torch.no_grad():
            result = ours.attend_cached(x, ours.cache_entries(x), causal=True)
    else:
        result = ours(x, causal=True)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def take_weights(ours, theirs) -> None:
    """DeepSeek's layout into ours: they stack latent and rotary key, and keys and values."""
    down = theirs.kv_a_proj_with_mqa.weight.data
    ours.value_latent.down.weight.data.copy_(down[:10])
    ours.rotary_key.weight.data.copy_(down[10:])
    up = theirs.kv_b_proj.weight.data.unflatten(0, (HEADS, 2 * WIDTH))
    ours.key.weight.data.copy_(up[:, :WIDTH].flatten(0, 1))
    ours.value.weight.data.copy_(up[:, WIDTH:].flatten(0, 1))
    ours.output.weight.data.copy_(theirs.o_proj.weight)
    if ours.query.latent is None:
        ours.query.up.weight.data.copy_(theirs.q_proj.weight)
    else:
        ours.query.latent.down.weight.data.copy_(theirs.q_a_proj.weight)
        ours.query.up.weight.data.copy_(theirs.q_b_proj.weight)


@pytest.mark.parametrize("rope_dim", [0, 3])
def test_a_rotation_needs_pairs(rope_dim):
    """A last column that is left out of the rotation."""
    with pytest.raises(UserError, match=f"rope_dim must be even and at least 2, got {rope_dim}"):
        build("mla", "rope", rope_dim=rope_dim)


def test_schemes_that_do_not_rotate_have_no_rotary_part():
    """A rotary key that is projected, cached and never rotated."""
    assert build("mla", "agf", rope_dim=4).rotary_key is None
    assert build("mla", "rope").rope_dim == WIDTH // 2
