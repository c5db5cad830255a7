"""Learned absolute positions."""

from __future__ import annotations

import functools

import pytest
import torch

from qvbench.attention import ATTENTION
from qvbench.errors import UserError
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS, build_position


def test_a_step_reads_the_row_of_its_position():
    """A decoding step that always reads the first row."""
    learned = build_position("learned", num_heads=2, d_model=8, max_length=10)
    x = torch.zeros(3, 10, 8)
    whole = learned.embed(x)
    assert torch.equal(whole[0], learned.table)
    assert torch.equal(learned.embed(x[:, :1], start=7), whole[:, 7:8])


def test_a_longer_sequence_is_refused():
    """Rows that are read twice, or a failure that names no setting."""
    learned = build_position("learned", num_heads=2, d_model=8, max_length=10)
    with pytest.raises(UserError, match="of 11 tokens, but there are 10 positions; raise max_len"):
        learned.embed(torch.zeros(1, 1, 8), start=10)
    with pytest.raises(UserError, match="needs d_model"):
        build_position("learned", num_heads=2)
    with pytest.raises(UserError, match="std must be at least 0, got -1"):
        build_position("learned", num_heads=2, d_model=8, std=-1)


def test_an_untrained_table_is_softer_than_the_tokens():
    """A table at variance one, which drowns the scaled embeddings."""
    table = build_position("learned", num_heads=2, d_model=256).table
    assert table.std().item() == pytest.approx(256**-0.5, rel=0.05)


def test_encoder_and_decoder_have_a_table_each():
    """One table for both languages, or one that initialisation takes for a matrix."""
    network = EncoderDecoder(
        40,
        0,
        ATTENTION["qkv"],
        functools.partial(POSITIONS["learned"], max_length=300),
        d_model=64,
        num_heads=4,
        ffn_dim=16,
        encoder_layers=1,
        decoder_layers=1,
    )
    tables = [m.table for m in network.modules() if isinstance(m, POSITIONS["learned"])]
    assert len(tables) == 2
    assert not torch.equal(*tables)
    for table in tables:  # Glorot's deviation would be 0.074
        assert table.std().item() == pytest.approx(64**-0.5, rel=0.05)
