"""Attention with a coefficient by distance (AGF, PCM-V) in one pass that keeps no logits.

Shape letters as in :mod:`qvbench.attention.core`. With ``s = q k^T / sqrt(Dk)``, ``c`` the
coefficient, ``g`` 0 or ``1 / (1 - dropout)`` and ``c'`` either c (PCM-V) or one:

    p = softmax(s c),   o_m = sum_n p_mn c'_mn g_mn v_n         (arXiv:2603.15665, equations 3, 4)

As in FlashAttention (arXiv:2205.14135, arXiv:2307.08691) a program goes through its row tile by
tile, and the backward pass computes p anew from each row's log-sum-exp. With ``a_mn = do_m . v_n``
and ``delta_m = do_m . o_m``:

    dz_mn = p_mn (c'_mn g_mn a_mn - delta_m)                       the gradient to s c
    dv_n = sum_m p_mn c'_mn g_mn do_m
    dq_m = sum_n dz_mn c_mn k_n / sqrt(Dk),   dk_n = sum_m dz_mn c_mn q_m / sqrt(Dk)
    dc_mn = dz_mn s_mn [+ p_mn g_mn a_mn with PCM-V],   dtable_j = sum of dc along a diagonal

Tiles on one diagonal hold the same distances: one program adds them up, and the diagonals *within*
that sum are added last. Nothing is added atomically: gradients are the same bits in every run.

Dropout draws a random int32 per query and per key from PyTorch's generator; a hash of the two
decides on a weight, in both passes alike. Any three weights are independent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PROGRAMS = 512  # that share the gradient to a table where the batch is large enough


class Settings(NamedTuple):  # as in :class:`qvbench.attention.core.Terms`
    causal: bool
    value_scaling: bool
    dropout_p: float


class Keys(NamedTuple):  # of dropout: random int32
    rows: Tensor  # per query, (B, H, Lq)
    columns: Tensor  # per key, (B, H, Lk)


Masks = tuple[Tensor | None, ...]  # keys that are no padding, bytes (B, Lk), and dropout's keys


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor,
    mask: Tensor | None,
    settings: Settings,
    keys: Keys | None = None,
) -> Tensor:
    """:func:`qvbench.attention.core.softmax_attention` with a coefficient, in one pass.

    Queries, keys and values are float16, bfloat16 or float32. The mask is (B or 1, 1, 1, Lk), true
    where a key is no padding; entry ``n - m + Lq - 1`` of the table (H, Lq + Lk - 1), float32, is
    for query m and key n. Keys of dropout are drawn unless given.
    """
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    if settings.dropout_p and keys is None:
        keys = draw_keys((*q.shape[:3], k.shape[2]), q.device)
    visible = None
    if mask is not None:
        visible = mask[:, 0, 0].expand(len(q), -1).contiguous().view(torch.uint8)
    y: Tensor = _Fused.apply(q, k, v, table, (visible, *(keys or (None, None))), settings)
    return y


def draw_keys(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None = None
) -> Keys:
    """For B, H, Lq, Lk, from PyTorch's generator unless another is given."""
    batch, heads, q_len, k_len = shape
    rows, columns = batch * heads * q_len, batch * heads * k_len
    aligned = -(-rows // 4) * 4  # a kernel is compiled anew for memory that is not
    drawn = torch.empty(aligned + columns, dtype=torch.int32, device=device)
    drawn.random_(-(2**31), None, generator=generator)
    return Keys(drawn[:rows].view(batch, heads, q_len), drawn[aligned:].view(batch, heads, k_len))


def threshold(dropout_p: float) -> int:
    """A weight stays where the hash, a uniform int32, is at least this."""
    return min(round(dropout_p * 2**32) - 2**31, 2**31 - 1)


def keep_mask(keys: Keys, dropout_p: float) -> Tensor:
    """Which weights the kernels leave, (B, H, Lq, Lk): the same hash, in PyTorch."""
    x = (keys.rows[..., :, None] ^ keys.columns[..., None, :]).long() & 0xFFFFFFFF
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x = x ^ (x >> 15)
    x = x * 0x31848BAB & 0xFFFFFFFF
    x = x ^ (x >> 16)
    x = x * 0x2C1B3C6D & 0xFFFFFFFF
    return (x ^ 0x80000000) - 0x80000000 >= threshold(dropout_p)


class Pass(NamedTuple):
    """What all kernels of a pass have in common."""

    shape: tuple[int, ...]  # B, H, Lq, Lk, Dk, Dv
    blocks: tuple[int, int]  # of queries, of keys
    groups: tuple[int, int]  # query heads that share a key head, a value head
    block: int
    warps: int  # of the forward pass; the backward pass holds more, and takes 8
    numbers: tuple[float, ...]  # length of the padded table, scale, dropout's threshold and scale
    options: dict[str, Any]
    kernels: Any  # the module, imported where it is wanted

    def launch(
        self, kernel: Any, blocks: int, tensors: list[Any], strided: list[Tensor], warps: int = 8
    ) -> None:
        """A program for each of the blocks of queries or keys, of each head and sentence."""
        batch, heads, q_len, k_len = self.shape[:4]
        sizes = heads, *self.groups, q_len, k_len, blocks
        arguments = *tensors, *_strides(*strided), *sizes, *self.numbers
        kernel[(blocks * batch * heads,)](*arguments, **self.options, num_warps=warps)


def plan_of(q: Tensor, k: Tensor, v: Tensor, masks: Masks, settings: Settings) -> Pass:
    from qvbench.attention.triton import fused_kernels

    batch, heads, q_len, width = q.shape
    k_len, value_width = v.shape[-2:]
    full = q.dtype == torch.float32
    exact = torch.get_float32_matmul_precision() == "highest"
    widest = max(width, value_width)
    block = 64 if widest <= (32 if full else 128) else 16 if full and widest > 128 else 32
    p = settings.dropout_p
    options = {"CAUSAL": settings.causal, "SCALED": settings.value_scaling, "BLOCK": block}
    options |= {"MASKED": masks[0] is not None, "DROPPED": p > 0, "DK": width, "DV": value_width}
    options |= {"PADDED_DK": _padded(width), "PADDED_DV": _padded(value_width), "num_stages": 2}
    return Pass(
        (batch, heads, q_len, k_len, width, value_width),
        (-(-q_len // block), -(-k_len // block)),
        (heads // k.shape[1], heads // v.shape[1]),
        block,
        8 if widest > 64 else 4,
        (q_len + k_len - 1 + 2 * block, width**-0.5, threshold(p), 1.0 / (1.0 - p)),
        options | {"PRECISION": "tf32" if full and not exact else "ieee"},
        fused_kernels,
    )


def _padded(width: int) -> int:
    """The power of two that a tile's width is, at least what a tensor core takes."""
    return max(16, 1 << (width - 1).bit_length())


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def _dense(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _new(like: Tensor, heads: int, length: int, width: int, dtype: torch.dtype) -> Tensor:
    """(B, heads, L, width), laid out as a linear layer's output split into heads is."""
    shape = like.shape[0], length, heads, width
    return torch.empty(shape, dtype=dtype, device=like.device).transpose(1, 2)


class _Fused(torch.autograd.Function):
    """One pass of attention, and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor, masks: Masks, settings: Settings
    ) -> Tensor:
        q, k, v = _dense(q), _dense(k), _dense(v)
        plan = plan_of(q, k, v, masks, settings)
        batch, heads, q_len, _, _, value_width = plan.shape
        padded = F.pad(table.detach().float(), (plan.block, plan.block))  # tiles may overhang it
        out = _new(v, heads, q_len, value_width, v.dtype)
        lse = torch.empty(batch, heads, q_len, dtype=torch.float32, device=q.device)
        given = [q, k, v, padded, *masks]
        with torch.cuda.device_of(q):  # Triton launches on the current device, whatever it is given
            tensors, strided = [*given, out, lse], [q, k, v, out]
            plan.launch(plan.kernels.forward, plan.blocks[0], tensors, strided, plan.warps)
        ctx.save_for_backward(*given, out, lse)
        ctx.plan = plan
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, out, lse = ctx.saved_tensors
        q, k, v = given[:3]
        plan: Pass = ctx.plan
        _, heads, q_len, k_len, width, _ = plan.shape
        dout = _dense(grads[0])
        delta = torch.empty_like(lse)
        dq = _new(q, heads, q_len, width, q.dtype)
        tensors, strided = [*given, out, lse, dout, delta, dq], [q, k, v, out, dout, dq]
        plan.launch(plan.kernels.gradient_to_queries, plan.blocks[0], tensors, strided)
        # A group's heads each have a gradient of their own, added up in float32 afterwards.
        dk, dv = (
            _new(x, heads, k_len, x.shape[-1], x.dtype if group == 1 else torch.float32)
            for x, group in zip((k, v), plan.groups, strict=True)
        )
        tensors, strided = [*given, lse, dout, delta, dk, dv], [q, k, v, dout, dk, dv]
        plan.launch(plan.kernels.gradient_to_keys_and_values, plan.blocks[1], tensors, strided)
        dk, dv = (
            g if group == 1 else g.unflatten(1, (-1, group)).sum(2).to(q.dtype)
            for g, group in zip((dk, dv), plan.groups, strict=True)
        )
        wanted = ctx.needs_input_grad[3]
        dtable = _gradient_to_table(plan, given, lse, dout, delta) if wanted else None
        return dq, dk, dv, dtable, None, None


def _gradient_to_table(
    plan: Pass, given: list[Any], lse: Tensor, dout: Tensor, delta: Tensor
) -> Tensor:
    """(H, Lq + Lk - 1): diagonals of tiles by the kernel, their own diagonals here."""
    batch, heads, q_len, k_len = plan.shape[:4]
    block, (q_blocks, k_blocks) = plan.block, plan.blocks
    last = k_blocks - 1
    if plan.options["CAUSAL"]:  # tiles beyond are hidden whole
        last = min(last, (block - 1 + k_len - q_len) // block)
    diagonals = max(1, q_blocks + last)
    shares = max(1, min(batch, _PROGRAMS // (diagonals * heads)))
    parts = lse.new_empty(shares, heads, diagonals, block, block)
    tensors = *given, lse, dout, delta, parts, *_strides(*given[:3], dout)
    sizes = batch, heads, *plan.groups, q_len, k_len, q_blocks, k_blocks, diagonals, shares
    kernel = plan.kernels.gradient_to_coefficients[(diagonals * heads * shares,)]
    kernel(*tensors, *sizes, *plan.numbers, **plan.options, num_warps=8)
    return sum_diagonals(parts.sum(0), q_len, q_len + k_len - 1)


def sum_diagonals(tiles: Tensor, q_len: int, entries: int) -> Tensor:
    """Sums over equal distances of a band of tiles: (H, diagonals, B, B) to (H, entries). Tile d,
    row i, column j is at ``(d + 1 - Q) B + j - i`` with Q block rows; entry 0 at ``1 - Lq``."""
    block = tiles.shape[-1]
    # With the rows turned over and padded by B, entry i + j of a row of 2 B - 1 is column j of row
    # i: reading the same memory in shorter rows moves every row one further to the right.
    skewed = F.pad(tiles.flip(2), (0, block)).flatten(2)[..., : block * (2 * block - 1)]
    sums = F.pad(skewed.unflatten(2, (block, -1)).sum(2), (0, 1)).unflatten(2, (2, block))
    # Two tiles that follow one another share B distances.
    table = (F.pad(sums[:, :, 0], (0, 0, 0, 1)) + F.pad(sums[:, :, 1], (0, 0, 1, 0))).flatten(1)
    first = -(-q_len // block) * block - q_len  # places before the distance 1 - Lq
    table = table[:, first : first + entries]
    return F.pad(table, (0, entries - table.shape[1]))
