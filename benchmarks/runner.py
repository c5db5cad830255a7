"""Programs in turns, each a process that answers lines of JSON, and ratios of what they took.

What disturbs a machine for longer than a round disturbs all programs of that round, so programs are
compared round by round, and their order is reversed from one round to the next.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.checks import Judge, Verdict
from benchmarks.protocol import ROOT

MEASURED, SKIPPED, WRONG, DIED = "measured", "skipped", "wrong", "died"

Repeats = Sequence[Mapping[str, Any]]


class Quantiles(NamedTuple):
    """The 20 % quantile, the median and the 80 % quantile."""

    low: float
    median: float
    high: float


def quantiles(values: Sequence[float]) -> Quantiles:
    """Quantiles with linear interpolation; of at least one value."""
    return Quantiles(*(float(q) for q in np.quantile(values, (0.2, 0.5, 0.8))))


def speeds(repeats: Repeats) -> Quantiles:
    return quantiles([repeat["items"] / repeat["seconds"] for repeat in repeats])


def ratios(first: Repeats, other: Repeats, key: str = "seconds") -> Quantiles:
    """Time per item of ``other`` over that of ``first``, in each round that both have."""
    times = {repeat["round"]: repeat[key] / repeat["items"] for repeat in first}
    both = [repeat for repeat in other if repeat["round"] in times]
    return quantiles([r[key] / r["items"] / times[r["round"]] for r in both])


class ProgramDiedError(Exception):
    """A program ended, or gave no answer in time; the message ends with its last lines."""


@dataclass
class Program:
    """A program of a case, and what came of it."""

    name: str  # of its row
    command: Sequence[str]  # starts a process that answers as benchmarks.protocol has it
    judge: Judge  # of its check
    environment: Mapping[str, str] = field(default_factory=dict)  # in addition to this process's
    root: Path = ROOT  # its working folder
    timeout: float = 1800.0  # seconds to wait for an answer
    _process: Any = None
    _errors: Any = None

    def __post_init__(self) -> None:
        # As raw results hold it: MEASURED or why it has no speed, its first line (`ready`), the
        # facts of its checks, and its repeats without the warm-up.
        self.outcome: dict[str, Any] = {"status": MEASURED, "reason": ""}
        self.outcome |= {"ready": {}, "check": {}, "repeats": []}

    def attempt(self, step: Callable[[Program], str], report: Callable[[str], None]) -> None:
        """Take a step and report what it returns, unless an earlier one failed."""
        if self.outcome["status"] != MEASURED:
            return
        try:
            report(f"{self.name}: {step(self)}")
        except ProgramDiedError as death:
            report(f"{self.name}: {self.fail(DIED, str(death))}")

    def start(self) -> str:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by end()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        environment = {**os.environ, **self.environment}
        self._process = subprocess.Popen(
            self.command, text=True, cwd=self.root, env=environment, **pipes
        )
        ready = self.outcome["ready"] = self._answer()
        return self._conclude(self.judge(self._ask("check"), ready))

    def repeat(self, number: int) -> str:
        answer = {"round": number, **self._ask("repeat")}
        if number >= 0:
            self.outcome["repeats"].append(answer)
        which = "warm-up" if number < 0 else f"round {number + 1}"
        speed, seconds = answer["items"] / answer["seconds"], answer["seconds"]
        return f"{which}, {speed:,.4g} per second, {seconds:.2f} s"

    def check_again(self) -> str:
        before = self.outcome["check"].get("loss")
        if before is None:
            return "done"
        after = self._ask("check")["loss"]
        return self._conclude(Verdict(after < before, {"loss after": after}))

    def fail(self, status: str, reason: str) -> str:
        """It has no speed, for a reason; its process is ended."""
        self.outcome |= {"status": status, "reason": reason, "repeats": []}
        self.end()
        return f"{status}, {reason}"

    def end(self) -> None:
        """End the process, if it runs."""
        if self._process is None:
            return
        try:
            self._process.communicate("end\n", timeout=20)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._process = None

    def _ask(self, request: str) -> dict[str, Any]:
        try:
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended, so there is no answer either
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        timer = threading.Timer(self.timeout, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        why = "" if timer.is_alive() else f"no answer within {self.timeout:g} s, "
        timer.cancel()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            self._process.kill()  # it may answer, but no JSON
            status = self._process.wait()
            self._errors.seek(0)
            lines = [line.rstrip() for line in self._errors if line.strip()][-12:]
            message = "\n".join([f"died ({why}status {status})", *lines])
            raise ProgramDiedError(message) from None
        return answer

    def _conclude(self, verdict: Verdict) -> str:
        self.outcome["check"] |= verdict.facts
        facts = ", ".join(f"{name} {value}" for name, value in verdict.facts.items())
        return f"check passed, {facts}" if verdict.passed else self.fail(WRONG, facts)


def measure(programs: Sequence[Program], rounds: int, report: Callable[[str], None]) -> None:
    """Start all programs, check each, then let them repeat their work in turns, after a round of
    warming up; one that dies or computes something else is left out."""
    steps: list[Callable[[Program], str]] = [Program.start]
    steps += [partial(Program.repeat, number=number) for number in range(-1, rounds)]
    steps.append(Program.check_again)
    try:
        for place, step in enumerate(steps):
            # Reversed every other round, so that nobody always comes first.
            for program in programs[:: -1 if place % 2 else 1]:
                program.attempt(step, report)
    finally:
        for program in programs:
            program.end()
