"""Suite files: which configs are compared, over which seeds, against which baseline.

``docs/suites.md`` shows one. A value that ends in ``.yaml`` is a fragment: a file beside the suite
file, else one that ships with the package. So are configs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any

from qvbench import config_files
from qvbench.errors import UserError, did_you_mean

Settings = tuple[tuple[str, str], ...]
"""Config keys with their values as arguments of a command line, in the order in which they act."""

Kinds = Mapping[str, type | UnionType]
REQUIRED: Kinds = {"base": str, "baseline": str, "seeds": list, "variants": dict}
OPTIONAL: Kinds = {
    **{"extends": str, "title": str, "budget": dict},
    **{"margin": int | float, "settings": dict, "search": dict},
}
SEARCH: Kinds = {"key": str, "values": list, "seeds": list, "budget": dict, "settings": dict}
KINDS: Mapping[type | UnionType, str] = {
    **{str: "text", int | float: "a number like 0.1"},
    **{list: "a list", dict: "a mapping"},
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")  # no hyphen: it separates variant and identity
BUDGETS = {"steps": "a whole number", "target_tokens": "a whole number", "minutes": "a number"}
TOKEN_BUDGET = "qvbench.training.schedules.TokenBudget"
_INFINITY = re.compile(r'("(?:[^"\\]|\\.)*")|Infinity')  # of JSON; a text is left alone
EXTENSIONS = 3  # values at most that a search adds beyond each edge of its grid


@dataclass(frozen=True)
class Variant:
    """One row of a comparison."""

    name: str
    config: Path  # that it starts from
    settings: Settings  # what it changes of that, the suite's common settings first

    def args(self, overrides: Settings = ()) -> list[str]:
        """The command line of ``fit`` that trains it, without the seed; overrides come last."""
        changes = (*self.settings, *overrides)
        return ["--config", str(self.config), *(a for k, v in changes for a in (f"--{k}", v))]

    def with_settings(self, settings: Settings) -> Variant:
        """The variant with further settings, after its own."""
        return replace(self, settings=(*self.settings, *settings))


@dataclass(frozen=True)
class Search:
    """Chooses one setting for each variant, such as its learning rate, before its seeds are run.

    Each value of a grid is trained with a few seeds of its own and scored on a split that reports
    nothing. Where the best value lies on the grid's edge, the grid is extended beyond it.
    """

    key: str  # of the config
    values: tuple[float, ...]  # the grid, ascending, two or more
    seeds: tuple[int, ...]  # of each value; other ones than those that report
    settings: Settings  # of its runs, after a variant's own: budget and validation split

    def setting(self, value: float) -> Settings:
        """A value as the setting of a variant."""
        return ((self.key, str(value)),)

    def grid(self, scores: Mapping[float, float]) -> list[float]:
        """The values to train, ascending: beyond an edge where the best so far lies on it.

        Args:
            scores: of the values whose seeds have all been trained, more is better; ``-inf`` for
                a value at which a run diverged.
        """
        first, last = self.values[0] / self.values[1], self.values[-1] / self.values[-2]
        grid = list(self.values)
        while all(value in scores for value in grid):
            best = self.best(scores, grid)
            if best == grid[0] and grid.index(self.values[0]) < EXTENSIONS:
                new = self._beyond(grid[0] * first)
            elif best == grid[-1] and grid[::-1].index(self.values[-1]) < EXTENSIONS:
                new = self._beyond(grid[-1] * last)
            else:
                break
            if new in grid:  # there is no whole number below 1
                break
            grid = sorted([*grid, new])
        return grid

    def _beyond(self, value: float) -> float:
        """A value to add: whole where all given ones are, else of three digits, which read well."""
        if all(type(given) is int for given in self.values):
            return max(1, round(value))
        return float(f"{value:.3g}")

    def best(self, scores: Mapping[float, float], grid: list[float]) -> float:
        """The value with the best score, the lowest such if there are several."""
        return max(grid, key=lambda value: scores[value])

    def choice(self, scores: Mapping[float, float]) -> float | None:
        """The value that the search has come to; None while runs of it are missing."""
        grid = self.grid(scores)
        return self.best(scores, grid) if all(value in scores for value in grid) else None


@dataclass(frozen=True)
class Suite:
    """A suite file, read and checked.

    ``budgets`` say what ends the runs, by amount: each variant is trained under each of them.
    """

    name: str  # of its file
    file: Path
    title: str  # of its report
    baseline: str  # variant that the others are compared with
    seeds: tuple[int, ...]
    variants: Mapping[str, Variant]  # by name, without what ends their runs
    budgets: Mapping[float | None, Settings]
    unit: str  # of the budgets' amounts: steps, target_tokens or minutes
    margin: float | None  # within which two variants count as equivalent
    search: Search | None


def find_suite(name: str, folder: Path = Path()) -> Path:
    """The suite file of a name: a file in the folder if there is one, else the shipped suite.

    Raises:
        UserError: there is neither; the message names the nearest shipped ones.
    """
    if (folder / name).is_file():
        return folder / name
    shipped, stem = config_files.shipped_suites(), name.removesuffix(".yaml")
    if stem in shipped:
        return config_files.shipped_folder() / "suites" / f"{stem}.yaml"
    hint = did_you_mean(stem, shipped)
    raise UserError(f"suite {name}: no such file here, and no such suite ships{hint}")


def read_suite(file: Path) -> Suite:
    """Read and check a suite file.

    Raises:
        UserError: it is damaged or incomplete, or names what does not exist.
    """
    content = _content(file)
    try:
        common = {"config": content["base"], **_flat(content.get("settings") or {})}
        variants = {
            str(name): _variant(file.parent, str(name), changes, common)
            for name, changes in content["variants"].items()
        }
        baseline, margin = content["baseline"], content.get("margin")
        if baseline not in variants:
            raise UserError(f"baseline {baseline!r} is no variant; known: {', '.join(variants)}")
        if margin is not None and not margin > 0:
            raise UserError(f"margin must be above 0 points, got {margin}")
        return Suite(
            name=file.stem,
            file=file,
            title=content.get("title") or file.stem,
            baseline=baseline,
            seeds=tuple(content["seeds"]),
            variants=variants,
            budgets=_budgets(content.get("budget")),
            unit=next(iter(content.get("budget") or ()), ""),
            margin=margin,
            search=_search(file.parent, content.get("search")),
        )
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _content(file: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a suite file, over those of the suite that it extends."""
    content, files = config_files.read_yaml(file), (file.resolve(), *extended_by)
    try:
        if not isinstance(content, dict) or content.get("extends") is None:
            _check_keys("suite", content, REQUIRED, OPTIONAL)
            return content
        _check_keys("suite", content, {}, {**REQUIRED, **OPTIONAL})
        own = {key: value for key, value in content.items() if value is not None}
        extended = find_suite(own.pop("extends"), file.parent).resolve()
        if extended in files:
            raise UserError(f"extends {content['extends']}, which extends this suite")
        return _extend(_content(extended, files), own)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _extend(extended: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The content of a suite with the keys of one that extends it: settings are added; of its
    variants, those are left that are named, where they are."""
    known = {str(name): changes for name, changes in extended["variants"].items()}
    variants = {str(name): changes for name, changes in own.get("variants", known).items()}
    for name, changes in variants.items():
        if changes is None and name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"variant {name}: the extended suite has none of that name{near}")
    settings = _flat(extended.get("settings") or {}) | _flat(own.get("settings") or {})
    variants = {name: known[name] if v is None else v for name, v in variants.items()}
    return {**extended, **own, "settings": settings, "variants": variants}


def _check_keys(what: str, content: Any, required: Kinds, optional: Kinds) -> None:
    kinds = {**required, **optional}
    if not isinstance(content, dict):
        raise UserError(f"not a {what}: it needs the keys {', '.join(kinds)}")
    for key, value in content.items():
        if key not in kinds:
            raise UserError(f"a {what} has no key {key!r}; known are: {', '.join(kinds)}")
        if value is not None and (type(value) is bool or not isinstance(value, kinds[key])):
            raise UserError(f"{key} must be {KINDS[kinds[key]]}, got {value!r}")
    missing = [key for key in required if not content.get(key)]
    if missing:
        raise UserError(f"the {what} lacks {missing[0]!r}")
    seeds = content.get("seeds") or []
    if any(type(seed) is not int or seed < 0 for seed in seeds) or len({*seeds}) < len(seeds):
        raise UserError(f"seeds must be different whole numbers, got {seeds}")


def _search(folder: Path, content: Any) -> Search | None:
    """The search of a suite, if it has one; values ascending."""
    if content is None:
        return None
    _check_keys("search", content, SEARCH, {})
    values = content["values"]
    numbers = all(type(value) in (int, float) and 0 < value < math.inf for value in values)
    if not numbers or len(values) < 2 or sorted({*values}) != values:
        raise UserError(f"search: values must be two or more, ascending, above 0; got {values}")
    budgets = _budgets(content["budget"])
    if len(budgets) > 1:
        raise UserError(f"search: budget must be one, got {content['budget']}")
    (budget,) = budgets.values()
    settings = (*_arguments(folder, _flat(content["settings"])), *budget)
    return Search(content["key"], tuple(values), tuple(content["seeds"]), settings)


def _budgets(budget: dict[str, Any] | None) -> dict[float | None, Settings]:
    """What ends every run, by amount, as settings that come after a variant's own."""
    if budget is None:
        return {None: ()}
    unit: str = next(iter(budget), "")
    if len(budget) != 1 or unit not in BUDGETS:
        raise UserError(f"budget takes one of {', '.join(BUDGETS)}, got {budget}")
    amounts = budget[unit] if isinstance(budget[unit], list) else [budget[unit]]
    kinds = (int, float) if unit == "minutes" else (int,)
    for amount in amounts or [None]:
        if type(amount) not in kinds or not 0 < amount < math.inf:
            raise UserError(f"budget: {unit} must be {BUDGETS[unit]} above 0, got {amount!r}")
    return {amount: _arguments(Path(), _budget(unit, amount)) for amount in amounts}


def _budget(unit: str, amount: float) -> dict[str, Any]:
    if unit == "steps":
        return {"trainer.max_steps": amount}
    endless = {"trainer.max_steps": -1, "trainer.max_epochs": -1}
    if unit == "minutes":
        minutes, seconds = divmod(max(1, round(60 * amount)), 60)
        time = f"{minutes // 1440:02}:{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}"
        return {**endless, "trainer.max_time": time}
    callback = {"class_path": TOKEN_BUDGET, "init_args": {"target_tokens": amount}}
    return {**endless, "trainer.callbacks+": callback}


def _variant(folder: Path, name: str, changes: Any, common: dict[str, Any]) -> Variant:
    if not NAME.fullmatch(name):
        raise UserError(f"variant {name!r}: a name has letters, digits, '_' and '.' alone")
    if not isinstance(changes or {}, dict):
        raise UserError(f"variant {name}: config keys with values expected, got {changes}")
    settings = {**common, **_flat(changes or {})}
    config = str(settings.pop("config"))
    try:
        file = config_files.find_fragment(config, folder) or config_files.find_config(config)
    except UserError as error:
        raise UserError(f"variant {name}: {error}") from error
    return Variant(name, file.resolve(), _arguments(folder, settings))


def _flat(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by keys with dots; a class with its arguments is one value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value and "class_path" not in value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _arguments(folder: Path, settings: Mapping[str, Any]) -> Settings:
    return tuple((key, _argument(folder, value)) for key, value in settings.items())


def _argument(folder: Path, value: Any) -> str:
    """A setting as an argument of a command line: a fragment by its path."""
    if not isinstance(value, str):
        text = json.dumps(value, default=str)  # YAML has dates
        return _INFINITY.sub(lambda found: found[1] or ".inf", text)
    fragment = config_files.find_fragment(value, folder) if value.endswith(".yaml") else None
    return str(fragment.resolve()) if fragment else value
