"""Which process this is, of those that run one training."""

from __future__ import annotations

from lightning.pytorch.utilities.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Whether this process writes files and messages; known before a trainer exists.

    Lightning reads it from the launcher's environment (torchrun, SLURM, its own subprocesses).
    """
    return getattr(rank_zero_only, "rank", 0) == 0
