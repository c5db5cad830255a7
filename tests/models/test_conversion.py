"""Networks converted from QKV to other mechanisms: what is exact, and what beats plain copying."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qvbench.attention import ATTENTION
from qvbench.errors import UserError
from qvbench.models.conversion import attention_layers, convert, tokens_of_keys
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS

VOCABULARY = 40


def build(
    mechanism: str, position: str = "none", seed: int = 0, num_heads: int = 4, **settings: Any
) -> Any:
    """A network of random weights that are large enough for attention to be sharp."""
    torch.manual_seed(seed)
    scheme = partial(POSITIONS[position], **({"max_length": 32} if position == "learned" else {}))
    attention = partial(ATTENTION[mechanism], **settings)
    sizes = {"d_model": 8 * num_heads, "num_heads": num_heads, "layers": 2, "ffn_dim": 48}
    network = DecoderOnly(
        VOCABULARY, -1, attention, scheme, initialization="glorot", bias=True, **sizes
    )
    for layer in attention_layers(network).values():
        for parameter in layer.parameters():
            if parameter.dim() < 2:
                nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def text(seed: int) -> Tensor:
    return torch.randint(VOCABULARY, (24, 16), generator=torch.Generator().manual_seed(seed))


def converted(source: Any, mechanism: str, position: str = "none", **settings: Any) -> Any:
    target = build(mechanism, position, seed=1, **settings)
    convert(source, target, lambda: source(text(0)))
    return target


def logit_error(source: Any, target: Any) -> float:
    """Mean square of the difference of attention logits on text that was not solved on, but for
    what the softmax cancels: layer by layer, from the source's own hidden states."""
    tokens = tokens_of_keys(source, lambda: source(text(9)))
    total = 0.0
    for name, layer in attention_layers(source).items():
        x = tokens[name].view(24, 16, -1)
        both = []
        for each in (layer, attention_layers(target)[name]):
            q, k, _ = each.project(x)
            q, k = each.rotate(q), each.rotate(k)
            both.append(q @ k.repeat_interleave(4 // k.shape[1], 1).mT)
        difference = both[0] - both[1]
        if not layer.position.multiplies:
            difference = difference - difference.mean(-1, keepdim=True)
        total += float((difference**2).mean())
    return total


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("position", ["rope", "agf", "learned"])
def test_to_the_same_mechanism_nothing_changes(position: str, bias: bool) -> None:
    """Catches a weight that is left out, or heads in another order."""
    source = build("qkv", position, bias=bias)
    for mechanism, settings in (
        ("qkv", {}),
        ("gqa", {"num_kv_heads": 4}),
        ("v_shared", {"num_value_heads": 4}),
    ):
        target = converted(source, mechanism, position, bias=bias, **settings)
        torch.testing.assert_close(target(text(3)), source(text(3)), rtol=0, atol=0)


@pytest.mark.parametrize("position", ["rope", "agf", "learned"])
@pytest.mark.parametrize("groups", [1, 2])
def test_heads_that_share_may_have_their_own_again(groups: int, position: str) -> None:
    """Catches a copy for the wrong head: nothing may change."""
    source = build("gqa", position, num_kv_heads=groups, bias=True)
    for mechanism, settings in (
        ("qkv", {}),
        ("gqa", {"num_kv_heads": groups}),
        ("v_shared", {"num_value_heads": groups}),
        ("v_shared", {"num_value_heads": 4}),
    ):
        target = converted(source, mechanism, position, bias=True, **settings)
        torch.testing.assert_close(target(text(3)), source(text(3)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_shared_heads_are_the_mean_of_their_group(groups: int) -> None:
    """Catches a mean of heads that no query head of the group had, and one of values alone."""
    source = build("qkv", bias=True)
    target = converted(source, "gqa", num_kv_heads=groups, bias=True)
    size = 4 // groups
    for name, layer in attention_layers(target).items():
        own = attention_layers(source)[name]
        for part in ("key", "value"):
            for kind in ("weight", "bias"):
                given, found = (getattr(getattr(each, part), kind) for each in (own, layer))
                for group in range(groups):
                    for row in range(8):
                        members = [given[8 * (group * size + n) + row] for n in range(size)]
                        expected = sum(members) / size
                        torch.testing.assert_close(found[8 * group + row], expected)
        assert torch.equal(layer.query.weight, own.query.weight)
        assert torch.equal(layer.output.weight, own.output.weight)


KEYLESS: list[tuple[str, dict[str, Any]]] = [
    ("qv", {}),
    ("gqa_qv", {"num_kv_heads": 2}),
    ("gqa_qv", {"num_kv_heads": 1}),
    ("qvka", {"context_dim": 4}),
    ("qvka", {"context_dim": 4, "context": "per_head"}),
    ("qvka", {"num_value_heads": 2}),
]


@pytest.mark.parametrize("position", ["none", "rope", "agf"])
@pytest.mark.parametrize(("mechanism", "settings"), KEYLESS)
@pytest.mark.parametrize("origin", ["qkv", "gqa"])
def test_solving_beats_copying(
    origin: str, mechanism: str, settings: dict[str, Any], position: str
) -> None:
    """Catches a map on the wrong side or of another head, on text that it was not solved on."""
    shared = {"num_kv_heads": 2} if origin == "gqa" else {}
    source = build(origin, position, bias=True, **shared)
    target = converted(source, mechanism, position, bias=True, **settings)
    solved = logit_error(source, target)
    copy = build(mechanism, position, seed=1, bias=True, **settings)
    state = {**copy.state_dict(), **target.state_dict()}
    state |= {n: v for n, v in source.state_dict().items() if n.endswith("query.weight")}
    copy.load_state_dict(state)
    if mechanism == "qvka":  # the value for a key
        for layer in attention_layers(copy).values():
            layer.key_weight.data.zero_()  # type: ignore[union-attr, operator]
            layer.key_weight.data[:, -8:] = torch.eye(8)  # type: ignore[index]
    assert solved < 0.9 * logit_error(source, copy)


@pytest.mark.parametrize("position", ["none", "rope", "agf"])
def test_keys_that_values_determine_are_kept(position: str) -> None:
    """Catches a regression that is off, or a constant of the keys that goes lost where logits are
    multiplied: if keys are a linear map of values, nothing changes."""
    source = build("qkv", position)
    for layer in attention_layers(source).values():
        for head in range(4):
            rows = slice(8 * head, 8 * head + 8)
            if position == "rope":  # what commutes with rotations, by pairs of columns
                turns = [torch.tensor([[a, b], [-b, a]]).double() for a, b in torch.randn(4, 2)]
                map_ = torch.block_diag(*turns)
            else:
                map_ = torch.randn(8, 8).double()
            layer.key.weight.data[rows] = map_ @ layer.value.weight[rows]  # type: ignore[union-attr, operator, index]
    for mechanism in ("qv", "qvka"):
        target = converted(source, mechanism, position)
        torch.testing.assert_close(target(text(3)), source(text(3)), rtol=0, atol=1e-4)


def test_a_context_knows_what_keys_have_in_common_where_it_counts() -> None:
    """Catches directions in which keys differ from their mean, where no softmax cancels the mean:
    of keys that values say nothing of, the best approximation of rank C is known."""
    source = build("qkv", "agf")
    for layer in source.layers:
        nn.init.normal_(layer.attention_residual.norm.bias)
        layer.attention.value.weight.data.zero_()
    tokens = tokens_of_keys(source, lambda: source(text(0)))
    target = attention_layers(converted(source, "qvka", "agf", context_dim=4))
    for name, layer in attention_layers(source).items():
        of_both = (each.project(tokens[name][None])[1][0] for each in (layer, target[name]))
        keys, found = (k.transpose(0, 1).flatten(1) for k in of_both)
        least = torch.linalg.svdvals(keys)[4:].square().sum()
        torch.testing.assert_close((keys - found).square().sum(), least, rtol=1e-4, atol=0)


def test_a_context_as_wide_as_the_keys_is_exact() -> None:
    """Catches directions that do not hold most of what is unknown, or are read off other tokens."""
    source = build("qkv", "rope")
    target = converted(source, "qvka", "rope", context_dim=32)
    torch.testing.assert_close(target(text(3)), source(text(3)), rtol=0, atol=1e-4)
    errors = [
        logit_error(source, converted(source, "qvka", "rope", context_dim=width))
        for width in (1, 4, 8, 16)
    ]
    assert errors == sorted(errors, reverse=True)


def test_padding_is_no_text() -> None:
    """Catches maps solved on what padding leaves, and a layer over the source that is left out."""
    torch.manual_seed(0)
    parts = {"attention": partial(ATTENTION["qkv"]), "position": partial(POSITIONS["agf"])}
    sizes = {"d_model": 16, "num_heads": 2, "ffn_dim": 24, "encoder_layers": 1, "decoder_layers": 1}
    source = EncoderDecoder(vocab_size=20, padding_id=0, **parts, **sizes).eval()
    ids = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 9, 0]])
    targets = torch.tensor([[2, 10, 0, 0], [2, 11, 12, 13]])
    tokens = tokens_of_keys(source, lambda: source(ids, targets))
    assert {name: len(found) for name, found in tokens.items()} == {
        "encoder.0.attention": 7,
        "decoder.0.attention": 6,
        "decoder.0.cross_attention": 7,
    }


def test_what_has_no_rule_is_refused() -> None:
    """Catches a network that keeps its initial weights without a word, and one of weights that are
    not finite."""
    source = build("qkv")
    with pytest.raises(UserError, match="to mla there is no way; known are: qkv, gqa"):
        converted(source, "mla")
    with pytest.raises(UserError, match="from qv there is no way"):
        converted(build("qv"), "qkv")
    with pytest.raises(UserError, match="keys have another width"):
        converted(build("qkv", head_dim_qk=16), "qv")
    with pytest.raises(UserError, match="keys are 8 wide, and 4 in the new mechanism"):
        converted(build("qkv"), "qkv", head_dim_qk=4)
    source.final_norm.weight.data[0] = torch.nan
    with pytest.raises(UserError, match="weights of the checkpoint are not finite"):
        converted(source, "qvka")
    source = build("gqa", num_heads=6, num_kv_heads=3)
    with pytest.raises(UserError, match="2 key heads cannot be made of 3"):
        converted(source, "gqa", num_heads=6, num_kv_heads=2)
