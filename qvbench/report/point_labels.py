"""Names beside points, placed so that none lies on another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

RINGS = (8, 18, 30, 44, 60, 80)
"""Distances from its point, in points, at which a name is tried."""
DIRECTIONS = 16
MARK = 7
"""Half the side of the square that a point takes, in pixels."""
GAP = 2
"""Pixels that stay free around a name."""


class Label(NamedTuple):
    """A name, the point that it is of in data coordinates, and how it is written."""

    x: float
    y: float
    text: str
    style: dict[str, Any]


def place_labels(axes: Any, labels: Sequence[Label]) -> None:
    """Write each name at the nearest free place around its point; a line leads to far ones.

    The layout of the figure has to be settled, since places are told in pixels. A name for which
    no place is free is put at the first one.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = axes.figure.canvas.get_renderer()
    inside = axes.get_window_extent(renderer)
    centres = axes.transData.transform([(label.x, label.y) for label in labels])
    taken = [Bbox.from_extents(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in centres]
    for label in sorted(labels, key=lambda label: -label.y):
        for distance, right, up in _places():
            text = _write(axes, label, distance, right, up)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer).padded(GAP)  # without the line to it
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1
            within = within and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if within and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
        else:
            _write(axes, label, *next(_places()))


def _places() -> Iterator[tuple[float, float, float]]:
    """Distance and direction of each place, the nearest first, to the right before others."""
    for distance in RINGS:
        for step in range(DIRECTIONS):
            turn = (step + 1) // 2 * (-1) ** step * 2 * math.pi / DIRECTIONS
            yield distance, math.cos(turn), math.sin(turn)


def _write(axes: Any, label: Label, distance: float, right: float, up: float) -> Any:
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(distance * right, distance * up),
        textcoords="offset points",
        ha="left" if right > 0.3 else "right" if right < -0.3 else "center",
        va="center" if abs(up) < 0.5 else "bottom" if up > 0 else "top",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        arrowprops=line if distance > RINGS[0] else None,
        **label.style,
    )
