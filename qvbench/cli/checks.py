"""Settings that the parser's types let pass and nothing can run with, named by their config key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, get_args, get_type_hints

import torch
from jsonargparse import Namespace

from qvbench.cli.messages import readable_type
from qvbench.errors import UserError

BOUNDS: Mapping[str, tuple[float, float]] = {
    "seed_everything": (0, 2**32 - 1),
    "trainer.max_steps": (-1, 2**62),
    "trainer.max_epochs": (-1, 2**62),
    "trainer.min_steps": (0, 2**62),
    "trainer.min_epochs": (0, 2**62),
    "trainer.accumulate_grad_batches": (1, 2**62),
    "trainer.log_every_n_steps": (1, 2**62),
    "trainer.val_check_interval": (1e-9, 2**62),
    "trainer.check_val_every_n_epoch": (1, 2**62),
    "trainer.gradient_clip_val": (0, float("inf")),
    "trainer.num_sanity_val_steps": (-1, 2**62),
    "trainer.reload_dataloaders_every_n_epochs": (0, 2**62),
    "trainer.num_nodes": (1, 2**31),
}
"""Lightning takes numbers outside of these, and fails or does something else later."""


def check_settings(settings: Any, parts: Mapping[str, type]) -> None:
    """Refuse parts that are no mappings, nulls that no class takes, and numbers out of range.

    Args:
        settings: the parsed config.
        parts: the class of each of its parts, by key.

    Raises:
        UserError: the first of them, as ``key: error``.
    """
    for key, owner in parts.items():
        part = settings.get(key)
        if not isinstance(part, Namespace):
            raise UserError(f"{key}: a mapping expected, got {part!r}")
        for place, hint in _nulls(part, owner, key):
            raise UserError(f"{place}: null is not allowed here; expected: {hint}")
    for key, (lowest, highest) in BOUNDS.items():
        value = settings.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue  # nothing given, or a time
        if not lowest <= value <= highest:
            least = "more than 0" if 0 < lowest < 1 else f"at least {lowest:g}"
            allowed = f"at most {highest}" if value > highest else least
            raise UserError(f"{key}: must be {allowed}, got {value}")


def _nulls(part: Namespace, owner: type, key: str) -> Iterator[tuple[str, str]]:
    """Keys without a value that a class needs, and what it expects.

    The parser lets null pass for everything that stands in a file.
    """
    hints = _hints(owner)
    for name, value in vars(part).items():
        hint = hints.get(name, Any)
        if value is None and not (hint in (Any, object, None) or type(None) in get_args(hint)):
            yield f"{key}.{name}", readable_type(str(hint))
        elif isinstance(value, Namespace) and "init_args" in value:
            module, _, class_name = value.class_path.rpartition(".")
            made = getattr(import_module(module), class_name)
            if isinstance(made, type):
                yield from _nulls(value.init_args, made, f"{key}.{name}")


def _hints(owner: type) -> dict[str, Any]:
    """Types of a class's arguments, those that it hands on to its bases included."""
    found: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        try:
            found |= get_type_hints(vars(base).get("__init__", object.__init__))
        except NameError:  # names that are imported for type checkers alone
            continue
    return found


def check_network(task: Any) -> None:
    """Build the network without memory, and its optimizer, before hours of preparing data.

    What does not go together (a width and a number of heads, a mechanism and a position scheme)
    shows only there. Parts that cannot be built on the meta device are left to the real building.

    Raises:
        UserError: of the part that objects.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = task.build_network(8)
    except (RuntimeError, NotImplementedError):
        return
    try:
        task.optimizer(network.parameters())
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"model.optimizer: {error}") from error
    except RuntimeError:
        return


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
