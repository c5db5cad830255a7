"""Layers alone and the machine's own rates: what their programs start from, and the programs.

Shape letters: B batch, L length, R rows, H heads, d model width, D head width.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import checks
from benchmarks.checks import Judge
from benchmarks.protocol import Shape, Task, Work, each_time
from qvbench.attention import Attention, build_attention
from qvbench.attention.cache import KVCache
from qvbench.attention.core import repeat_heads
from qvbench.models.facts import counter
from qvbench.positions import build_position

REPEAT_SECONDS = 0.3
"""Shorter work is done several times per repeat."""
COLUMNS = 8
"""Of an output, that a check looks at."""
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


def repeated(action: Callable[[], Any], items: int) -> tuple[Callable[[Iterable[Any]], None], int]:
    """``run`` and ``items`` of short work, done as often as it takes to be timed well."""

    def seconds(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            action()
        return time.perf_counter() - start

    seconds(1)
    times = max(1, min(10_000, math.ceil(REPEAT_SECONDS / seconds(1))))
    return each_time(lambda: seconds(times)), times * items


def layer_of(shape: Shape) -> Attention:
    """The layer of a shape, with the same weights every time."""
    sizes = {"d_model": shape.d_model, "num_heads": shape.num_heads}
    torch.manual_seed(1)
    scheme = None
    if shape.position != "none":
        more = {"value_scaling": True} if shape.position == "agf" else {}
        scheme = build_position(shape.position, **sizes, **more)
    return build_attention(shape.mechanism, **sizes, position=scheme)


def inputs(batch: int, length: int, d_model: int) -> Tensor:
    """(B, L, d) float32, the same every time."""
    random = np.random.default_rng(0)
    return torch.from_numpy(random.standard_normal((batch, length, d_model), dtype=np.float32))


def rows_of(length: int) -> list[int]:
    return sorted({0, length // 3, length // 2, length - 1})


def sample(y: Tensor) -> list[float]:
    """What a check looks at of rows (R, d)."""
    values: list[float] = y[:, :COLUMNS].flatten().tolist()
    return values


def reference(layer: Attention, x: Tensor, rows: Sequence[int]) -> Tensor:
    """Causal self-attention's output for some queries of (B, L, d), by the definition: (B, R, d).

    Query by query, ``softmax_n(q . k_n / sqrt(D) * c_n) c_n v_n`` over the keys up to it.
    """
    q, k, v = layer.project(x)
    q, k = layer.rotate(q), layer.rotate(k)
    k, v = (repeat_heads(each, layer.num_heads) for each in (k, v))
    outputs = []
    for row in rows:
        logits = (k[:, :, : row + 1] @ q[:, :, row, :, None])[..., 0] * q.shape[-1] ** -0.5
        c = layer.position.coefficient(1, row + 1)
        logits = logits if c is None else logits * c[:, 0]
        weights = logits.softmax(-1)
        if c is not None and layer.position.value_scaling:
            weights = weights * c[:, 0]
        outputs.append((weights[..., None, :] @ v[:, :, : row + 1])[:, :, 0])
    return layer.merge(torch.stack(outputs, 2))


def gradients(y: Tensor, layer: Attention, x: Tensor, rows: Sequence[int]) -> list[list[float]]:
    """Of outputs (R, d): gradients at the rows of ``x``, and the norm of that at each parameter."""
    y[:, :COLUMNS].sum().backward()
    assert x.grad is not None
    norms = [[float(p.grad.norm())] for p in layer.parameters() if p.grad is not None]
    return [sample(x.grad[0, rows]), *norms]


def write_attention(work: Work, shape: Shape, tolerance: float) -> Judge:
    """A layer's weights; its inputs come from a seed, and the reference is the definition."""
    layer = layer_of(shape)
    work.write(shape, layer.state_dict())
    x = inputs(1, shape.length, shape.d_model).double().requires_grad_(shape.backward)
    rows = rows_of(shape.length)
    with torch.set_grad_enabled(shape.backward):
        y = reference(layer.double(), x, rows)[0]
    more = gradients(y, layer, x, rows) if shape.backward else []
    return checks.values([sample(y.detach()), *more], tolerance)


def attention(work: Work) -> Task:
    """Causal self-attention of one layer, forward or forward and backward; items are tokens."""
    shape = work.shape
    layer = layer_of(shape)
    layer.load_state_dict(work.weights())
    x = inputs(shape.batch, shape.length, shape.d_model).requires_grad_(shape.backward)
    ones = torch.ones_like(x)

    def forward() -> Tensor:
        with torch.set_grad_enabled(shape.backward):
            y: Tensor = layer(x, causal=True)
        return y

    def clear() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None

    def both() -> None:
        forward().backward(ones)
        clear()

    def check() -> dict[str, Any]:
        rows = rows_of(shape.length)
        y = forward()[0, rows]
        more = gradients(y, layer, x, rows) if shape.backward else []
        clear()
        return {"values": [sample(y.detach()), *more]}

    repeat = repeated(both if shape.backward else forward, shape.batch * shape.length)
    assert layer.backend is not None
    settings = {"precision": shape.precision, "attention_backend": layer.backend._asdict()}
    return Task(check, *repeat, settings)


@torch.inference_mode()
def prefill(work: Work) -> Task:
    """A prompt of ``length`` tokens into an empty cache, over and over; items are its tokens."""
    shape = work.shape
    layer = layer_of(shape).eval()
    layer.load_state_dict(work.weights())
    x = inputs(shape.batch, shape.length, shape.d_model)
    tokens = shape.batch * shape.length

    @torch.inference_mode()
    def whole() -> Tensor:
        return layer.step(x, KVCache())

    with counter() as counted:  # by shapes alone: all logits at once would not fit
        copy.deepcopy(layer).to("meta").step(x.to("meta"), KVCache())
    settings = {"flops_per_item": counted.get_total_flops() / tokens}
    rows = rows_of(shape.length)
    return Task(lambda: {"values": [sample(whole()[0, rows])]}, *repeated(whole, tokens), settings)


@torch.no_grad()
def write_step(work: Work, shape: Shape, tolerance: float) -> Judge:
    """A layer's weights; the cached tokens come from a seed, and the reference is the last row."""
    layer = layer_of(shape)
    work.write(shape, layer.state_dict())
    x = inputs(1, shape.length + 1, shape.d_model).double()
    expected = sample(reference(layer.double(), x, [shape.length])[0])
    return checks.values([expected], tolerance)


@torch.inference_mode()
def step(work: Work) -> Task:
    """The decoding step after ``length`` tokens, over and over; items are tokens, one per row."""
    shape = work.shape
    layer = layer_of(shape).eval()
    layer.load_state_dict(work.weights())
    x, cache = inputs(shape.batch, shape.length + 1, shape.d_model), KVCache()
    last = x[:, -1:].clone()
    cached = cache.append(layer.cache_entries(x[:, :-1]))

    @torch.inference_mode()
    def one() -> Tensor:
        y = layer.step(last, cache)
        cache.length -= 1  # the next step overwrites this one's entry
        return y

    def size(tensors: Sequence[Tensor]) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    read = size([*cached, *layer.parameters()]) / shape.batch
    with counter() as counted:
        one()
    done = counted.get_total_flops() / shape.batch
    settings = {"cache_bytes": size(cached), "bytes_per_item": read, "flops_per_item": done}
    return Task(lambda: {"values": [sample(one()[0])]}, *repeated(one, shape.batch), settings)


def write_rates(work: Work, shape: Shape, tolerance: float) -> Judge:
    """Sizes alone; the result is right to two per cent."""
    work.write(shape)
    return checks.values([[0.0]], 0.02)


def rates(work: Work) -> Task:
    """The machine's own: a ``product`` of matrices (items are FLOP, 2 per multiply-add), or moving
    memory by ``copy``, ``triad`` (a = b + 2 c) or ``read`` (a sum) (items are bytes in all)."""
    shape = work.shape
    if shape.what == "product":
        torch.manual_seed(1)
        a, b = torch.randn(shape.rows, shape.inner), torch.randn(shape.inner, shape.columns)
        a, b = (each.to(DTYPES[shape.precision]) for each in (a, b))
        wanted = a[0].double() @ b.double()
        run, items = (lambda: a @ b), 2 * shape.rows * shape.inner * shape.columns
    else:
        arrays = {"copy": 2, "triad": 3, "read": 1}[shape.what]
        size = shape.bytes // arrays // 4
        buffers = [torch.ones(size) for _ in range(arrays)]
        run, wanted = {
            "copy": (lambda: buffers[0].copy_(buffers[1]), torch.tensor(1.0)),
            "triad": (lambda: torch.add(*buffers[1:], alpha=2, out=buffers[0]), torch.tensor(3.0)),
            "read": (lambda: buffers[0].sum()[None], torch.tensor(float(size))),
        }[shape.what]
        items = 4 * size * arrays

    def check() -> dict[str, Any]:
        """The error of a result's first row or element, relative to its largest."""
        error = (run()[0] - wanted).abs().max() / wanted.abs().max()
        return {"values": [[float(error)]]}

    return Task(check, *repeated(run, items), {"threads": torch.get_num_threads()})


WORK = {
    "attention": write_attention,
    "prefill": write_attention,
    "step": write_step,
    "rates": write_rates,
}
