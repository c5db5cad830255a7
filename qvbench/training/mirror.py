"""A logger that mirrors the local record elsewhere, and can neither stop a run nor hold it up."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)

OPEN_SECONDS = 120.0
"""How long training waits for a tracker to open its run; W&B itself gives up after 30."""

CLOSE_SECONDS = 330.0
"""How long the end of a run waits for a tracker to take the rest; W&B itself gives up after 300."""


class Mirror(Logger):
    """Hands everything on to another logger, in a thread of its own.

    The first exception of that logger is said in one line, and it is asked no more. A call that
    hangs holds up that thread alone. The run's folder has all that is logged in any case.

    Args:
        logger: the other one.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.failed = False
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    # What Lightning asks of a logger

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        return self.logger.save_dir

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        self.later(lambda: self.logger.log_metrics(values, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        self.later(lambda: self.logger.log_hyperparams(*args, **kwargs))

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        self.later(lambda: self.logger.after_save_checkpoint(checkpoint_callback))

    def save(self) -> None:
        self.later(self.logger.save)

    def finalize(self, status: str) -> None:
        self.later(lambda: self.logger.finalize(status))

    # The thread

    def later(self, call: Callable[[], object]) -> None:
        """Have a call made after those before it."""
        if self.failed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
            self._thread.start()
        self._calls.put(call)

    def wait(self, seconds: float) -> bool:
        """Wait until all calls so far are made, or the logger failed.

        Returns:
            whether that came about in time; else the logger is asked no more.
        """
        done = threading.Event()
        self.later(done.set)
        end = time.monotonic() + seconds
        while not (self.failed or self._thread is None or done.wait(0.02)):
            if time.monotonic() > end:
                self.give_up(f"no answer within {seconds:g} seconds")
                return False
        return not self.failed

    def close(self, last: Callable[[], object], seconds: float) -> None:
        """Make a last call, which ends the other logger's run, and end the thread."""
        if self._thread is None:
            return
        self.later(last)
        self.wait(seconds)
        self._calls.put(None)
        self._thread = None

    def give_up(self, reason: str) -> None:
        """Ask the logger no more, and say so once."""
        if not self.failed:
            self.failed = True
            log.warning(
                "%s: %s; the run goes on without it, its own folder has everything%s",
                type(self.logger).__name__,
                reason,
                f"; to upload later: {self.sync_command}" if self.sync_command else "",
            )

    @property
    def sync_command(self) -> str:
        """What uploads the run later; empty where there is nothing to upload."""
        run = getattr(self.logger, "_experiment", None)
        folder = getattr(run, "dir", None)
        return f"wandb sync {Path(folder).parent}" if isinstance(folder, str) else ""

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self.failed:
                continue
            try:
                call()
            except Exception as error:  # whatever a tracker comes up with: the run is worth more
                lines = str(error).splitlines()
                self.give_up(lines[0] if lines else type(error).__name__)
