"""The network: closed forms, invariances, and PyTorch's own layers as an independent oracle."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qvbench.attention import ATTENTION
from qvbench.errors import UserError
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.layers import LAYER_NORM_EPS, DecoderLayer, EncoderLayer, initialize
from qvbench.positions import POSITIONS
from tests.pairs import allowed, network_pairs

D_MODEL, HEADS, FFN, VOCABULARY = 24, 3, 40, 31


def build(
    mechanism: str = "qkv",
    position: str = "none",
    position_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> EncoderDecoder:
    torch.manual_seed(0)
    sizes = {"d_model": D_MODEL, "num_heads": HEADS, "ffn_dim": FFN, "encoder_layers": 2}
    network = EncoderDecoder(
        VOCABULARY,
        0,
        ATTENTION[mechanism],
        functools.partial(POSITIONS[position], **(position_settings or {})),
        **{**sizes, "decoder_layers": 2, **settings},
    )
    return network.double().eval()


def sentences() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    source = torch.randint(4, VOCABULARY, (3, 7), generator=generator)
    target = torch.randint(4, VOCABULARY, (3, 6), generator=generator)
    source[1, 4:] = 0
    target[2, 3:] = 0
    return source, target


PAIRS = [(m, p) for (m, _), (p, _) in network_pairs([(name, {}) for name in ATTENTION])]
everything = pytest.mark.parametrize(("mechanism", "position"), PAIRS)


def test_every_scheme_is_among_the_pairs() -> None:
    """Catches a scheme that is never tested."""
    assert {position for _, position in PAIRS} == set(POSITIONS)


@everything
def test_padding_and_batch_order_change_nothing(mechanism, position):
    """A mask forgotten, or a sentence that sees its neighbour in the batch."""
    network = build(mechanism, position)
    source, target = sentences()
    whole = network(source, target)
    padded = network(nn.functional.pad(source, (0, 3)), nn.functional.pad(target, (0, 2)))
    torch.testing.assert_close(padded[:, :6], whole, rtol=0, atol=1e-12)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(network(source[order], target[order]), whole[order])
    alone = network(source[1:2, :4], target[1:2])
    torch.testing.assert_close(alone, whole[1:2], rtol=0, atol=1e-12)


@everything
def test_a_future_token_has_no_influence(mechanism, position):
    """The causal mask one too wide, in whichever path the kernel takes."""
    network = build(mechanism, position)
    source, target = sentences()
    changed = target.clone()
    changed[:, 4] = (changed[:, 4] + 1) % VOCABULARY
    before, after = network(source, target), network(source, changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[0, 4], after[0, 4])


def reversal_gap(network: EncoderDecoder) -> float:
    source, _ = sentences()
    source = source[[0, 2]]  # without padding
    forward = network.encode(source)
    backward = network.encode(source.flip(1)).flip(1)
    return (forward - backward).abs().max().item()


@pytest.mark.parametrize("mechanism", ATTENTION)
def test_only_a_directional_encoder_tells_a_sentence_from_its_reverse(mechanism):
    """Directions that are mixed up would cancel; a symmetric kernel knows distances alone."""
    assert reversal_gap(build(mechanism)) < 1e-12
    symmetric = {"value_scaling": True, "directional": False}
    if allowed((mechanism, {}), ("agf", symmetric)):
        assert reversal_gap(build(mechanism, "agf", symmetric)) < 1e-12
    network = build(mechanism, "agf", {"value_scaling": True})
    assert reversal_gap(network) < 1e-12  # both directions start alike
    for layer in network.encoder:
        layer.attention.position.kernel.raw_exponent.data[1] += 1.0
    assert reversal_gap(network) > 1e-3
    assert reversal_gap(build(mechanism, "sinusoidal")) > 1e-3


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("mechanism", ["qkv", "qv", "qvka"])
def test_parameters_are_the_closed_form(mechanism, position):
    """Embeddings counted twice, a bias too many, a position scheme in cross-attention."""
    d, head = D_MODEL, D_MODEL // HEADS
    attention = {"qkv": 4 * d * d, "qv": 3 * d * d}
    attention["qvka"] = 3 * d * d + d * head + HEADS * 2 * head * head
    decay = 4 * HEADS if position in ("agf", "kerple") else 0  # two numbers, two directions
    stacks = {"learned": 2 * 512 * d, "t5": 2 * 32 * HEADS}.get(position, 0)
    encoder = attention[mechanism] + decay + 2 * d * FFN + 2 * 2 * d
    decoder = 2 * attention[mechanism] + decay + 2 * d * FFN + 3 * 2 * d
    expected = 2 * encoder + 2 * decoder + 2 * 2 * d + VOCABULARY * d + VOCABULARY + stacks
    network = build(mechanism, position)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_every_layer_has_parts_of_its_own():
    """A recipe that hands the same module to all layers."""
    network = build("qvka", "agf")
    attentions = [m for m in network.modules() if isinstance(m, ATTENTION["qvka"])]
    assert len(attentions) == len({id(a) for a in attentions}) == 6
    schemes = [layer.attention.position for layer in (*network.encoder, *network.decoder)]
    assert len({id(s.kernel.raw_exponent) for s in schemes}) == 4
    for layer in network.decoder:
        assert not list(layer.cross_attention.position.parameters())
    tables = (network.source_embeddings.tokens, network.target_embeddings.tokens)
    assert network.output_weight is tables[0].weight is tables[1].weight


def test_the_network_knows_its_mechanism_and_its_scheme() -> None:
    """Catches a scheme of the embeddings recorded as none, one of the layers as its base."""
    for name, scheme in POSITIONS.items():
        network = build("qv", name)
        assert type(network.position) is scheme
        assert type(network.attention) is ATTENTION["qv"]


def test_initialization_is_glorot_matrix_by_matrix():
    """PyTorch takes a stack's first axis for a fan, and AGF's parameters for a matrix."""
    network = build("qvka", "agf", d_model=240, num_heads=3, ffn_dim=400)

    def is_glorot(matrix: Tensor) -> bool:
        bound = (6 / sum(matrix.shape)) ** 0.5
        return bool(0.97 * bound < matrix.abs().max() <= bound)

    for name, parameter in network.named_parameters():
        if "position" in name or "norm" in name or parameter.dim() == 1:
            continue
        matrices = parameter if parameter.dim() == 3 else [parameter]
        assert all(is_glorot(matrix) for matrix in matrices), name
    c = network.encoder[0].attention.position.coefficient(2, 2)
    assert abs(c[0, 0, 1].item() - 2**-2.0) < 1e-6
    assert (network.output_bias == 0).all()


def copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    weights = (ours.query.weight, ours.key.weight, ours.value.weight)
    theirs.in_proj_weight.data.copy_(torch.cat(weights))
    theirs.out_proj.weight.data.copy_(ours.output.weight)


def compare_with_gradients(ours, theirs, inputs: list[Tensor]) -> None:
    for tensor in inputs:
        tensor.requires_grad_()
    cotangent = torch.randn_like(inputs[0])
    a, b = ours(*inputs), theirs(*inputs)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    grads = [torch.autograd.grad(y, inputs, cotangent) for y in (a, b)]
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)


def settings_of_pytorchs_layer() -> dict[str, Any]:
    return {
        "d_model": D_MODEL,
        "nhead": HEADS,
        "dim_feedforward": FFN,
        "dropout": 0.0,
        "batch_first": True,
        "norm_first": True,
        "bias": False,
        "layer_norm_eps": LAYER_NORM_EPS,
    }


def randomise_norms(layer: nn.Module) -> None:
    for norm in (m for m in layer.modules() if isinstance(m, nn.LayerNorm)):
        nn.init.normal_(norm.weight)


def test_an_encoder_layer_is_pytorchs():
    """A residual, norm or feed-forward wired another way than everybody else's."""
    layer = build().encoder[0]
    assert isinstance(layer, EncoderLayer)
    randomise_norms(layer)
    oracle = nn.TransformerEncoderLayer(**settings_of_pytorchs_layer()).double()
    copy_attention(layer.attention, oracle.self_attn)
    oracle.linear1.weight.data.copy_(layer.feed_forward.widen.weight)
    oracle.linear2.weight.data.copy_(layer.feed_forward.narrow.weight)
    oracle.norm1.weight.data.copy_(layer.attention_residual.norm.weight)
    oracle.norm2.weight.data.copy_(layer.feed_forward_residual.norm.weight)
    mask = sentences()[0] != 0
    x = torch.randn(3, 7, D_MODEL, dtype=torch.float64)
    compare_with_gradients(
        lambda x: layer(x, mask) * mask[..., None],
        lambda x: oracle(x, src_key_padding_mask=~mask) * mask[..., None],
        [x],
    )


def test_a_decoder_layer_is_pytorchs():
    """Cross-attention that takes its keys from the wrong side, or a norm of the memory."""
    layer = build().decoder[0]
    assert isinstance(layer, DecoderLayer)
    randomise_norms(layer)
    oracle = nn.TransformerDecoderLayer(**settings_of_pytorchs_layer()).double()
    copy_attention(layer.attention, oracle.self_attn)
    copy_attention(layer.cross_attention, oracle.multihead_attn)
    oracle.linear1.weight.data.copy_(layer.feed_forward.widen.weight)
    oracle.linear2.weight.data.copy_(layer.feed_forward.narrow.weight)
    oracle.norm1.weight.data.copy_(layer.attention_residual.norm.weight)
    oracle.norm2.weight.data.copy_(layer.cross_attention_residual.norm.weight)
    oracle.norm3.weight.data.copy_(layer.feed_forward_residual.norm.weight)
    mask = sentences()[0] != 0
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    compare_with_gradients(
        lambda x, m: layer(x, m, mask),
        lambda x, m: oracle(x, m, tgt_mask=hidden, memory_key_padding_mask=~mask),
        [
            torch.randn(3, 6, D_MODEL, dtype=torch.float64),
            torch.randn(3, 7, D_MODEL, dtype=torch.float64),
        ],
    )


def test_norms_after_the_residual_need_no_final_one():
    """A post-norm stack normalised twice at its end."""
    network = build(norm="post")
    source, target = sentences()
    hidden = network(source, target)
    assert isinstance(network.decoder_norm, nn.Identity)
    torch.testing.assert_close(hidden.mean(-1), torch.zeros(3, 6, dtype=torch.float64))


@pytest.mark.parametrize("settings", [{"dropout": 1.0}, {"encoder_layers": 0}, {"num_heads": 5}])
def test_impossible_sizes_are_refused(settings):
    """An error from inside a tensor operation, after the data was prepared."""
    with pytest.raises(UserError):
        build(**settings)


def test_decoding_ranks_logits_of_float32_under_autocast() -> None:
    """Catches logits that were rounded to bfloat16 and then called float32: one in a hundred best
    tokens was tied with another."""
    network = build("qvka", "agf").float()
    source, target = sentences()
    hidden: list[Tensor] = []
    network.decoder_norm.register_forward_hook(lambda *call: hidden.append(call[-1]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network.step(target[:, 0], network.start(source))
    exact = nn.functional.linear(hidden[-1].float(), network.output_weight, network.output_bias)
    torch.testing.assert_close(logits, exact, rtol=0, atol=1e-5)


def test_maps_of_heads_one_wide_are_no_biases() -> None:
    """Catches (H, 1, 1) matrices zeroed on initialization, and a key's bias (H, 1, D) that is
    not."""
    keyless = ATTENTION["keyless"](d_model=4, num_heads=4, bias=True)
    qvka = ATTENTION["qvka"](d_model=8, num_heads=4, bias=True)
    torch.nn.init.ones_(qvka.key_bias)
    for layer in (keyless, qvka):
        initialize(layer)
    assert (keyless.routing != 0).all()
    assert (keyless.query.bias == 0).all()
    assert (qvka.key_bias == 0).all()
