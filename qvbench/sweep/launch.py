"""Running one planned run in a process of its own, locked against every other sweep.

A file's lock holds for the processes of one machine and no further. Where runs are executed on
others, the process that handed them out holds their locks as long as it waits (Ray), or Slurm is
asked if the job lives to which a run was given.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from qvbench.errors import UserError
from qvbench.runs.atomic_file import PARTIAL, write_text
from qvbench.runs.folder import CONFIG, CURVES
from qvbench.runs.record import SWEEP_VARIABLE
from qvbench.runs.slurm import is_alive, slurm_job
from qvbench.sweep.plan import Outcome, PlannedRun

PATIENCE = 60.0  # seconds that a run has to end by itself when its sweep is ended


@contextmanager
def locked(run: PlannedRun) -> Iterator[int | None]:
    """Hold a run's lock; gives the lock's descriptor, or None if the run is running elsewhere.

    The kernel releases the lock when the last process that has the descriptor dies, however it
    dies. The run inherits it, so that one whose sweep was killed is not started a second time
    while it still trains; a lock of a library (filelock) would end with the sweep.

    Raises:
        UserError: the lock's file cannot be written.
    """
    file = run.log.with_suffix(".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    try:
        yield descriptor if _lock(descriptor) and not _job_of(run) else None
    finally:
        os.close(descriptor)


def runs_elsewhere(run: PlannedRun) -> bool:
    """Whether some sweep or Slurm job has the run, without creating its lock."""
    file = run.log.with_suffix(".lock")
    if not file.exists():
        return False
    with file.open() as opened:
        return not _lock(opened.fileno()) or bool(_job_of(run))


def job_file(run: PlannedRun) -> Path:
    """The file with the number of the Slurm job to which the run was given."""
    return run.log.with_suffix(".job")


def execute(
    run: PlannedRun, lock: int | None, tick: Callable[[float], None] = lambda seconds: None
) -> Outcome:
    """Run it, from its last checkpoint if it was cut off, and write down how it ended.

    Args:
        run: locked before.
        lock: the descriptor of its lock, unless the lock is held on another machine.
        tick: called every second with the seconds since the start.
    """
    make_room(run)
    run.log.parent.mkdir(parents=True, exist_ok=True)
    labels = {"suite": run.suite.name, "variant": run.variant.name}
    started = time.monotonic()
    with run.log.open("wb") as log:
        child = subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {SWEEP_VARIABLE: json.dumps(labels)},
            pass_fds=() if lock is None else (lock,),
        )
        try:
            while (status := _status(child)) is None:
                tick(time.monotonic() - started)
        except BaseException as end:
            _end(child, end)
            raise
    outcome = Outcome(run.identity, status, round(time.monotonic() - started, 2), time.time())
    write_text(run.log.with_suffix(".json"), json.dumps(outcome._asdict()) + "\n")
    return outcome


def make_room(run: PlannedRun) -> None:
    """Clear the run's folder for a fresh start, unless it can be resumed.

    Raises:
        UserError: the folder holds what is no remainder of this run.
    """
    if not run.folder.exists() or run.is_resumable:
        return
    early = {CONFIG, CURVES}  # written before the record
    names = (file.name for file in run.folder.iterdir() if not file.name.endswith(PARTIAL))
    strange = sorted(name for name in names if name not in early)
    if strange and run.record().get("identity") != run.identity:
        raise UserError(
            f"{run.folder}: holds {strange[0]}, which is not of this run; move it or choose "
            "another --output"
        )
    shutil.rmtree(run.folder)


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The last lines of a log that are not empty."""
    if not log.is_file():
        return []
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-count:]


def exit_on(*signals: int) -> None:
    """Let signals end this process as an exception, so that the run that it waits for is ended."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)  # as shells have it

    for number in signals:
        signal.signal(number, leave)


def _lock(descriptor: int) -> bool:
    """Take a file's lock, unless another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _job_of(run: PlannedRun) -> str:
    """The Slurm job, other than this one, that has the run; empty if none has."""
    file = job_file(run)
    job = file.read_text().strip() if file.is_file() else ""
    return job if job and job != slurm_job() and is_alive(job) else ""


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended, if it does within a second."""
    try:
        return child.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes], end: BaseException) -> None:
    """End a run whose sweep is ended, by the same signal: SIGUSR1 has it requeue its Slurm job."""
    status = end.code if isinstance(end, SystemExit) else None
    known = isinstance(status, int) and status > 128
    child.send_signal(int(status or 0) - 128 if known else signal.SIGTERM)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
