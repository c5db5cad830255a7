"""The tiles of :mod:`qvbench.attention.triton.fused`, in Triton; its equations are written there.

Imported only where they are wanted: a machine without a GPU need not have Triton.

A tile is BLOCK queries by BLOCK keys. ``m`` and ``n`` are the positions of queries and keys among
those that are given, as vectors that broadcast to the tile, in either orientation. The softmax is
taken in base 2, and everything but the operands of products is in float32. What stands outside a
sequence, or is hidden, has the logit -inf.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton reads annotations as types of its own, and by its custom capitals are memory or constants.
# ruff: noqa: N803

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)

CHANGING = (
    *("batches", "heads", "q_len", "k_len", "q_blocks", "k_blocks", "diagonals", "shares"),
    *("table_len", "threshold"),
)
"""Numbers that change from batch to batch, for whose values no code of its own is compiled."""


@triton.jit
def rows_of(
    start, batch, head, stride_b, stride_h, stride_l, at, length,
    WIDTH: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Rows ``at`` of one head of (B, heads, L, WIDTH), zeros outside: (BLOCK, PADDED)."""
    column = tl.arange(0, PADDED)
    base = start + batch.to(tl.int64) * stride_b + head.to(tl.int64) * stride_h
    inside = (at < length)[:, None] & (column < WIDTH)[None, :]
    return tl.load(base + at[:, None] * stride_l + column[None, :], mask=inside, other=0.0)


@triton.jit
def put_rows(
    start, batch, head, stride_b, stride_h, stride_l, at, length, rows,
    WIDTH: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Write what :func:`rows_of` reads, in the dtype of the memory."""
    column = tl.arange(0, PADDED)
    base = start + batch.to(tl.int64) * stride_b + head.to(tl.int64) * stride_h
    inside = (at < length)[:, None] & (column < WIDTH)[None, :]
    to = base + at[:, None] * stride_l + column[None, :]
    tl.store(to, rows.to(start.dtype.element_ty), mask=inside)


@triton.jit
def seen_keys(visible, batch, n, k_len, MASKED: tl.constexpr):
    """Whether keys ``n`` exist and are not padding."""
    if MASKED:
        return tl.load(visible + batch.to(tl.int64) * k_len + n, mask=n < k_len, other=0) != 0
    return n < k_len


@triton.jit
def masked_logits(s, c, seen, m, n, q_len, k_len, CAUSAL: tl.constexpr):
    """Logits ``s c`` in base 2, -inf where a query may not look."""
    z = s * c * LOG2_E
    if CAUSAL:
        seen = seen & (n <= m + (k_len - q_len))
    return tl.where(seen, z, float("-inf"))


@triton.jit
def kept(row_key, column_key, threshold):
    """Which weights dropout leaves: a hash of their row's random key with their column's."""
    x = (row_key ^ column_key).to(tl.uint32, bitcast=True)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x31848BAB
    x = x ^ (x >> 16)
    x = x * 0x2C1B3C6D
    return x.to(tl.int32, bitcast=True) >= threshold


@triton.jit(do_not_specialize=CHANGING)
def forward(
    Q, K, V, TABLE, VISIBLE, ROW_KEYS, COLUMN_KEYS, OUT, LSE,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, out_b, out_h, out_l,
    heads, k_group, v_group, q_len, k_len, q_blocks, table_len, scale, threshold, keep_scale,
    CAUSAL: tl.constexpr, SCALED: tl.constexpr, MASKED: tl.constexpr, DROPPED: tl.constexpr,
    DK: tl.constexpr, DV: tl.constexpr, PADDED_DK: tl.constexpr, PADDED_DV: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of queries of a head over all keys: outputs, and the log-sum-exp of each row."""
    block, place = tl.program_id(0) % q_blocks, tl.program_id(0) // q_blocks
    batch, head = place // heads, place % heads
    m = block * BLOCK + tl.arange(0, BLOCK)
    q = rows_of(Q, batch, head, q_b, q_h, q_l, m, q_len, DK, PADDED_DK)
    same = TABLE + head * table_len + (q_len - 1 + BLOCK)
    if DROPPED:
        row_key = tl.load(ROW_KEYS + place.to(tl.int64) * q_len + m, mask=m < q_len, other=0)
    highest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    out = tl.zeros((BLOCK, PADDED_DV), tl.float32)
    end = k_len
    if CAUSAL:
        end = tl.minimum(k_len, (block + 1) * BLOCK + k_len - q_len)
    for start in range(0, end, BLOCK):
        n = start + tl.arange(0, BLOCK)
        k = rows_of(K, batch, head // k_group, k_b, k_h, k_l, n, k_len, DK, PADDED_DK)
        v = rows_of(V, batch, head // v_group, v_b, v_h, v_l, n, k_len, DV, PADDED_DV)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        c = tl.load(same + (n[None, :] - m[:, None]))
        seen = seen_keys(VISIBLE, batch, n, k_len, MASKED)[None, :]
        z = masked_logits(s, c, seen, m[:, None], n[None, :], q_len, k_len, CAUSAL)
        new = tl.maximum(highest, tl.max(z, 1))
        base = tl.where(new == float("-inf"), 0.0, new)  # so far the row sees nothing
        p = tl.exp2(z - base[:, None])
        shrink = tl.exp2(highest - base)
        total = total * shrink + tl.sum(p, 1)
        if SCALED:
            p = p * c
        if DROPPED:
            key = tl.load(COLUMN_KEYS + place.to(tl.int64) * k_len + n, mask=n < k_len, other=0)
            p = tl.where(kept(row_key[:, None], key[None, :], threshold), p, 0.0)
        out = out * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        highest = new
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    out = out * (keep_scale / total)[:, None]
    put_rows(OUT, batch, head, out_b, out_h, out_l, m, q_len, out, DV, PADDED_DV)
    lse = tl.where(empty, 0.0, highest) + tl.log2(total)
    tl.store(LSE + place.to(tl.int64) * q_len + m, lse, mask=m < q_len)


@triton.jit(do_not_specialize=CHANGING)
def gradient_to_queries(
    Q, K, V, TABLE, VISIBLE, ROW_KEYS, COLUMN_KEYS, OUT, LSE, DOUT, DELTA, DQ,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, out_b, out_h, out_l,
    dout_b, dout_h, dout_l, dq_b, dq_h, dq_l,
    heads, k_group, v_group, q_len, k_len, q_blocks, table_len, scale, threshold, keep_scale,
    CAUSAL: tl.constexpr, SCALED: tl.constexpr, MASKED: tl.constexpr, DROPPED: tl.constexpr,
    DK: tl.constexpr, DV: tl.constexpr, PADDED_DK: tl.constexpr, PADDED_DV: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of queries over all keys: their gradient, and each row's ``delta``, o . do."""
    block, place = tl.program_id(0) % q_blocks, tl.program_id(0) // q_blocks
    batch, head = place // heads, place % heads
    m = block * BLOCK + tl.arange(0, BLOCK)
    q = rows_of(Q, batch, head, q_b, q_h, q_l, m, q_len, DK, PADDED_DK)
    dout = rows_of(DOUT, batch, head, dout_b, dout_h, dout_l, m, q_len, DV, PADDED_DV)
    out = rows_of(OUT, batch, head, out_b, out_h, out_l, m, q_len, DV, PADDED_DV)
    delta = tl.sum(dout.to(tl.float32) * out.to(tl.float32), 1)
    row = place.to(tl.int64) * q_len + m
    tl.store(DELTA + row, delta, mask=m < q_len)
    lse = tl.load(LSE + row, mask=m < q_len, other=0.0)
    same = TABLE + head * table_len + (q_len - 1 + BLOCK)
    if DROPPED:
        row_key = tl.load(ROW_KEYS + row, mask=m < q_len, other=0)
    dq = tl.zeros((BLOCK, PADDED_DK), tl.float32)
    end = k_len
    if CAUSAL:
        end = tl.minimum(k_len, (block + 1) * BLOCK + k_len - q_len)
    for start in range(0, end, BLOCK):
        n = start + tl.arange(0, BLOCK)
        k = rows_of(K, batch, head // k_group, k_b, k_h, k_l, n, k_len, DK, PADDED_DK)
        v = rows_of(V, batch, head // v_group, v_b, v_h, v_l, n, k_len, DV, PADDED_DV)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        c = tl.load(same + (n[None, :] - m[:, None]))
        seen = seen_keys(VISIBLE, batch, n, k_len, MASKED)[None, :]
        z = masked_logits(s, c, seen, m[:, None], n[None, :], q_len, k_len, CAUSAL)
        p = tl.exp2(z - lse[:, None])
        dp = tl.dot(dout, tl.trans(v), input_precision=PRECISION)
        if SCALED:
            dp = dp * c
        if DROPPED:
            key = tl.load(COLUMN_KEYS + place.to(tl.int64) * k_len + n, mask=n < k_len, other=0)
            keep = kept(row_key[:, None], key[None, :], threshold)
            dp = tl.where(keep, dp * keep_scale, 0.0)
        ds = p * (dp - delta[:, None]) * c
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PRECISION)
    put_rows(DQ, batch, head, dq_b, dq_h, dq_l, m, q_len, dq * scale, DK, PADDED_DK)


@triton.jit(do_not_specialize=CHANGING)
def gradient_to_keys_and_values(
    Q, K, V, TABLE, VISIBLE, ROW_KEYS, COLUMN_KEYS, LSE, DOUT, DELTA, DK_OUT, DV_OUT,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l,
    dout_b, dout_h, dout_l, dk_b, dk_h, dk_l, dv_b, dv_h, dv_l,
    heads, k_group, v_group, q_len, k_len, k_blocks, table_len, scale, threshold, keep_scale,
    CAUSAL: tl.constexpr, SCALED: tl.constexpr, MASKED: tl.constexpr, DROPPED: tl.constexpr,
    DK: tl.constexpr, DV: tl.constexpr, PADDED_DK: tl.constexpr, PADDED_DV: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of keys over all queries of one head; tiles are keys by queries here."""
    block, place = tl.program_id(0) % k_blocks, tl.program_id(0) // k_blocks
    batch, head = place // heads, place % heads
    n = block * BLOCK + tl.arange(0, BLOCK)
    k = rows_of(K, batch, head // k_group, k_b, k_h, k_l, n, k_len, DK, PADDED_DK)
    v = rows_of(V, batch, head // v_group, v_b, v_h, v_l, n, k_len, DV, PADDED_DV)
    seen = seen_keys(VISIBLE, batch, n, k_len, MASKED)[:, None]
    same = TABLE + head * table_len + (q_len - 1 + BLOCK)
    if DROPPED:
        key = tl.load(COLUMN_KEYS + place.to(tl.int64) * k_len + n, mask=n < k_len, other=0)
    dk = tl.zeros((BLOCK, PADDED_DK), tl.float32)
    dv = tl.zeros((BLOCK, PADDED_DV), tl.float32)
    first = 0
    if CAUSAL:
        first = tl.maximum(block * BLOCK - k_len + q_len, 0) // BLOCK * BLOCK
    for start in range(first, q_len, BLOCK):
        m = start + tl.arange(0, BLOCK)
        row = place.to(tl.int64) * q_len + m
        q = rows_of(Q, batch, head, q_b, q_h, q_l, m, q_len, DK, PADDED_DK)
        dout = rows_of(DOUT, batch, head, dout_b, dout_h, dout_l, m, q_len, DV, PADDED_DV)
        lse = tl.load(LSE + row, mask=m < q_len, other=0.0)
        delta = tl.load(DELTA + row, mask=m < q_len, other=0.0)
        s = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale
        c = tl.load(same + (n[:, None] - m[None, :]))
        z = masked_logits(s, c, seen, m[None, :], n[:, None], q_len, k_len, CAUSAL)
        p = tl.exp2(z - lse[None, :])
        dp = tl.dot(v, tl.trans(dout), input_precision=PRECISION)
        w = p
        if SCALED:
            w = w * c
            dp = dp * c
        if DROPPED:
            row_key = tl.load(ROW_KEYS + row, mask=m < q_len, other=0)
            keep = kept(row_key[None, :], key[:, None], threshold)
            w = tl.where(keep, w * keep_scale, 0.0)
            dp = tl.where(keep, dp * keep_scale, 0.0)
        dv += tl.dot(w.to(dout.dtype), dout, input_precision=PRECISION)
        ds = p * (dp - delta[None, :]) * c
        dk += tl.dot(ds.to(q.dtype), q, input_precision=PRECISION)
    put_rows(DK_OUT, batch, head, dk_b, dk_h, dk_l, n, k_len, dk * scale, DK, PADDED_DK)
    put_rows(DV_OUT, batch, head, dv_b, dv_h, dv_l, n, k_len, dv, DV, PADDED_DV)


@triton.jit(do_not_specialize=CHANGING)
def gradient_to_coefficients(
    Q, K, V, TABLE, VISIBLE, ROW_KEYS, COLUMN_KEYS, LSE, DOUT, DELTA, PARTS,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, dout_b, dout_h, dout_l,
    batches, heads, k_group, v_group, q_len, k_len, q_blocks, k_blocks, diagonals, shares,
    table_len, scale, threshold, keep_scale,
    CAUSAL: tl.constexpr, SCALED: tl.constexpr, MASKED: tl.constexpr, DROPPED: tl.constexpr,
    DK: tl.constexpr, DV: tl.constexpr, PADDED_DK: tl.constexpr, PADDED_DV: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A diagonal of tiles of one head, over a share of the batch: PARTS (shares, H, diagonals,
    BLOCK, BLOCK). All of its tiles hold the same distances, so they add up element by element."""
    which, place = tl.program_id(0) % diagonals, tl.program_id(0) // diagonals
    head, share = place % heads, place // heads
    diagonal = which - (q_blocks - 1)
    across = tl.arange(0, BLOCK)
    distance = diagonal * BLOCK + across[None, :] - across[:, None]
    c = tl.load(TABLE + head * table_len + (q_len - 1 + BLOCK) + distance)
    dc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for batch_number in range(share, batches, shares):
        batch = tl.full((), 0, tl.int32) + batch_number
        line = batch.to(tl.int64) * heads + head
        for block in range(tl.maximum(0, -diagonal), tl.minimum(q_blocks, k_blocks - diagonal)):
            m = block * BLOCK + across
            n = m + diagonal * BLOCK
            q = rows_of(Q, batch, head, q_b, q_h, q_l, m, q_len, DK, PADDED_DK)
            k = rows_of(K, batch, head // k_group, k_b, k_h, k_l, n, k_len, DK, PADDED_DK)
            v = rows_of(V, batch, head // v_group, v_b, v_h, v_l, n, k_len, DV, PADDED_DV)
            dout = rows_of(DOUT, batch, head, dout_b, dout_h, dout_l, m, q_len, DV, PADDED_DV)
            row = line * q_len + m
            lse = tl.load(LSE + row, mask=m < q_len, other=0.0)
            delta = tl.load(DELTA + row, mask=m < q_len, other=0.0)
            s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
            seen = seen_keys(VISIBLE, batch, n, k_len, MASKED)[None, :]
            z = masked_logits(s, c, seen, m[:, None], n[None, :], q_len, k_len, CAUSAL)
            p = tl.exp2(z - lse[:, None])
            dw = tl.dot(dout, tl.trans(v), input_precision=PRECISION)
            if DROPPED:
                row_key = tl.load(ROW_KEYS + row, mask=m < q_len, other=0)
                key = tl.load(COLUMN_KEYS + line * k_len + n, mask=n < k_len, other=0)
                keep = kept(row_key[:, None], key[None, :], threshold)
                dw = tl.where(keep, dw * keep_scale, 0.0)
            if SCALED:
                dc += p * (dw + (dw * c - delta[:, None]) * s)
            else:
                dc += p * (dw - delta[:, None]) * s
    part = (share.to(tl.int64) * heads + head) * diagonals + which
    to = PARTS + part * BLOCK * BLOCK + across[:, None] * BLOCK + across[None, :]
    tl.store(to, dc)
