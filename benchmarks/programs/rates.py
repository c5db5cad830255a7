"""The machine's own rates: products of matrices, and moving memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs import DTYPES, PACKAGES, Several, as_fit_does, values_of

TOLERANCE = 0.02


def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """Sizes alone; the result's relative error should be nearly 0."""
    work.write(folder, values)
    return checks.values([0.0], TOLERANCE)


class Product:
    """``a @ b`` in one precision; items are FLOP, 2 per multiply-add."""

    def __init__(self, values: dict[str, Any]) -> None:
        dtype = DTYPES[values["precision"]]
        torch.manual_seed(1)
        a = torch.randn(values["rows"], values["inner"], device=values["device"])
        b = torch.randn(values["inner"], values["columns"], device=values["device"])
        self.a, self.b = a.to(dtype), b.to(dtype)
        self.items = 2 * values["rows"] * values["inner"] * values["columns"]

    @torch.inference_mode()
    def run(self) -> Tensor:
        """Once."""
        return self.a @ self.b

    def error(self) -> float:
        """Of the first row, relative to its largest entry."""
        wanted = self.a[0].double() @ self.b.double()
        return float((self.run()[0] - wanted).abs().max() / wanted.abs().max())


class Moving:
    """``copy``, ``triad`` (a = b + 2 c) or ``read`` (a sum); items are bytes moved in all."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.what = values["what"]
        buffers = {"copy": 2, "triad": 3, "read": 1}[self.what]
        size = values["bytes"] // buffers // 4
        self.buffers = [torch.ones(size, device=values["device"]) for _ in range(buffers)]
        self.items = 4 * size * buffers

    @torch.inference_mode()
    def run(self) -> Tensor:
        """Once."""
        if self.what == "read":
            return self.buffers[0].sum()
        if self.what == "copy":
            return self.buffers[0].copy_(self.buffers[1])
        return torch.add(self.buffers[1], self.buffers[2], alpha=2, out=self.buffers[0])

    def error(self) -> float:
        """Relative, of the result's first element."""
        wanted = {"copy": 1, "triad": 3, "read": self.buffers[0].numel()}[self.what]
        return abs(float(self.run().flatten()[0]) / wanted - 1)


class Rates:
    """One rate."""

    comparable = SAME_FUNCTION

    def __init__(self, folder: Work) -> None:
        values = values_of(folder)
        self.settings = as_fit_does()
        self._action = Product(values) if values["what"] == "product" else Moving(values)
        self._several = Several(self._action.run, self._action.items, values["device"])

    def check(self) -> dict[str, Any]:
        """The error of a result."""
        return {"values": [self._action.error()]}

    def repeat(self) -> int:
        """Several times."""
        return self._several.repeat()


if __name__ == "__main__":
    serve({"rates": Rates}, PACKAGES)
