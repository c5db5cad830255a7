"""Running one planned run: claimed by one sweep alone, in a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from qvbench.errors import UserError
from qvbench.experiments.plan import Outcome, PlannedRun
from qvbench.training.run_folder import SWEEP_VARIABLE

PATIENCE = 30.0  # seconds that a run has to end by itself when its sweep is ended


@contextmanager
def claim(run: PlannedRun) -> Iterator[int | None]:
    """Hold a run's lock for a while; gives the lock's descriptor, or nothing if it is held.

    The kernel lets go of the lock when the last process that has the descriptor dies, however it
    dies. The run inherits it, so that one whose sweep was killed is not started a second time
    while it still trains.

    Raises:
        UserError: the lock's file cannot be written.
    """
    file = lock_file(run)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    try:
        if not _lock(descriptor):
            yield None
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())  # for a reader; the lock is the kernel's
        yield descriptor
    finally:
        os.close(descriptor)


def lock_file(run: PlannedRun) -> Path:
    """The file whose lock is held while the run is in hand."""
    return run.log.with_suffix(".lock")


def is_claimed(run: PlannedRun) -> bool:
    """Whether some sweep has the run in hand."""
    file = lock_file(run)
    if not file.exists():
        return False
    with file.open() as opened:
        return not _lock(opened.fileno())


def execute(run: PlannedRun, lock: int, tick: Callable[[float], None]) -> Outcome:
    """Run it, from where it was cut off if it was, and write down how it ended.

    Args:
        run: claimed before.
        lock: the descriptor of its lock.
        tick: called every second with the seconds since the start.
    """
    make_room(run)
    environment = os.environ | {SWEEP_VARIABLE: json.dumps(run.labels)}
    started = time.monotonic()
    with run.log.open("wb") as log:
        child = subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(lock,),
        )
        try:
            while (status := _status(child)) is None:
                tick(time.monotonic() - started)
        except BaseException:
            _end(child)
            raise
    outcome = Outcome(run.settings_hash, status, round(time.monotonic() - started, 2), time.time())
    _write(run.log.with_suffix(".json"), json.dumps(asdict(outcome)) + "\n")
    return outcome


def make_room(run: PlannedRun) -> None:
    """Clear the run's folder for a fresh start, unless it can be taken up where it was cut off.

    Raises:
        UserError: the folder holds what is no remainder of this run.
    """
    if not run.folder.exists() or run.cut_off:
        return
    record = run.record()
    early = {"config.yaml", "config.yaml.partial", "run.json.partial", "curves.csv"}
    strange = sorted(file.name for file in run.folder.iterdir() if file.name not in early)
    if strange and record.get("settings_hash") != run.settings_hash:
        raise UserError(
            f"{run.folder}: holds {strange[0]}, which is not of this run; move it or choose "
            "another --output"
        )
    shutil.rmtree(run.folder)


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The last lines of a log that say something."""
    if not log.is_file():
        return []
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-count:]


def _lock(descriptor: int) -> bool:
    """Take a file's lock, unless another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended, if it does within a second."""
    try:
        return child.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a run that its sweep does not live to see through."""
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _write(file: Path, text: str) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
