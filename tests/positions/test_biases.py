"""ALiBi and T5: what is added to the logits, against other people's code.

transformers is imported where it is asked: that takes seconds.
"""

from __future__ import annotations

import functools

import pytest
import torch

from qvbench.attention import ATTENTION, build_attention
from qvbench.errors import UserError
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS, build_position
from qvbench.positions.t5 import bucket


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 16])
def test_alibis_slopes_are_the_published_ones(heads):
    """Other slopes where the heads are no power of two."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    row = build_alibi_tensor(torch.ones(1, 7), heads, torch.float32)[:, 0]  # slope times key
    ours = build_position("alibi", num_heads=heads).bias(1, 7)[:, 0]  # of the last query
    torch.testing.assert_close(ours - ours[:, :1], row)
    assert (ours[:, -1] == 0).all()


def test_alibi_is_linear_to_both_sides():
    """A penalty that rewards later keys, or sides that are mixed up."""
    bias = build_position("alibi", num_heads=4).bias(5, 5)
    slope = 2.0 ** (-2 * torch.arange(1, 5))
    for query in range(5):
        for key in range(5):
            side = slope if key <= query else slope.roll(-1)
            torch.testing.assert_close(bias[:, query, key], -side * abs(query - key))
    symmetric = build_position("alibi", num_heads=4, directional=False).bias(5, 5)
    torch.testing.assert_close(symmetric, symmetric.mT)
    assert not torch.equal(bias, bias.mT)


@pytest.mark.parametrize("heads", [1, 4])
def test_no_head_of_directional_alibi_is_symmetric(heads):
    """A head whose two slopes are the same."""
    bias = build_position("alibi", num_heads=heads).bias(3, 3)
    assert (bias[:, 0, 1] != bias[:, 1, 0]).all()


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (64, 1000)])
def test_buckets_are_t5s(buckets, distance):
    """A bucket off by one, sides swapped, a logarithm of another base."""
    from transformers.models.t5.modeling_t5 import T5Attention

    offsets = torch.arange(-2 * distance, 2 * distance + 1)
    theirs = T5Attention._relative_position_bucket(
        offsets, bidirectional=True, num_buckets=buckets, max_distance=distance
    )
    assert torch.equal(bucket(offsets, buckets, distance), theirs)


def test_the_bias_is_t5s():
    """Keys and queries swapped, or a table that is read by another head."""
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=16, num_heads=4, d_kv=4, is_decoder=False)
    theirs = T5Attention(config, has_relative_attention_bias=True)
    ours = build_position("t5", num_heads=4)
    ours.table.data.copy_(torch.randn(32, 4))
    theirs.relative_attention_bias.weight.data.copy_(ours.table)
    torch.testing.assert_close(ours.bias(200, 200), theirs.compute_bias(200, 200)[0])
    torch.testing.assert_close(ours.bias(3, 200), ours.bias(200, 200)[:, -3:])


def network(**settings) -> EncoderDecoder:
    return EncoderDecoder(
        40,
        0,
        ATTENTION["qkv"],
        functools.partial(POSITIONS["t5"], **settings),
        d_model=16,
        num_heads=4,
        ffn_dim=16,
        encoder_layers=3,
        decoder_layers=2,
    )


def test_a_shared_table_serves_a_stack():
    """A table a layer under the name of T5, one for both stacks, or one for cross-attention."""
    shared, own = network(), network(shared=False)
    count = {n: sum(p.numel() for p in m.parameters()) for n, m in (("s", shared), ("o", own))}
    assert count["o"] - count["s"] == (3 - 1 + 2 - 1) * 32 * 4
    tables = [layer.attention.position.table for layer in (*shared.encoder, *shared.decoder)]
    assert len({id(table) for table in tables}) == 2
    assert not list(shared.decoder[0].cross_attention.position.parameters())


def test_a_shared_table_learns_from_all_layers_and_survives_a_checkpoint():
    """A gradient of the last layer alone; a state that loads only half of the stack."""
    source, target = torch.randint(4, 40, (2, 9)), torch.randint(4, 40, (2, 7))
    one = network().double().eval()
    one.encoder[0].attention.position.table.data.normal_()
    one(source, target).square().sum().backward()
    shared = one.encoder[0].attention.position.table.grad
    several = network(shared=False).double().eval()
    several.load_state_dict(one.state_dict())
    several(source, target).square().sum().backward()
    own = [layer.attention.position.table.grad for layer in several.encoder]
    torch.testing.assert_close(shared, sum(own))
    again = network().double().eval()
    again.load_state_dict(one.state_dict())
    torch.testing.assert_close(again(source, target), one(source, target))


@pytest.mark.parametrize("settings", [{"num_buckets": 3}, {"num_buckets": 30}, {"max_distance": 8}])
def test_impossible_buckets_are_refused(settings):
    """A logarithm of zero, or a side with a bucket more than the other."""
    with pytest.raises(UserError, match="T5: "):
        build_position("t5", num_heads=2, **settings)


@pytest.mark.parametrize("name", ["alibi", "t5", "kerple"])
def test_a_bias_reaches_the_logits_under_masks(name):
    """A kernel that takes a bias or a mask, and forgets the other."""
    position = build_position(name, num_heads=2)
    for parameter in position.parameters():
        torch.nn.init.normal_(parameter)
    attention = build_attention("qkv", d_model=8, num_heads=2, position=position).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    q, k, v = attention.project(x)
    logits = q @ k.mT / 4**0.5 + position.bias(6, 6)
    allowed = mask[:, None, None] & torch.ones(6, 6, dtype=torch.bool).tril()
    weights = logits.masked_fill(~allowed, -torch.inf).softmax(-1)
    expected = attention.merge(weights @ v)
    torch.testing.assert_close(attention(x, mask=mask, causal=True), expected)
