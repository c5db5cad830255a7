"""``run.json``, the record of a run: reading, writing, its metrics and its sweep."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.runs.atomic_file import write_text
from qvbench.runs.folder import RECORD

SWEEP_VARIABLE = "QVBENCH_SWEEP"
"""Environment variable in which a sweep names suite and variant, as JSON."""


class Metric(NamedTuple):
    """A metric by its name in curves and records.

    Attributes:
        name: such as ``val/accuracy``.
        label: what people read, such as "validation accuracy".
        unit: such as "%"; empty for none.
        higher_is_better: the direction in which to compare.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run, so that no reader sees half of it.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / RECORD, text + "\n")


def sweep_labels() -> dict[str, str]:
    """``suite`` and ``variant`` of the sweep that started this process; empty if none did."""
    labels: dict[str, str] = json.loads(os.environ.get(SWEEP_VARIABLE) or "{}")
    return labels


def now() -> str:
    """This moment as records have it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
