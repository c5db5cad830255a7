"""Settings that the parser's types let pass and nothing can run with, named by their config key."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer

from qvbench.cli.parser_messages import readable_type
from qvbench.data.module import TranslationDataModule
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


PARTS: Mapping[str, type] = {
    "model": TranslationTask,
    "data": TranslationDataModule,
    "trainer": Trainer,
}


def check_parts(settings: Any) -> None:
    """Refuse parts that are no mappings, and nulls that no class takes.

    Args:
        settings: the parsed config.

    Raises:
        UserError: the first of them, as ``key: fault``.
    """
    for key, owner in PARTS.items():
        part = settings.get(key)
        if not isinstance(part, Namespace):
            raise UserError(f"{key}: a mapping expected, got {part!r}")
        for place, hint in _nulls(part, owner, key):
            raise UserError(f"{place}: null is not allowed here; expected: {hint}")


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


def _nulls(part: Namespace, owner: type, key: str) -> Iterator[tuple[str, str]]:
    """Keys without a value that a class needs, and what it expects.

    The parser lets null pass for everything that stands in a file.
    """
    hints = _hints(owner)
    for name, value in vars(part).items():
        hint = hints.get(name, Any)
        if value is None and not _takes_none(hint):
            yield f"{key}.{name}", readable_type(str(hint))
        elif isinstance(value, Namespace) and "init_args" in value:
            module, _, class_name = value.class_path.rpartition(".")
            made = getattr(importlib.import_module(module), class_name)
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


def _takes_none(hint: Any) -> bool:
    """Whether None is among a type's values, as far as its outside tells."""
    return hint in (Any, object, None, type(None)) or type(None) in get_args(hint)


def check_network(task: TranslationTask) -> None:
    """Build a network that has no memory, and its optimizer, before hours of preparing data.

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
