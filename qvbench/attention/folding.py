"""Products of weights that are made once, for as long as the weights stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn

from qvbench.attention.interface import Attention


class HasModules(Protocol):
    """A network."""

    def modules(self) -> Iterator[nn.Module]: ...


@contextmanager
def folded(network: HasModules) -> Iterator[None]:
    """Decoding with fixed weights: what mechanisms can multiply beforehand, they multiply once.

    Nothing folded outlives the context, and there are no gradients in it. Weights must not change
    within: a fused optimizer changes them without a trace that one could look for.
    """
    layers = [module for module in network.modules() if isinstance(module, Attention)]
    with torch.no_grad():
        try:
            for layer in layers:
                layer.fold()
            yield
        finally:
            for layer in layers:
                layer.unfold()
