"""Laws by which attention falls off with distance: the kernels among which AGF chooses.

Each law gives a factor for every head, direction and distance. A *direction* is a side of the
query: 0 for keys before it (and the query itself), 1 for keys after it. With a single direction
both sides share the law. Distances are in tokens.

The power law is the suite's reading of arXiv:2603.04805; the first paper (arXiv:2603.15665) only
says that the coefficient follows a power law in the distance. The others are ablations.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def inverse_softplus(value: Tensor) -> Tensor:
    """The x with ``softplus(x) = value``, for value > 0; -inf for 0."""
    return value + torch.log(-torch.expm1(-value))


def spread_over_heads(low: float, high: float, num_heads: int) -> Tensor:
    """``num_heads`` values from low to high, evenly spaced in the logarithm; (H,), float32.

    Heads that start with different reaches need not first break a symmetry between them.
    """
    if low == high:
        return torch.full((num_heads,), low)
    if num_heads == 1:
        return torch.tensor([math.sqrt(low * high)])
    return torch.logspace(math.log10(low), math.log10(high), num_heads)


class DistanceKernel(nn.Module):
    """Base: ``forward(distance (n,)) -> (directions, H, n)``, float32, 1 at distance 0.

    Args:
        num_heads: number of heads, H.
        directions: 1 (both sides alike) or 2 (left and right of the query have their own).
        exponent_low, exponent_high: range of the exponents that the heads start with.
        scale: initial distance scale alpha.
    """

    def __init__(
        self,
        num_heads: int,
        directions: int,
        exponent_low: float,
        exponent_high: float,
        scale: float,
    ) -> None:
        super().__init__()
        exponents = spread_over_heads(exponent_low, exponent_high, num_heads)
        self.make_parameters(exponents.repeat(directions, 1), scale)

    def make_parameters(self, exponents: Tensor, scale: float) -> None:
        """Create the law's parameters from initial exponents (directions, H) and scale."""
        raise TypeError(f"{type(self).__name__} must say which parameters it has")


def _positive(raw: Tensor) -> Tensor:
    """softplus of a raw parameter (directions, H), at least float32, with an axis for distance."""
    return F.softplus(raw.to(torch.promote_types(raw.dtype, torch.float32)))[..., None]


class PowerLaw(DistanceKernel):
    """``(1 + alpha * distance) ** -beta`` with alpha, beta > 0 learned per head and direction."""

    def make_parameters(self, exponents: Tensor, scale: float) -> None:
        self.raw_scale = nn.Parameter(inverse_softplus(torch.full_like(exponents, scale)))
        self.raw_exponent = nn.Parameter(inverse_softplus(exponents))

    def forward(self, distance: Tensor) -> Tensor:
        # exp(-beta * log1p(.)) rather than pow: the gradient to beta stays finite at distance 0.
        reach = torch.log1p(_positive(self.raw_scale) * distance)
        return torch.exp(-_positive(self.raw_exponent) * reach)


class FixedPowerLaw(DistanceKernel):
    """``(1 + alpha * distance) ** -beta`` with alpha and beta as they start."""

    exponents: Tensor

    def make_parameters(self, exponents: Tensor, scale: float) -> None:
        self.register_buffer("exponents", exponents)
        self.scale = scale

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(-self.exponents[..., None] * torch.log1p(self.scale * distance))


class Exponential(DistanceKernel):
    """``exp(-alpha * distance)``, alpha learned; starts at the given exponents."""

    def make_parameters(self, exponents: Tensor, scale: float) -> None:
        self.raw_rate = nn.Parameter(inverse_softplus(exponents * scale))

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(-_positive(self.raw_rate) * distance)


class Logarithmic(DistanceKernel):
    """``1 / (1 + alpha * log(1 + distance))``, alpha learned; starts at the given exponents."""

    def make_parameters(self, exponents: Tensor, scale: float) -> None:
        self.raw_rate = nn.Parameter(inverse_softplus(exponents * scale))

    def forward(self, distance: Tensor) -> Tensor:
        return 1.0 / (1.0 + _positive(self.raw_rate) * torch.log1p(distance))


class FreeTable(DistanceKernel):
    """One free positive factor per distance: what a fit of any law is tested on.

    Starts on the power law. Distances past the table's end share its last entry; the factor at
    distance 0 is 1 by definition.
    """

    length = 128

    def make_parameters(self, exponents: Tensor, scale: float) -> None:
        distance = torch.arange(1, self.length + 1, dtype=torch.float32)
        law = torch.exp(-exponents[..., None] * torch.log1p(scale * distance))
        self.log_factors = nn.Parameter(law.log())

    def forward(self, distance: Tensor) -> Tensor:
        table = self.log_factors.to(torch.promote_types(self.log_factors.dtype, torch.float32))
        table = F.pad(table, (1, 0))
        return torch.exp(table[..., distance.long().clamp(max=self.length)])


KERNELS: dict[str, type[DistanceKernel]] = {
    "power_law": PowerLaw,
    "fixed_power_law": FixedPowerLaw,
    "exponential": Exponential,
    "logarithmic": Logarithmic,
    "free_table": FreeTable,
}
