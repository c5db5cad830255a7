"""The fused kernels against the reference, forward and gradients.

On a machine with a GPU they run on it; elsewhere Triton's interpreter runs them, tile by tile as
they are, which knows no bfloat16.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from qvbench.attention import core, triton
from qvbench.attention.triton import fused
from qvbench.positions import Position, build_position
from tests.triton_kernels import DEVICE, GPU, needs_triton

pytestmark = pytest.mark.usefixtures("kernels_here")
HEADS = 2


def agf(value_scaling: bool = True, **settings: Any) -> Position:
    """AGF on the device; all heads and both sides with parameters of their own."""
    position = build_position("agf", num_heads=HEADS, value_scaling=value_scaling, **settings)
    generator = torch.Generator().manual_seed(3)
    for parameter in position.parameters():
        parameter.data += 0.4 * torch.randn(parameter.shape, generator=generator) - 0.8
    return position.to(DEVICE)


class Problem(NamedTuple):
    """What is computed; batch 2, two query heads."""

    q_len: int
    k_len: int
    causal: bool = False
    padded: bool = False
    groups: tuple[int, int] = (HEADS, HEADS)
    widths: tuple[int, int] = (16, 16)
    value_scaling: bool = True
    dropout: float = 0.0
    kernel: str = "power_law"
    dtype: torch.dtype = torch.float32


PROBLEMS = {
    "one token": Problem(1, 1, causal=True),
    "seven": Problem(7, 7),
    "causal": Problem(33, 33, causal=True, widths=(16, 8)),
    "padded": Problem(65, 65, padded=True, groups=(1, 2), widths=(12, 20)),
    "past": Problem(33, 130, causal=True, groups=(HEADS, 1)),
    "fewer keys": Problem(65, 33, causal=True, padded=True, groups=(1, 1)),
    "long": Problem(130, 130, causal=True, groups=(1, HEADS)),
    "agf alone": Problem(33, 65, padded=True, value_scaling=False),
    "dropout": Problem(65, 33, padded=True, dropout=0.3),
    "dropout, causal": Problem(33, 65, causal=True, dropout=0.1, value_scaling=False),
    "free table": Problem(7, 33, causal=True, kernel="free_table"),
    "float16": Problem(33, 33, causal=True, padded=True, dropout=0.1, dtype=torch.float16),
    "bfloat16": Problem(65, 65, padded=True, dropout=0.1, dtype=torch.bfloat16),
}


def inputs(problem: Problem) -> tuple[list[Tensor], Tensor | None, fused.Keys | None]:
    """Queries, keys and values as a layer has them: heads side by side in each token's row."""
    generator = torch.Generator().manual_seed(5)
    tensors = []
    for heads, length, width in (
        (HEADS, problem.q_len, problem.widths[0]),
        (problem.groups[0], problem.k_len, problem.widths[0]),
        (problem.groups[1], problem.k_len, problem.widths[1]),
    ):
        x = torch.randn(2, length, heads, width, generator=generator).to(DEVICE, problem.dtype)
        tensors.append(x.transpose(1, 2).detach().requires_grad_())
    mask = None
    if problem.padded:
        mask = torch.ones(2, 1, 1, problem.k_len, dtype=torch.bool, device=DEVICE)
        mask[1, ..., problem.k_len // 2 :] = False
    keys = None
    if problem.dropout:
        generator = torch.Generator(DEVICE).manual_seed(6)
        lengths = problem.q_len, problem.k_len
        keys = fused.draw_keys((2, HEADS, *lengths), DEVICE, generator)
    return tensors, mask, keys


def expected(
    problem: Problem,
    tensors: list[Tensor],
    position: Position,
    mask: Tensor | None,
    keys: fused.Keys | None,
) -> Tensor:
    """By the reference; with dropout, by the definition and the kernels' own mask."""
    if keys is not None:
        table = position.coefficient_table(problem.q_len, problem.k_len)
        assert table is not None
        settings = fused.Settings(problem.causal, problem.value_scaling, problem.dropout)
        return triton.by_definition(*tensors, table, mask, settings, keys)
    terms = core.Terms(
        mask,
        problem.causal,
        position.coefficient(problem.q_len, problem.k_len),
        value_scaling=problem.value_scaling,
    )
    q, k, v = tensors
    return core.softmax_attention(q, k, v, terms)


def by_kernel(problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """Output and gradients to queries, keys, values and the law's parameters."""
    tensors, mask, keys = inputs(problem)
    position = agf(problem.value_scaling, kernel=problem.kernel)
    table = position.coefficient_table(problem.q_len, problem.k_len)
    assert table is not None
    settings = fused.Settings(problem.causal, problem.value_scaling, problem.dropout)
    y = fused.fused_attention(*tensors, table, mask, settings, keys)
    return y, list(torch.autograd.grad(y, [*tensors, *position.parameters()], cotangent_of(y)))


def by_reference(problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The same in float64."""
    tensors, mask, keys = inputs(problem)
    tensors = [x.detach().double().requires_grad_() for x in tensors]
    position = agf(problem.value_scaling, kernel=problem.kernel).double()
    y = expected(problem, tensors, position, mask, keys)
    cotangent = cotangent_of(y.to(problem.dtype)).double()
    return y, list(torch.autograd.grad(y, [*tensors, *position.parameters()], cotangent))


def cotangent_of(y: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(y.shape, generator=generator).to(y)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_kernels_compute_what_the_reference_does(problem: Problem) -> None:
    """A tile's edge, a mask, a group, a scale, a direction or a distance that is off by one."""
    if problem.dtype == torch.bfloat16 and not GPU:
        pytest.skip("Triton's interpreter knows no bfloat16; on a GPU this runs")
    y, gradients = by_kernel(problem)
    right, right_gradients = by_reference(problem)
    tolerance = {torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}[problem.dtype]
    assert y.dtype == problem.dtype
    for found, wanted in zip((y, *gradients), (right, *right_gradients), strict=True):
        assert found.shape == wanted.shape
        assert torch.isfinite(found).all()
        assert (found.double() - wanted).norm() <= tolerance * (1 + wanted.norm())


@pytest.mark.skipif(not GPU, reason="Triton's interpreter runs one program after another")
def test_gradients_are_the_same_bits_every_time() -> None:
    """An atomic addition, whose order is the scheduler's."""
    problem = Problem(33, 65, padded=True, dropout=0.1, groups=(1, 1))
    y, gradients = by_kernel(problem)
    again, gradients_again = by_kernel(problem)
    assert torch.equal(y, again)
    for a, b in zip(gradients, gradients_again, strict=True):
        assert torch.equal(a, b)


@needs_triton
def test_a_query_that_may_look_nowhere_gets_zeros() -> None:
    """NaN from a softmax over nothing, in the output or in a gradient."""
    tensors, _, _ = inputs(Problem(7, 7))
    table = torch.ones(HEADS, 13, device=DEVICE, requires_grad=True)
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool, device=DEVICE)
    mask[0] = False
    y = fused.fused_attention(*tensors, table, mask, fused.Settings(False, True, 0.0))
    assert (y[0] == 0).all()
    assert (y[1] != 0).any()
    for gradient in torch.autograd.grad(y.sum(), [*tensors, table]):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_is_no_pattern(p: float) -> None:
    """A share of kept weights that is off, or weights that a simple hash of rows and columns ties
    to one another: two of them, or the four corners of a rectangle."""
    keys = fused.draw_keys((1, 1, 600, 601), torch.device("cpu"), torch.Generator().manual_seed(1))
    x = fused.keep_mask(keys, p)[0, 0].double() - (1 - p)
    variance = p * (1 - p)
    assert abs(x.mean()) < 5 * (variance / x.numel()) ** 0.5
    pairs = x[1:] * x[:-1], x[:, 1:] * x[:, :-1]
    corners = x[1:, 1:] * x[1:, :-1] * x[:-1, 1:] * x[:-1, :-1]
    for product, deviation in ((pairs[0], variance), (pairs[1], variance), (corners, variance**2)):
        assert abs(product.mean()) < 5 * deviation / product.numel() ** 0.5
    columns = x.mean(0)
    assert columns.std() < 1.2 * (variance / 600) ** 0.5


@needs_triton
def test_dropout_follows_pytorchs_generator() -> None:
    """Random numbers of its own, which no checkpoint restores; or none at all."""
    tensors, _, _ = inputs(Problem(33, 33))
    table = torch.ones(HEADS, 65, device=DEVICE)
    settings = fused.Settings(False, True, 0.5)
    torch.manual_seed(1)
    first = fused.fused_attention(*tensors, table, None, settings)
    second = fused.fused_attention(*tensors, table, None, settings)
    torch.manual_seed(1)
    assert torch.equal(fused.fused_attention(*tensors, table, None, settings), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize(("q_len", "k_len", "block"), [(5, 9, 4), (8, 4, 4), (1, 1, 2), (3, 2, 8)])
def test_diagonals_of_tiles_are_summed_by_distance(q_len: int, k_len: int, block: int) -> None:
    """A distance shared by two tiles and counted in one, a table shifted by one."""
    rows, columns = -(-q_len // block), -(-k_len // block)
    whole = torch.zeros(2, rows * block, columns * block)
    whole[:, :q_len, :k_len] = torch.randn(2, q_len, k_len)
    tiles = whole.unflatten(1, (rows, block)).unflatten(3, (columns, block)).transpose(2, 3)
    band = torch.stack(
        [
            sum(tiles[:, i, i + d] for i in range(rows) if 0 <= i + d < columns)
            for d in range(1 - rows, columns)
        ],
        1,
    )
    found = fused.sum_diagonals(band, q_len, q_len + k_len - 1)
    wanted = [whole[:, :q_len, :k_len].diagonal(d, 1, 2).sum(1) for d in range(1 - q_len, k_len)]
    torch.testing.assert_close(found, torch.stack(wanted, 1))


@needs_triton
def test_memory_grows_with_the_length_not_its_square() -> None:
    """A pass that keeps its logits for the backward pass."""

    def kept(length: int) -> int:
        tensors, _, keys = inputs(Problem(length, length, dropout=0.1))
        table = torch.ones(HEADS, 2 * length - 1, device=DEVICE, requires_grad=True)
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        settings = fused.Settings(True, True, 0.1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            fused.fused_attention(*tensors, table, None, settings, keys)
        return sum(storages.values())

    assert kept(96) < 2.05 * kept(48)


@needs_triton
@pytest.mark.slow
def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """What the interpreter takes and the compiler does not; a variant for every length; products
    without tensor cores; more shared memory than the smallest of these GPUs has."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-m", "tests.attention.compile_kernels", "80", "90"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert len(lines) == 2 * 4
    for _, variants, products, memory in lines:
        assert int(variants) == 1
        assert int(products) > 0
        assert int(memory) < 99 * 1024
