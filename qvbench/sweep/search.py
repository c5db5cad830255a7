"""Choosing one setting for each variant, such as its learning rate, before its seeds are run.

Each value of a grid is trained with a few seeds of its own and scored on a split that reports
nothing. Where the best value lies on the grid's edge, the grid is extended beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EXTENSIONS = 3  # values at most that are added beyond each edge


@dataclass(frozen=True)
class Search:
    """The search of a suite.

    Args:
        key: config key that is searched.
        values: the grid, ascending, two or more.
        seeds: of each value; other ones than those that report.
        settings: of the search's runs, after a variant's own: budget and validation split.
    """

    key: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: tuple[tuple[str, str], ...]

    def setting(self, value: float) -> tuple[tuple[str, str]]:
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
                grid.insert(0, _rounded(grid[0] * first))
            elif best == grid[-1] and grid[::-1].index(self.values[-1]) < EXTENSIONS:
                grid.append(_rounded(grid[-1] * last))
            else:
                break
        return grid

    def best(self, scores: Mapping[float, float], grid: list[float]) -> float:
        """The value with the best score, the lowest such if there are several."""
        return max(grid, key=lambda value: scores[value])

    def choice(self, scores: Mapping[float, float]) -> float | None:
        """The value that the search has come to; None while runs of it are missing."""
        grid = self.grid(scores)
        return self.best(scores, grid) if all(value in scores for value in grid) else None


def _rounded(value: float) -> float:
    """To three digits, so that a folder's config reads well."""
    return float(f"{value:.3g}")
