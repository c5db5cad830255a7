"""From a command of ``qvbench`` to what its user waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs import PACKAGES, values_of

FIRST_STEP = 17
"""Exit status of a training that ended with its first step."""


def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """The command alone; its data is prepared here, and it should exit as expected."""
    work.write(folder, values)
    if "config" in values:
        work.data_of(values["config"])
    return checks.values([0.0], tolerance)


class EndWithFirstStep(Callback):
    """Ends the whole process once the first batch is done: nobody waits for what comes after."""

    def on_train_batch_end(self, *args: Any, **more: Any) -> None:
        os._exit(FIRST_STEP)


class Starting:
    """A command, from its start to its end."""

    comparable = SAME_FUNCTION

    def __init__(self, folder: Work) -> None:
        values = values_of(folder)
        self.settings: dict[str, Any] = {}
        self._args, self._status = ["--help"], 0
        if values["what"] == "fit":
            callback = f"benchmarks.programs.start.{EndWithFirstStep.__name__}"
            self._args = ["fit", "--config", values["config"], f"--trainer.callbacks+={callback}"]
            self._status = FIRST_STEP

    def check(self) -> dict[str, Any]:
        """0 if it exited as it should."""
        return {"values": [float(self._run() != self._status)]}

    def repeat(self) -> int:
        """Once."""
        self._run()
        return 1

    def _run(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            more = ["--trainer.default_root_dir", folder] if self._status else []
            command = [sys.executable, "-m", "qvbench", *self._args, *more]
            # Standard output is for answers to requests.
            return subprocess.run(command, stdout=sys.stderr, check=False).returncode


if __name__ == "__main__":
    serve({"start": Starting}, PACKAGES)
