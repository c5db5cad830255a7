"""Mechanisms by length, and decoding by context; markers and lines tell them apart in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quantiles import Spread, speeds
from benchmarks.tables import best_rate
from qvbench.report.figure import COLOURS, MARKERS, STYLES, pyplot, save

Raw = Mapping[str, Any]
Panel = dict[str, list[Raw]]


def draw(results: Sequence[Raw], folder: Path) -> dict[str, list[str]]:
    """Draw what there is; names of figures by group."""
    drawn: dict[str, list[str]] = {}
    for group, draw_panel, label in (
        ("attention", draw_attention, "length, tokens"),
        ("decoding", draw_decoding, "tokens in the cache"),
    ):
        panels = panels_of([r for r in results if r["case"]["name"].startswith(f"{group}/")])
        if not panels:
            continue
        size = (5.4 * len(panels) + 0.4, 4.4)
        figure, grid = pyplot().subplots(
            1, len(panels), figsize=size, squeeze=False, sharey=True, layout="constrained"
        )
        for axes, (title, raws) in zip(grid.flat, panels.items(), strict=True):
            draw_panel(axes, raws)
            lengths = [raw["case"]["shape"]["length"] for raw in raws]
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
            axes.set(title=title, xlabel=label)
            axes.grid(alpha=0.3)
        grid.flat[0].legend(frameon=False)
        save(figure, folder, group)
        drawn[group] = [group]
    return drawn


def panels_of(results: Sequence[Raw]) -> Panel:
    """Results of cases that differ in their length alone, by what they have in common."""
    panels: Panel = {}
    for raw in results:
        panels.setdefault(raw["case"]["name"].partition("/")[2].rpartition(",")[0], []).append(raw)
    return {
        title: sorted(raws, key=lambda raw: raw["case"]["shape"]["length"])
        for title, raws in panels.items()
    }


def compared(raws: Sequence[Raw]) -> list[str]:
    """Names of the programs that are compared."""
    return [e["name"] for e in raws[0]["case"]["programs"] if not e["measures"]]


def points(raws: Sequence[Raw], name: str) -> list[tuple[int, Spread, Mapping[str, Any]]]:
    """Length, speed and outcome wherever a program was measured."""
    found = [(raw["case"]["shape"]["length"], raw["programs"][name]) for raw in raws]
    return [(length, speeds(o["repeats"]), o) for length, o in found if o["repeats"]]


def style(number: int, count: int = 3) -> dict[str, Any]:
    """Colour and marker by mechanism, line by what goes with it."""
    return {
        "color": COLOURS[number % count],
        "marker": MARKERS[number % count],
        "linestyle": STYLES[number // count % len(STYLES)],
        "linewidth": 1.6,
        "markersize": 5,
    }


def draw_attention(axes: Any, raws: Sequence[Raw]) -> None:
    """Time for a token, with its quantiles."""
    for number, name in enumerate(compared(raws)):
        found = points(raws, name)
        middle = [1e6 / s.middle for _, s, _ in found]
        errors = [
            [m - 1e6 / s.high for m, (_, s, _) in zip(middle, found, strict=True)],
            [1e6 / s.low - m for m, (_, s, _) in zip(middle, found, strict=True)],
        ]
        axes.errorbar([n for n, _, _ in found], middle, errors, label=name, **style(number))
    axes.set_ylabel("microseconds a token")


def draw_decoding(axes: Any, raws: Sequence[Raw]) -> None:
    """Tokens a second, and what the memory's speed would allow."""
    for number, name in enumerate(compared(raws)):
        found = points(raws, name)
        axes.plot(
            [n for n, _, _ in found],
            [s.middle for _, s, _ in found],
            label=name,
            **style(number),
        )
        rates = {raw["case"]["shape"]["length"]: best_rate(raw, "B") for raw in raws}
        floor = [
            (n, rate / o["ready"]["settings"]["bytes_per_item"])
            for n, _, o in found
            if (rate := rates[n])
        ]
        axes.plot(
            [n for n, _ in floor],
            [bound for _, bound in floor],
            color=COLOURS[number],
            linestyle=":",
            linewidth=1.0,
            label=f"{name}, if only memory took time",
        )
    axes.set_ylabel("tokens a second, one layer")
