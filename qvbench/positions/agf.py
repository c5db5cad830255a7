"""Attention's gravitational field: position as a factor that falls off with distance.

Source: arXiv:2603.15665, equations 3 and 4, after arXiv:2603.04805. **The exact form of the
coefficient is the suite's reading**: the first paper leaves that of its power law to the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qvbench.errors import UserError
from qvbench.positions.interface import Position, distances

KernelName = Literal["power_law", "fixed_power_law", "exponential", "logarithmic", "free_table"]


class AGF(Position):
    """Attention's gravitational field (AGF), optionally with PCM-V.

    The logit of query m and key n is multiplied by ``c(m, n)``, which depends on their distance
    alone (equation 3): ``a_mn = softmax_n(q_m . k_n / sqrt(Dk) * c(m, n))``. With PCM-V the same
    factor multiplies the value, ``o_m = sum_n a_mn * c(m, n) * v_n``, and the weights no longer sum
    to one, as intended.

    The suite's reading is ``c_h(x) = (1 + alpha_h * x) ** -beta_h`` at a distance x, learned per
    head and direction: a symmetric function makes a bidirectional encoder blind to reversal.

    Args:
        value_scaling: multiply the values too (PCM-V).
        kernel: the decay function; ``power_law`` is the suite's reading, the others are ablations.
        directional: keys left and right of the query have parameters of their own.
        exponent_low: smallest initial exponent; the heads are spread evenly in the logarithm.
        exponent_high: largest initial exponent. All heads start at 2, Newton's inverse square:
            of the starts compared on Multi30k (``results/agf-exponents``), it learned fastest.
        scale: initial distance scale alpha, per token.
    """

    def __init__(
        self,
        num_heads: int,
        d_model: int | None = None,
        value_scaling: bool = False,
        kernel: KernelName = "power_law",
        directional: bool = True,
        exponent_low: float = 2.0,
        exponent_high: float = 2.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__(num_heads, d_model)
        if kernel not in DECAYS:
            raise UserError(f"AGF: unknown kernel {kernel!r}; known are: {', '.join(DECAYS)}")
        given = f"got low {exponent_low}, high {exponent_high}, scale {scale}"
        if not 0 <= exponent_low <= exponent_high or scale <= 0:
            raise UserError(f"AGF: exponents must satisfy 0 <= low <= high and scale > 0, {given}")
        both_flat = exponent_high == 0 and kernel in ("fixed_power_law", "free_table")
        if exponent_low == 0 and not both_flat:
            raise UserError(
                f"AGF: {kernel} cannot start from exponent 0, where all of its gradients are zero; "
                "give a small one, such as 0.001, or fixed_power_law"
            )
        self.label = "AGF" if kernel == "power_law" else f"AGF, {kernel.replace('_', ' ')}"
        self.label += ("" if directional else ", symmetric") + (" + PCM-V" if value_scaling else "")
        self.value_scaling = value_scaling
        self.directions = 2 if directional else 1
        self.symmetric = not directional
        exponents = spread_over_heads(exponent_low, exponent_high, num_heads)
        self.kernel = DECAYS[kernel](exponents.repeat(self.directions, 1), scale)

    def coefficient_table(self, q_len: int, k_len: int, first: int | None = None) -> Tensor:
        """``c`` by distance, (H, Lq + Lk - 1), float32 under any autocast, 1 at distance 0."""
        device = next(chain(self.kernel.parameters(), self.kernel.buffers())).device
        offset = distances(q_len, k_len, first, device)
        decay = self.kernel(offset.abs().to(torch.float32))
        return decay[0] if self.directions == 1 else torch.where(offset > 0, decay[1], decay[0])


def spread_over_heads(low: float, high: float, num_heads: int) -> Tensor:
    """``num_heads`` values from low to high, evenly spaced in the logarithm; (H,), float32."""
    if low == high:
        return torch.full((num_heads,), low)
    if num_heads == 1:
        return torch.tensor([math.sqrt(low * high)])
    return torch.logspace(math.log10(low), math.log10(high), num_heads)


def power_law(distance: Tensor, scale: Tensor | float, exponent: Tensor) -> Tensor:
    """``(1 + alpha * distance) ** -beta``."""
    # exp(-beta * log1p(.)) rather than pow: the gradient to beta stays finite at distance 0.
    return torch.exp(-exponent * torch.log1p(scale * distance))


def exponential(distance: Tensor, rate: Tensor) -> Tensor:
    """``exp(-alpha * distance)``."""
    return torch.exp(-rate * distance)


def logarithmic(distance: Tensor, rate: Tensor) -> Tensor:
    """``1 / (1 + alpha * log(1 + distance))``."""
    return 1.0 / (1.0 + rate * torch.log1p(distance))


class Learned(nn.Module):
    """A decay function whose parameters, (directions, H) each, are learned and stay positive."""

    def __init__(self, function: Callable[..., Tensor], **start: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in start.items():
            raw = value + torch.log(-torch.expm1(-value))  # the inverse of softplus
            self.register_parameter(f"raw_{name}", nn.Parameter(raw))

    def forward(self, distance: Tensor) -> Tensor:
        raws = (raw.to(torch.promote_types(raw.dtype, torch.float32)) for raw in self.parameters())
        return self.function(distance, *(F.softplus(raw)[..., None] for raw in raws))


class FixedPowerLaw(nn.Module):
    """:func:`power_law` with alpha and beta as they start."""

    exponents: Tensor

    def __init__(self, exponents: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("exponents", exponents)
        self.scale = scale

    def forward(self, distance: Tensor) -> Tensor:
        return power_law(distance, self.scale, self.exponents[..., None])


class FreeTable(nn.Module):
    """One free positive factor per distance: what a fit of any decay function is tested on.

    Starts on the power law. Distances past the table's end share its last entry; the factor at
    distance 0 is 1 by definition.
    """

    length = 128

    def __init__(self, exponents: Tensor, scale: float) -> None:
        super().__init__()
        distance = torch.arange(1, self.length + 1, dtype=torch.float32)
        self.log_factors = nn.Parameter(power_law(distance, scale, exponents[..., None]).log())

    def forward(self, distance: Tensor) -> Tensor:
        table = self.log_factors.to(torch.promote_types(self.log_factors.dtype, torch.float32))
        table = F.pad(table, (1, 0))
        return torch.exp(table[..., distance.long().clamp(max=self.length)])


DECAYS: dict[str, Callable[[Tensor, float], nn.Module]] = {
    "power_law": lambda e, s: Learned(power_law, scale=torch.full_like(e, s), exponent=e),
    "fixed_power_law": FixedPowerLaw,
    "exponential": lambda e, s: Learned(exponential, rate=e * s),
    "logarithmic": lambda e, s: Learned(logarithmic, rate=e * s),
    "free_table": FreeTable,
}
"""How attention falls off: of initial exponents (directions, H) and a scale, a module
``distance in tokens (n,) -> (directions, H, n)``, float32, 1 at distance 0. Direction 0 is for keys
before the query (and the query itself), 1 for keys after it; a single one is for both sides."""
