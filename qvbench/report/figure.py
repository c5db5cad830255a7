"""Accuracy against target tokens: the whole of training, and its later part enlarged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qvbench.report.load import Point, Run

# Okabe and Ito's colours: apart for the colour-blind; line style and marker tell them in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "--", ":", "-.")
METRIC = "val/accuracy"


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Write ``accuracy.png`` and ``accuracy.svg``; nothing where no run was validated.

    A mechanism has a colour and a marker, a position scheme a line style.
    """
    runs = [run for run in runs if run.curves.get(METRIC)]
    if not runs:
        return []
    plt = pyplot()
    figure, (whole, late) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    mechanisms = sorted({run.record["mechanism"] for run in runs})
    positions = sorted({run.record["position"] for run in runs}, reverse=True)
    for run in runs:
        which = mechanisms.index(run.record["mechanism"])
        points = run.curves[METRIC]
        tokens = [p.target_tokens / 1e6 for p in points]
        for axes in (whole, late):
            axes.plot(
                tokens,
                [p.value for p in points],
                color=COLOURS[which % len(COLOURS)],
                marker=MARKERS[which % len(MARKERS)],
                markevery=max(1, len(points) // 8),
                markersize=5,
                linestyle=STYLES[positions.index(run.record["position"]) % len(STYLES)],
                linewidth=1.6,
                label=f"{run.record['mechanism']}, {run.record['position']}",
            )
    label_curves(whole, late, [p for run in runs for p in run.curves[METRIC]])
    return save(figure, folder, "accuracy")


def pyplot() -> Any:
    """matplotlib's pyplot, which needs no screen and draws the same file every time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "qvbench", "font.size": 10, "svg.fonttype": "none"})
    return plt


def label_curves(whole: Any, late: Any, points: list[Point]) -> None:
    """Name the axes of both parts, and frame the later one by the points in it."""
    end = max(p.target_tokens for p in points)
    values = [p.value for p in points if p.target_tokens >= end / 2]
    margin = 0.05 * (max(values) - min(values)) or 1.0
    late.set_xlim(end / 2e6, end * 1.02 / 1e6)
    late.set_ylim(min(values) - margin, max(values) + margin)
    whole.set_title("Validation accuracy")
    late.set_title("The last half, enlarged")
    for axes in (whole, late):
        axes.set_xlabel("target tokens, millions")
        axes.set_ylabel("tokens right, per cent")
        axes.grid(alpha=0.3)
    whole.legend(frameon=False)


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG without the date, and let go of it.

    Its layout is settled once for both, which takes as long as drawing.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    figure.savefig(files[0], dpi=130, metadata={"Software": None})
    figure.savefig(files[1], metadata={"Date": None})
    pyplot().close(figure)
    return files
