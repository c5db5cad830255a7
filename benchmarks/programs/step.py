"""One decoding step of one self-attention layer, from a cache of many tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs import PACKAGES, Several, as_fit_does, autocast, load_weights, values_of
from benchmarks.programs.attention import inputs, layer_of, part, reference
from qvbench.attention.cache import KVCache


@torch.no_grad()
def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """A layer's weights; the cached tokens come from a seed, and the reference is the last row."""
    work.write(folder, values, layer_of(values))
    x = inputs({**values, "batch": 1, "length": values["length"] + 1}).double()
    expected = part(reference(layer_of(values).double(), x, [values["length"]])[0])
    return checks.values([expected], tolerance)


class Stepping:
    """The step after ``length`` tokens, over and over."""

    comparable = SAME_FUNCTION

    @torch.inference_mode()
    def __init__(self, folder: Work) -> None:
        self._values = values = values_of(folder)
        self.settings: dict[str, Any] = {**as_fit_does(), "precision": values["precision"]}
        self._layer = layer_of(values).eval()
        load_weights(self._layer, folder)
        self._layer.to(values["device"])
        x = inputs({**values, "length": values["length"] + 1}).to(values["device"])
        self._x = x[:, -1:].clone()
        self._cache = KVCache()
        with autocast(values):
            cached = self._cache.append(self._layer.project_kv(x[:, :-1]))
        read = [*cached, *self._layer.parameters()]
        batch = len(x)
        self.settings["cache_bytes"] = sum(t.numel() * t.element_size() for t in cached)
        self.settings["bytes_per_item"] = sum(t.numel() * t.element_size() for t in read) / batch
        self._several = Several(self._step, batch, values["device"])

    def check(self) -> dict[str, Any]:
        """A part of the first sequence's output."""
        return {"values": [part(self._step()[0])]}

    def repeat(self) -> int:
        """Several steps; items are tokens, one per sequence and step."""
        return self._several.repeat()

    @torch.inference_mode()
    def _step(self) -> Tensor:
        with autocast(self._values):
            y = self._layer.step(self._x, self._cache)
        self._cache.length -= 1  # the next step overwrites this one's entry
        return y


if __name__ == "__main__":
    serve({"step": Stepping}, PACKAGES)
