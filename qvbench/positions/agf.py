"""Attention's gravitational field: position as a factor that falls off with distance.

Source: arXiv:2603.15665, equations 3 and 4, after arXiv:2603.04805. **The exact form of the
coefficient is the suite's reading**: the first paper states a power law and leaves its form to
the second.
"""

from __future__ import annotations

from itertools import chain
from typing import Literal

import torch
from torch import Tensor

from qvbench.errors import UserError
from qvbench.positions.interface import Position
from qvbench.positions.kernels import KERNELS

KernelName = Literal["power_law", "fixed_power_law", "exponential", "logarithmic", "free_table"]


class AGF(Position):
    """Attention's gravitational field (AGF), optionally with PCM-V.

    The logit of query m and key n is multiplied by ``c(m, n)``, which depends on their distance
    alone (equation 3): ``a_mn = softmax_n(q_m . k_n / sqrt(d) * c(m, n))``. With
    ``value_scaling`` (PCM-V) the same factor multiplies the value:
    ``o_m = sum_n a_mn * c(m, n) * v_n``; the weights then no longer sum to one, as intended.

    The suite's reading of the coefficient is ``c_h(D) = (1 + alpha_h * D) ** -beta_h``, with alpha
    and beta learned per head and per direction. A kernel that is symmetric in the distance makes
    a bidirectional encoder blind to reversal, hence two directions by default.

    Args:
        num_heads: number of query heads, H.
        d_model: unused; a scheme inside attention holds no vector per position.
        value_scaling: multiply the values too (PCM-V).
        kernel: the law; ``power_law`` is the suite's reading, the others are ablations.
        directional: keys left and right of the query have parameters of their own.
        exponent_low: smallest initial exponent; the heads are spread evenly in the logarithm.
        exponent_high: largest initial exponent. All heads start at 2, Newton's inverse square:
            of the starts compared on Multi30k (``results/agf-exponents``), it learned fastest.
        scale: initial distance scale alpha, per token.
    """

    on_logits = True
    by_table = True

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
        if kernel not in KERNELS:
            raise UserError(f"AGF: unknown kernel {kernel!r}; known are: {', '.join(KERNELS)}")
        if not 0 <= exponent_low <= exponent_high or scale <= 0:
            raise UserError(
                f"AGF: exponents must satisfy 0 <= low <= high and scale > 0, "
                f"got low {exponent_low}, high {exponent_high}, scale {scale}"
            )
        if exponent_low == 0 and exponent_high > 0:
            raise UserError("AGF: exponent_low 0 has no logarithm to spread from; give a small one")
        self.label = "AGF" if kernel == "power_law" else f"AGF, {kernel.replace('_', ' ')}"
        self.label += ("" if directional else ", symmetric") + (" + PCM-V" if value_scaling else "")
        self.value_scaling = value_scaling
        self.directions = 2 if directional else 1
        self.symmetric = not directional
        self.kernel = KERNELS[kernel](
            num_heads, self.directions, exponent_low, exponent_high, scale
        )

    def coefficient_table(self, q_len: int, k_len: int, first: int | None = None) -> Tensor:
        """``c`` by distance, (H, Lq + Lk - 1), float32 under any autocast, 1 at distance 0."""
        device = next(chain(self.kernel.parameters(), self.kernel.buffers())).device
        start = k_len - q_len if first is None else first
        offset = torch.arange(1 - q_len - start, k_len - start, device=device)
        law = self.kernel(offset.abs().to(torch.float32))
        return law[0] if self.directions == 1 else torch.where(offset > 0, law[1], law[0])
