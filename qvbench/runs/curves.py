"""``curves.csv``: every measurement of a run in tidy form, one per row.

Columns: optimizer ``step`` and ``epoch`` (empty outside training: a test belongs to the checkpoint
that it loaded); ``target_tokens`` trained on so far (empty where unknown); wall-clock ``seconds``
of training, over restarts; ``metric``; ``value``. A wide file would have to be written anew
whenever a metric appears for the first time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from qvbench.runs.folder import write_text

COLUMNS = ("step", "epoch", "target_tokens", "seconds", "metric", "value")


class CurvesFile:
    """Appends rows, and drops those that a resumed run measures again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: int | None = None  # of training, once this process has written the file

    @property
    def rows(self) -> int:
        """Measurements of the training; a test beside it may add its own meanwhile."""
        return _of_training(self._read()) if self._rows is None else self._rows

    def append(self, place: Sequence[object], values: Mapping[str, float]) -> None:
        """Append a row per metric, after a place of step, epoch, target tokens and seconds."""
        if self._rows is None:  # a killed process may have left half a line
            self._write(self._read())
        text = _csv([[*place, name, float(value)] for name, value in values.items()])
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(text)  # at once: a killed process leaves few half lines
        self._rows = self.rows + (len(values) if place[0] != "" else 0)

    def cut(self, step: int, rows: int | None = None) -> None:
        """Drop what is later than a checkpoint: its step, and the :attr:`rows` that there were.

        Measurements outside training stay: they are of a checkpoint that was there.
        """
        kept: list[list[str]] = []
        number = 0
        for row in self._read():
            if row[0] == "" or (int(row[0]) <= step and (rows is None or number < rows)):
                kept.append(row)
            number += row[0] != ""
        self._write(kept)

    def _read(self) -> list[list[str]]:
        """The whole rows of the file, without the header."""
        text = self.path.read_bytes().decode(errors="replace") if self.path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
        rows = [row for row in csv.reader(lines) if len(row) == len(COLUMNS)]
        return [row for row in rows if row[0] == "" or row[0].isdecimal()]

    def _write(self, rows: Sequence[Sequence[object]]) -> None:
        write_text(self.path, _csv([COLUMNS, *rows]))
        self._rows = _of_training(rows)


def _of_training(rows: Sequence[Sequence[object]]) -> int:
    return sum(row[0] != "" for row in rows)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
