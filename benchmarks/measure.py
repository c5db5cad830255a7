"""Programs of a case in turns, behind the gate of their checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.checks import Verdict
from benchmarks.process import Program, ProgramDiedError

MEASURED, SKIPPED, WRONG, DIED = "measured", "skipped", "wrong", "died"

Report = Callable[[str], None]


@dataclass
class Job:
    """A program that is ready to be started.

    Attributes:
        name: of its row.
        command: that starts it.
        judge: of its answer to a check, the first one and the last.
        environment: variables beside this process's.
        skip: why it cannot run here; nothing if it can.
        memory: bytes that it may have.
        facts: what is known of its work beforehand.
    """

    name: str
    command: Sequence[str]
    judge: Callable[[Mapping[str, Any], Mapping[str, Any]], Verdict]
    judge_last: Callable[[Mapping[str, Any], Mapping[str, Any]], Verdict] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    skip: str = ""
    memory: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of a program.

    Attributes:
        status: one of the four above; only what is measured has a speed.
        reason: of any other.
        ready: its first line.
        check: what its check found.
        repeats: rounds with their seconds, items and peak memory; the warm-up is none.
        facts: see :class:`Job`.
    """

    status: str = MEASURED
    reason: str = ""
    ready: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    repeats: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything, for the raw results."""
        return asdict(self)


def order(names: Sequence[str], round_number: int) -> list[str]:
    """Who comes when: the order is turned round every time, so that nobody always comes first."""
    return list(names) if round_number % 2 == 0 else list(reversed(names))


def measure(jobs: Sequence[Job], repeats: int, report: Report) -> dict[str, Outcome]:
    """Start all programs, check each, then let them repeat their work in turns.

    A program that dies or computes something else is out, and the others go on.

    Args:
        jobs: the programs, by different names.
        repeats: rounds that count, after one that does not.
        report: is told what happens.
    """
    outcomes = {job.name: Outcome(facts=dict(job.facts)) for job in jobs}
    by_name = {job.name: job for job in jobs}
    running: dict[str, Program] = {}
    try:
        for job in jobs:
            _start(job, outcomes[job.name], running, report)
        for number in range(-1, repeats):
            for name in order([job.name for job in jobs], number):
                if name in running:
                    _repeat(name, number, outcomes[name], running, report)
        for name in list(running):
            _check_last(by_name[name], outcomes[name], running)
    finally:
        for program in running.values():
            program.end()
    for outcome in outcomes.values():
        if outcome.status != MEASURED:
            outcome.repeats = []
    return outcomes


def _start(job: Job, outcome: Outcome, running: dict[str, Program], report: Report) -> None:
    """Start a program and hold its first answer to what is expected."""
    if job.skip:
        outcome.status, outcome.reason = SKIPPED, job.skip
        report(f"{job.name}: skipped, {job.skip}")
        return
    try:
        running[job.name] = program = Program(job.command, job.environment, job.memory)
        outcome.ready = program.ready
        verdict = job.judge(program.ask("check"), program.ready)
    except ProgramDiedError as death:
        _bury(job.name, outcome, running, death, report)
        return
    outcome.check = verdict.facts
    report(f"{job.name}: check {'passed' if verdict.passed else 'FAILED'}, {verdict.reason}")
    if not verdict.passed:
        outcome.status, outcome.reason = WRONG, verdict.reason
        running.pop(job.name).end()


def _repeat(
    name: str, number: int, outcome: Outcome, running: dict[str, Program], report: Report
) -> None:
    """One round of one program; round -1 is the warm-up."""
    try:
        answer = running[name].ask("repeat")
        speed = answer["items"] / answer["seconds"]
    except ProgramDiedError as death:
        _bury(name, outcome, running, death, report)
        return
    which = "warm-up" if number < 0 else f"round {number + 1}"
    report(f"{which}, {name}: {speed:,.4g} a second, {answer['seconds']:.2f} s")
    if number >= 0:
        outcome.repeats.append({"round": number, **answer})


def _check_last(job: Job, outcome: Outcome, running: dict[str, Program]) -> None:
    """Whether a program did the work, where its answer must have changed by that."""
    if job.judge_last is None:
        return
    try:
        verdict = job.judge_last(running[job.name].ask("check"), outcome.check)
    except ProgramDiedError as death:
        outcome.status, outcome.reason = DIED, str(death)
        return
    outcome.check |= verdict.facts
    if not verdict.passed:
        outcome.status, outcome.reason = WRONG, verdict.reason


def _bury(
    name: str,
    outcome: Outcome,
    running: dict[str, Program],
    death: ProgramDiedError,
    report: Report,
) -> None:
    outcome.status, outcome.reason = DIED, str(death)
    report(f"{name}: {death}")
    if name in running:
        running.pop(name).end()
