"""From runs to a results folder: statistics, figures, tables, page. Needs no torch."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

import yaml


@lru_cache
def data(name: str) -> dict[str, Any]:
    """What a YAML file beside the code says: standing text, looks, the paper's numbers."""
    text = resources.files("qvbench.report").joinpath(name).read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content
