"""Every mechanism with every position scheme, from the registries: what works, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qvbench.attention import ATTENTION, Attention, build_attention
from qvbench.errors import UserError
from qvbench.positions import POSITIONS, build_position

D_MODEL, HEADS = 32, 4

Part = tuple[str, dict[str, Any]]

MECHANISMS: list[Part] = [
    *((name, {}) for name in ATTENTION),
    ("qkv", {"head_dim_qk": 12}),
    ("qvka", {"context_dim": 7}),
    ("qvka", {"context": "per_head", "bias": True}),
    ("qvka", {"num_value_heads": 2}),
    ("gqa", {"num_kv_heads": 2}),
    ("gqa_qv", {"num_kv_heads": 2}),
    ("v_shared", {"num_value_heads": 2}),
    ("mla", {"value_rank": 6, "key_rank": 10, "query_rank": 12}),
    ("mla", {"latent_norm": False, "bias": True}),
    ("mla_qv", {"value_rank": 6, "query_rank": 12, "bias": True}),
    ("keyless", {"bias": True}),
]
"""With their defaults, and with the settings that change what is cached or how it is read."""

SCHEMES: list[Part] = [
    *((name, {}) for name in POSITIONS if not POSITIONS[name].absolute),
    ("agf", {"value_scaling": True}),
]
"""What acts inside attention."""


def label(part: Part) -> str:
    return "_".join([part[0], *(str(value) for value in part[1].values())])


def build(mechanism: Part, scheme: Part, **settings: Any) -> Attention:
    """One layer; raises UserError where the pair is refused."""
    position = build_position(scheme[0], num_heads=HEADS, d_model=D_MODEL, **scheme[1])
    return build_attention(
        mechanism[0],
        d_model=D_MODEL,
        num_heads=HEADS,
        position=position,
        **mechanism[1],
        **settings,
    )


def allowed(mechanism: Part, scheme: Part) -> bool:
    try:
        build(mechanism, scheme)
    except UserError:
        return False
    return True


def allowed_pairs() -> Iterator[tuple[Part, Part]]:
    for mechanism in MECHANISMS:
        for scheme in SCHEMES:
            if allowed(mechanism, scheme):
                yield mechanism, scheme


def telling_pairs() -> Iterator[tuple[Part, Part]]:
    """Fewer pairs, without a path of the code left out.

    Below :meth:`Attention.attend` a scheme does not know the mechanism: each with its own kind of
    keys (one mechanism that shares heads, one that absorbs its keys) is enough. What a mechanism
    does depends on whether the scheme rotates, and on whether it multiplies the logits.
    """
    for mechanism, scheme in allowed_pairs():
        if (scheme[0] in ("none", "agf", "rope") and scheme != ("agf", {})) or mechanism in (
            ("gqa", {"num_kv_heads": 2}),
            ("qvka", {"context_dim": 7}),
        ):
            yield mechanism, scheme


def network_pairs(mechanisms: list[Part]) -> list[tuple[Part, Part]]:
    """Every mechanism with one scheme, and all schemes in turn, those that act on embeddings too.

    For whole networks, in which a mechanism and a scheme meet as in a layer of their own.
    """
    schemes: list[Part] = [*((name, {}) for name in POSITIONS), ("agf", {"value_scaling": True})]
    pairs = []
    for mechanism in mechanisms:
        scheme = next(scheme for scheme in schemes if allowed(mechanism, scheme))
        schemes.remove(scheme)
        schemes.append(scheme)
        pairs.append((mechanism, scheme))
    return pairs
