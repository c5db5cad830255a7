"""Learned absolute positions."""

from __future__ import annotations

import pytest
import torch

from qvbench.errors import UserError
from qvbench.positions import build_position


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


def test_an_untrained_table_is_softer_than_the_tokens():
    """A table at variance one, which drowns the scaled embeddings."""
    table = build_position("learned", num_heads=2, d_model=256).table
    assert table.std().item() == pytest.approx(256**-0.5, rel=0.05)
