"""SIGTERM, SIGUSR1 and Ctrl-C: a training ends between two steps, with a checkpoint."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
REQUEUE = signal.SIGUSR1
"""What Slurm sends before a job's time is up, if asked: ``#SBATCH --signal=SIGUSR1@120``."""


class StoppedBySignal(SystemExit):
    """A training that a signal ended: status 128 + the signal's number, as shells have it.

    Args:
        number: of the signal.
        step: optimizer steps done, all in the checkpoint.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.step = step

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        return f"{name}: stopped after step {self.step:,}; --ckpt_path last goes on from there"


class StopSignals:
    """Takes the signals that ask for an end, and keeps them until a step is done.

    A second Ctrl-C does not wait: Python's own handler raises ``KeyboardInterrupt``.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals from now on; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOPPING:
            self._before.setdefault(number, signal.signal(number, self._note))

    def restore(self) -> None:
        """Give the signals back to who had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.received = number
        name = signal.Signals(number).name
        again = "; again to stop at once, without one" if number == signal.SIGINT else ""
        log.info("%s: this step is finished and a checkpoint written%s", name, again)
