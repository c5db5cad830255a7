"""What a command was given: its arguments, the configs that they name, what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from qvbench import config_files
from qvbench.attention import ATTENTION
from qvbench.data.corpora import CORPORA
from qvbench.errors import UserError, did_you_mean
from qvbench.positions import POSITIONS
from qvbench.registry import Registry

DEFAULT_TASK = "translation"
REGISTRIES: dict[str, Registry[Any]] = {
    "model.attention": ATTENTION,
    "model.position": POSITIONS,
    "data.corpus": CORPORA,
}
"""Config keys whose value is a class of a registry."""
_SECTIONS = ("task", "seed_everything", "model", "data", "trainer")


class Inputs:
    """The arguments of a command that reads configs.

    Attributes:
        args: with the contents of configs and fragments instead of their names.
        name: of the first config; empty if there is none.
        task: the name or class path that was given last.
        places: where each dotted key was given last: the command line, or file and line.
    """

    def __init__(self, args: list[str]) -> None:
        self.args: list[str] = []
        self.places: dict[str, str] = {}
        self.name, self.task = "", DEFAULT_TASK
        option = ""
        for arg in args:
            name, equals, value = arg.partition("=")
            if name.startswith("--"):
                self.places[name[2:]] = "command line"
            if name.startswith("-") and equals:
                self.args.append(f"{name}={self._read(name, value)}")
            else:
                self.args.append(self._read(option, arg))
            option = arg

    def place(self, key: str) -> str:
        """Where a dotted key, or what it belongs to, was given; empty if nowhere."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, "")

    def _read(self, option: str, value: str) -> str:
        """The value of an option, with the content of the file that it names."""
        if option in ("-c", "--config"):
            self._check_first(value)
            return self._text_of(config_files.find_config(value))
        if option == "--task":
            self.task = value
        if option.startswith(("--model", "--data", "--trainer")) and value.endswith(".yaml"):
            file = config_files.find_fragment(value, Path())
            if file is not None:
                return self._text_of(file, option[2:])
            if Path(value).exists():  # or the parser waits for a pipe
                raise UserError(f"{option} {value}: not a file; give one with a part of a config")
        return value

    def _check_first(self, config: str) -> None:
        """UserError if a setting was given before: the later one of two counts."""
        for key, place in self.places.items():
            if place == "command line" and key.partition(".")[0] in _SECTIONS:
                raise UserError(
                    f"--config {config}: stands after --{key}, which it may override; give configs "
                    "before such options"
                )

    def _text_of(self, file: Path, key: str = "") -> str:
        node = config_files.read_config(file)
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{file}: not a config: empty, or no keys with values")
        self.places |= _places(node, key)
        if not key:
            self.name = self.name or config_files.config_name(file)
            tasks = [value.value for name, value in node.value if name.value == "task"]
            self.task = str(tasks[-1]) if tasks else self.task
        return yaml.serialize(node, Dumper=yaml.SafeDumper, width=1e9)


def _places(node: yaml.Node, above: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys with file and line; the arguments of a class count as its own keys."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = above if key.value == "init_args" else f"{above}.{key.value}".lstrip(".")
        yield name, f"{key.start_mark.name}:{key.start_mark.line + 1}"
        yield from _places(value, name)


# jsonargparse's messages are pages of types and alternatives. What is relied on of their wording
# (4.51 to 4.53): where it is another, the line is less readable, and still one line.
_KEY = re.compile(r"""(?:[Pp]arser key|[Oo]ption|Group) ["']([^"']+)["']:?""")
_UNRECOGNIZED = re.compile(r"unrecognized arguments: -*([^\s=]+)")
_NESTED = re.compile(r"NestedArg\(key='([^']+)'")
_UNKNOWN = re.compile(r"[Oo]ption '[^']+' is not accepted|does not accept option")
_CLASS = re.compile(r"class_path[ =]'(?:\w+\.)*(\w+)'")
_NO_CLASS = re.compile(r"(?:a path but|import path (?:string|format):) (.+?)(?: either|$)", re.M)
_EXPECTED = re.compile(r"Expected an? (.+?)(?=\. Got value|$)", re.M)
_VALUE = re.compile(r"(?:Got|Given) value: (?!Namespace\()(.+?)(?=\. Got value|$)", re.M)
_OBJECTION = re.compile(r"^\s*- (?!Expected )(.+(?:(?<=:)\n.+)?)$", re.M)
_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>|typing\.Literal\[([^]]*)\]|typing\.")


def explain(
    message: str, inputs: Inputs, keys: Iterable[str], bases: Mapping[str, type]
) -> UserError:
    """A message of the parser in one line: the place, the key, what is wrong, what is allowed;
    ``keys`` are all of a config, ``bases`` what a key of a registry takes if not all in it."""
    unrecognized, no_class = _UNRECOGNIZED.search(message), _NO_CLASS.search(message)
    nested = _NESTED.findall(message)[:1]  # the key of a setting, given to what has none
    key = unrecognized[1] if unrecognized else ".".join([*_KEY.findall(message), *nested])
    values, kinds = _VALUE.findall(message), _EXPECTED.findall(message)
    if unrecognized or nested or _UNKNOWN.search(message):
        owner = _CLASS.search(message)
        fault = f"no such option or config key{did_you_mean(key, keys)}"
        if owner:
            lists = f"`qvbench fit --{key.rpartition('.')[0]}.help {owner[1]}` lists all"
            fault = f"{owner[1]} has no such setting; {lists}"
    elif not key and " are required: " in message:
        fault = f"the config leaves out {message.partition(': ')[2]}"
        fault += "" if inputs.name else "; is --config missing? (`qvbench list`)"
    elif no_class:
        near = did_you_mean(no_class[1], config_files.shipped_configs(whole=False))
        classes = REGISTRIES.get(key, {}).values()
        fitting = [cls for cls in classes if issubclass(cls, bases.get(key, object))]
        known = ", ".join(cls.__name__ for cls in fitting)
        fault = f"{no_class[1]}: no class of that name is known here, nor a file{near}"
        if no_class[1] in {cls.__name__ for cls in classes}:
            fault = f"{no_class[1]}: not for the task {inputs.task}"
        fault += f"; known are: {known or 'those of `qvbench list`'}"
    elif values and kinds:
        readable = (_TYPE.sub(r"\1\2", kind).replace("NoneType", "null") for kind in kinds)
        value, expected = values[0].replace("None", "null"), " or ".join(dict.fromkeys(readable))
        fault = f"{value} is not allowed here; expected: {expected}"
    else:
        fault = objection(_KEY.sub("", message))
    return UserError(": ".join(part for part in (inputs.place(key), key, fault) if part))


def objection(message: str) -> str:
    """What a class said of its settings, within what each alternative of a type expected."""
    said = _OBJECTION.search(message)
    return " ".join((said[1] if said else message).split())
