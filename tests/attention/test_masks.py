"""Masks: every form that is taken hides what it says, and every other form is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qvbench.attention import Attention
from qvbench.errors import UserError
from tests.pairs import D_MODEL, HEADS, build

LENGTH = 6
SCHEMES = ["none", "alibi", "agf"]


def layer(scheme: str) -> Attention:
    torch.manual_seed(0)
    return build(("qkv", {}), (scheme, {})).double()


def tokens(length: int = LENGTH, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, D_MODEL, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_forms_of_a_mask_are_one(
    scheme: str, blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a broadcast axis that is sliced with the queries, or another sentence's mask."""
    if blocks:
        monkeypatch.setattr("qvbench.attention.core.MAX_LOGITS", 2 * HEADS * LENGTH * 2)
    attention, x = layer(scheme), tokens()
    by_key = torch.ones(2, LENGTH, dtype=torch.bool)
    by_key[1, 4:] = False
    expected = torch.cat([attention(x[:1]), attention(x[1:], x[1:, :4])])
    if scheme != "none":  # a position scheme takes queries for the last of the keys
        expected = attention(x, mask=by_key)
    for mask in (
        by_key,
        by_key[:, None, None],
        by_key[:, None, None].expand(2, HEADS, 1, LENGTH),
        by_key[:, None, None].expand(2, 1, LENGTH, LENGTH),
        by_key[:, None, None].expand(2, HEADS, LENGTH, LENGTH),
    ):
        for cached in (False, True):
            y = (
                attention.attend_cached(x, attention.cache_entries(x), mask=mask)
                if cached
                else attention(x, mask=mask)
            )
            torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, LENGTH), "a mask is boolean, got torch.float32"),
        (torch.ones(HEADS, LENGTH, LENGTH, dtype=torch.bool), r"a mask is \(B, Lk\) or"),
        (torch.ones(LENGTH, LENGTH, dtype=torch.bool), r"got \(6, 6\)"),
        (torch.ones(LENGTH, dtype=torch.bool), r"got \(6,\)"),
        (torch.ones(2, 1, LENGTH, 1, dtype=torch.bool), r"got \(2, 1, 6, 1\)"),
        (torch.ones(2, HEADS - 1, 1, LENGTH, dtype=torch.bool), r"got \(2, 3, 1, 6\)"),
    ],
)
def test_other_masks_are_refused(mask: Tensor, message: str) -> None:
    """Catches a mask that is added instead of hiding, or a sentence's that is taken for a head's:
    wrong numbers without an error."""
    x = tokens(batch=HEADS if mask.dim() == 3 else 2)  # (B, Lq, Lk) that looks like (H, Lq, Lk)
    for scheme in SCHEMES:
        for mechanism in ("qkv", "qvka"):
            attention = build((mechanism, {}), (scheme, {})).double()
            with pytest.raises(UserError, match=message):
                attention(x, mask=mask)
            with pytest.raises(UserError, match=message):
                attention.attend_cached(x, attention.cache_entries(x), mask=mask)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scheme", ["none", "rope", "alibi", "t5", "agf"])
def test_more_queries_than_keys(scheme: str, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches bias tables that end at the keys, and blocks that count keys below zero: of seven
    queries over three keys, causal ones before the first key see nothing."""
    attention, x, m = layer(scheme), tokens(7), tokens(3)
    for parameter in attention.position.parameters():
        torch.nn.init.uniform_(parameter)
    whole = attention(x, m, causal=causal)
    assert whole.isfinite().all()
    if causal:
        assert (whole[:, :4] == 0).all()
        last = attention(x[:, 4:], m, causal=True)
        torch.testing.assert_close(whole[:, 4:], last, rtol=0, atol=1e-12)
    monkeypatch.setattr("qvbench.attention.core.MAX_LOGITS", 2 * HEADS * 3 * 2)
    torch.testing.assert_close(attention(x, m, causal=causal), whole, rtol=0, atol=1e-12)
