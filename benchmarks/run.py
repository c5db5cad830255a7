"""From a case to its programs, and from their answers to a raw result."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine, work
from benchmarks.case import OURS, Case, Entry
from benchmarks.measure import Job, Outcome, measure
from benchmarks.peers import environments
from benchmarks.process import ROOT, available_memory
from benchmarks.work import Expectation

MEMORY_SHARE = 0.9
"""Of the free memory, that the programs of a case may have together."""

LARGE_AT_ONCE = 2
"""Programs of a case that may need much memory at a time. Layers alone at great lengths all do, and
keep it."""


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
        repeats: rounds that count.
        threads: of every program.
        checkpoint: of the network that translates; empty to train one.
        command: for the record.
    """

    repeats: int
    threads: int
    checkpoint: str = ""
    command: str = ""


def missing(case: Case) -> str:
    """Why no program of a case can run on this machine; nothing if they can."""
    if case.device == "cuda" and not torch.cuda.is_available():
        return "no CUDA GPU is visible here"
    return ""


def run_case(case: Case, options: Options, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure a case.

    Returns:
        The raw result.

    Raises:
        UserError: the case's data cannot be had.
    """
    about = machine.about(options.threads, options.command)
    with tempfile.TemporaryDirectory(prefix="qvbench-") as folder:
        jobs = jobs_of(case, Path(folder), options)
        outcomes = measure(jobs, options.repeats, report)
    return result_of(case, outcomes, about)


def result_of(case: Case, outcomes: dict[str, Outcome], about: dict[str, Any]) -> dict[str, Any]:
    """Case, machine, and all that came of the programs, as plain data."""
    programs = {name: outcome.to_json() for name, outcome in outcomes.items()}
    raw = {"case": case.to_json(), "about": about, "programs": programs}
    plain: dict[str, Any] = machine.without_paths(json.loads(json.dumps(raw)))
    return plain


def jobs_of(case: Case, folder: Path, options: Options) -> list[Job]:
    """The programs of a case, each with its work folder."""
    expected: dict[str, Expectation] = {}
    memory = memory_of_each(case)
    jobs = []
    for entry in case.programs:
        skip = unavailable(entry)
        kind = case.kind_of(entry)
        values = values_of(case, entry, options)
        # Programs of the same shape start from the same folder.
        key = f"{kind} {json.dumps(values, sort_keys=True)}"
        place = folder / str(len(expected) if key not in expected else list(expected).index(key))
        if key not in expected and not skip:
            expected[key] = work.export(kind, place, values, case.tolerance)
        found = expected.get(key)
        jobs.append(
            Job(
                name=entry.name,
                command=command(entry.runner, kind, place),
                judge=found.judge if found else never,
                judge_last=found.judge_last if found else None,
                environment=machine.environment(options.threads, entry.runner != OURS),
                skip=skip,
                memory=memory,
            )
        )
    return jobs


def memory_of_each(case: Case) -> int | None:
    """Bytes that a program may have; nothing where there is no telling, or it uses a GPU's."""
    free = available_memory() if case.device == "cpu" else None
    large = len(case.programs) if case.kind in ("attention", "step") else LARGE_AT_ONCE
    return None if free is None else int(MEMORY_SHARE * free / large)


def never(*_: Any) -> Any:
    """The judge of a program that is not run.

    Raises:
        AssertionError: always.
    """
    raise AssertionError("a program that was skipped has answered")


def values_of(case: Case, entry: Entry, options: Options) -> dict[str, Any]:
    """What goes into ``shape.json`` besides a network's sizes."""
    own = {} if entry.measures else dict(case.shape)
    values = {"precision": "32-true", **own, **entry.shape}
    if case.kind == "translate":
        values["checkpoint"] = options.checkpoint
    return {**values, "device": case.device, "threads": options.threads}


def unavailable(entry: Entry) -> str:
    """Why a program cannot run on this machine; nothing if it can."""
    if entry.runner == OURS or environments.is_made(entry.runner):
        return ""
    return f"python -m benchmarks.peers.environments {entry.runner} makes what it needs"


def command(runner: str, kind: str, folder: Path) -> list[str]:
    """How a program is started."""
    if runner == OURS:
        return [sys.executable, "-m", f"benchmarks.programs.{kind}", kind, str(folder)]
    script = ROOT / "benchmarks" / "peers" / f"{runner}.py"
    return [str(environments.python_of(runner)), str(script), kind, str(folder)]


def file_of(case: Case) -> str:
    """The name of a case's raw result."""
    return "-".join(re.findall(r"\w+", case.name)) + ".json"


def save(raw: dict[str, Any], case: Case, folder: Path) -> None:
    """Write a raw result below a machine's folder."""
    place = folder / "raw"
    place.mkdir(parents=True, exist_ok=True)
    (place / file_of(case)).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
