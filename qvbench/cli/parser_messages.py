"""jsonargparse's messages, which are pages of types and alternatives, as one line to act on."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from qvbench.attention import ATTENTION, AttentionFactory
from qvbench.data.corpora import CORPORA
from qvbench.positions import POSITIONS, PositionFactory
from qvbench.registry import Registry


class Choice(NamedTuple):
    """A config key whose value is a class from a registry, and what the model sets itself."""

    registry: Registry[Any]
    recipe: type | None = None


CHOICES: Mapping[str, Choice] = {
    "model.attention": Choice(ATTENTION, AttentionFactory),
    "model.position": Choice(POSITIONS, PositionFactory),
    "data.corpus": Choice(CORPORA),
}

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"class_path[ =]'([^']+)'")
_UNKNOWN_SETTING = re.compile(r"Option '([^']+)' is not accepted")
_UNKNOWN_KEY = re.compile(r"(?:does not accept option '([^']+)'|unrecognized arguments: (\S+))")
_MISSING = re.compile(r"arguments are required: (.*)")
_EXPECTED = re.compile(r"Expected an? (.+?)(?= - |\. Got value| Given value|$)")
_VALUE = re.compile(r"(?:Got value|Given value): (?!Namespace\()(.+?)(?=\. Got value|$)")
_NO_CLASS = re.compile(
    r"(?:Expected a path but (?=.+? either)|dot import path string: )(.+?)(?= either|$| - )"
)


def config_key(message: str) -> str:
    """The config key that a message is about, such as ``model.attention.context_dim``; or empty."""
    unknown = _UNKNOWN_KEY.search(message)
    if unknown:
        return (unknown[1] or unknown[2]).removeprefix("--").partition("=")[0]
    keys: list[str] = []
    for key in _KEY.findall(message):  # inside a fragment the parser starts from the top again
        keys = [key] if keys and key.startswith(".".join(keys) + ".") else [*keys, key]
    setting = _UNKNOWN_SETTING.search(message)
    return ".".join([*keys, setting[1]] if setting else keys)


def one_line(message: str, options: Iterable[str] = ()) -> str:
    """A message of the parser as one line: the key, what was wrong, what is allowed.

    Args:
        message: as jsonargparse words it.
        options: the config keys that the command has, to find the one that was meant.
    """
    message = " ".join(message.split())
    key = config_key(message)
    if _UNKNOWN_KEY.search(message):
        if not re.search(r"option '|arguments: -", message):
            return f"{key}: a word that belongs to no option"
        return f"{key}: no such config key{_hint(key, list(options))}"
    missing = _MISSING.search(message)
    if missing:
        keys = ", ".join(name.partition(".")[2] or name for name in missing[1].split(", "))
        return f"the config leaves out: {keys}; is --config missing? (`qvbench list` shows them)"
    if not key:
        return message
    if _UNKNOWN_SETTING.search(message):
        return f"{key}: {_unknown_setting(key, message)}"
    return f"{key}: {_wrong_value(key, message)}"


def _unknown_setting(key: str, message: str) -> str:
    owner = _CLASS.search(message)
    if owner is None:
        return "no such setting"
    parent, _, name = key.rpartition(".")
    known = _settings(owner[1], CHOICES[parent].recipe if parent in CHOICES else None)
    allowed = f"known are: {', '.join(known)}" if known else "it has none"
    return f"{owner[1].rpartition('.')[2]} has no setting {name!r}; {allowed}"


def _wrong_value(key: str, message: str) -> str:
    name = _NO_CLASS.search(message)
    if name and key in CHOICES:
        registry = CHOICES[key].registry
        classes = ", ".join(cls.__name__ for cls in registry.values())
        return f"{name[1]}: no {registry.kind} of that name, and no such file; known are: {classes}"
    if name and "Union subtypes" not in message:
        return f"{name[1]}: no class of that name is known here, and there is no such file"
    values = _VALUE.findall(message)
    expected = dict.fromkeys(readable_type(kind) for kind in _EXPECTED.findall(message))
    expected.pop("", None)
    if not values or not expected:
        return _KEY.sub("", message).strip(" :-")
    return f"{values[-1]} is not allowed here; expected: {' or '.join(expected)}"


def readable_type(kind: str) -> str:
    """A type as a reader of YAML would call it; nothing for what is no value at all."""
    if kind.startswith("path but"):
        return ""
    if kind.startswith("dot import path"):
        return "the name of a class"
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", kind)
    if literal:
        return ", ".join(part.strip(" '") for part in literal[1].split(","))
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    names = {"NoneType": "null", "int": "a whole number", "float": "a number", "str": "text"}
    return names.get(name, {"bool": "true, false", "tuple": "a list"}.get(name, name))


def _settings(class_path: str, recipe: type | None) -> list[str]:
    """What a config can set of a class: its arguments, less those that the model gives it."""
    module, _, name = class_path.rpartition(".")
    cls = getattr(__import__(module, fromlist=[name]), name)
    skipped = {"self", *(inspect.signature(recipe.__call__).parameters if recipe else ())}
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if base.__module__.split(".")[0] != cls.__module__.split(".")[0]:
            continue
        for parameter in inspect.signature(base.__init__).parameters.values():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.name not in skipped:
                found[parameter.name] = None
    return list(found)


def _hint(key: str, options: list[str]) -> str:
    near = difflib.get_close_matches(key, options, n=3)
    if near:
        return f"; near it: {', '.join(near)}"
    sections = dict.fromkeys(option.partition(".")[0] for option in options)
    first = difflib.get_close_matches(key.partition(".")[0], sections, n=1)
    return f"; did you mean {first[0]!r}?" if first and first[0] != key.partition(".")[0] else ""
