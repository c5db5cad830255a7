"""SIGTERM, SIGUSR1 and Ctrl-C: a training ends between two steps, with a checkpoint."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
REQUEUE = signal.SIGUSR1
"""What Slurm sends before a job's time is up, if asked: ``#SBATCH --signal=SIGUSR1@120``."""


REPEAT_SECONDS = 1.0
"""A signal is often sent to a process and to its group: within so long it is the same one."""

HANG_SECONDS = 3.0
"""How long a process has to end itself after the second signal."""


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
        return f"{name}: stopped after step {self.step:,}; --ckpt_path last resumes from there"


class StopSignals:
    """Takes the signals that ask for an end, and keeps them until a step is done.

    A second signal does not wait: it raises, at whatever the main thread does. Where that does
    not run Python, such as in a collective operation that others never join, no handler is
    called either; then a thread that Python wakes up at every signal ends the process.
    """

    def __init__(self) -> None:
        self.received = 0
        self._at = 0.0
        self._before: dict[int, Any] = {}
        self._woken = -1  # file descriptor to which Python writes the numbers of signals
        self._woken_before = -1

    def install(self) -> None:
        """Take the signals from now on; only the main thread can."""
        if threading.current_thread() is not threading.main_thread() or self._before:
            return
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        source, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        self._woken_before = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self._leave)  # a loader's process has its own signals
        threading.Thread(target=_end_at_second, args=(source,), daemon=True).start()

    def restore(self) -> None:
        """Give the signals back to who had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._woken_before)
            os.close(self._woken)  # which ends the thread
        self._before = {}

    def _leave(self) -> None:
        if self._before:
            signal.set_wakeup_fd(-1)

    def _note(self, number: int, frame: FrameType | None) -> None:
        name, now = signal.Signals(number).name, time.monotonic()
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received and now - self._at > REPEAT_SECONDS:
            raise SystemExit(128 + number)
        if not self.received:
            self.received, self._at = number, now
            log.info("%s: stops after this step, with a checkpoint; again to stop at once", name)


def _end_at_second(source: int) -> None:
    """End the process at the second signal of those that stop a training, unless it ends itself.

    Args:
        source: file descriptor from which the numbers of signals are read, until it ends.
    """
    first, again, deadline = 0.0, 0, None
    while select.select([source], [], [], deadline and max(0.0, deadline - time.monotonic()))[0]:
        read = os.read(source, 1)
        if not read:
            os.close(source)
            return
        now = time.monotonic()
        if read[0] in STOPPING and first and now - first > REPEAT_SECONDS and deadline is None:
            again, deadline = read[0], now + HANG_SECONDS
        elif read[0] in STOPPING:
            first = first or now
    print("a second signal: stopped without a checkpoint", file=sys.stderr, flush=True)
    os._exit(128 + again)
