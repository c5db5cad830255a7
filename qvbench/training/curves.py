"""The logger that writes ``curves.csv``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from qvbench.runs.curves import CurvesFile
from qvbench.runs.folder import CURVES


class CurvesLogger(Logger):
    """Appends every metric to the curves of a run as it comes, whatever other loggers there are.

    Args:
        folder: of the run; it exists.

    Attributes:
        file: the curves.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = CurvesFile(folder / CURVES)
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
        """Append a row per metric; ``epoch`` and ``target_tokens`` are columns, not rows."""
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        tokens = values.pop("target_tokens", None)
        counts: list[object] = ["", "", "" if tokens is None else int(tokens), ""]
        if self._training:
            counts[0] = "" if step is None else step
            counts[1] = "" if epoch is None else int(epoch)
            counts[3] = f"{time.monotonic() - self._start:.2f}"
        self.file.append(counts, values)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds the resolved config."""
