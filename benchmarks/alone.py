"""One attention layer alone: its inputs, and what it should give, from the definition in float64.

Shape letters: B batch, L length, H heads, d model width, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qvbench.attention import Attention, build_attention
from qvbench.attention.core import repeat_heads
from qvbench.positions import build_position

WIDTH = 8
"""Columns of an output that a check looks at."""


def layer_of(values: Mapping[str, Any]) -> Attention:
    """The layer of a work's shape, the same weights every time."""
    sizes = {"d_model": values["d_model"], "num_heads": values["num_heads"]}
    torch.manual_seed(1)
    scheme = None
    if values["position"] != "none":
        more = {"value_scaling": True} if values["position"] == "agf" else {}
        scheme = build_position(values["position"], **sizes, **more)
    return build_attention(values["mechanism"], **sizes, position=scheme)


def inputs(values: Mapping[str, Any]) -> Tensor:
    """(B, L, d) float32, the same every time."""
    random = np.random.default_rng(0)
    shape = values["batch"], values["length"], values["d_model"]
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))


def rows_of(length: int) -> list[int]:
    """Queries that a check looks at."""
    return sorted({0, length // 3, length // 2, length - 1})


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
        bias = layer.position.bias(1, row + 1)
        logits = logits if c is None else logits * c[:, 0]
        logits = logits if bias is None else logits + bias[:, 0]
        weights = logits.softmax(-1)
        if c is not None and layer.position.value_scaling:
            weights = weights * c[:, 0]
        outputs.append((weights[..., None, :] @ v[:, :, : row + 1])[:, :, 0])
    return layer.merge(torch.stack(outputs, 2))


def part(y: Tensor) -> list[float]:
    """What a check looks at of rows (R, d)."""
    values: list[float] = y[:, :WIDTH].flatten().tolist()
    return values


def gradients(layer: Attention, x: Tensor, rows: Sequence[int]) -> list[list[float]]:
    """Gradients at the rows of ``x``, and the norm of that at every parameter."""
    assert x.grad is not None
    norms = [[float(p.grad.norm())] for p in layer.parameters() if p.grad is not None]
    return [part(x.grad[0, rows]), *norms]


def expected(values: Mapping[str, Any]) -> list[list[float]]:
    """What a check of a forward pass, or of both, should give."""
    layer = layer_of(values).double()
    x = inputs({**values, "batch": 1}).double().requires_grad_(values["backward"])
    rows = rows_of(values["length"])
    with torch.set_grad_enabled(values["backward"]):
        y = reference(layer, x, rows)[0]
    found = [part(y.detach())]
    if values["backward"]:
        y[:, :WIDTH].sum().backward()
        found += gradients(layer, x, rows)
    return found


def expected_step(values: Mapping[str, Any]) -> list[list[float]]:
    """What a decoding step after ``length`` tokens should give: the reference's last row."""
    layer = layer_of(values).double()
    x = inputs({**values, "batch": 1, "length": values["length"] + 1}).double()
    with torch.no_grad():
        return [part(reference(layer, x, [values["length"]])[0])]
