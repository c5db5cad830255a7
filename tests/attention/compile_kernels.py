"""Compile the fused kernels for GPUs that need not be there: ``python -m ... 80 90``.

A training step is taken up to the launch of each kernel, for several lengths. Prints a line for
each GPU's kernel: its name, the variants that were compiled, the tensor-core instructions, and the
bytes of shared memory that it takes.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from qvbench.attention.triton import fused, fused_kernels

KERNELS = (
    "forward",
    "gradient_to_queries",
    "gradient_to_keys_and_values",
    "gradient_to_coefficients",
)


class Absent:
    """All that Triton asks of a GPU in order to compile for it."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return self._target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiled:
    """A kernel that is compiled where it would be launched."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.found: dict[str, Any] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def compile_only(*arguments: Any, **settings: Any) -> None:
            compiled = self._kernel.warmup(*arguments, grid=grid, **settings)
            self.found[compiled.hash] = compiled

        return compile_only


def step(length: int) -> None:
    """As an encoder has it in training, in bfloat16, with heads of 64 and all that can be on."""
    q, k, v = (
        torch.randn(2, length, 3, 64, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
        for _ in range(3)
    )
    table = torch.rand(3, 2 * length - 1, requires_grad=True)
    mask = torch.ones(2, 1, 1, length, dtype=torch.bool)
    y = fused.fused_attention(q, k, v, table, mask, fused.Settings(True, True, 0.1))
    y.sum().backward()


if __name__ == "__main__":
    originals = {name: getattr(fused_kernels, name) for name in KERNELS}
    for capability in map(int, sys.argv[1:]):
        driver.set_active(Absent(capability))
        kernels = {name: Compiled(kernel) for name, kernel in originals.items()}
        for name, kernel in kernels.items():
            setattr(fused_kernels, name, kernel)
        for length in (1, 48, 64, 97):
            step(length)
        for name, kernel in kernels.items():
            one = next(iter(kernel.found.values()))
            products = re.findall(r"mma\.sync|mma_async", one.asm["ptx"])
            print(name, len(kernel.found), len(products), one.metadata.shared)
