"""Programs in turns, each a process that answers lines of JSON, and ratios of what they took.

What disturbs a machine for longer than a round disturbs all programs of that round, so programs are
compared round by round, and their order is reversed from one round to the next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.checks import Judge

ROOT = Path(__file__).resolve().parents[1]
STDERR_LINES = 12
MEASURED, SKIPPED, WRONG, DIED = "measured", "skipped", "wrong", "died"

Report = Callable[[str], None]
Repeats = Sequence[Mapping[str, Any]]


class Spread(NamedTuple):
    """The 20 % quantile, the median and the 80 % quantile."""

    low: float
    middle: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Quantiles with linear interpolation.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, no quantiles")
    return Spread(*(float(q) for q in np.quantile(values, (0.2, 0.5, 0.8))))


def speeds(repeats: Repeats) -> Spread:
    """Items per second."""
    return spread([repeat["items"] / repeat["seconds"] for repeat in repeats])


def ratios(first: Repeats, other: Repeats, key: str = "seconds") -> Spread:
    """Time per item of ``other`` over that of ``first``, in each round that both have.

    Raises:
        ValueError: they have no round in common.
    """
    times = {repeat["round"]: repeat[key] / repeat["items"] for repeat in first}
    both = [repeat for repeat in other if repeat["round"] in times]
    return spread([r[key] / r["items"] / times[r["round"]] for r in both])


class ProgramDiedError(Exception):
    """A program ended, or gave no answer in time; the message ends with its last lines."""


class Program:
    """A running program; :mod:`benchmarks.peers.protocol` has the requests that it answers.

    Args:
        command: starts it.
        environment: variables in addition to this process's.
        memory: limit on what it may allocate, in bytes, where the system can enforce one.
        root: its working folder.
        patience: seconds to wait for an answer.

    Attributes:
        ready: its first line.

    Raises:
        ProgramDiedError: it did not get that far.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        memory: int | None = None,
        root: Path = ROOT,
        patience: float = 1800.0,
    ) -> None:
        self._patience, self._timed_out = patience, False
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by end()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=root,
            env={**os.environ, **(environment or {})},
        )
        if memory is not None and sys.platform == "linux":
            import resource

            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (memory, memory))
        self.ready = self._answer()

    def ask(self, request: str) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            ProgramDiedError: there is none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": request}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        return self._answer()

    def cpu_seconds(self) -> float | None:
        """Processor time of it and of its children that have ended, so far; ``None`` if unknown."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        except OSError:  # not Linux
            return None
        # After the name, which may hold anything: utime, stime, cutime and cstime are 12th to 15th.
        return sum(map(int, text.rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Ask it to end, or kill it."""
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
        self._timed_out = True
        self._process.kill()

    def _died(self) -> ProgramDiedError:
        """Its status, and what its standard error ended with."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it answers, but no JSON
            self._process.kill()
            status = self._process.wait()
        self._errors.seek(0)
        lines = [line.rstrip() for line in self._errors if line.strip()][-STDERR_LINES:]
        why = f"no answer within {self._patience:g} s" if self._timed_out else f"status {status}"
        return ProgramDiedError("\n".join([f"died ({why})", *lines]))


@dataclass
class Job:
    """A program that can be started.

    Attributes:
        name: of its row.
        command, environment, memory, root: see :class:`Program`.
        judge, judge_last: see :class:`benchmarks.checks.Expectation`.
        skip: why it cannot run here; empty if it can.
    """

    name: str
    command: Sequence[str]
    judge: Judge | None
    judge_last: Judge | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    root: Path = ROOT
    skip: str = ""


@dataclass
class Outcome:
    """What came of a program.

    Attributes:
        status: :data:`MEASURED`, or why it has no speed.
        reason: of any other status.
        ready: its first line.
        check: facts of its checks.
        repeats: round, seconds, items and peak memory of each; without the warm-up.
    """

    status: str = MEASURED
    reason: str = ""
    ready: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    repeats: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As raw results hold it."""
        return asdict(self)


def in_turn(runners: Sequence[Any], round_number: int) -> Sequence[Any]:
    """Reversed every other round, so that nobody always comes first."""
    return runners if round_number % 2 == 0 else runners[::-1]


def measure(jobs: Sequence[Job], rounds: int, report: Report) -> dict[str, Outcome]:
    """Start all programs, check each, then let them repeat their work in turns.

    A program that dies or computes something else is left out, and the others go on.

    Args:
        jobs: programs of different names.
        rounds: that count, after one of warming up.
        report: takes lines on the progress.
    """
    runners = [_Runner(job, report) for job in jobs]
    try:
        for runner in runners:
            runner.attempt(runner.start)
        for number in range(-1, rounds):
            for runner in in_turn(runners, number):
                runner.attempt(partial(runner.repeat, number))
        for runner in runners:
            runner.attempt(runner.check_again)
    finally:
        for runner in runners:
            runner.end()
    return {runner.job.name: runner.outcome for runner in runners}


class _Runner:
    """One program, from its start to its end."""

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.outcome = job, Outcome()
        self._report = report
        self._program: Program | None = None

    def attempt(self, step: Callable[[], None]) -> None:
        """Take a step, unless an earlier one failed."""
        if self.outcome.status != MEASURED:
            return
        try:
            step()
        except ProgramDiedError as death:
            self._fail(DIED, str(death))

    def start(self) -> None:
        """Load, and check the first answer."""
        if self.job.skip:
            self._fail(SKIPPED, self.job.skip)
            return
        job = self.job
        self._program = Program(job.command, job.environment, job.memory, job.root)
        self.outcome.ready = self._program.ready
        self._check(self.job.judge, self._program.ready)

    def repeat(self, number: int) -> None:
        """One round; number -1 is the warm-up."""
        assert self._program is not None
        before = self._program.cpu_seconds()
        answer = self._ask("repeat")
        if before is not None:
            answer["cpu_seconds"] = (self._program.cpu_seconds() or before) - before
        which = "warm-up" if number < 0 else f"round {number + 1}"
        speed, seconds = answer["items"] / answer["seconds"], answer["seconds"]
        self._report(f"{which}, {self.job.name}: {speed:,.4g} per second, {seconds:.2f} s")
        if number >= 0:
            self.outcome.repeats.append({"round": number, **answer})

    def check_again(self) -> None:
        """Whether it did the work, where its answer must have changed by that."""
        if self.job.judge_last is not None:
            self._check(self.job.judge_last, self.outcome.check)

    def end(self) -> None:
        """End the program, if it runs."""
        if self._program is not None:
            self._program.end()
            self._program = None

    def _ask(self, request: str) -> dict[str, Any]:
        assert self._program is not None
        return self._program.ask(request)

    def _check(self, judge: Judge | None, against: Mapping[str, Any]) -> None:
        assert judge is not None
        verdict = judge(self._ask("check"), against)
        self.outcome.check |= verdict.facts
        if verdict.passed:
            self._report(f"{self.job.name}: check passed, {verdict.reason}")
        else:
            self._fail(WRONG, verdict.reason)

    def _fail(self, status: str, reason: str) -> None:
        self.outcome.status, self.outcome.reason, self.outcome.repeats = status, reason, []
        self._report(f"{self.job.name}: {status}, {reason}")
        self.end()
