"""``curves.csv``: every number that a run logs, one per row, on the local disk."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from qvbench.training.run_folder import CURVES

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
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(COLUMNS)
            writer.writerows([*place, name, float(value)] for name, value in values.items())

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds the resolved config."""

    @rank_zero_only
    def forget_after(self, step: int) -> None:
        """Drop the rows later than a checkpoint from which the run is taken up again."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        kept = [row for row in rows if row[0] == "" or int(row[0]) <= step]
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *kept])
        partial.replace(self.path)
