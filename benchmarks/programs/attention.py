"""One attention layer alone, forward or forward and backward; its check is the definition.

Shape letters: B batch, L length, R rows, H heads, d model width, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs import PACKAGES, Several, as_fit_does, autocast, load_weights, values_of
from qvbench.attention import Attention, build_attention
from qvbench.attention.core import repeat_heads
from qvbench.positions import build_position

COLUMNS = 8
"""Of an output, that a check looks at."""


def layer_of(values: Mapping[str, Any]) -> Attention:
    """The layer of a shape, with the same weights every time."""
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
    values: list[float] = y[:, :COLUMNS].flatten().tolist()
    return values


def gradients(layer: Attention, x: Tensor, rows: Sequence[int]) -> list[list[float]]:
    """Gradients at the rows of ``x``, and the norm of that at every parameter."""
    assert x.grad is not None
    norms = [[float(p.grad.norm())] for p in layer.parameters() if p.grad is not None]
    return [part(x.grad[0, rows]), *norms]


def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """A layer's weights; its inputs come from a seed."""
    work.write(folder, values, layer_of(values))
    layer = layer_of(values).double()
    x = inputs({**values, "batch": 1}).double().requires_grad_(values["backward"])
    rows = rows_of(values["length"])
    with torch.set_grad_enabled(values["backward"]):
        y = reference(layer, x, rows)[0]
    expected = [part(y.detach())]
    if values["backward"]:
        y[:, :COLUMNS].sum().backward()
        expected += gradients(layer, x, rows)
    return checks.values(expected, tolerance)


class Alone:
    """Causal self-attention of one layer."""

    comparable = SAME_FUNCTION

    def __init__(self, folder: Work) -> None:
        self._values = values = values_of(folder)
        self.settings: dict[str, Any] = {**as_fit_does(), "precision": values["precision"]}
        self._layer = layer_of(values)
        load_weights(self._layer, folder)
        self._layer.to(values["device"])
        self._backward: bool = values["backward"]
        self.settings["attention_backend"] = self._backend()
        self._x = inputs(values).to(values["device"]).requires_grad_(self._backward)
        self._ones = torch.ones_like(self._x)
        action = self._both if self._backward else self._forward
        self._several = Several(action, self._x[..., 0].numel(), values["device"])

    def _backend(self) -> dict[str, str]:
        """Which kernel attention goes through, and why; a GPU's is tested here, not in a repeat."""
        values = self._values
        with torch.no_grad(), autocast(values):
            self._layer(torch.zeros(1, 2, values["d_model"], device=values["device"]), causal=True)
        assert self._layer.backend is not None
        return self._layer.backend._asdict()

    def check(self) -> dict[str, Any]:
        """Some rows of the output, and their gradients."""
        rows = rows_of(self._values["length"])
        y = self._forward()[0, rows]
        found = [part(y.detach())]
        if self._backward:
            y[:, :COLUMNS].sum().backward()
            found += gradients(self._layer, self._x, rows)
            self._clear()
        return {"values": found}

    def repeat(self) -> int:
        """The layer on all sequences, several times; items are tokens."""
        return self._several.repeat()

    def _forward(self) -> Tensor:
        with torch.set_grad_enabled(self._backward), autocast(self._values):
            y: Tensor = self._layer(self._x, causal=True)
        return y

    def _both(self) -> None:
        y = self._forward()
        y.backward(self._ones.to(y.dtype))
        self._clear()

    def _clear(self) -> None:
        self._layer.zero_grad(set_to_none=True)
        self._x.grad = None


if __name__ == "__main__":
    serve({"attention": Alone}, PACKAGES)
