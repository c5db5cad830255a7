"""What a variant is: its config with all settings filled in, and the hash that its runs bear.

Whoever writes the same thing in another way (another base, a fragment or its content, another
suite) gets the same hash, so that suites share their runs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from qvbench.config_files import read_yaml
from qvbench.errors import UserError

Settings = tuple[tuple[str, str], ...]
"""Config keys with their values as words of a command line, in the order in which they act."""

ELSEWHERE = (
    "seed_everything",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "data.cache_dir",
)
"""Keys that say which of a variant's runs it is, where it lies or who watches, not what it is."""


def definition(config: Path, settings: Settings) -> dict[str, Any]:
    """A config as plain data: the contents of all files that it names, the settings filled in.

    Args:
        config: file that the settings change.
        settings: each replaces what was there; a mapping is merged into it, as the parser does.

    Raises:
        UserError: one of the files cannot be read, or a key leads through a number or a list.
    """
    content = inlined(config.name, config.parent)
    if not isinstance(content, dict):
        raise UserError(f"{config}: not a config: config keys with values expected")
    for key, word in settings:
        _put(content, key, inlined(_value(word), Path()))
    return content


def definition_hash(content: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits over a definition, without what lies :data:`ELSEWHERE`."""
    kept = json.loads(json.dumps(content, default=str))
    for key in ELSEWHERE:
        *parents, last = key.split(".")
        part = kept
        for name in parents:
            part = part.get(name) or {}
        part.pop(last, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def inlined(value: Any, folder: Path) -> Any:
    """Plain data with the contents of the fragments that it names, relative to a folder."""
    if isinstance(value, dict):
        return {key: inlined(part, folder) for key, part in value.items()}
    if isinstance(value, list):
        return [inlined(part, folder) for part in value]
    if isinstance(value, str) and value.endswith(".yaml") and (folder / value).is_file():
        return inlined(read_yaml(folder / value), (folder / value).parent)
    return value


def _value(word: str) -> Any:
    """A word of the command line, read as the parser reads it."""
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; one that ends in ``+`` appends to a list."""
    *parents, last = key.split(".")
    part = content
    for name in parents:
        inner = _inside(part, key)
        if isinstance(inner.get(name), str):  # a class by its name alone
            inner[name] = {"class_path": inner[name]}
        part = inner.setdefault(name, {})
    part = _inside(part, key)
    name = last.removesuffix("+")
    if name != last:
        part[name] = [*(part.get(name) or []), value]
    else:
        part[name] = _merged(part.get(name), value)


def _inside(part: Any, key: str) -> dict[str, Any]:
    """Where the keys below a part are: a class has them among its ``init_args``."""
    if not isinstance(part, dict):
        raise UserError(f"--{key}: what it leads through is {part!r}, which has no keys")
    if "class_path" not in part:
        return part
    inner: dict[str, Any] = part.setdefault("init_args", {})
    return inner


def _merged(old: Any, new: Any) -> Any:
    """A setting over what was there. A class keeps the arguments of the one before it here.

    The parser drops those that the new class does not have. Keeping them can only part what is
    the same, and never takes two different things for one.
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), part) for key, part in new.items()}
