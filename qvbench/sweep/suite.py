"""Suite files: which configs are compared, over which seeds, against which baseline.

    # One line that `qvbench list` shows.
    title: Heading of the report
    base: tiny/qkv.yaml                     # config that the variants start from
    seeds: [1, 2, 3]
    baseline: qkv                           # variant that the others are compared with
    budget: {steps: 800}                    # of all variants; or target_tokens, or minutes
    margin: 0.1                             # points within which two variants are equivalent
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
KINDS = {str: "text", float: "a number like 0.1", list: "a list", dict: "a mapping"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")  # no hyphen: it separates variant and identity
TOKEN_BUDGET = "qvbench.training.schedules.TokenBudget"


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
    stem = name.removesuffix(".yaml")
    if stem in shipped:
        return shipped_folder() / "suites" / f"{stem}.yaml"
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
    if not NAME.fullmatch(file.stem.replace("-", "_")):
        raise UserError(f"{file}: a suite's file is named by letters, digits, '-' and '_'")
    common = dict(_flat(content.get("settings") or {}))
    budget = _budget(file, content.get("budget"))
    variants = {
        str(name): _variant(file, str(name), changes, content["base"], common, budget)
        for name, changes in content["variants"].items()
    }
    baseline, seeds, margin = content["baseline"], content["seeds"], content.get("margin")
    if baseline not in variants:
        known = ", ".join(variants)
        raise UserError(f"{file}: baseline {baseline!r} is no variant; known: {known}")
    if not seeds or any(type(s) is not int or s < 0 for s in seeds) or len({*seeds}) < len(seeds):
        raise UserError(f"{file}: seeds must be different whole numbers, got {seeds}")
    if margin is not None and not margin > 0:
        raise UserError(f"{file}: margin must be above 0 points, got {margin}")
    title = content.get("title") or file.stem
    return Suite(file.stem, file, title, baseline, tuple(seeds), variants, margin)


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
            raise UserError(f"{file}: {key} must be {KINDS[kind]}, got {content[key]!r}")
    if not content["variants"]:
        raise UserError(f"{file}: the suite has no variants")


def _budget(file: Path, budget: dict[str, Any] | None) -> dict[str, Any]:
    """What ends every run, as settings that come after a variant's own; empty if None."""
    if budget is None:
        return {}
    unit: str = next(iter(budget), "")
    if len(budget) != 1 or unit not in ("steps", "target_tokens", "minutes"):
        raise UserError(f"{file}: budget takes one of steps, target_tokens, minutes, got {budget}")
    amount, whole = budget[unit], unit != "minutes"
    if type(amount) not in ((int,) if whole else (int, float)) or not amount > 0:
        kind = "a whole number" if whole else "a number"
        raise UserError(f"{file}: budget: {unit} must be {kind} above 0, got {amount!r}")
    if unit == "steps":
        return {"trainer.max_steps": amount}
    endless = {"trainer.max_steps": -1, "trainer.max_epochs": -1}
    if unit == "minutes":
        minutes, seconds = divmod(max(1, round(60 * amount)), 60)
        time = f"{minutes // 1440:02}:{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}"
        return {**endless, "trainer.max_time": time}
    callback = {"class_path": TOKEN_BUDGET, "init_args": {"target_tokens": amount}}
    return {**endless, "trainer.callbacks+": callback}


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
    config = str(own.pop("config", base))
    config_file = _find(file.parent, config)
    if config_file is None:
        raise UserError(f"{file}: variant {name}: no config {config}, here or among the shipped")
    try:
        settings = [
            (key, _argument(file.parent, value)) for key, value in (common | own | budget).items()
        ]
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: variant {name}: no file {error}, here or among the shipped"
        ) from None
    return Variant(name, config_file, tuple(settings))


def _flat(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by keys with dots; a class with its arguments is one value."""
    for key, value in settings.items():
        if isinstance(value, dict) and value and "class_path" not in value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _argument(folder: Path, value: Any) -> str:
    """A setting as an argument of a command line: a fragment by its path."""
    if isinstance(value, str):
        return str(_fragment(folder, value)) if value.endswith(".yaml") else value
    return json.dumps(_inlined(folder, value))


def _inlined(folder: Path, value: Any) -> Any:
    """A value with the contents of the fragments within it, which the parser does not look for."""
    if isinstance(value, dict):
        return {key: _inlined(folder, part) for key, part in value.items()}
    if isinstance(value, list):
        return [_inlined(folder, part) for part in value]
    if isinstance(value, str) and value.endswith(".yaml"):
        fragment = _fragment(folder, value)
        return _inlined(fragment.parent, read_yaml(fragment))
    return value


def _fragment(folder: Path, name: str) -> Path:
    fragment = _find(folder, name)
    if fragment is None:
        raise FileNotFoundError(name)
    return fragment


def _find(folder: Path, name: str) -> Path | None:
    """A file in a folder, else one that ships."""
    if (folder / name).is_file():
        return (folder / name).resolve()
    try:
        shipped = Path(find_config(name))
    except UserError:
        return None
    return shipped.resolve() if shipped.is_file() else None
