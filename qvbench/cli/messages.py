"""jsonargparse's messages, which are pages of types and alternatives, as one line to act on."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from qvbench.attention import ATTENTION, AttentionFactory
from qvbench.data.corpora import CORPORA
from qvbench.positions import POSITIONS
from qvbench.registry import Registry

REGISTRIES: dict[str, Registry[Any]] = {
    "model.attention": ATTENTION,
    "model.position": POSITIONS,
    "data.corpus": CORPORA,
}
"""Config keys whose value is a class of a registry."""

# What is relied on of the wording of jsonargparse (4.49 to 4.53); where it is another, the line is
# less readable, and still one line.
_KEY = re.compile(r"""(?:[Pp]arser key|[Oo]ption) ["']([^"']+)["']""")
_UNRECOGNIZED = re.compile(r"unrecognized arguments: (--)?([^\s=]+)")
_UNKNOWN = re.compile(r"[Oo]ption '[^']+' is not accepted|does not accept option")
_CLASS_PATH = re.compile(r"class_path[ =]'([^']+)'")
_NO_CLASS = re.compile(r"(?:a path but|import path (?:string|format):) (.+?)(?: either|$)", re.M)
_EXPECTED = re.compile(r"Expected an? (.+?)(?=\. Got value|$)", re.MULTILINE)
_VALUE = re.compile(r"(?:Got|Given) value: (?!Namespace\()(.+?)(?=\. Got value|$)", re.MULTILINE)
_REQUIRED = re.compile(r"arguments are required: (.*)")


def config_key(message: str) -> str:
    """The config key that a message is about, such as ``model.attention.context_dim``; or empty."""
    unrecognized = _UNRECOGNIZED.search(message)
    return unrecognized[2] if unrecognized else ".".join(_KEY.findall(message))


def one_line(message: str, options: Iterable[str] = ()) -> str:
    """A message of the parser in one line: the key, what was wrong, what is allowed.

    Args:
        message: as jsonargparse words it.
        options: the config keys that there are, to find the one that was meant.
    """
    key, parent = config_key(message), config_key(message).rpartition(".")[0]
    required, unrecognized = _REQUIRED.search(message), _UNRECOGNIZED.search(message)
    if required:
        return f"the config leaves out: {required[1]}; is --config missing? (`qvbench list`)"
    if unrecognized and not unrecognized[1]:
        return f"{key}: an argument that belongs to no option"
    owner = _CLASS_PATH.search(message)
    unknown = unrecognized or _UNKNOWN.search(message)
    if unknown and owner:
        allowed = ", ".join(settings_of(owner[1], parent)) or "none"
        return f"{key}: {owner[1].rpartition('.')[2]} has no such setting; known are: {allowed}"
    if unknown:
        return f"{key}: no such config key{_nearest(key, list(options))}"
    if not key:
        return " ".join(message.split())
    return f"{key}: {_wrong_value(message, REGISTRIES.get(key) or REGISTRIES.get(parent))}"


def _wrong_value(message: str, registry: Registry[Any] | None) -> str:
    name = _NO_CLASS.search(message)
    if name:
        known = ", ".join(cls.__name__ for cls in registry.values()) if registry else ""
        known = f"; known are: {known}" if known else ""
        return f"{name[1]}: no class of that name is known here, nor a file (`qvbench list`){known}"
    values = _VALUE.findall(message)
    kinds = [readable_type(kind) for kind in _EXPECTED.findall(message) if "path but" not in kind]
    if not values or not kinds:
        return " ".join(_KEY.sub("", message).split()).strip(" :-")
    return f"{values[0]} is not allowed here; expected: {' or '.join(dict.fromkeys(kinds))}"


def objection(message: str) -> str:
    """What a class objected to, in jsonargparse's list of alternatives; else empty."""
    errors = re.findall(r"^\s*- (?!Expected )(.+)$", message, re.MULTILINE)
    return errors[0] if errors else ""


def readable_type(kind: str) -> str:
    """A type as Python prints it, without modules: ``int``, ``list``, ``'shared', 'per_head'``."""
    kind = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind).replace("NoneType", "null")
    return re.sub(r"typing\.Literal\[(.*)\]|typing\.", r"\1", kind)


def settings_of(class_path: str, key: str = "") -> list[str]:
    """What a config can set of a class under a key: its arguments, less those that a model sets."""
    hidden = {"self"}
    if key in REGISTRIES:
        hidden |= inspect.signature(AttentionFactory.__call__).parameters.keys()
    module, _, name = class_path.rpartition(".")
    cls = getattr(import_module(module), name)
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] != module.partition(".")[0]:
            continue
        for parameter in inspect.signature(base.__init__).parameters.values():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found[parameter.name] = None
    return [name for name in found if name not in hidden]


def _nearest(key: str, options: list[str]) -> str:
    near = difflib.get_close_matches(key, options, n=3)
    sections = {option.partition(".")[0] for option in options}
    near = near or difflib.get_close_matches(key.partition(".")[0], sections - {key}, n=1)
    return f"; near it: {', '.join(near)}" if near else ""
