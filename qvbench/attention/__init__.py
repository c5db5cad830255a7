"""Attention mechanisms by name. A new mechanism is one file and one line here."""

from __future__ import annotations

from typing import Any

from qvbench.attention.gqa import GQA
from qvbench.attention.gqa_qv import GQAQV
from qvbench.attention.interface import Attention, AttentionFactory, precomputed
from qvbench.attention.keyless import Keyless
from qvbench.attention.mla import MLA
from qvbench.attention.mla_qv import MLAQV
from qvbench.attention.qk_tied import QKTied
from qvbench.attention.qkv import QKV
from qvbench.attention.qv import QV
from qvbench.attention.qvka import QVKa
from qvbench.attention.shared_key import SharedKey
from qvbench.attention.single import Single
from qvbench.attention.v_shared import VShared
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
    """An attention mechanism by its registry name.

    Raises:
        UserError: the name is unknown (the message lists the known ones) or the settings do not
            fit together.
    """
    return ATTENTION[name](d_model=d_model, num_heads=num_heads, **settings)


__all__ = ["ATTENTION", "Attention", "AttentionFactory", "build_attention", "precomputed"]
