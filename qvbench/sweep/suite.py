"""Suite files: which configs are compared, over which seeds, against which baseline.

``docs/suites.md`` shows one. A value that ends in ``.yaml`` is a fragment: a file beside the suite
file, else one that ships with the package. So are configs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvbench import config_files
from qvbench.errors import UserError, did_you_mean

Settings = tuple[tuple[str, str], ...]
"""Config keys with their values as arguments of a command line, in the order in which they act."""

REQUIRED = {"base": str, "baseline": str, "seeds": list, "variants": dict}
OPTIONAL = {"title": str, "budget": dict, "margin": float, "settings": dict}
KINDS = {str: "text", float: "a number like 0.1", list: "a list", dict: "a mapping"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")  # no hyphen: it separates variant and identity
BUDGETS = {"steps": "a whole number", "target_tokens": "a whole number", "minutes": "a number"}
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
        """The command line of ``fit`` that trains it, without the seed; overrides come last."""
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
    shipped, stem = config_files.shipped_suites(), name.removesuffix(".yaml")
    if stem in shipped:
        return config_files.shipped_folder() / "suites" / f"{stem}.yaml"
    hint = did_you_mean(stem, shipped)
    raise UserError(f"--suite {name}: no such file here, and no such suite ships{hint}")


def read_suite(file: Path) -> Suite:
    """Read and check a suite file.

    Raises:
        UserError: it is damaged or incomplete, or names what does not exist.
    """
    content = config_files.read_yaml(file)
    try:
        _check(content)
        common = {"config": content["base"], **_flat(content.get("settings") or {})}
        budget = _budget(content.get("budget"))
        variants = [
            _variant(file.parent, str(name), changes, common, budget)
            for name, changes in content["variants"].items()
        ]
        return Suite(
            name=file.stem,
            file=file,
            title=content.get("title") or file.stem,
            baseline=content["baseline"],
            seeds=tuple(content["seeds"]),
            variants={variant.name: variant for variant in variants},
            margin=content.get("margin"),
        )
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _check(content: Any) -> None:
    """Refuse a suite with a key that is unknown, missing or wrong."""
    kinds = REQUIRED | OPTIONAL
    if not isinstance(content, dict):
        raise UserError(f"not a suite: it needs the keys {', '.join(kinds)}")
    for key, value in content.items():
        if key not in kinds:
            raise UserError(f"a suite has no key {key!r}; known are: {', '.join(kinds)}")
        if value is not None and not isinstance(value, kinds[key]):
            raise UserError(f"{key} must be {KINDS[kinds[key]]}, got {value!r}")
    missing = [key for key in REQUIRED if not content.get(key)]
    if missing:
        raise UserError(f"the suite lacks {missing[0]!r}")
    variants, baseline, seeds = content["variants"], content["baseline"], content["seeds"]
    if baseline not in map(str, variants):
        known = ", ".join(map(str, variants))
        raise UserError(f"baseline {baseline!r} is no variant; known: {known}")
    if any(type(seed) is not int or seed < 0 for seed in seeds) or len({*seeds}) < len(seeds):
        raise UserError(f"seeds must be different whole numbers, got {seeds}")
    margin = content.get("margin")
    if margin is not None and not margin > 0:
        raise UserError(f"margin must be above 0 points, got {margin}")


def _budget(budget: dict[str, Any] | None) -> dict[str, Any]:
    """What ends every run, as settings that come after a variant's own."""
    if budget is None:
        return {}
    unit: str = next(iter(budget), "")
    if len(budget) != 1 or unit not in BUDGETS:
        raise UserError(f"budget takes one of {', '.join(BUDGETS)}, got {budget}")
    amount = budget[unit]
    if type(amount) not in ((int, float) if unit == "minutes" else (int,)) or not amount > 0:
        raise UserError(f"budget: {unit} must be {BUDGETS[unit]} above 0, got {amount!r}")
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
    folder: Path, name: str, changes: Any, common: dict[str, Any], budget: dict[str, Any]
) -> Variant:
    if not NAME.fullmatch(name):
        raise UserError(f"variant {name!r}: a name has letters, digits, '_' and '.' alone")
    if not isinstance(changes or {}, dict):
        raise UserError(f"variant {name}: config keys with values expected, got {changes}")
    settings = {**common, **_flat(changes or {}), **budget}
    config = str(settings.pop("config"))
    try:
        file = config_files.find_fragment(config, folder) or config_files.find_config(config)
    except UserError as error:
        raise UserError(f"variant {name}: {error}") from error
    arguments = tuple((key, _argument(folder, value)) for key, value in settings.items())
    return Variant(name, file.resolve(), arguments)


def _flat(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by keys with dots; a class with its arguments is one value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value and "class_path" not in value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _argument(folder: Path, value: Any) -> str:
    """A setting as an argument of a command line: a fragment by its path."""
    if not isinstance(value, str):
        return json.dumps(value)
    fragment = config_files.find_fragment(value, folder) if value.endswith(".yaml") else None
    return str(fragment.resolve()) if fragment else value
