"""The state of torch's random numbers, which Lightning does not keep in a checkpoint."""

from __future__ import annotations

from typing import Any

import torch


def random_states(world_size: int) -> dict[str, Any]:
    """The generators' states of all processes, as tensors; every process has to ask.

    Each process draws its own dropout: one that went on with another's numbers would not be the
    run that was killed.
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    own = {"cpu": torch.get_rng_state(), "cuda": cuda}
    states: list[Any] = [own]
    if world_size > 1:
        states = [None] * world_size
        torch.distributed.all_gather_object(states, own)
    return {"random_state": states[0], "random_states_of_others": states[1:]}


def restore_random_state(stored: dict[str, Any], rank: int) -> None:
    """Go on where :func:`random_states` was taken; GPUs only if there are as many as then."""
    others = stored.get("random_states_of_others", [])
    state = [stored["random_state"], *others][rank]
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
