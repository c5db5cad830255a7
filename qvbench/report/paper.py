"""The paper's own numbers, read from the one file that holds them."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple


@lru_cache
def paper() -> dict[str, Any]:
    """Source, rows and gaps of ``paper.yaml``."""
    import yaml

    text = resources.files("qvbench.report").joinpath("paper.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


class Gap(NamedTuple):
    """A difference that the paper's claims rest on: its rows by their keys, and points."""

    ahead: str
    behind: str
    points: float


def paper_gaps() -> dict[str, Gap]:
    """Those differences, by what they are."""
    rows = paper()["rows"]
    return {
        name: Gap(ahead, behind, rows[ahead][table] - rows[behind][table])
        for name, (ahead, behind, table) in paper()["gaps"].items()
    }
