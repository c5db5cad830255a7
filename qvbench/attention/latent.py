"""Low-rank compression of a token, as multi-head latent attention has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qvbench.errors import UserError


def check_ranks(mechanism: nn.Module, **ranks: int | None) -> None:
    """Refuse widths of latents that are none.

    Raises:
        UserError: a rank that is given is below 1.
    """
    for name, rank in ranks.items():
        if rank is not None and rank < 1:
            raise UserError(f"{type(mechanism).__name__}: {name} must be at least 1, got {rank}")


class Latent(nn.Module):
    """``c = RMSNorm(x W)``, of a width below the model's (arXiv:2405.04434, equations 9 and 12).

    The norm is in the paper's text (section 3.1.2) and code, not in its equations.

    Args:
        d_model: width of the token.
        rank: width of the latent.
        bias: of the projection.
        norm: normalise the latent; without it, up-projection after down-projection is one matrix.
    """

    def __init__(self, d_model: int, rank: int, *, bias: bool, norm: bool) -> None:
        super().__init__()
        self.down = nn.Linear(d_model, rank, bias=bias)
        self.norm = nn.RMSNorm(rank, eps=1e-6) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L, rank)."""
        c: Tensor = self.down(x)
        wide = torch.promote_types(c.dtype, torch.float32)
        return self.norm(c.to(wide)).to(c.dtype)


class LatentProjection(nn.Module):
    """A projection through a latent of its own, or straight from the token.

    Args:
        d_model: width of the token.
        width: width of the result.
        rank: of the latent; none if not given.
        bias: of what projects the token; after a latent, there is none.
        norm: normalise the latent.
    """

    def __init__(
        self, d_model: int, width: int, *, rank: int | None, bias: bool, norm: bool
    ) -> None:
        super().__init__()
        self.latent = Latent(d_model, rank, bias=bias, norm=norm) if rank else None
        self.up = nn.Linear(rank or d_model, width, bias=bias and not rank)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L, width)."""
        projected: Tensor = self.up(x if self.latent is None else self.latent(x))
        return projected
