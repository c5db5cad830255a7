"""Configs by name: a file of the user's, or one that ships with the package.

A config may name fragments, files that hold one of its parts (``attention: attention/qv.yaml``):
they are looked up beside the file that names them, then among the shipped configs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from qvbench.errors import UserError, did_you_mean

MOST_VALUES = 100_000
"""Values in a config with its fragments; more come from a mistake or from nested aliases."""
NOT_YAML = (yaml.YAMLError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError)
"""What PyYAML raises, also for text that is not UTF-8 and for dates and numbers that are none."""


def shipped_folder() -> Path:
    """Where the shipped configs are: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_configs(whole: bool = True) -> list[str]:
    """Names of the shipped configs that describe a run (``tiny/qvka.yaml``), or else of the
    fragments, each one part of a config (``attention/qvka.yaml``)."""
    files = sorted(shipped_folder().rglob("*.yaml"), key=lambda file: (len(file.parts), file))
    return [
        config_name(file)
        for file in files
        if file.parent.name != "suites"
        and ({"model", "data"} <= {*(read_yaml(file) or ())}) == whole
    ]


def shipped_suites() -> list[str]:
    """Names of the shipped suites (``suites/mechanisms.yaml`` is ``mechanisms``)."""
    return sorted(file.stem for file in (shipped_folder() / "suites").glob("*.yaml"))


def find_config(name: str) -> Path:
    """The path of a config: a file here if there is one, else the shipped config of that name."""
    found = find_fragment(name, Path()) or find_fragment(f"{name}.yaml", Path())
    if found is None:
        near = did_you_mean(f"{name.removesuffix('.yaml')}.yaml", shipped_configs())
        raise UserError(f"--config {name}: no such file here, nor in `qvbench list`{near}")
    return found


def find_fragment(name: str, folder: Path) -> Path | None:
    """A file in ``folder``, else the shipped one of that name; None if there is neither."""
    shipped = shipped_folder() / name
    with suppress(OSError, ValueError):  # too long, or with a NUL byte: no name of a file
        if (folder / name).is_file():
            return folder / name
        if shipped.is_file() and shipped_folder() in shipped.resolve().parents:
            return shipped
    return None


def config_name(path: str | Path) -> str:
    """What a run calls its config: the name under which it ships, else the file's own name; for the
    resolved config in a run's folder, the name that the run has."""
    path = Path(path).resolve()
    if shipped_folder() in path.parents:
        return path.relative_to(shipped_folder()).as_posix()
    if path.name == "config.yaml":
        with suppress(OSError, ValueError, KeyError, TypeError):  # no record, or none of ours
            record = json.loads((path.parent / "run.json").read_text(encoding="utf-8"))
            return str(record["config"])
    return path.name


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; UserError, with the line, if it cannot be read."""
    with _naming_errors(file):
        return yaml.safe_load(file.read_text(encoding="utf-8"))


def read_config(file: Path, budget: Iterator[int] | None = None) -> yaml.Node | None:
    """A config as YAML nodes, which know file and line, with its fragments in their places; None
    if it is empty.

    Args:
        file: to read; UserError if it or a fragment cannot be read, or is too large.
        budget: yields once per value that may still be read.
    """
    with _naming_errors(file):
        loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
        loader.name = str(file)
        node = loader.get_single_node()
        if node is None:
            return None
        loader.construct_document(node)  # raises, with the line, for what is no plain data
        return _complete(node, file, iter(range(MOST_VALUES)) if budget is None else budget)


def _complete(node: yaml.Node, file: Path, budget: Iterator[int]) -> yaml.Node:
    if next(budget, None) is None:
        raise UserError(f"{file}: a config of more than {MOST_VALUES:,} values")
    if isinstance(node, yaml.MappingNode):
        node.value = [(key, _complete(value, file, budget)) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        node.value = [_complete(item, file, budget) for item in node.value]
    elif node.value.endswith(".yaml"):
        fragment = find_fragment(node.value, file.parent)
        return (fragment and read_config(fragment, budget)) or node
    return node


@contextmanager
def _naming_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except RecursionError:
        raise UserError(f"{file}: nested too deep, or a fragment of itself") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{file}:{line}: not valid YAML: {error.problem}") from error
    except NOT_YAML as error:
        raise UserError(f"{file}: not valid YAML: {error}") from error
