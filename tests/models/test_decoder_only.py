"""The decoder-only network: causality, caches, gradients, its start, and published sizes."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qvbench.attention import ATTENTION, precomputed
from qvbench.models.decoder_only import DecoderOnly
from qvbench.positions import POSITIONS
from tests.pairs import MECHANISMS, SCHEMES, Part, allowed, label

pytestmark = pytest.mark.slow  # every test builds networks; `make test` runs them

VOCABULARY, TOLERANCE = 29, 1e-10

LLAMA = {"norm": "rms", "activation": "swiglu", "tied": False}
EMBEDDED: list[Part] = [("sinusoidal", {}), ("learned", {})]
PAIRS = [(m, s) for m in MECHANISMS for s in (*SCHEMES, *EMBEDDED) if allowed(m, s)]
each_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS, ids=map(label, MECHANISMS))


def schemes(mechanism: Part) -> list[Part]:
    """The position schemes that a mechanism can be used with."""
    return [scheme for own, scheme in PAIRS if own == mechanism]


def build(mechanism: Part = ("qkv", {}), scheme: Part = ("none", {}), **settings: Any) -> Any:
    """A small network in float64."""
    torch.manual_seed(0)
    attention = functools.partial(ATTENTION[mechanism[0]], **mechanism[1])
    position = functools.partial(POSITIONS[scheme[0]], **scheme[1])
    sizes = {"d_model": 16, "num_heads": 4, "layers": 2, "ffn_dim": 24}
    network = DecoderOnly(VOCABULARY, -1, attention, position, **{**sizes, **settings})
    return network.double().eval()


def strange(network: nn.Module) -> Any:
    """None of its parameters at its (often neutral) initial value."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, parameter.detach().mean().item(), 0.3)
    return network


def tokens(rows: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(VOCABULARY, (rows, length), generator=generator)


def test_every_mechanism_and_every_scheme_is_among_the_pairs() -> None:
    """Catches a part that refuses everything and so is never tested."""
    assert {mechanism[0] for mechanism, _ in PAIRS} == set(ATTENTION)
    assert {scheme[0] for _, scheme in PAIRS} == set(POSITIONS)


@each_mechanism
@torch.inference_mode()
def test_steps_after_a_prompt_equal_the_whole_pass(mechanism: Part) -> None:
    """Catches a cache that misplaces a token, a position counted wrongly after a prompt, rows mixed
    up by select, and a token that sees a later one."""
    for scheme in schemes(mechanism):
        check_steps(mechanism, scheme)


def check_steps(mechanism: Part, scheme: Part) -> None:
    network = strange(build(mechanism, scheme, **(LLAMA if scheme[0] == "rope" else {})))
    ids = tokens(4, 12)
    with precomputed(network):
        state = network.start(ids[:, :5])
        for end in range(5, ids.shape[1]):
            stepped = network.step(ids[:, end], state)
            whole = network.project(network(ids[:, : end + 1])[:, -1])
            assert (stepped - whole).abs().max() < TOLERANCE, f"{scheme}, token {end}"
            order = torch.tensor([3, 1, 1, 0] if end == 8 else [0, 1, 2, 3])
            state.select(order)
            ids = ids[order]
    before, changed = network(ids), ids.clone()
    changed[:, 9] = (changed[:, 9] + 1) % VOCABULARY
    after = network(changed)
    assert (before[:, :9] - after[:, :9]).abs().max() < TOLERANCE, scheme
    assert (before[:, 9] - after[:, 9]).abs().min(0).values.max() > 1e-4, scheme


@each_mechanism
@torch.inference_mode()
def test_documents_in_one_window_do_not_see_each_other(mechanism: Part) -> None:
    """Catches a mask that one kind of logits leaves out, a document that is cut at a row's border,
    and a first token that may look nowhere."""
    ids = tokens(2, 13)
    documents = torch.tensor([[7] * 4 + [8] * 9, [7] * 9 + [8] * 1 + [9] * 3])
    for scheme in schemes(mechanism):
        if scheme in EMBEDDED:  # which count from the start of the window
            continue
        network = strange(build(mechanism, scheme))
        together = network(ids, documents)
        for row, of_row in enumerate(documents):
            for document in of_row.unique():
                own = of_row == document
                alone = network(ids[row : row + 1, own])[0]
                assert (together[row, own] - alone).abs().max() < TOLERANCE, scheme
        assert (together - network(ids)).abs().max() > 1e-3, scheme


@each_mechanism
def test_every_parameter_is_reached(mechanism: Part) -> None:
    """Catches a part that is built and never used, and a start from which nothing can learn."""
    ids = tokens(3, 12)
    for scheme in schemes(mechanism):
        network = build(mechanism, scheme, bias=True, **(LLAMA if scheme[0] == "rope" else {}))
        logits = network.project(network(ids[:, :-1]))
        nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        for name, parameter in network.named_parameters():
            if parameter.requires_grad and not name.endswith(("key.bias", "key_bias")):
                assert parameter.grad is not None, (scheme, name)
                assert parameter.grad.abs().sum() > 0, (scheme, name)


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("settings", [{}, LLAMA, {"activation": "relu", "bias": True}])
def test_a_step_begins_with_an_empty_cache(settings: dict[str, Any], placement: Any) -> None:
    """Catches a first token that needs a prompt, and a placement without its final norm."""
    network = strange(build(placement=placement, **settings))
    ids = tokens(2, 1)
    stepped = network.step(ids[:, 0], network.start(ids[:, :0]))
    torch.testing.assert_close(stepped, network.project(network(ids))[:, 0], rtol=0, atol=1e-12)
    assert isinstance(network.final_norm, nn.Identity) == (placement == "post")


def test_the_start_is_gpt2s() -> None:
    """Catches a depth that is forgotten, or divides what does not write into the residual, and an
    output layer of its own or a table of positions that starts at another scale."""
    learned: Part = ("learned", {"std": 0.02})
    network = build(("qvka", {"bias": True}), learned, d_model=256, layers=8, tied=False, bias=True)
    for layer in network.layers:
        for writes in (layer.attention.output, layer.feed_forward.narrow):
            assert writes.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        for reads in (layer.attention.query, layer.attention.value, layer.feed_forward.widen):
            assert reads.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not reads.bias.any()
        # Of a head's own fans, as the mechanism says: 0.02 would all but take the key away.
        assert layer.attention.key_weight.std().item() > 0.05
    for table in (network.output_weight, network.embeddings.tokens.weight, network.position.table):
        assert table.std().item() == pytest.approx(0.02, rel=0.05)
    glorot = build(d_model=256, initialization="glorot").layers[0].feed_forward.narrow.weight
    assert glorot.abs().max().item() == pytest.approx((6 / (256 + 24)) ** 0.5, rel=0.05)


def test_fixed_positions_do_not_drown_the_tokens() -> None:
    """Catches sinusoids of magnitude 1 over vectors of 0.02, from which hardly anything is learned,
    and pretrained vectors that are scaled though their positions are learned."""
    for scheme in ("sinusoidal", "learned", "rope"):
        embeddings = build(scheme=(scheme, {}), d_model=64).embeddings
        expected = 8.0 if scheme == "sinusoidal" else 1.0
        added = embeddings(tokens(1, 2)) - embeddings(1 + tokens(1, 2))
        vectors = embeddings.tokens.weight
        one = vectors[tokens(1, 2)] - vectors[1 + tokens(1, 2)]
        torch.testing.assert_close(added, expected * one)
