"""``python -m benchmarks``: run the cases that this machine can run, and write the results.

Every repeat goes to ``results/speed/MACHINE/raw``; tables, figures and the page beside it are made
from all that is there, so that some of the cases can be run again. ``--against PATH`` compares
another checkout of the suite with this one instead, and prints a table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine, page
from benchmarks.cases import BEFORE, CASES, CHANGES, OURS, Case, Entry, before_and_after, find
from benchmarks.checks import Expectation
from benchmarks.measure import ROOT, Job, Outcome, measure
from benchmarks.peers import environments
from qvbench.data.parallel import usable_cores
from qvbench.errors import UserError

PERFORMANCE_PAGE = ROOT / "docs" / "performance.md"
MEMORY_SHARE = 0.9
"""Of the free memory, for the programs of a case together."""
LARGE_AT_ONCE = 2
"""Programs of a case that need much memory at the same time; single layers all do."""


def main(args: Sequence[str] | None = None) -> int:
    """Run; 0 unless nothing could be measured or a name is unknown."""
    given = parser().parse_args(args)
    os.chdir(ROOT)  # configs are named from here
    cases = [*CASES, *CHANGES] if given.against else CASES
    if given.list:
        print("\n".join(f"{case.name}  [{case.device}]" for case in cases))
        return 0
    try:
        chosen = find(given.only or (["changes/"] if given.against else []), cases)
    except KeyError as error:
        print(f"benchmarks: no case or group {error}; --list shows them", file=sys.stderr)
        return 2
    torch.set_num_threads(given.threads)
    if given.against:
        results = [raw for _, raw in run_all(before_and_after(chosen), given)]
        print(page.comparison(results), end="")
        return 0 if results else 1
    folders: dict[Path, None] = {}
    for case, raw in [] if given.pages else run_all(chosen, given):
        folder = given.out / machine.kind(case.device, given.threads)
        save(raw, folder / "raw" / file_of(case))
        folders[folder] = None
    for folder in folders or sorted(path for path in given.out.glob("*") if path.is_dir()):
        page.write(folder)
    page.fill(PERFORMANCE_PAGE)
    return 0 if folders or given.pages else 1


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases or beginnings of names")
    parser.add_argument(
        "--repeats", type=_positive, default=7, help="rounds per case (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=_positive, default=usable_cores(), help="of every program (%(default)s)"
    )
    parser.add_argument(
        "--checkpoint",
        type=_file,
        metavar="PATH",
        help="network that translates; else one is trained first",
    )
    parser.add_argument(
        "--against",
        type=_checkout,
        metavar="PATH",
        help="another checkout: run its programs in turns with this one's, print relative times",
    )
    parser.add_argument(
        "--out", type=_absolute, default=ROOT / "results" / "speed", metavar="FOLDER"
    )
    parser.add_argument("--pages", action="store_true", help="only write tables and figures again")
    parser.add_argument("--list", action="store_true", help="name all cases")
    return parser


def run_all(cases: Sequence[Case], given: argparse.Namespace) -> Any:
    """Measure case by case; yields each with its raw result, where it has one."""
    for number, case in enumerate(cases, 1):
        title = f"[{number}/{len(cases)}] {case.name}"
        say(title)
        start = time.monotonic()
        try:
            yield case, run_case(case, given)
        except UserError as error:
            say(f"{title}: skipped, {error}")
        else:
            say(f"    done in {time.monotonic() - start:.0f} s")


def run_case(case: Case, given: argparse.Namespace) -> dict[str, Any]:
    """Measure a case; returns the raw result.

    Raises:
        UserError: its device or its data is not available.
    """
    if case.device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is visible here")
    about = machine.about(given.threads, command_of(given))
    with tempfile.TemporaryDirectory(prefix="qvbench-") as folder:
        jobs = jobs_of(case, Path(folder), given)
        outcomes = measure(jobs, given.repeats, lambda line: say(f"    {line}"))
    return result_of(case, outcomes, about)


def result_of(case: Case, outcomes: dict[str, Outcome], about: dict[str, Any]) -> dict[str, Any]:
    """Case, machine, and all that came of the programs, as plain data."""
    programs = {name: outcome.to_json() for name, outcome in outcomes.items()}
    raw = {"case": case.to_json(), "about": about, "programs": programs}
    result: dict[str, Any] = machine.without_paths(json.loads(json.dumps(raw)))
    return result


def jobs_of(case: Case, folder: Path, given: argparse.Namespace) -> list[Job]:
    """The programs of a case; those of the same shape start from the same folder of work."""
    made: dict[str, tuple[Path, Expectation]] = {}
    free = machine.available_memory() if case.device == "cpu" else None
    large = len(case.programs) if case.kind in ("attention", "step") else LARGE_AT_ONCE
    jobs = []
    for entry in case.programs:
        kind, values = case.kind_of(entry), values_of(case, entry, given)
        key = f"{kind} {json.dumps(values, sort_keys=True)}"
        skip = unavailable(entry)
        if key not in made and not skip:
            place = folder / str(len(made))
            export = importlib.import_module(f"benchmarks.programs.{kind}").export
            made[key] = place, export(place, values, case.tolerance)
        place, expected = made.get(key, (folder, Expectation(_never)))
        root = given.against if entry.runner == BEFORE else ROOT
        own = {"PYTHONPATH": str(root)} if entry.runner in (OURS, BEFORE) else {}
        jobs.append(
            Job(
                entry.name,
                command(entry.runner, kind, place),
                expected.judge,
                expected.judge_last,
                environment={**machine.environment(given.threads, not own), **own},
                memory=None if free is None else int(MEMORY_SHARE * free / large),
                root=root,
                skip=skip,
            )
        )
    return jobs


def _never(*_: Any) -> Any:
    raise AssertionError("a program that was skipped has answered")


def values_of(case: Case, entry: Entry, given: argparse.Namespace) -> dict[str, Any]:
    """What goes into ``shape.json`` besides the sizes of a network."""
    own = {} if entry.measures else dict(case.shape)
    values = {"precision": "32-true", **own, **entry.shape}
    if case.kind == "translate":
        values["checkpoint"] = given.checkpoint or ""
    return {**values, "device": case.device, "threads": given.threads}


def unavailable(entry: Entry) -> str:
    """Why a program cannot run on this machine; empty if it can."""
    if entry.runner in (OURS, BEFORE) or environments.is_made(entry.runner):
        return ""
    return f"python -m benchmarks.peers.environments {entry.runner} makes what it needs"


def command(runner: str, kind: str, folder: Path) -> list[str]:
    """How a program is started."""
    if runner in (OURS, BEFORE):
        return [sys.executable, "-m", f"benchmarks.programs.{kind}", kind, str(folder)]
    script = ROOT / "benchmarks" / "peers" / f"{runner}.py"
    return [str(environments.python_of(runner)), str(script), kind, str(folder)]


def file_of(case: Case) -> str:
    """The name of a case's raw result."""
    return "-".join(re.findall(r"\w+", case.name)) + ".json"


def save(raw: dict[str, Any], file: Path) -> None:
    """Write a raw result."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def command_of(given: argparse.Namespace) -> str:
    """The command as somebody else would give it: without the places of files."""
    args = ["python", "-m", "benchmarks", "--repeats", str(given.repeats)]
    args += ["--threads", str(given.threads)]
    args += ["--checkpoint", Path(given.checkpoint).name] if given.checkpoint else []
    args += ["--only", *given.only] if given.only else []
    return shlex.join(args)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return str(Path(text).absolute())


def _checkout(text: str) -> Path:
    if not (Path(text) / "benchmarks" / "programs").is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no checkout with benchmarks/programs")
    return Path(text).absolute()


if __name__ == "__main__":
    sys.exit(main())
