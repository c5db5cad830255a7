"""From a command of ``qvbench`` to what its user waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

from lightning.pytorch import Callback

from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs.common import PACKAGES, values_of

STEPPED = 17
"""Status of a training that ended with its first step."""


class EndWithFirstStep(Callback):
    """Ends the whole process once the first batch is done: what comes after is not waited for."""

    def on_train_batch_end(self, *arguments: Any, **more: Any) -> None:
        os._exit(STEPPED)


class Starting:
    """A command, from its start to its end."""

    comparable = SAME_FUNCTION

    def __init__(self, work: Work) -> None:
        values = values_of(work)
        self.settings: dict[str, Any] = {}
        self._words = ["--help"]
        self._status = 0
        if values["what"] == "fit":
            callback = f"{EndWithFirstStep.__module__}.{EndWithFirstStep.__name__}"
            callback = callback.replace("__main__", "benchmarks.programs.start")
            self._words = ["fit", "--config", values["config"]]
            self._words += [f"--trainer.callbacks+={callback}"]
            self._status = STEPPED

    def check(self) -> dict[str, Any]:
        """Whether it ended as it should."""
        return {"values": [float(self._run() != self._status)]}

    def repeat(self) -> int:
        """Once."""
        self._run()
        return 1

    def _run(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            more = ["--trainer.default_root_dir", folder] if self._status else []
            command = [sys.executable, "-m", "qvbench", *self._words, *more]
            # Its output is an answer's place here, so it goes where errors go.
            return subprocess.run(command, stdout=sys.stderr, check=False).returncode


if __name__ == "__main__":
    serve({"start": Starting}, PACKAGES)
