"""``curves.csv``: every number that a run logs, one per row, on the local disk."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from qvbench.runs.atomic_file import replacing
from qvbench.runs.folder import CURVES

COLUMNS = ("step", "epoch", "target_tokens", "seconds", "metric", "value")


class CurvesLogger(Logger):
    """Writes a tidy CSV file: one row per measurement, appended as it comes.

    A wide file would have to be written anew whenever a metric appears for the first time, and a
    crash at that moment would take the whole curve with it. ``pandas`` reads the long form with
    ``read_csv(...).pivot_table(index="step", columns="metric", values="value")``.

    Columns: optimizer ``step`` and ``epoch`` (empty outside training: a test belongs to the
    checkpoint that it loaded); ``target_tokens`` trained on so far (empty where the run did not
    say); wall-clock ``seconds`` of training, over restarts; ``metric``; ``value``.

    Args:
        folder: of the run; it exists.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / CURVES
        self._folder = folder
        self._start = time.monotonic()
        self._training = False
        self._rows: int | None = None  # in the file, once it was looked at

    # Lightning puts checkpoints under save_dir/name/version: the run's folder itself.

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    def start(self, seconds_before: float) -> None:
        """Training starts: ``seconds`` count from here, on top of those before a restart."""
        self._training = True
        self._start = time.monotonic() - seconds_before

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row for each metric; ``epoch`` and ``target_tokens`` are columns, not rows."""
        values = dict(metrics)
        epoch = values.pop("epoch", "")
        tokens = values.pop("target_tokens", None)
        place = [
            step if step is not None and self._training else "",
            int(epoch) if epoch != "" and self._training else "",
            "" if tokens is None else int(tokens),
            f"{time.monotonic() - self._start:.2f}" if self._training else "",
        ]
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if self.rows == 0 and not self.path.exists():
            writer.writerow(COLUMNS)
        writer.writerows([*place, name, float(value)] for name, value in values.items())
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())  # at once: a killed process leaves few half lines
        self._rows = self.rows + len(values)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds the resolved config."""

    @property
    def rows(self) -> int:
        """Measurements in the file. What a killed process left of half a line is removed."""
        if self._rows is None:
            self._rows = 0
            if self.path.exists():
                self._write(self._read())
        return self._rows

    @rank_zero_only
    def forget_after(self, step: int, rows: int | None = None) -> None:
        """Drop what is later than a checkpoint from which the run is taken up again.

        Measurements outside training stay: they are of a checkpoint that was there.

        Args:
            step: of the checkpoint.
            rows: in the file when the checkpoint was written; by the step alone if not known.
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

    def _write(self, rows: Iterable[list[str]]) -> None:
        text = io.StringIO(newline="")
        kept = list(rows)
        csv.writer(text).writerows([COLUMNS, *kept])
        with replacing(self.path) as file:
            file.write(text.getvalue().encode())
        self._rows = len(kept)
