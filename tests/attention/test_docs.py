"""The tables of docs/ about mechanisms, against the mechanisms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from qvbench.attention import ATTENTION, build_attention
from qvbench.cli.list import pairs

DOCS = Path(__file__).parents[2] / "docs"
ROWS = dict(
    re.findall(
        r"^\| `(\w+)` \|[^\n]*?\| (`[^`|]+` \| `[^`|]+`)[^|\n]*\|[^|\n]*\|$",
        (DOCS / "mechanisms.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


def value(formula: str, letters: dict[str, int]) -> int:
    """A formula as mathematicians write it: ``3 d² + H (C + D) D``."""
    code = re.sub(r"(?<=[\w)²])\s+(?=[\w(])", " * ", formula).replace("²", "**2")
    return int(eval(code, {}, letters))


def test_every_mechanism_has_a_row():
    """A mechanism that the page forgot, or a row that its pattern does not read."""
    assert list(ROWS) == list(ATTENTION)


@pytest.mark.parametrize("name", ATTENTION)
def test_formulas_of_the_page_are_those_of_the_tensors(name):
    """A closed form that was right for another version of the mechanism."""
    d, heads = 96, 4
    settings = {
        "gqa": {"num_kv_heads": 2},
        "gqa_qv": {"num_kv_heads": 2},
        "v_shared": {"num_value_heads": 2},
        "qvka": {"context_dim": 7},
        "mla": {"value_rank": 10},
        "mla_qv": {"value_rank": 10},
    }
    attention = build_attention(name, d_model=d, num_heads=heads, **settings.get(name, {}))
    letters = {"d": d, "H": heads, "D": d // heads, "G": 2, "C": 7, "Cv": 10}
    parameters, kept = (part.strip("` ") for part in ROWS[name].split("|"))
    assert sum(p.numel() for p in attention.parameters()) == value(parameters, letters)
    remembered = attention.project_kv(torch.randn(1, 1, d))
    assert sum(t.numel() for t in remembered) == value(kept, letters)


def test_the_table_of_pairs_is_made_from_the_code():
    """A page from before a mechanism or a scheme was added: `qvbench list --pairs` makes it."""
    assert (DOCS / "pairs.md").read_text(encoding="utf-8").endswith(f"\n\n{pairs()}\n")
