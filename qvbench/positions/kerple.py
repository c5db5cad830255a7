"""KERPLE: kernels of the distance added to the logits (Chi et al. 2022, arXiv:2205.09921)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qvbench.errors import UserError
from qvbench.positions.interface import Position, by_offset, distances

KERNELS = {"logarithmic": (2.0, 1.0), "power": (1.0, 2.0)}
"""Below which r1 and r2 are drawn at the start, as in the source's program: factors below 1,
exponents below 2."""

_LEAST = 0.01  # that they are drawn from: at zero a head would see no position at all


class Kerple(Position):
    """A learned penalty on each logit that grows with the distance D, per head (equations 3, 4).

    The logarithmic kernel is ``-r1 log(1 + r2 D)``. Within the softmax it multiplies a weight by
    ``(1 + r2 D) ** -r1``: a power law of the distance on the *weight*, where AGF's multiplies the
    logit. The power kernel is ``-r1 D ** r2`` with r2 up to 2; with r2 = 1 it is ALiBi's. Both have
    r1 and r2 above 0, which a softplus (and for r2 of the power a sigmoid) keeps.

    The source has it for causal models. Here keys to the right of a query have an r1 and r2 of
    their own; a causal decoder sees the published bias.

    Args:
        kernel: ``logarithmic``, with which the source extrapolates best, or ``power``.
        directional: left and right have parameters of their own; else the distance alone counts,
            and an encoder is blind to reversal.
    """

    def __init__(
        self,
        num_heads: int,
        d_model: int | None = None,
        kernel: Literal["logarithmic", "power"] = "logarithmic",
        directional: bool = True,
    ) -> None:
        super().__init__(num_heads, d_model)
        if kernel not in KERNELS:
            known = ", ".join(KERNELS)
            raise UserError(f"Kerple: unknown kernel {kernel!r}; known are: {known}")
        self.kernel = kernel
        self.label = "KERPLE" + ("" if kernel == "logarithmic" else f", {kernel}")
        self.label += "" if directional else ", symmetric"
        self.symmetric = not directional
        sides = 2 if directional else 1  # before the query, after it
        r1, r2 = (torch.empty(sides, num_heads).uniform_(_LEAST, end) for end in KERNELS[kernel])
        self.raw_r1 = nn.Parameter(r1.expm1().log())  # the inverse of softplus
        self.raw_r2 = nn.Parameter(
            r2.expm1().log() if kernel == "logarithmic" else (r2 / 2).logit(eps=1e-3)
        )

    @property
    def r1(self) -> Tensor:
        """(1 or 2 sides, H), above 0."""
        return F.softplus(self.raw_r1)

    @property
    def r2(self) -> Tensor:
        """(1 or 2 sides, H), above 0; of the power kernel below 2."""
        if self.kernel == "logarithmic":
            return F.softplus(self.raw_r2)
        return 2 * torch.sigmoid(self.raw_r2)

    def bias(self, q_len: int, k_len: int, first: int | None = None) -> Tensor:
        offset = distances(q_len, k_len, first, self.raw_r1.device)
        distance = offset.abs().to(self.raw_r1.dtype)
        r1, r2 = self.r1[..., None], self.r2[..., None]
        if self.kernel == "logarithmic":
            penalty = r1 * torch.log1p(r2 * distance)
        else:  # the exponent's gradient at distance 0 would not be finite
            penalty = r1 * torch.where(offset == 0, 0.0, distance.clamp(min=1) ** r2)
        table = -torch.where(offset > 0, penalty[-1], penalty[0])  # (H, Lq + Lk - 1)
        return by_offset(table, q_len, k_len)
