"""Every mechanism with every position scheme: what decoding keeps, or why the pair is refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from qvbench.attention import ATTENTION, build_attention
from qvbench.errors import UserError
from qvbench.positions import POSITIONS, build_position

D_MODEL, NUM_HEADS = 1024, 16
REFUSED = "refused"


def pairs_page() -> str:
    """A page in Markdown, made from the registries.

    Its numbers are those of self-attention at the paper's size: numbers kept per token and layer,
    `attention.cache_size`.
    """
    schemes = dict(_schemes())
    rows, reasons = [], {}
    for mechanism in ATTENTION:
        cells = []
        for name, settings in schemes.items():
            try:
                cells.append(str(cache_size(mechanism, **settings)))
            except UserError as error:
                cells.append(REFUSED)
                reasons[f"`{mechanism}` with {name}"] = str(error).partition(": ")[2]
        rows.append([f"`{mechanism}`", *cells])
    parts = [
        "# Mechanisms and position schemes",
        "Numbers that decoding keeps per token and layer of self-attention, at the paper's size "
        f"(d_model {D_MODEL}, {NUM_HEADS} heads), at default settings but where a scheme is made "
        "symmetric (`directional: false`). Made by `qvbench list --pairs`.",
        _table(["mechanism", *schemes], rows),
        "A scheme that rotates keys makes some mechanisms keep more: a matrix between what is "
        "kept and the key cannot move to the query's side past a rotation that differs from key "
        "to key. QV rotates a copy of the value when it reads it, and MLA rotates a part of its "
        "own, so these keep as little as otherwise, but for MLA's rotary key. Cross-attention has "
        "no common axis of positions, and keeps what stands under `none`.",
        "## Refused",
        "\n".join(f"- {pair}: {reason}" for pair, reason in reasons.items()) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def _schemes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every scheme as it is by default, and blind to directions where it can be."""
    for name, cls in POSITIONS.items():
        yield f"`{name}`", {"position": name}
        if "directional" in inspect.signature(cls).parameters:
            yield f"`{name}`, symmetric", {"position": name, "directional": False}


def cache_size(mechanism: str, position: str, **settings: Any) -> int:
    """Numbers kept per token by one layer of self-attention.

    Args:
        mechanism: registry name.
        position: registry name.
        settings: of the position scheme.

    Raises:
        UserError: the pair is refused; the message says why.
    """
    with torch.device("meta"):
        scheme = build_position(position, num_heads=NUM_HEADS, d_model=D_MODEL, **settings)
        inside = None if scheme.absolute else scheme
        layer = build_attention(mechanism, d_model=D_MODEL, num_heads=NUM_HEADS, position=inside)
    return layer.cache_size


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))
