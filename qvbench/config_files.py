"""Configs by name: a file of the user's, or one that ships with the package."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import yaml

import qvbench
from qvbench.errors import UserError


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


def shipped_configs() -> list[str]:
    """Names of the shipped configs that describe a whole run, such as ``tiny/qvka.yaml``.

    The others are fragments, which name one mechanism, network or corpus for such a config.
    """
    folder = shipped_folder()
    files = sorted(
        folder.rglob("*.yaml"), key=lambda file: (len(file.relative_to(folder).parts), file)
    )
    return [file.relative_to(folder).as_posix() for file in files if _is_whole(file)]


def shipped_suites() -> list[str]:
    """Names of the shipped suites (``suites/mechanisms.yaml`` is ``mechanisms``)."""
    return sorted(file.stem for file in (shipped_folder() / "suites").glob("*.yaml"))


def summary(name: str) -> str:
    """The comment in the first line of a shipped config; empty if it has none."""
    with (shipped_folder() / name).open(encoding="utf-8") as file:
        line = file.readline()
    return line.lstrip("#").strip() if line.startswith("#") else ""


def find_config(name: str) -> str:
    """The path of a config: a file here if there is one, else the shipped config of that name.

    Something that is no file name at all (a piece of YAML) is given back as it is.

    Raises:
        UserError: there is no such file; the message names the nearest shipped configs.
    """
    if not _names_a_file(name) or Path(name).is_file():
        return name
    folder = shipped_folder()
    for candidate in (name, f"{name}.yaml"):
        if (folder / candidate).is_file() and folder in (folder / candidate).resolve().parents:
            return str(folder / candidate)
    raise UserError(
        f"--config {name}: no such file here, and no config of that name ships with qvbench; "
        f"{_nearest(name)} (`qvbench list` shows all)"
    )


def config_name(path: str | Path) -> str:
    """What a run calls its config: the name under which it ships, else the file's own name.

    The resolved config that a run left in its folder keeps the name of that run's config.
    """
    path = Path(path).resolve()
    folder = shipped_folder().resolve()
    if folder in path.parents:
        return path.relative_to(folder).as_posix()
    record = path.parent / "run.json"
    if path.name == "config.yaml" and record.is_file():
        return str(json.loads(record.read_text(encoding="utf-8"))["config"])
    return path.name


def read_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: it cannot be read as text or as YAML; the message names the line.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise UserError(f"{place}: not valid YAML: {getattr(error, 'problem', error)}") from error


def _names_a_file(text: str) -> bool:
    return not any(sign in text for sign in ":{\n")


def _nearest(name: str) -> str:
    configs = shipped_configs()
    near = difflib.get_close_matches(Path(name).with_suffix(".yaml").as_posix(), configs, n=3)
    stem = Path(name).name.removesuffix(".yaml")
    near += [c for c in configs if Path(c).stem == stem and c not in near][:3]
    by_stem = {c: Path(c).stem for c in configs if c not in near}
    stems = difflib.get_close_matches(stem, by_stem.values(), n=3)
    near += [c for c, s in by_stem.items() if s in stems][: 3 - len(near)] if len(near) < 3 else []
    return f"near it: {', '.join(near)}" if near else f"known are: {', '.join(configs)}"


def _is_whole(file: Path) -> bool:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return isinstance(content, dict) and {"model", "data"} <= content.keys()
