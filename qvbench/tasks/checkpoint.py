"""Of which model a checkpoint is, and the random numbers that Lightning does not keep in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import yaml

from qvbench.errors import UserError

NETWORK = ("attention", "position", "network")
"""What the weights belong to."""

TRAINING = (*NETWORK, "optimizer", "schedule", "label_smoothing")
"""What a resumed training belongs to; settings of search may change."""


def check_same_model(stored: str, own: str, where: str, fit: bool) -> None:
    """Refuse a checkpoint of another mechanism, network or training setup.

    Settings that only one side knows are accepted: another version may have added them.

    Args:
        stored: the ``model`` section (YAML) of the run that wrote the checkpoint; may be empty.
        own: the same of this run.
        where: which checkpoint, for the message.
        fit: whether training is to be resumed from it.

    Raises:
        UserError: the first setting that differs, with both values.
    """
    then, now = (dict(_settings(yaml.safe_load(text) or {})) for text in (stored, own))
    for key in then:
        if key.split(".")[0] not in (TRAINING if fit else NETWORK) or key not in now:
            continue
        if then[key] != now[key]:
            name = key.replace(".init_args", "").removesuffix(".class_path")
            raise UserError(
                f"{where}: the checkpoint is of another model than the config's: model.{name} is "
                f"{_short(then[key])} there, {_short(now[key])} here; give the config of its run, "
                "or start a new run"
            )


def _settings(section: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; classes come before their arguments."""
    if not isinstance(section, dict):
        yield key, section
        return
    for name in sorted(section, key=lambda name: (name != "class_path", name)):
        yield from _settings(section[name], f"{key}.{name}" if key else str(name))


def _short(value: Any) -> str:
    return str(value).rpartition(".")[2] if isinstance(value, str) else str(value)


def gather(own: Any, world_size: int) -> list[Any]:
    """What every process gives, by rank; a collective operation."""
    if world_size == 1:
        return [own]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, own)
    return parts


def random_states(world_size: int) -> dict[str, Any]:
    """The random generators' states of all processes, as tensors; a collective operation.

    Each process draws its own dropout: a process resumed with another's numbers would not be the
    run that was killed.
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    first, *others = gather({"cpu": torch.get_rng_state(), "cuda": cuda}, world_size)
    return {"random_state": first, "random_states_of_others": others}


def restore_random_state(stored: dict[str, Any], rank: int) -> None:
    """Restore the state of this process; that of GPUs only if there are as many as then."""
    others = stored.get("random_states_of_others", [])
    state = [stored["random_state"], *others][rank]
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
