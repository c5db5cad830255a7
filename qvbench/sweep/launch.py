"""Running one planned run, claimed before, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from qvbench.errors import UserError
from qvbench.runs.record import SWEEP_VARIABLE
from qvbench.sweep.plan import Outcome, PlannedRun

PATIENCE = 60.0  # seconds that a run has to end by itself when its sweep is ended


def execute(run: PlannedRun, lock: int | None, tick: Callable[[float], None]) -> Outcome:
    """Run it, from where it was cut off if it was, and write down how it ended.

    Args:
        run: claimed before.
        lock: the descriptor of its lock, unless the lock is held on another machine.
        tick: called every second with the seconds since the start.
    """
    make_room(run)
    run.log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {SWEEP_VARIABLE: json.dumps(run.labels)}
    started = time.monotonic()
    with run.log.open("wb") as log:
        child = subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=() if lock is None else (lock,),
        )
        try:
            while (status := _status(child)) is None:
                tick(time.monotonic() - started)
        except BaseException as end:
            _end(child, _signal_of(end))
            raise
    outcome = Outcome(run.identity, status, round(time.monotonic() - started, 2), time.time())
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
    if strange and record.get("identity") != run.identity:
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


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended, if it does within a second."""
    try:
        return child.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def _signal_of(end: BaseException) -> int:
    """The signal that ended us, passed on: SIGUSR1 has a run requeue its Slurm job."""
    status = end.code if isinstance(end, SystemExit) else None
    return status - 128 if isinstance(status, int) and status > 128 else signal.SIGTERM


def _end(child: subprocess.Popen[bytes], number: int) -> None:
    """End a run that its sweep does not live to see through."""
    child.send_signal(number)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _write(file: Path, text: str) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
