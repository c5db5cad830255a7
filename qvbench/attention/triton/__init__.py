"""Which kernel computes attention: PyTorch's, the fused one, or the reference, and why.

The fused kernel is taken for a coefficient by distance on a GPU. Before its first use in a
process, for every dtype and head width, it is compared with the reference on the device itself;
where that fails, or cannot be tried, the reference computes and one line of the log says why.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qvbench.attention import core
from qvbench.attention.triton import fused
from qvbench.positions.interface import Position, by_offset

log = logging.getLogger(__name__)

FUSED, REFERENCE, SDPA = "triton", "reference", "sdpa"

SWITCH = "QVBENCH_FUSED_ATTENTION"  # environment variable: 0 turns the fused kernel off
DEVICES = ("cuda",)
OLDEST = (8, 0)  # compute capability from which Triton's products use tensor cores
WIDEST = 256  # head width of which a tile still fits
# Most that a result may differ from the reference's, both as vectors, by what is multiplied.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


class Backend(NamedTuple):
    """A kernel by name, and why it is this one."""

    name: str
    reason: str


PLAIN = Backend(SDPA, "nothing multiplies the logits")
NO_DROPOUT = Backend(REFERENCE, "PyTorch has no kernel for dropout on a CPU")


def choose(
    position: Position, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float
) -> Backend:
    """The kernel for queries (B, H, Lq, Dk), keys (B, Hk, Lk, Dk), values (B, Hv, Lk, Dv)."""
    if not position.multiplies:
        return NO_DROPOUT if core.own_dropout(q, dropout_p) else PLAIN
    if q.device.type not in DEVICES:
        return Backend(REFERENCE, f"the fused kernel needs a GPU; the tensors are on {q.device}")
    kind = q.device.type
    cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    dtypes = {cast or x.dtype for x in (q, k, v)}  # in which they are multiplied
    reason = ""
    if os.environ.get(SWITCH) == "0":
        reason = f"{SWITCH} is 0"
    elif not position.by_table or position.adds:
        reason = "it takes a coefficient by distance alone"
    elif mask is not None and mask.shape[1:3] != (1, 1):
        reason = "it takes masks by key, not by query or head"
    elif max(q.shape[-1], v.shape[-1]) > WIDEST:
        reason = f"it takes heads up to {WIDEST} wide"
    elif len(dtypes) > 1 or not dtypes <= set(TOLERANCES):
        reason = f"it does not take {' with '.join(sorted(map(str, dtypes)))}"
    if not reason:
        precision = torch.get_float32_matmul_precision()
        reason = why_not(q.device, dtypes.pop(), q.shape[-1], v.shape[-1], precision)
    if not reason:
        return Backend(FUSED, "agrees with the reference on this device")
    warn(reason)
    return Backend(REFERENCE, reason)


@cache  # a line of the log each
def warn(reason: str) -> None:
    log.warning("attention is computed without the fused kernel, more slowly: %s", reason)


@cache  # a check each
def why_not(
    device: torch.device, dtype: torch.dtype, width: int, value_width: int, precision: str
) -> str:
    """Why the kernel is not to be used on such heads; empty if it is."""
    if device.type == "cuda" and torch.version.hip is None:
        found = torch.cuda.get_device_capability(device)
        if found < OLDEST:
            has, needs = (f"{major}.{minor}" for major, minor in (found, OLDEST))
            return f"this GPU's compute capability is {has}, and Triton needs {needs}"
    # TensorFloat-32 has no more digits than float16.
    short = dtype == torch.float32 and precision != "highest"
    tolerance = TOLERANCES[torch.float16 if short else dtype]
    try:
        # The first call may come from anywhere: in validation, under autocast.
        grad, plain = torch.enable_grad(), torch.autocast(device.type, enabled=False)
        with torch.inference_mode(False), grad, plain:
            for trial in trials(device, dtype, width, value_width):
                for name, error in errors(*trial).items():
                    if not error <= tolerance:
                        return f"its check failed in {dtype}: {name} is off by {error:.1e}"
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    except Exception as error:  # whatever a compiler or a driver comes up with
        first = (str(error).strip().splitlines() or [""])[0]
        return f"its check ended with {type(error).__name__}: {first}"
    return ""


def trials(
    device: torch.device, dtype: torch.dtype, width: int, value_width: int
) -> Iterator[tuple[list[Any], tuple[Any, ...]]]:
    """Small problems, as an encoder has one in training, and a decoder with a past: what has
    gradients, and the other arguments of :func:`fused.fused_attention`."""
    generator = torch.Generator(device).manual_seed(1)

    def random(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        x = torch.randn(*shape, device=device, generator=generator)
        return x.to(dtype).requires_grad_()

    def inputs(batch: int, groups: int, q_len: int, k_len: int) -> list[Tensor]:
        shapes = (2, q_len, width), (groups, k_len, width), (groups, k_len, value_width)
        table = random(2, q_len + k_len - 1, dtype=torch.float32)
        return [*(random(batch, *shape) for shape in shapes), table]

    mask = torch.ones(2, 1, 1, 67, dtype=torch.bool, device=device)
    mask[-1, ..., 33:] = False
    keys = fused.draw_keys((2, 2, 67, 67), device, generator)
    yield inputs(2, 2, 67, 67), (mask, fused.Settings(False, True, 0.1), keys)
    yield inputs(1, 1, 35, 131), (None, fused.Settings(True, False, 0.0), None)


def errors(inputs: list[Any], others: tuple[Any, ...]) -> dict[str, float]:
    """Norm of the difference of output and gradients to the reference's, over the norm."""
    wide = [x.detach().double().requires_grad_() for x in inputs]
    y, expected = fused.fused_attention(*inputs, *others), by_definition(*wide, *others)
    cotangent = torch.cos(torch.arange(y.numel(), device=y.device)).view(y.shape).to(y.dtype)
    found = y, *torch.autograd.grad(y, inputs, cotangent)
    right = expected, *torch.autograd.grad(expected, wide, cotangent.double())
    names = ("the output", *(f"the gradient to {x}" for x in ("q", "k", "v", "the table")))
    return {
        name: ((a.double() - b).norm() / b.norm().clamp(min=1e-6)).item()
        for name, a, b in zip(names, found, right, strict=True)
    }


def by_definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor,
    mask: Tensor | None,
    settings: fused.Settings,
    keys: fused.Keys | None,
) -> Tensor:
    """What :func:`fused.fused_attention` should give, through the reference's own steps."""
    c = by_offset(table, q.shape[2], k.shape[2])
    logits = core.grouped_product(q, k.mT) * q.shape[-1] ** -0.5
    terms = core.Terms(mask, settings.causal, c, value_scaling=settings.value_scaling)
    weights = core.attention_weights(logits, terms)
    if keys is not None:
        weights = weights * fused.keep_mask(keys, settings.dropout_p) / (1 - settings.dropout_p)
    return core.grouped_product(weights, v)
