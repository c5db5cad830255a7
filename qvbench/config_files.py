"""Configs by name: a file of the user's, or one that ships with the package.

A config may name fragments, files that hold one of its parts: ``attention: attention/qv.yaml``.
A fragment is looked up beside the file that names it, then among the shipped configs.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

import qvbench
from qvbench.errors import UserError

MOST_VALUES = 100_000
"""Values in a config with its fragments; more come from a mistake or from nested aliases."""


def shipped_folder() -> Path:
    """Where the shipped configs are: in the package, or beside it in a checkout.

    Raises:
        UserError: they are in neither place, so the installation is broken.
    """
    package = Path(qvbench.__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise UserError(f"{package}: the configs are missing; install qvbench again")


def shipped_configs(whole: bool = True) -> list[str]:
    """Names of the shipped configs that describe a whole run, such as ``tiny/qvka.yaml``.

    Args:
        whole: else those of the fragments, each one part of a config: ``attention/qvka.yaml``.
    """
    folder = shipped_folder()
    names = [file.relative_to(folder) for file in folder.rglob("*.yaml")]
    return [
        name.as_posix()
        for name in sorted(names, key=lambda name: (len(name.parts), name))
        if name.parts[0] != "suites" and _is_whole(folder / name) == whole
    ]


def shipped_suites() -> list[str]:
    """Names of the shipped suites (``suites/mechanisms.yaml`` is ``mechanisms``)."""
    return sorted(file.stem for file in (shipped_folder() / "suites").glob("*.yaml"))


def summary(name: str) -> str:
    """The comment in the first line of a shipped config; empty if it has none."""
    with (shipped_folder() / name).open(encoding="utf-8") as file:
        line = file.readline()
    return line.lstrip("#").strip() if line.startswith("#") else ""


def find_config(name: str) -> Path:
    """The path of a config: a file here if there is one, else the shipped config of that name.

    Raises:
        UserError: there is no such file; the message names the nearest shipped configs.
    """
    found = find_fragment(name, Path()) or _shipped(f"{name}.yaml")
    if found is None:
        raise UserError(
            f"--config {name}: no such file here, and no config of that name ships with qvbench; "
            f"{_nearest(name)} (`qvbench list` shows all)"
        )
    return found


def find_fragment(name: str, folder: Path) -> Path | None:
    """A file in ``folder``, else the shipped one of that name; None if there is neither."""
    try:
        return folder / name if (folder / name).is_file() else _shipped(name)
    except (OSError, ValueError):  # too long, or with a NUL byte: no name of a file
        return None


def config_name(path: str | Path) -> str:
    """What a run calls its config: the name under which it ships, else the file's own name.

    The resolved config that a run left in its folder keeps the name of that run's config.
    """
    path = Path(path).resolve()
    folder = shipped_folder().resolve()
    if folder in path.parents:
        return path.relative_to(folder).as_posix()
    if path.name == "config.yaml":
        try:
            return str(json.loads((path.parent / "run.json").read_text(encoding="utf-8"))["config"])
        except (OSError, ValueError, KeyError, TypeError):  # no record, or none of ours
            return path.name
    return path.name


def read_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: it cannot be read as text or as YAML; the message names the line.
    """
    with _one_line_faults(file):
        return yaml.safe_load(file.read_text(encoding="utf-8"))


def read_config(file: Path) -> yaml.Node | None:
    """A config as YAML nodes, which know file and line, with its fragments in their places.

    Raises:
        UserError: it or one of its fragments cannot be read, or they are too large.
    """
    return _Composer().read(file)


def compose(text: str, name: str) -> yaml.Node | None:
    """The same of YAML from elsewhere, whose fragments are looked up in the current folder.

    Args:
        text: YAML.
        name: what the nodes give as their file.

    Raises:
        UserError: as :func:`read_config`.
    """
    return _Composer().compose(text, Path(name), Path())


class _Composer:
    """Reads a config and its fragments; counts what it reads."""

    def __init__(self) -> None:
        self.values = 0
        self.within: list[Path] = []

    def read(self, file: Path) -> yaml.Node | None:
        with _one_line_faults(file):
            if file.resolve() in self.within:
                raise UserError(f"{file}: a config that is a fragment of itself")
            self.within.append(file.resolve())
            node = self.compose(file.read_text(encoding="utf-8"), file, file.parent)
            self.within.pop()
            return node

    def compose(self, text: str, name: Path, folder: Path) -> yaml.Node | None:
        with _one_line_faults(name):
            loader = yaml.SafeLoader(text)
            loader.name = str(name)
            node = loader.get_single_node()
            if node is None:
                return None
            loader.construct_document(node)  # of a tag that no plain data has, it says the line
            return self.complete(node, folder)

    def complete(self, node: yaml.Node, folder: Path) -> yaml.Node:
        """A node with the contents of the fragments that it names."""
        self.values += 1
        if self.values > MOST_VALUES:
            raise UserError(f"{node.start_mark.name}: a config of more than {MOST_VALUES:,} values")
        if isinstance(node, yaml.MappingNode):
            node.value = [(key, self.complete(value, folder)) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            node.value = [self.complete(item, folder) for item in node.value]
        elif node.value.endswith(".yaml"):
            fragment = find_fragment(node.value, folder)
            return (fragment and self.read(fragment)) or node
        return node


@contextmanager
def _one_line_faults(file: Path) -> Iterator[None]:
    """Name the file, and the line where there is one, of whatever keeps a file from being read."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        fault = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise UserError(f"{place}: not valid YAML: {fault}") from error
    except RecursionError:
        raise UserError(f"{file}: not a config: nested too deep") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, ArithmeticError, AttributeError, TypeError) as error:
        # What PyYAML raises for a date, number or truth value that there is not.
        raise UserError(f"{file}: not valid YAML: {error}") from error


def _shipped(name: str) -> Path | None:
    """The shipped file of a name, which cannot lead out of their folder."""
    file = shipped_folder() / name
    return file if file.is_file() and shipped_folder() in file.resolve().parents else None


def _nearest(name: str) -> str:
    """Shipped configs of nearly this name: by path, then by the last part of it."""
    configs = shipped_configs()
    stem = Path(name).name.removesuffix(".yaml")
    near = difflib.get_close_matches(f"{name.removesuffix('.yaml')}.yaml", configs, n=3)
    stems = difflib.get_close_matches(stem, [Path(config).stem for config in configs], n=3)
    near += [c for c in configs if Path(c).stem in {stem, *stems} and c not in near]
    return f"near it: {', '.join(near[:3])}" if near else f"known are: {', '.join(configs)}"


def _is_whole(file: Path) -> bool:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return isinstance(content, dict) and {"model", "data"} <= content.keys()
