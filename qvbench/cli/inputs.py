"""What a command was given: its arguments, the configs that they name, and where each key stands.

Configs are read here and handed to the parser as text with every fragment in its place, so that a
fragment can be one that ships with the package, and an error can name file and line.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from qvbench.config_files import compose, config_name, find_config, find_fragment, read_config
from qvbench.errors import UserError

DEFAULT_TASK = "translation"
PARTS = ("--model", "--data", "--trainer")
"""Beginnings of the options that may name a fragment."""


class Inputs:
    """The arguments of a command that runs a config.

    Args:
        args: those after the command.

    Attributes:
        args: the same with the contents of configs and fragments instead of their names.
        name: of the first config; ``command-line`` if there is none.
        task: the name or class path that was given last.

    Raises:
        UserError: a config cannot be found or read.
    """

    def __init__(self, args: list[str]) -> None:
        self.args: list[str] = []
        self.name = "command-line"
        self.task = DEFAULT_TASK
        self._configs: list[yaml.MappingNode] = []
        option = ""
        for arg in args:
            name, equals, value = arg.partition("=")
            if arg.startswith("-") and equals:
                self.args.append(f"{name}={self._read(name, value)}")
            else:
                self.args.append(self._read(option, arg))
            option = arg

    def place(self, key: str) -> str:
        """Where a dotted key was given: the command line, or file and line; empty if nowhere."""
        parts = key.split(".")
        first = min(1, len(parts) - 1)
        names = {"--" + ".".join(parts[: n + 1]) for n in range(first, len(parts))}
        if any(arg.partition("=")[0] in names for arg in self.args):
            return "command line"
        marks = [_mark(config, parts) for config in self._configs]
        return next((mark for mark in reversed(marks) if mark), "")

    def _read(self, option: str, value: str) -> str:
        """The value of an option, with the content of the file that it names."""
        node: yaml.Node | None = None
        if option in ("-c", "--config"):
            node = self._read_config(value)
        elif option.startswith(PARTS) and value.endswith(".yaml"):
            fragment = find_fragment(value, Path())
            if fragment is None and Path(value).exists():  # or the parser waits for a pipe
                raise UserError(f"{option} {value}: not a file; give one with a part of a config")
            node = None if fragment is None else read_config(fragment)
        elif option == "--task":
            self.task = value
        return value if node is None else yaml.serialize(node, Dumper=yaml.SafeDumper, width=1e9)

    def _read_config(self, name: str) -> yaml.MappingNode:
        is_text = any(sign in name for sign in ":{\n")
        if is_text:
            node = compose(name, "command line")
        else:
            file = find_config(name)
            self.name = self.name if self._configs else config_name(file)
            node = read_config(file)
        if not isinstance(node, yaml.MappingNode):
            place = "command line" if is_text else file
            raise UserError(f"{place}: not a config: empty, or no keys with values")
        self._configs.append(node)
        for key, value in node.value:
            if key.value == "task" and isinstance(value, yaml.ScalarNode):
                self.task = value.value
        return node


def _mark(config: yaml.Node, parts: list[str]) -> str:
    """File and line of a key in a config, or of what is there instead; empty if it is not there.

    The keys of a class are among its ``init_args``.
    """
    node, mark = config, config.start_mark
    while parts:
        if not isinstance(node, yaml.MappingNode):
            break
        inner = {key.value: (key.start_mark, value) for key, value in node.value}
        if parts[0] in inner:
            mark, node = inner[parts[0]]
            parts = parts[1:]
        elif "init_args" in inner:
            _, node = inner["init_args"]
        else:
            return ""
    return mark.name if mark.name == "command line" else f"{mark.name}:{mark.line + 1}"
