"""One attention layer alone, forwards or forwards and backwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks import alone
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs.common import (
    PACKAGES,
    Several,
    as_fit_does,
    autocast,
    load_weights,
    values_of,
)
from qvbench.attention import Attention


def backend_of(layer: Attention, values: dict[str, Any]) -> dict[str, str]:
    """Which kernel attention goes through, and why; a GPU's is checked here, not in a repeat."""
    with torch.no_grad(), autocast(values):
        layer(torch.zeros(1, 2, values["d_model"], device=values["device"]), causal=True)
    assert layer.backend is not None
    return layer.backend._asdict()


class Alone:
    """Causal self-attention of one layer."""

    comparable = SAME_FUNCTION

    def __init__(self, work: Work) -> None:
        self._values = values = values_of(work)
        self.settings: dict[str, Any] = {**as_fit_does(), "precision": values["precision"]}
        self._layer = alone.layer_of(values)
        load_weights(self._layer, work)
        self._layer.to(values["device"])
        self._backward: bool = values["backward"]
        self.settings["attention_backend"] = backend_of(self._layer, values)
        self._x = alone.inputs(values).to(values["device"]).requires_grad_(self._backward)
        self._ones = torch.ones_like(self._x)
        action = self._both if self._backward else self._forward
        self._several = Several(action, self._x[..., 0].numel(), values["device"])

    def check(self) -> dict[str, Any]:
        """Some rows of the output, and their gradients."""
        rows = alone.rows_of(self._values["length"])
        y = self._forward()[0, rows]
        found = [alone.part(y.detach())]
        if self._backward:
            y[:, : alone.WIDTH].sum().backward()
            found += alone.gradients(self._layer, self._x, rows)
            self._clear()
        return {"values": found}

    def repeat(self) -> int:
        """The layer on all sequences, a number of times; items are tokens."""
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
