"""Quality against cost: which variants nothing cheaper beats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.errors import UserError
from qvbench.report.figure import COLOURS, MARKERS, pyplot, save
from qvbench.report.variants import Comparison, Variant

Cost = Callable[[Variant], "float | None"]


class Place(NamedTuple):
    """A variant in a panel: its cost, and the mean accuracy of its seeds in per cent."""

    name: str
    cost: float
    accuracy: float


def read_profile(file: Path) -> list[dict[str, Any]]:
    """What ``qvbench profile --format json`` printed.

    Raises:
        UserError: the file is no such document.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return [
            {"key": _key(entry), "flops": float(entry["flops_per_target_token"]["train"])}
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not what `qvbench profile --format json` prints: {error!r}"
        ) from error


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the models of a comparison apart, in a profile and in a run's record alike."""
    return record["mechanism"], record["position"], record["parameters"]["total"]


def draw_costs(comparison: Comparison, folder: Path, profile: list[dict[str, Any]]) -> list[str]:
    """Write ``costs.png`` and ``costs.svg``; gives Markdown that shows them.

    Args:
        comparison: of the runs.
        folder: the results folder.
        profile: of :func:`read_profile`; a panel of FLOPs is drawn where it has the variants.
    """
    flops = {entry["key"]: entry["flops"] for entry in profile}
    kinds: dict[str, Cost] = {
        "parameters, millions": lambda v: _scaled(_part(v, "parameters", "total"), 1e6),
        "training FLOPs a target token, millions": lambda v: _scaled(_flops(v, flops), 1e6),
        "cache, numbers a target token and layer": lambda v: _part(v, "cache_per_token", "self"),
    }
    panels = {name: places(comparison, cost) for name, cost in kinds.items()}
    panels = {name: found for name, found in panels.items() if len({p.cost for p in found}) > 1}
    if not panels:
        return []
    size = (4.6 * len(panels) + 0.6, 4.2)
    figure, grid = pyplot().subplots(
        1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, found) in zip(grid.flat, panels.items(), strict=True):
        _draw_panel(axes, found, [variant.name for variant in comparison.variants])
        axes.set_xlabel(name)
    grid.flat[0].set_ylabel("validation tokens right, per cent")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    save(figure, folder, "costs")
    return [
        "![Quality against cost](costs.png)\n\n"
        "Mean accuracy against what each variant costs. The line joins those that no variant "
        "at most as costly surpasses; that a point lies on it is no test."
    ]


def places(comparison: Comparison, cost: Cost) -> list[Place]:
    """The variants whose cost is known."""
    known = [(variant, cost(variant)) for variant in comparison.variants]
    return [Place(v.name, value, v.accuracy.mean) for v, value in known if value is not None]


def front(found: list[Place]) -> list[Place]:
    """The places that none at most as costly surpasses, by cost."""
    kept: list[Place] = []
    for place in sorted(found, key=lambda p: (p.cost, -p.accuracy)):
        if not kept or place.accuracy > kept[-1].accuracy:
            kept.append(place)
    return kept


def _draw_panel(axes: Any, found: list[Place], names: list[str]) -> None:
    best = front(found)
    axes.step(
        [p.cost for p in best],
        [p.accuracy for p in best],
        where="post",
        color="#888888",
        linewidth=1,
        zorder=1,
    )
    for place in found:
        which = names.index(place.name)
        axes.plot(
            place.cost,
            place.accuracy,
            MARKERS[which // len(COLOURS) % len(MARKERS)]
            if len(names) > len(COLOURS)
            else MARKERS[which],
            color=COLOURS[which % len(COLOURS)],
            markersize=8,
            markeredgecolor="black",
            markeredgewidth=0.5,
            linestyle="",
            label=place.name,
        )
    axes.grid(alpha=0.3)


def _part(variant: Variant, name: str, key: str) -> float | None:
    return variant.mean(lambda run: run.record.get(name, {}).get(key))


def _flops(variant: Variant, known: dict[tuple[Any, ...], float]) -> float | None:
    return known.get(_key(variant.record)) if "parameters" in variant.record else None


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
