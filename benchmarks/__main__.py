"""``python -m benchmarks``: run cases, and write the results.

Every repeat goes to ``results/speed/MACHINE/raw``; tables and the page beside it are made
from all that is there, so that some of the cases can be run again. ``--against PATH`` compares
another checkout of the suite with this one instead, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks import checks, language, layers, page, translation
from benchmarks.cases import BEFORE, CASES, CHANGES, OURS, Case, before_and_after, find
from benchmarks.checks import Judge
from benchmarks.protocol import ROOT, Work
from benchmarks.runner import SKIPPED, Program, measure
from qvbench.data.preprocessing import usable_cores
from qvbench.errors import UserError
from qvbench.runs.record import git_revision, versions, without_folders
from qvbench.training.machine import describe_hardware

WORK = {**layers.WORK, **translation.WORK, **language.WORK}
"""By kind of work: writes what the programs of a case start from; its module runs ours."""
OPENNMT = ROOT / ".peers" / "opennmt"
PEERS = {
    "opennmt": str(OPENNMT / "bin" / "python"),
    "ctranslate2": str(OPENNMT / "bin" / "python"),
    "marian": sys.executable,
    "torch_transformer": sys.executable,
    "nanogpt": sys.executable,
    "gpt2": sys.executable,
}
"""By peer: the interpreter of its virtual environment."""
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""Settings that ``qvbench fit`` makes for itself: glibc keeps freed memory, oneDNN few kernels."""


def main(args: Sequence[str]) -> int:
    """Run; 0 unless nothing could be measured or a name is unknown."""
    given = parser().parse_args(args)
    given.command = shlex.join(["python", "-m", "benchmarks", *args])
    os.chdir(ROOT)  # configs are named from here
    cases = CHANGES if given.against else CASES
    if given.list:
        print("\n".join(case.name for case in cases))
        return 0
    try:
        chosen = find(given.only or [], cases)
    except KeyError as error:
        print(f"benchmarks: no case or group {error}; --list shows them", file=sys.stderr)
        return 2
    torch.set_num_threads(given.threads)
    if given.against:
        results = list(run_all([before_and_after(case) for case in chosen], given))
        print(page.comparison(results), end="")
        return 0 if results else 1
    folders = {path for path in given.out.glob("*") if path.is_dir()} if given.pages else set()
    for raw in [] if given.pages else run_all(chosen, given):
        folder = given.out / machine(given.threads)
        file = folder / "raw" / f"{slug(raw['case']['name'])}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
        folders.add(folder)
    for folder in folders:
        page.write(folder)
    page.fill(ROOT / "docs" / "performance.md")
    return 0 if folders else 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed.")
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", help="cases or beginnings of names")
    add("--repeats", type=int, default=7, help="rounds per case (%(default)s)")
    add("--threads", type=int, default=usable_cores(), help="of every program (%(default)s)")
    add("--checkpoint", type=_existing, metavar="PATH", help="to translate with; else one is made")
    add("--against", type=_existing, metavar="PATH", help="another checkout to compare with")
    out = ROOT / "results" / "speed"
    add("--out", type=lambda text: Path(text).absolute(), default=out, metavar="FOLDER")
    add("--pages", action="store_true", help="only write tables again")
    add("--list", action="store_true", help="name all cases")
    return parser


def _existing(text: str) -> Path:
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return Path(text).absolute()


def run_all(cases: Sequence[Case], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Raw results, case by case; one whose data is not available is left out."""
    for number, case in enumerate(cases, 1):
        say(f"[{number}/{len(cases)}] {case.name}")
        raw = {"case": case.to_json(), "about": about(given)}
        with tempfile.TemporaryDirectory(prefix="qvbench-") as folder:
            try:
                programs = programs_of(case, Path(folder), given)
            except UserError as error:
                say(f"    skipped, {error}")
                continue
            measure(programs, given.repeats, lambda line: say(f"    {line}"))
        yield published({**raw, "programs": {each.name: each.outcome for each in programs}})


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def programs_of(case: Case, folder: Path, given: argparse.Namespace) -> list[Program]:
    """Those of the same shape start from the same folder; UserError where data is missing."""
    made: dict[str, tuple[Path, Judge]] = {}
    programs = []
    for entry in case.programs:
        kind, shape = ("rates", {}) if entry.measures else (case.kind, case.shape)
        values = {"precision": "32-true", **shape, **entry.shape}
        values |= {"threads": given.threads, "checkpoint": str(given.checkpoint or "")}
        root, python = ROOT, sys.executable
        variables = {name: str(given.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        variables |= {} if kind == "start" else ALLOCATOR  # a start is a user's
        if entry.runner in (OURS, BEFORE):
            module, skip = WORK[kind].__module__, ""
            root = given.against if entry.runner == BEFORE else ROOT
            variables |= {"PYTHONPATH": str(root)} | KERNELS
        else:
            python, skip = PEERS[entry.runner], missing(entry.runner)
            module = f"benchmarks.peers.{entry.runner}"
        key = json.dumps([kind, values], sort_keys=True)
        if key not in made and not skip:
            work = Work(folder / str(len(made)))
            made[key] = work.folder, WORK[kind](work, SimpleNamespace(**values), case.tolerance)
        place, judge = made.get(key, (folder, checks.loss(0.0, 0.0)))
        command = [python, "-m", "benchmarks.serve", module, kind, str(place)]
        programs.append(Program(entry.name, command, judge, variables, root))
        if skip:
            programs[-1].fail(SKIPPED, skip)
    return programs


def missing(peer: str) -> str:
    """How a peer's environment is made, unless it is complete and by the present requirements."""
    wanted, made = ROOT / "benchmarks" / "peers" / "opennmt.txt", OPENNMT / "ready"
    own = PEERS[peer] == sys.executable
    complete = own or (made.exists() and made.read_text() == wanted.read_text())
    return "" if complete else "`make peers` makes what it needs"


def machine(threads: int) -> str:
    """The folder of a kind of machine: ``cpu-2-threads-intel-xeon-processor``."""
    model = describe_hardware()["cpu"] or platform.machine()
    return f"cpu-{threads}-thread{'s' if threads != 1 else ''}-{slug(model)}"


def slug(text: str) -> str:
    """Letters and digits in lower case, joined by hyphens, without trade marks."""
    plain = re.sub(r"\((?:R|TM|C)\)", " ", text, flags=re.IGNORECASE)
    return "-".join(re.findall(r"[a-z0-9.]+", plain.lower()))


def about(given: argparse.Namespace) -> dict[str, Any]:
    """Which machine, code and command a result is from."""
    return {
        "command": given.command,
        "commit": git_revision(),
        "date": time.strftime("%Y-%m-%d"),
        "hardware": {**describe_hardware(), "threads": given.threads},
        "load_average_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "versions": versions(),
        "allocator": f"{assigned(ALLOCATOR)} for every program; {assigned(KERNELS)} for ours alone",
    }


def assigned(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in variables.items())


def published(raw: dict[str, Any]) -> dict[str, Any]:
    """The same, with only the last part of every absolute path in its texts."""
    plain = without_folders(json.dumps(raw).replace(f"{ROOT}{os.sep}", ""))
    return dict(json.loads(plain))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
