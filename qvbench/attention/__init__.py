"""Attention mechanisms by name. A new mechanism is one class and one line here."""

from __future__ import annotations

from typing import Any

from qvbench.attention.grouped import GQA, GQAQV, SharedKey, VShared
from qvbench.attention.interface import Attention, AttentionFactory, precomputed
from qvbench.attention.keyless import Keyless
from qvbench.attention.mla import MLA, MLAQV
from qvbench.attention.qkv import QKV, QV
from qvbench.attention.qvka import QVKa
from qvbench.attention.tied import QKTied, Single
from qvbench.registry import Registry

ATTENTION: Registry[Attention] = Registry("attention mechanism")
ATTENTION.register("qkv", QKV)
ATTENTION.register("qv", QV)
ATTENTION.register("qvka", QVKa)
ATTENTION.register("gqa", GQA)
ATTENTION.register("gqa_qv", GQAQV)
ATTENTION.register("v_shared", VShared)
ATTENTION.register("mla", MLA)
ATTENTION.register("mla_qv", MLAQV)
ATTENTION.register("shared_key", SharedKey)
ATTENTION.register("qk_tied", QKTied)
ATTENTION.register("single", Single)
ATTENTION.register("keyless", Keyless)


def build_attention(name: str, *, d_model: int, num_heads: int, **settings: Any) -> Attention:
    """An attention mechanism by its registry name; UserError if it is unknown (with the known
    ones) or the settings do not fit together."""
    return ATTENTION[name](d_model=d_model, num_heads=num_heads, **settings)


__all__ = ["ATTENTION", "Attention", "AttentionFactory", "build_attention", "precomputed"]
