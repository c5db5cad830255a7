"""``curves.csv``: every measurement of a run in tidy form, one per row.

A wide file would have to be written anew whenever a metric appears for the first time, and a crash
at that moment would take the whole curve with it. ``pandas`` reads the long form with
``read_csv(...).pivot_table(index="step", columns="metric", values="value")``.

Columns: optimizer ``step`` and ``epoch`` (empty outside training: a test belongs to the checkpoint
that it loaded); ``target_tokens`` trained on so far (empty where unknown); wall-clock ``seconds``
of training, over restarts; ``metric``; ``value``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qvbench.runs.atomic_file import write_text

COLUMNS = ("step", "epoch", "target_tokens", "seconds", "metric", "value")


class CurvesFile:
    """Appends rows, and drops those that a resumed run measures again.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: int | None = None  # in the file, once it was looked at

    @property
    def rows(self) -> int:
        """Measurements in the file. What a killed process left of half a line is removed."""
        if self._rows is None:
            self._rows = 0
            if self.path.exists():
                self._write(self._read())
        return self._rows

    def append(self, place: Sequence[object], values: Mapping[str, float]) -> None:
        """Append a row per metric.

        Args:
            place: step, epoch, target tokens and seconds.
            values: by metric.
        """
        header = [] if self.rows or self.path.exists() else [COLUMNS]
        text = _csv([*header, *([*place, name, float(value)] for name, value in values.items())])
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(text)  # at once: a killed process leaves few half lines
        self._rows = self.rows + len(values)

    def cut(self, step: int, rows: int | None = None) -> None:
        """Drop what is later than a checkpoint from which the run is resumed.

        Measurements outside training stay: they are of a checkpoint that was there.

        Args:
            step: of the checkpoint.
            rows: in the file when the checkpoint was written; by the step alone if None.
        """
        if not self.path.exists():
            return
        found = self._read()
        first = len(found) if rows is None else rows
        self._write(
            row
            for number, row in enumerate(found)
            if row[0] == "" or (number < first and int(row[0]) <= step)
        )

    def _read(self) -> list[list[str]]:
        """The whole rows of the file, without the header."""
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
        found = [row for row in csv.reader(lines) if len(row) == len(COLUMNS)]
        return [row for row in found[1:] if row[0] == "" or row[0].isdecimal()]

    def _write(self, rows: Iterable[Sequence[object]]) -> None:
        kept = list(rows)
        write_text(self.path, _csv([COLUMNS, *kept]))
        self._rows = len(kept)


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
