"""Which kernel computes attention: PyTorch's, the fused one, or the reference, and why.

The fused kernel is taken for a coefficient by distance on a GPU. Before its first use in a
process, for every dtype and head width, it is compared with the reference on the device itself;
where that fails, or cannot be tried, the reference computes and one line of the log says why.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from qvbench.attention import core
from qvbench.attention.triton import fused
from qvbench.positions.interface import Position

log = logging.getLogger(__name__)

FUSED, REFERENCE, SDPA = "triton", "reference", "sdpa"

SWITCH = "QVBENCH_FUSED_ATTENTION"
"""Environment variable that turns the fused kernel off if it is 0."""

DEVICES = ("cuda",)
OLDEST = (8, 0)  # compute capability from which Triton's products use tensor cores
WIDEST = 256  # head width of which a tile still fits

TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Most that a result may differ from the reference's, both as vectors, by what is multiplied."""


class Backend(NamedTuple):
    """A kernel by name, and why it is this one."""

    name: str
    reason: str


_PLAIN = Backend(SDPA, "nothing multiplies the logits")
_OWN = Backend(REFERENCE, "the position scheme's coefficient is no table by distance")
_ADDS = Backend(REFERENCE, "the fused kernel takes no bias, and the position scheme has one")
_CHECKED = Backend(FUSED, "agrees with the reference on this device")

_verdicts: dict[tuple[object, ...], str] = {}
_warned: set[str] = set()


def choose(position: Position, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Backend:
    """The kernel for queries (B, H, Lq, Dk), keys (B, Hk, Lk, Dk), values (B, Hv, Lk, Dv)."""
    if not position.multiplies:
        return _PLAIN
    if not position.by_table:
        return _OWN
    if position.adds:
        return _ADDS
    if q.device.type not in DEVICES:
        return Backend(REFERENCE, f"the fused kernel needs a GPU; the tensors are on {q.device}")
    reason = _unsuited(q, k, v, mask) or _verdict(q, v)
    if not reason:
        return _CHECKED
    if reason not in _warned:
        _warned.add(reason)
        log.warning("attention is computed without the fused kernel, more slowly: %s", reason)
    return Backend(REFERENCE, reason)


def forget() -> None:
    """Check, and warn, anew."""
    _verdicts.clear()
    _warned.clear()


def _unsuited(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> str:
    """Why the kernel does not take such tensors; empty if it does."""
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH} is 0"
    if mask is not None and mask.shape[1:3] != (1, 1):
        return "it takes masks by key, and this one differs from query to query or head to head"
    if max(q.shape[-1], v.shape[-1]) > WIDEST:
        return f"it takes heads up to {WIDEST} wide"
    dtypes = {_dtype(x) for x in (q, k, v)}
    if len(dtypes) > 1 or not dtypes <= set(TOLERANCES):
        return f"it does not take {' with '.join(sorted(str(dtype) for dtype in dtypes))}"
    return ""


def _dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a tensor is multiplied."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _verdict(q: Tensor, v: Tensor) -> str:
    """Why the kernel is not to be used on such heads; empty if it is. Checked once."""
    precision = torch.get_float32_matmul_precision()
    about = (q.device, _dtype(q), q.shape[-1], v.shape[-1], precision)
    if about not in _verdicts:
        # The first call may come from anywhere: in validation, under autocast.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(q.device.type, enabled=False),
        ):
            _verdicts[about] = _why_not(*about[:4])
    return _verdicts[about]


def _why_not(device: torch.device, dtype: torch.dtype, width: int, value_width: int) -> str:
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST:
            return (
                f"this GPU's compute capability is {'.'.join(map(str, capability))}, and Triton "
                f"needs {'.'.join(map(str, OLDEST))}"
            )
    try:
        importlib.import_module("qvbench.attention.triton.fused_kernels")
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    try:
        return _check(device, dtype, width, value_width)
    except Exception as error:  # whatever a compiler or a driver comes up with
        first = (str(error).strip().splitlines() or [""])[0]
        return f"its check ended with {type(error).__name__}: {first}"


class Trial(NamedTuple):
    """A small problem: its tensors and settings."""

    q: Tensor
    k: Tensor
    v: Tensor
    table: Tensor
    visible: Tensor | None
    keys: fused.Keys | None
    settings: fused.Settings

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those that have gradients."""
        return self.q, self.k, self.v, self.table


def _check(device: torch.device, dtype: torch.dtype, width: int, value_width: int) -> str:
    """How far the kernel's output or a gradient is off; empty if none is."""
    low = dtype
    if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        low = torch.float16  # TensorFloat-32 has no more digits
    for number, trial in enumerate(trials(device, dtype, width, value_width)):
        for what, error in errors(trial).items():
            if not error <= TOLERANCES[low]:
                return (
                    f"its check failed in {dtype}, problem {number + 1}: {what} is off by "
                    f"{error:.1e} of its norm"
                )
    return ""


def trials(
    device: torch.device, dtype: torch.dtype, width: int, value_width: int
) -> Iterator[Trial]:
    """As an encoder has it in training, and as a decoder with a past."""
    generator = torch.Generator(device).manual_seed(1)
    for batch, heads, groups, q_len, k_len, causal, p in (
        (2, 2, 2, 67, 67, False, 0.1),
        (1, 2, 1, 35, 131, True, 0.0),
    ):

        def random(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            x = torch.randn(*shape, device=device, generator=generator)
            return x.to(dtype).requires_grad_()

        visible = None
        if not causal:
            visible = torch.ones(batch, k_len, dtype=torch.bool, device=device)
            visible[-1, k_len // 2 :] = False
        keys = None
        if p:
            keys = fused.draw_keys(batch, heads, q_len, k_len, device, generator)
        yield Trial(
            random(batch, heads, q_len, width),
            random(batch, groups, k_len, width),
            random(batch, groups, k_len, value_width),
            random(heads, q_len + k_len - 1, dtype=torch.float32),
            visible,
            keys,
            fused.Settings(causal, not causal, p),
        )


def errors(trial: Trial) -> dict[str, float]:
    """Norm of the difference of output and gradients to the reference's, over the norm."""
    q, k, v, table = (x.detach().double().requires_grad_() for x in trial.inputs)
    exact = trial._replace(q=q, k=k, v=v, table=table)
    y = fused.attention_with_keys(*trial)
    expected = by_definition(exact)
    cotangent = torch.cos(torch.arange(y.numel(), device=y.device)).view(y.shape)
    found = y, *torch.autograd.grad(y, trial.inputs, cotangent.to(y.dtype))
    right = expected, *torch.autograd.grad(expected, exact.inputs, cotangent.to(y.dtype).double())
    names = ("the output", *(f"the gradient to {x}" for x in ("q", "k", "v", "the table")))
    return {
        name: ((a.double() - b).norm() / b.norm().clamp(min=1e-6)).item()
        for name, a, b in zip(names, found, right, strict=True)
    }


def by_definition(trial: Trial) -> Tensor:
    """What a trial should give: all logits at once, through the reference's own steps."""
    q, k, v, table, visible, keys, settings = trial
    heads, q_len, k_len = q.shape[1], q.shape[2], k.shape[2]
    at = torch.arange(k_len, device=q.device) - torch.arange(q_len, device=q.device)[:, None]
    c = table[:, at + q_len - 1]
    logits = q @ core.repeat_heads(k, heads).transpose(-2, -1) * q.shape[-1] ** -0.5 * c
    mask = None if visible is None else visible[:, None, None]
    mask = core.combine_masks(mask, settings.causal, q_len, k_len, q.device)
    weights = core.masked_softmax(logits, mask)
    if settings.value_scaling:
        weights = weights * c
    if keys is not None:
        kept = fused.keep_mask(keys, settings.dropout_p)
        weights = weights * kept / (1 - settings.dropout_p)
    return weights @ core.repeat_heads(v, heads)
