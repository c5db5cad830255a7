"""A program as a process of its own that answers lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STDERR_LINES = 12


class ProgramDiedError(Exception):
    """A program ended, or kept silent for too long; the message has its last words."""


class Program:
    """A running program; see :mod:`benchmarks.peers.protocol` for what it is asked.

    Args:
        command: that starts it.
        environment: variables beside those of this process.
        memory: most bytes that it may allocate, where the system can see to that; else the
            machine's other users would pay for a case that is too large.
        patience: seconds that an answer may take.

    Attributes:
        ready: its first line.

    Raises:
        ProgramDiedError: it did not come so far.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        memory: int | None = None,
        patience: float = 1800.0,
    ) -> None:
        self._patience = patience
        self._silent = False
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by end()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        if memory is not None:
            limit_memory(self._process.pid, memory)
        self.ready = self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            ProgramDiedError: there is none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        return self._answer()

    def end(self) -> None:
        """Let it end; make it, if it does not."""
        try:
            self._process.communicate('{"do": "end"}\n', timeout=20)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(self._patience, self._give_up)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._died() from None
        return answer

    def _give_up(self) -> None:
        self._silent = True
        self._process.kill()

    def _died(self) -> ProgramDiedError:
        """What its standard error ended with."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it answers, but no JSON
            self._process.kill()
            status = self._process.wait()
        self._errors.seek(0)
        words = [line.rstrip() for line in self._errors if line.strip()][-STDERR_LINES:]
        what = f"no answer within {self._patience:g} s" if self._silent else f"status {status}"
        return ProgramDiedError("\n".join([f"died ({what})", *words]))


def limit_memory(pid: int, memory: int) -> None:
    """Let allocations of a process fail beyond this many bytes, on Linux."""
    if sys.platform != "linux":
        return
    import resource

    resource.prlimit(pid, resource.RLIMIT_DATA, (memory, memory))


def available_memory() -> int | None:
    """Bytes that programs can have without others losing theirs, where the system says so."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024 * int(text.split("MemAvailable:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None
