"""What all attention mechanisms have in common: project, act by position, attend, merge.

Shape letters: B batch, H heads, Hk and Hv key and value heads, Lq queries, Lk keys, Dk key
width, Dv value width, d model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from qvbench.attention import core
from qvbench.attention.cache import KV, KVCache
from qvbench.attention.triton import FUSED, Backend, choose, fused
from qvbench.errors import UserError
from qvbench.positions.interface import NoPosition, Position

ROTATED_ELEMENTS = 2**19  # of keys, rotated at once; 2 MB in float32


class Attention(nn.Module):
    """Base of the mechanisms: each says how queries, keys and values come to be.

    A mechanism defines :meth:`project_kv` (what a token leaves in the decoding cache), and
    :meth:`queries` and :meth:`keys_values` (keys and values from what is cached) where they are
    not the usual ones. One that can decode without making keys is an :class:`AbsorbedAttention`.

    Args:
        position: scheme that acts inside this layer; none if not given.
        dropout: probability with which an attention weight is dropped in training, in [0, 1).
        head_dim: width of a head; ``d_model / num_heads`` if not given.
        bias: add a bias to the projections (the papers and their training setup have none).

    Raises:
        UserError: a setting is out of its range, or makes no sense with another.
    """

    query: nn.Module  # d to H * Dk, unless :meth:`queries` says otherwise
    # What a token leaves in the cache is its key, for no other use, and its value: a scheme that
    # rotates does so once, when the key enters.
    caches_keys: ClassVar[bool] = False

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        position: Position | None = None,
        dropout: float = 0.0,
        head_dim: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        indivisible = f"d_model {d_model} is not divisible by num_heads {num_heads}"
        divides = head_dim is not None or d_model % num_heads == 0
        self.check(divides, f"{indivisible}; change either or give head_dim")
        self.check(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        self.check_positive(head_dim=head_dim)
        self.label = type(self).__name__  # for tables and figures
        self.d_model = d_model
        self.num_heads = num_heads
        self.head_dim = head_dim or d_model // num_heads
        self.position = position if position is not None else NoPosition(num_heads)
        self.refuse(self.incompatible_with(self.position))
        self.dropout = dropout
        self.bias = bias
        self.backend: Backend | None = None  # of the last pass
        self.products: tuple[Tensor, Tensor | None] | None = None  # what precompute made
        self.output = self.linear(self.num_heads * self.head_dim, d_model)

    # What a mechanism defines

    def queries(self, x: Tensor) -> Tensor:
        """(B, Lq, d) to (B, H, Lq, Dk)."""
        return self.split(self.query(x), self.num_heads)

    def project_kv(self, m: Tensor) -> KV:
        """What tokens (B, Lk, d) leave in the cache: tensors (B, heads, Lk, width)."""
        raise NotImplementedError

    def keys_values(self, kv: KV) -> tuple[Tensor, Tensor]:
        """Keys (B, Hk, Lk, Dk) and values (B, Hv, Lk, Dv) from what is cached: the first tensor
        and the last unless overridden, so one tensor alone is both."""
        return kv[0], kv[-1]

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """What the position scheme does to queries, or a copy of the keys, from ``start`` on."""
        return self.position.rotate(x, start)

    def incompatible_with(self, position: Position) -> str | None:
        """Why the mechanism makes no sense with a position scheme, if it does not."""
        return position.incompatible_with(self.head_dim)

    def precompute(self) -> tuple[Tensor, Tensor | None] | None:
        """A product of consecutive weights, and its bias, that :func:`precomputed` keeps."""
        return None

    # What all have in common

    def project(self, x: Tensor, m: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, Lq, Dk), keys (B, Hk, Lk, Dk) and values (B, Hv, Lk, Dv) of ``x`` over
        ``m``, before any position scheme acts on them."""
        return self.queries(x), *self.keys_values(self.project_kv(x if m is None else m))

    def forward(
        self,
        x: Tensor,
        m: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attention of ``x`` (B, Lq, d) over ``m`` (B, Lk, d), ``x`` if not given: (B, Lq, d).

        The mask is boolean, (B, Lk) or (B or 1, H or 1, Lq or 1, Lk), true where a query may look;
        UserError if not. If causal, a query, one of the last Lq of Lk positions, sees no later key.
        """
        q, k, v = self.project(x, m)
        q, k = self.rotate(q, k.shape[2] - q.shape[2]), self.rotate(k)
        return self.attend(q, k, v, mask=mask, causal=causal)

    def cache_entries(self, m: Tensor, start: int = 0) -> KV:
        """What tokens (B, L, d), the first at position ``start``, leave in the decoding cache."""
        kv = self.project_kv(m)
        return (self.rotate(kv[0], start), *kv[1:]) if self.caches_keys else kv

    def step(self, x: Tensor, cache: KVCache) -> Tensor:
        """Causal self-attention of the next tokens (N, new, d), which join the cache."""
        kv = cache.append(self.cache_entries(x, cache.length))
        return self.attend_cached(x, kv, causal=True)

    def attend_cached(
        self, x: Tensor, kv: KV, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attention of ``x`` (B, Lq, d) over what is cached, from that alone: (B, Lq, d)."""
        q, (k, v) = self.queries(x), self.keys_values(kv)
        q = self.rotate(q, k.shape[2] - q.shape[2])
        if self.caches_keys:
            return self.attend(q, k, v, mask=mask, causal=causal)
        many = self.position.rotates and k.numel() > ROTATED_ELEMENTS
        if many and q.device.type == "cpu" and self.is_plain_step(q, mask):
            return self.merge(self.rotate_and_attend(q, k, v))
        return self.attend(q, self.rotate(k), v, mask=mask, causal=causal)

    def rotate_and_attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Values' sums (B, H, 1, Dv) of a plain step whose keys are rotated for it alone: some rows
        at a time, which are attended to while the processor's cache holds them."""
        if k.shape[1] == v.shape[1]:  # a head of keys and values is a row like any other
            q = q.unflatten(1, (k.shape[1], -1)).flatten(0, 1)
            k, v = (each.flatten(0, 1)[:, None] for each in (k, v))
        # A row for each thread at least, since PyTorch's kernel shares rows out among them.
        count = max(torch.get_num_threads(), ROTATED_ELEMENTS // k[0].numel())
        rows = zip(*(each.split(count) for each in (q, k, v)), strict=True)
        sums = [core.softmax_attention(q, self.rotate(k), v, core.PLAIN) for q, k, v in rows]
        return torch.cat(sums).view(-1, self.num_heads, 1, v.shape[-1])

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """Queries and keys, rotated, and values to the layer's output (B, Lq, d)."""
        if self.is_plain_step(q, mask):  # what is asked below takes as long as it does
            return self.merge(core.softmax_attention(q, k, v, core.PLAIN))
        position, dropout = self.position, self.dropout_now
        q_len, k_len = q.shape[2], k.shape[2]
        mask = core.with_four_axes(mask, (*q.shape[:3], k_len))
        self.backend = choose(position, q, k, v, mask, dropout)
        if self.backend.name == FUSED:
            table = position.coefficient_table(q_len, k_len)
            assert table is not None, "a scheme with by_table has one"
            settings = fused.Settings(causal, position.value_scaling, dropout)
            return self.merge(fused.fused_attention(q, k, v, table, mask, settings))
        if not (position.multiplies or position.adds or core.own_dropout(q, dropout)):
            # A kernel that keeps no logits takes all queries at once.
            terms = core.Terms(mask, causal, dropout_p=dropout)
            return self.merge(core.softmax_attention(q, k, v, terms))

        def weighted_sum(rows: Tensor, seen: int, terms: core.Terms) -> Tensor:
            return core.softmax_attention(rows, k[:, :, :seen], v[:, :, :seen], terms)

        return self.merge(self.in_blocks(weighted_sum, q, k_len, mask, causal))

    def is_plain_step(self, q: Tensor, mask: Tensor | None) -> bool:
        """Whether one query, as in a step of decoding, sees all keys, by a softmax alone."""
        one = q.shape[2] == 1 and mask is None and not self.dropout_now
        return one and not (self.position.multiplies or self.position.adds)

    def in_blocks(
        self,
        weighted_sum: Callable[[Tensor, int, core.Terms], Tensor],
        q: Tensor,
        k_len: int,
        mask: Tensor | None,
        causal: bool,
    ) -> Tensor:
        """Values' sums (B, H, Lq, Dv) of queries (B, H, Lq, Dk), of many a block at a time:
        ``weighted_sum`` takes some, the number of keys up to the last that they see, and terms."""
        batch, heads, q_len = q.shape[:3]
        past = k_len - q_len

        def block(start: int, stop: int) -> Tensor:
            """Of queries ``start`` to ``stop``; causal ones need no keys after them."""
            seen = max(past + stop, 0) if causal else k_len
            part = mask
            if mask is not None:
                part = mask[:, :, start:stop, :seen] if mask.shape[2] > 1 else mask[..., :seen]
            terms = self.terms(stop - start, seen, part, causal, past + start)
            return weighted_sum(q[:, :, start:stop], seen, terms)

        # On the meta device, where FLOPs are counted, nothing is held: none are computed anew.
        logits_per_query = 0 if q.is_meta else batch * heads * k_len
        return core.in_query_blocks(block, q_len, logits_per_query, q.device)

    def terms(
        self, q_len: int, k_len: int, mask: Tensor | None, causal: bool, first: int
    ) -> core.Terms:
        """Masks, position and dropout of queries, the first of which is at position ``first``."""
        return core.Terms(
            mask,
            causal,
            coefficient=self.position.coefficient(q_len, k_len, first),
            bias=self.position.bias(q_len, k_len, first),
            value_scaling=self.position.value_scaling,
            dropout_p=self.dropout_now,
        )

    @property
    def cache_size(self) -> int:
        """Elements per token in the smallest cache from which decoding is exact."""
        token = self.output.weight.new_zeros(1, 1, self.d_model)
        with torch.no_grad():
            return sum(entry.numel() for entry in self.project_kv(token))

    @property
    def dropout_now(self) -> float:
        return self.dropout if self.training else 0.0

    # What mechanisms are built with

    def check(self, ok: bool, message: str) -> None:
        """Raise UserError that names the mechanism unless ``ok``."""
        if not ok:
            raise UserError(f"{type(self).__name__}: {message}")

    def check_positive(self, **settings: int | None) -> None:
        for name, value in settings.items():
            self.check(value is None or value >= 1, f"{name} must be at least 1, got {value}")

    def check_divisor(self, name: str, heads: int) -> int:
        """A number of heads that groups of query heads share: UserError unless it divides them."""
        divides = heads >= 1 and self.num_heads % heads == 0
        self.check(divides, f"{name} must divide num_heads {self.num_heads}, got {heads}")
        return heads

    def refuse(self, reason: str | None) -> None:
        """Raise UserError for this position scheme if there is a reason."""
        if reason:
            raise UserError(f"{type(self).__name__} with {type(self.position).__name__}: {reason}")

    def linear(self, width_in: int, width_out: int) -> nn.Linear:
        return nn.Linear(width_in, width_out, bias=self.bias)

    def per_head_weight(self, rows: int, columns: int) -> nn.Parameter:
        """A matrix per head, (H, rows, columns), Glorot-uniform with each head's own fans."""
        weight = nn.Parameter(torch.empty(self.num_heads, rows, columns))
        for matrix in weight:
            nn.init.xavier_uniform_(matrix)
        return weight

    def split(self, x: Tensor, heads: int) -> Tensor:
        """(B, L, heads * D) to (B, heads, L, D)."""
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """Heads (B, H, L, D) through the output projection to (B, L, d)."""
        return self.output(x.transpose(1, 2).flatten(2))


class AbsorbedAttention(Attention):
    """Base of mechanisms that cache latents, from which keys and values can be up-projected.

    A key ``k = W c`` need not be made: ``q . (W c) = (W^T q) . c``, and the cache holds ``c``. A
    scheme that rotates the key stands between matrix and query, ``q . (R_n W c_n)``, with another
    rotation for every key: then keys, or values that are keys too, are made once, when a token
    enters the cache, and kept.

    A mechanism defines three methods in place of :meth:`project_kv`: :meth:`latents`,
    :meth:`up_project` and :meth:`attend_latents`, which gives what attention over the up-projected
    keys and values would.
    """

    def latents(self, m: Tensor) -> KV:
        """What tokens (B, Lk, d) leave in the cache: tensors (B, heads, Lk, width)."""
        raise NotImplementedError

    def up_project(self, latents: KV) -> KV:
        """Keys and values from latents, as :meth:`keys_values` takes them."""
        raise NotImplementedError

    def attend_latents(self, q: Tensor, latents: KV, terms: core.Terms) -> Tensor:
        """Attention of rotated and scaled queries (B, H, Lq, Dk) over latents: (B, H, Lq, Dv)."""
        raise NotImplementedError

    @property
    def absorbs(self) -> bool:
        """Whether the position scheme lets the key's matrix move."""
        return not self.position.rotates

    def project_kv(self, m: Tensor) -> KV:
        latents = self.latents(m)
        return latents if self.absorbs else self.up_project(latents)

    def keys_values(self, kv: KV) -> tuple[Tensor, Tensor]:
        return super().keys_values(self.up_project(kv) if self.absorbs else kv)

    def attend_cached(
        self, x: Tensor, kv: KV, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        if not self.absorbs:
            return super().attend_cached(x, kv, mask=mask, causal=causal)
        q, k_len = self.queries(x), kv[0].shape[2]
        q = self.rotate(q, k_len - q.shape[2])
        if q.shape[2] > 2 * self.head_dim:
            # Of so many queries, keys and values take less time to make than to do without.
            return self.attend(q, *self.keys_values(kv), mask=mask, causal=causal)
        mask = core.with_four_axes(mask, (*q.shape[:3], k_len))
        q = q * q.shape[-1] ** -0.5

        def weighted_sum(rows: Tensor, seen: int, terms: core.Terms) -> Tensor:
            return self.attend_latents(rows, tuple(entry[:, :, :seen] for entry in kv), terms)

        return self.merge(self.in_blocks(weighted_sum, q, k_len, mask, causal))


class AttentionFactory(Protocol):
    """What a config makes of a mechanism: the model calls it once per layer."""

    def __call__(
        self, *, d_model: int, num_heads: int, position: Position | None, dropout: float
    ) -> Attention: ...


class HasModules(Protocol):
    def modules(self) -> Iterator[nn.Module]: ...


@contextmanager
def precomputed(network: HasModules) -> Iterator[None]:
    """Decoding without gradients: consecutive matrices are multiplied once, not per token. Weights
    must not change: a fused optimizer changes them without a trace that one could look for."""
    layers = [module for module in network.modules() if isinstance(module, Attention)]
    with torch.no_grad():
        try:
            for layer in layers:
                layer.products = layer.precompute()
            yield
        finally:
            for layer in layers:
                layer.products = None
