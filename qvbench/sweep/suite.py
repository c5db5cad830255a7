"""Suite files: which configs are compared, over which seeds, against which baseline.

    # One line that `qvbench list` shows.
    title: Heading of the report's page
    base: tiny/qkv.yaml                     # config that the variants start from
    seeds: [1, 2, 3]
    baseline: qkv                           # variant that the others are compared with
    budget: {steps: 800}                    # of all variants; or target_tokens, or minutes
    margin: 0.1                             # points within which two variants count as the same
    settings:                               # of all variants; nested, or keys with dots
      model.schedule: schedule/tiny.yaml
    variants:
      qkv: {}                               # the base as it is
      gqa: {model.attention: attention/gqa.yaml}
      qv: {config: tiny/qv.yaml}            # another config instead of the base

A value that ends in ``.yaml`` is a fragment: a file beside the suite file, else one that ships
with the package. So are configs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvbench.config_files import find_config, read_yaml, shipped_folder, shipped_suites
from qvbench.errors import UserError
from qvbench.sweep.budget import budget_settings

Settings = tuple[tuple[str, str], ...]
"""Config keys with their values as arguments of a command line, in the order in which they act."""

KEYS = {
    "title": str,
    "base": str,
    "seeds": list,
    "baseline": str,
    "budget": dict,
    "margin": float,
    "settings": dict,
    "variants": dict,
}
OPTIONAL = {"budget", "margin", "settings", "title"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")  # no hyphen: that parts variant and hash


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Args:
        name: of the variant.
        config: file that it starts from.
        settings: what it changes of that, the suite's common settings first.
    """

    name: str
    config: Path
    settings: Settings

    def args(self, overrides: Settings = ()) -> list[str]:
        """The command line of ``fit`` that trains it, without what says which of the seeds.

        Args:
            overrides: settings of a sweep, which come last.
        """
        changes = (*self.settings, *overrides)
        return ["--config", str(self.config), *(a for k, v in changes for a in (f"--{k}", v))]


@dataclass(frozen=True)
class Suite:
    """A suite file, read and checked."""

    name: str
    file: Path
    title: str
    baseline: str
    seeds: tuple[int, ...]
    variants: Mapping[str, Variant]
    margin: float | None = None


def find_suite(name: str) -> Path:
    """The suite file of a name: a file here if there is one, else the shipped suite.

    Raises:
        UserError: there is neither; the message names the nearest shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = shipped_suites()
    if name.removesuffix(".yaml") in shipped:
        return shipped_folder() / "suites" / f"{name.removesuffix('.yaml')}.yaml"
    near = difflib.get_close_matches(name, shipped, n=3)
    hint = f"near it: {', '.join(near)}" if near else f"known are: {', '.join(shipped)}"
    raise UserError(f"--suite {name}: no such file here, and no such suite ships; {hint}")


def read_suite(file: Path) -> Suite:
    """Read and check a suite file.

    Raises:
        UserError: it is damaged or incomplete, or names what does not exist.
    """
    content = read_yaml(file)
    _check_keys(file, content)
    suite = file.stem
    if not NAME.fullmatch(suite.replace("-", "_")):
        raise UserError(f"{file}: a suite's file is named by letters, digits, '-' and '_'")
    common = dict(_flat(content.get("settings") or {}))
    budget = budget_settings(file, content.get("budget"))
    variants = {
        str(name): _variant(file, str(name), changes, content["base"], common, budget)
        for name, changes in content["variants"].items()
    }
    if content["baseline"] not in variants:
        known = ", ".join(variants)
        raise UserError(f"{file}: baseline {content['baseline']!r} is no variant; known: {known}")
    seeds = content["seeds"]
    if not seeds or any(type(s) is not int or s < 0 for s in seeds) or len({*seeds}) < len(seeds):
        raise UserError(f"{file}: seeds must be different whole numbers, got {seeds}")
    margin = content.get("margin")
    if margin is not None and not margin > 0:
        raise UserError(f"{file}: margin must be above 0 points, got {margin}")
    title = content.get("title") or suite
    return Suite(suite, file, title, content["baseline"], tuple(seeds), variants, margin)


def _check_keys(file: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a suite: it needs the keys {', '.join(KEYS)}")
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        known = ", ".join(KEYS)
        raise UserError(f"{file}: a suite has no key {unknown[0]!r}; known are: {known}")
    for key, kind in KEYS.items():
        if content.get(key) is None:
            if key not in OPTIONAL:
                raise UserError(f"{file}: the suite lacks {key!r}")
        elif not isinstance(content[key], kind):
            names = {str: "text", float: "like 0.1", list: "a list", dict: "a mapping"}
            raise UserError(f"{file}: {key} must be {names[kind]}, got {content[key]!r}")
    if not content["variants"]:
        raise UserError(f"{file}: the suite has no variants")


def _variant(
    file: Path,
    name: str,
    changes: Any,
    base: str,
    common: dict[str, Any],
    budget: dict[str, Any],
) -> Variant:
    if not NAME.fullmatch(name):
        raise UserError(f"{file}: variant {name!r}: a name has letters, digits, '_' and '.' alone")
    if not isinstance(changes or {}, dict):
        raise UserError(f"{file}: variant {name}: config keys with values expected, got {changes}")
    own = dict(_flat(changes or {}))
    config = own.pop("config", base)
    config_file = _find(file, str(config))
    if config_file is None:
        raise UserError(f"{file}: variant {name}: no config {config}, here or among the shipped")
    settings = [
        (key, _word(file, f"variant {name}: {key}", value))
        for key, value in (common | own | budget).items()
    ]
    return Variant(name, config_file, tuple(settings))


def _flat(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by keys with dots; a class with its settings is one value."""
    for key, value in settings.items():
        if isinstance(value, dict) and value and "class_path" not in value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _word(file: Path, place: str, value: Any) -> str:
    """A setting as a word of a command line; its fragment by path, one inside it by content."""
    if isinstance(value, str):
        return str(_fragment(file, place, value)) if value.endswith(".yaml") else value
    return json.dumps(_filled(file, place, value))


def _filled(file: Path, place: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(file, f"{place}.{key}", part) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(file, place, part) for part in value]
    if isinstance(value, str) and value.endswith(".yaml"):
        fragment = _fragment(file, place, value)
        return inlined(fragment.name, fragment.parent)
    return value


def _fragment(file: Path, place: str, name: str) -> Path:
    fragment = _find(file, name)
    if fragment is None:
        raise UserError(f"{file}: {place}: no file {name}, here or among the shipped")
    return fragment


def _find(suite: Path, name: str) -> Path | None:
    """A file beside the suite, else one that ships."""
    beside = suite.parent / name
    if beside.is_file():
        return beside.resolve()
    try:
        shipped = Path(find_config(name))
    except UserError:
        return None
    return shipped.resolve() if shipped.is_file() else None


def inlined(value: Any, folder: Path) -> Any:
    """Plain data with the contents of the fragments that it names, relative to a folder."""
    if isinstance(value, dict):
        return {key: inlined(part, folder) for key, part in value.items()}
    if isinstance(value, list):
        return [inlined(part, folder) for part in value]
    if isinstance(value, str) and value.endswith(".yaml") and (folder / value).is_file():
        return inlined(read_yaml(folder / value), (folder / value).parent)
    return value
