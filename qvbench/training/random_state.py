"""The state of torch's random numbers, which Lightning does not keep in a checkpoint."""

from __future__ import annotations

from typing import Any

import torch


def random_state() -> dict[str, Any]:
    """The generators' states as tensors: that of the CPU and those of the GPUs."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on where :func:`random_state` was taken; GPUs only if there are as many as then."""
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
