"""Every mechanism and every position scheme decode from a cache what they compute without one.

The parts come from the registries: a new mechanism or scheme is tested from the line on that
registers it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qvbench.attention import ATTENTION, Attention
from qvbench.decoding.beam import beam_search
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS, Position
from tests.pairs import MECHANISMS, Part, label, network_pairs

PAD, BOS, EOS = 0, 2, 3
VOCAB = 32
TOLERANCE = 1e-10


def build(mechanism: Part, scheme: Part) -> Any:
    """A network in float64 none of whose parameters is at its (often neutral) initial value."""

    def attention(**given: Any) -> Attention:
        return ATTENTION[mechanism[0]](**given, **mechanism[1])

    def position(**given: Any) -> Position:
        return POSITIONS[scheme[0]](**given, **scheme[1])

    torch.manual_seed(0)
    network = EncoderDecoder(
        VOCAB,
        PAD,
        attention,
        position,
        d_model=16,
        num_heads=4,
        ffn_dim=24,
        encoder_layers=2,
        decoder_layers=2,
    )
    network = network.double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, parameter.detach().mean().item(), 0.3)
    return network


PAIRS = network_pairs(MECHANISMS)
each_pair = pytest.mark.parametrize(
    ("mechanism", "scheme"), PAIRS, ids=[f"{label(m)}-{label(s)}" for m, s in PAIRS]
)


@pytest.fixture
def source() -> Tensor:
    """Five sentences of lengths 9, 1, 4, 7, 2 with their ends."""
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, VOCAB, (length,), generator=draw) for length in (8, 0, 3, 6, 1)]
    rows = [torch.cat([row, torch.tensor([EOS])]) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def test_every_scheme_is_among_the_pairs() -> None:
    """Catches a scheme that refuses everything and so is never tested."""
    assert {scheme[0] for _, scheme in PAIRS} == set(POSITIONS)


@torch.inference_mode()
@each_pair
def test_steps_with_reordering_and_dropping_equal_the_whole_pass(
    mechanism: Part, scheme: Part, source: Tensor
) -> None:
    """Catches a cache that misplaces a token, a position that a step counts wrongly, padding that
    leaks into cross-attention, and rows mixed up by reorder or keep."""
    network = build(mechanism, scheme)
    generator = torch.Generator().manual_seed(1)
    copies = 3
    state = network.start(source)
    sentences = torch.arange(len(source))
    past = torch.empty(len(source) * copies, 0, dtype=torch.int64)
    for position in range(16):  # beyond the growth of a cache, from 9 tokens on
        first = torch.full((len(past),), BOS)
        drawn = torch.randint(4, VOCAB, (len(past),), generator=generator)
        past = torch.cat([past, (drawn if position else first)[:, None]], 1)
        stepped = network.step(past[:, -1], state)
        rows = source[sentences].repeat_interleave(copies, 0)
        whole = network.project(network(rows, past)[:, -1])
        assert stepped.shape == (len(past), VOCAB)
        assert (stepped - whole).abs().max() < TOLERANCE, f"token {position}"
        dropped = position in (5, 14)  # the second sentence, then the first of what is left
        kept = torch.arange(len(sentences))
        if dropped:
            kept = kept[kept != (position == 5)]
        shuffle = torch.randint(copies, (len(kept), copies), generator=generator)
        order = (kept[:, None] * copies + shuffle).flatten()
        state.select(order, kept if dropped else None)
        sentences, past = sentences[kept], past[order]


class Prefixes:
    """The state of a network without a cache: sources and everything decoded so far."""

    def __init__(self, source: Tensor, copies: int) -> None:
        self.source = source.repeat_interleave(copies, 0)
        self.past = self.source[:, :0]

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        self.source, self.past = self.source[rows], self.past[rows]


@pytest.mark.slow
@torch.inference_mode()
@each_pair
def test_beam_search_finds_the_same_hypotheses_with_and_without_a_cache(
    mechanism: Part, scheme: Part, source: Tensor
) -> None:
    """Catches a search and a cache that are right each but disagree on what a row is."""
    network = build(mechanism, scheme)
    network.output_bias[EOS] += 3  # so that sentences end, at various lengths

    def step_whole(tokens: Tensor, state: Prefixes) -> Tensor:
        state.past = torch.cat([state.past, tokens[:, None]], 1)
        logits: Tensor = network.project(network(state.source, state.past)[:, -1])
        return logits

    limits = torch.tensor([20, 5, 12, 17, 9])
    special = (BOS, EOS, PAD)
    cached = beam_search(network.step, network.start(source), 5, 4, limits, 1.0, *special)
    whole = beam_search(step_whole, Prefixes(source, 4), 5, 4, limits, 1.0, *special)
    for found, expected in zip(cached, whole, strict=True):
        assert [hyp.tokens for hyp in found] == [hyp.tokens for hyp in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)
