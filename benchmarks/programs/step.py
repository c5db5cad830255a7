"""One decoding step of one self-attention layer, from a cache of many tokens."""

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
from qvbench.attention.cache import KVCache


class Stepping:
    """The step after ``length`` tokens, over and over."""

    comparable = SAME_FUNCTION

    @torch.inference_mode()
    def __init__(self, work: Work) -> None:
        self._values = values = values_of(work)
        self.settings: dict[str, Any] = {**as_fit_does(), "precision": values["precision"]}
        self._layer = alone.layer_of(values).eval()
        load_weights(self._layer, work)
        self._layer.to(values["device"])
        x = alone.inputs({**values, "length": values["length"] + 1}).to(values["device"])
        self._x = x[:, -1:].clone()
        self._cache = KVCache()
        with autocast(values):
            memory = self._cache.append(self._layer.project_kv(x[:, :-1]))
        read = [*memory, *self._layer.parameters()]
        batch = len(x)
        self.settings["cache_bytes"] = sum(t.numel() * t.element_size() for t in memory)
        self.settings["bytes_per_item"] = sum(t.numel() * t.element_size() for t in read) / batch
        self._several = Several(self._step, batch, values["device"])

    def check(self) -> dict[str, Any]:
        """A part of the first sequence's output."""
        return {"values": [alone.part(self._step()[0])]}

    def repeat(self) -> int:
        """A number of steps; items are tokens, one a sequence and step."""
        return self._several.repeat()

    @torch.inference_mode()
    def _step(self) -> Tensor:
        with autocast(self._values):
            y = self._layer.step(self._x, self._cache)
        self._cache.length -= 1  # the next one overwrites what this one left
        return y


if __name__ == "__main__":
    serve({"step": Stepping}, PACKAGES)
