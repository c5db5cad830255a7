"""Keys, values or both shared by query heads: GQA, GQA-QvVv, V-shared and the shared key."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.attention.cache import KV
from qvbench.attention.interface import Attention


class GQA(Attention):
    """Grouped-query attention (arXiv:2305.13245; MQA: arXiv:1911.02150).

    ``G`` key-value heads, shared by ``H / G`` query heads each: ``2 d^2 + 2 d G D`` parameters
    with D the head width; caches ``2 G D`` elements per token. The paper reads it as
    ``Q_v . K_v V_v`` (arXiv:2603.15665, section 9, equation 5).

    Args:
        num_kv_heads: G, a divisor of H; 1 is multi-query attention (MQA), H is QKV.
    """

    caches_keys = True

    def __init__(
        self, d_model: int, num_heads: int, *, num_kv_heads: int = 1, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "MQA" if num_kv_heads == 1 else f"GQA {num_kv_heads}"
        self.num_kv_heads = self.check_divisor("num_kv_heads", num_kv_heads)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.key = self.linear(d_model, num_kv_heads * self.head_dim)
        self.value = self.linear(d_model, num_kv_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        groups = self.num_kv_heads
        return self.split(self.key(m), groups), self.split(self.value(m), groups)


class GQAQV(Attention):
    """Grouped-query attention without keys (arXiv:2603.15665, section 9, first direction).

    ``K_g = V_g = m W_g^V`` for G shared values: ``2 d^2 + d G D`` parameters with D the head
    width; caches ``G D`` elements per token.

    Args:
        num_kv_heads: G, a divisor of H; H is QV.
    """

    def __init__(
        self, d_model: int, num_heads: int, *, num_kv_heads: int = 1, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "MQA-QvVv" if num_kv_heads == 1 else f"GQA-QvVv {num_kv_heads}"
        self.num_kv_heads = self.check_divisor("num_kv_heads", num_kv_heads)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_kv_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.value(m), self.num_kv_heads),)


class VShared(Attention):
    """Shared values, full keys (arXiv:2603.15665, section 9, second direction).

    ``(Q_k V_k) V_v``: a key for each query head, values shared by groups of heads:
    ``3 d^2 + d G D`` parameters for G values of width D; caches ``d + G D`` elements per token.

    Args:
        num_value_heads: G, a divisor of H; H is QKV.
    """

    caches_keys = True

    def __init__(
        self, d_model: int, num_heads: int, *, num_value_heads: int = 1, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = f"V-shared {num_value_heads}"
        self.num_value_heads = self.check_divisor("num_value_heads", num_value_heads)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.key = self.linear(d_model, num_heads * self.head_dim)
        self.value = self.linear(d_model, num_value_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        k, v = self.key(m), self.value(m)
        return self.split(k, self.num_heads), self.split(v, self.num_value_heads)


class SharedKey(Attention):
    """``K = m W_shared``: one key of a head's width for all heads, learned or frozen.

    The "key approximation" reading of QV-Ka, a popular account of arXiv:2603.15665 that is not its
    equation 8, for comparison: no ``W^K``, scores from a fixed or shared transformation of the
    tokens. ``3 d^2 + d D`` parameters, D the head width; caches ``d + D`` elements per token.

    Args:
        frozen: keep the shared projection at its initial value.
    """

    caches_keys = True

    def __init__(
        self, d_model: int, num_heads: int, *, frozen: bool = False, **settings: Any
    ) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.label = "shared key, frozen" if frozen else "shared key"
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.key = self.linear(d_model, self.head_dim).requires_grad_(not frozen)
        self.value = self.linear(d_model, num_heads * self.head_dim)

    def project_kv(self, m: Tensor) -> KV:
        return self.split(self.key(m), 1), self.split(self.value(m), self.num_heads)
