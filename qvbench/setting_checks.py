"""Settings that the parser's types let pass and nothing can run with, named by their config key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from qvbench.errors import UserError
from qvbench.tasks.translation import TranslationTask

LOWEST: Mapping[str, float] = {
    "seed_everything": 0,
    "trainer.max_steps": -1,
    "trainer.max_epochs": -1,
    "trainer.min_steps": 0,
    "trainer.min_epochs": 0,
    "trainer.accumulate_grad_batches": 1,
    "trainer.log_every_n_steps": 1,
    "trainer.val_check_interval": 1e-9,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.gradient_clip_val": 0,
    "trainer.num_sanity_val_steps": -1,
    "trainer.reload_dataloaders_every_n_epochs": 0,
    "trainer.num_nodes": 1,
}
"""The lowest values. Lightning takes lower ones of most, and fails or misbehaves later."""

HIGHEST: Mapping[str, float] = {
    "seed_everything": 2**32 - 1,
    "trainer.max_steps": 2**62,
    "trainer.max_epochs": 2**62,
}

_INSIDE_UNION = re.compile(r"Does not validate against any of the Union subtypes.*?Errors:", re.S)


def check_settings(settings: Any) -> None:
    """Refuse numbers out of range.

    Args:
        settings: the parsed config; a mapping by dotted key.

    Raises:
        UserError: the first of them, as ``key: fault``.
    """
    for key in LOWEST:
        value = settings.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue  # nothing given, or a time
        if not value >= LOWEST[key]:
            least = "more than 0" if 0 < LOWEST[key] < 1 else f"at least {LOWEST[key]:g}"
            raise UserError(f"{key}: must be {least}, got {value}")
        if value > HIGHEST.get(key, value):
            raise UserError(f"{key}: must be at most {HIGHEST[key]}, got {value}")


def check_network(task: TranslationTask) -> None:
    """Build a network that has no memory, and its optimizer, before hours of preparing data.

    What does not go together (a width and a number of heads, a mechanism and a position scheme)
    shows only there. Parts that cannot be built on the meta device are left to the real building.

    Raises:
        UserError: of the part that objects.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = task.network_recipe(
                vocab_size=8, padding_id=0, attention=task.attention, position=task.position
            )
    except (RuntimeError, NotImplementedError):
        return
    try:
        task.optimizer(network.parameters())
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"model.optimizer: {error}") from error
    except RuntimeError:
        return


def fault_in_union(error: Exception) -> str:
    """What a class objected to, of the message in which jsonargparse wraps it; empty if no such."""
    text = str(error)
    if not _INSIDE_UNION.search(text):
        return ""
    lines = re.findall(r"^\s*- (?!Expected )(.+)$", text, re.MULTILINE)
    return str(lines[0]) if lines else ""


def keys_named(message: str, settings: Any) -> Iterator[str]:
    """The config's dotted keys whose last word a message names, such as ``model.network.d_model``.

    Args:
        message: of a class that knows its own arguments and no config.
        settings: the parsed config.
    """
    words = set(re.findall(r"[a-z_]\w+", message))
    for key in settings.keys(branches=False):
        plain = key.replace(".init_args", "")
        if plain.rpartition(".")[2] in words and not key.endswith(("class_path", "init_args")):
            yield plain
