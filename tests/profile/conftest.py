"""Networks small enough to count in an instant, and the command in this process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import yaml

from qvbench.attention import ATTENTION
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS
from tests.cli.conftest import TINY_CONFIG, _own_settings, here, qvbench
from tests.pairs import D_MODEL, HEADS, Part

__all__ = ["_own_settings", "here", "qvbench"]

VOCABULARY = 23


def build(mechanism: Part, scheme: Part, dropout: float = 0.1) -> EncoderDecoder:
    """Layers of encoder and decoder differ in number, so that none can stand for the other."""
    return EncoderDecoder(
        VOCABULARY,
        0,
        partial(ATTENTION[mechanism[0]], **mechanism[1]),
        partial(POSITIONS[scheme[0]], **scheme[1]),
        d_model=D_MODEL,
        num_heads=HEADS,
        ffn_dim=12,
        encoder_layers=1,
        decoder_layers=2,
        dropout=dropout,
        attention_dropout=dropout,
        ffn_dropout=dropout,
    )


@pytest.fixture
def config(here: Path) -> str:
    """A config in the current folder: QV and AGF, one layer in the encoder, two in the decoder."""
    file = here / "small_one.yaml"
    sizes = {"d_model": 16, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 2, "ffn_dim": 24}
    network = {"class_path": "EncoderDecoder", "init_args": sizes}
    model = TINY_CONFIG["model"] | {"attention": "QV", "network": network}
    trainer = {"precision": "bf16-mixed", "accelerator": "cpu"}
    file.write_text(yaml.safe_dump(TINY_CONFIG | {"model": model, "trainer": trainer}))
    return file.name
