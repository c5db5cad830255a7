"""Quality against cost: which variants nothing cheaper beats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.errors import UserError
from qvbench.report.bands import lowest_usual
from qvbench.report.figure import COLOURS, pyplot, save
from qvbench.report.point_labels import Label, place_labels
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
        profile: of :func:`read_profile`; a panel of FLOPs is drawn where records or it have them.
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
    figure, grid = pyplot().subplots(
        1, len(panels), figsize=(5 * len(panels), 5), squeeze=False, layout="constrained"
    )
    for axes, (name, found) in zip(grid.flat, panels.items(), strict=True):
        _draw_panel(axes, found)
        axes.set_xlabel(name)
        axes.set_ylabel("validation tokens right, per cent")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed by pixels, which must not move any more
    for axes, found in zip(grid.flat, panels.values(), strict=True):
        _name_points(axes, found)
    save(figure, folder, "costs")
    return [f"![Quality against cost](costs.png)\n\n{EXPLAINED}"]


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


def _draw_panel(axes: Any, found: list[Place]) -> None:
    """Points and front; those that lie far below the others become marks at the lower edge."""
    best = front(found)
    lowest = lowest_usual([place.accuracy for place in found])
    highest = max(place.accuracy for place in found)
    margin = 0.1 * (highest - lowest) or 1.0
    bottom = lowest - margin
    style = {"color": "#888888", "linewidth": 1, "zorder": 1}
    axes.step([p.cost for p in best], [p.accuracy for p in best], where="post", **style)
    for place in found:
        colour, face, _ = _look(place, best)
        below = place.accuracy < lowest
        axes.plot(
            place.cost,
            bottom + margin / 4 if below else place.accuracy,
            "v" if below else "o",
            markersize=7,
            color=face,
            markeredgecolor=colour,
        )
    axes.set_ylim(bottom, highest + margin)
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)


def _name_points(axes: Any, found: list[Place]) -> None:
    best = front(found)
    lowest = lowest_usual([place.accuracy for place in found])
    bottom, top = axes.get_ylim()
    labels = []
    for place in found:
        colour, _, weight = _look(place, best)
        style = {"color": colour, "fontsize": 8, "weight": weight}
        if place.accuracy < lowest:
            text = f"{place.name} ({place.accuracy:.2f})"
            labels.append(Label(place.cost, bottom + 0.02 * (top - bottom), text, style))
        else:
            labels.append(Label(place.cost, place.accuracy, place.name, style))
    place_labels(axes, labels)


def _look(place: Place, best: list[Place]) -> tuple[str, str, str]:
    """Colours of edge and face, and weight of the name: full on the front, hollow off it."""
    on_front = place in best
    return (COLOURS[0], COLOURS[0], "bold") if on_front else ("#555555", "white", "normal")


def _part(variant: Variant, name: str, key: str) -> float | None:
    return variant.mean(lambda run: run.record.get(name, {}).get(key))


def _flops(variant: Variant, known: dict[tuple[Any, ...], float]) -> float | None:
    """Those of the records; those of the profile for runs whose record has none."""
    recorded = _part(variant, "flops_per_target_token", "train")
    if recorded is None and "parameters" in variant.record:
        return known.get(_key(variant.record))
    return recorded


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


EXPLAINED = (
    "Mean accuracy against what each variant costs. The line joins those that no variant at most "
    "as costly surpasses (filled, bold); that a point lies on it is no test. A triangle at the "
    "lower edge lies below the frame, at the accuracy in brackets."
)
