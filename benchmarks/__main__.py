"""``python -m benchmarks``: run the cases that this machine can run, and write what came of them.

Raw results of every repeat go to ``results/speed/MACHINE/raw``; tables, figures and the page beside
them are made from all that lies there, so that a part of the cases can be run again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import machine, pages
from benchmarks.case import Case
from benchmarks.cases import CASES, find
from benchmarks.process import ROOT
from benchmarks.run import Options, missing, run_case, save
from qvbench.data.parallel import usable_cores
from qvbench.errors import UserError

PERFORMANCE_PAGE = ROOT / "docs" / "performance.md"


def main(words: Sequence[str] | None = None) -> int:
    """Run; 0 unless nothing could be measured or a name is unknown."""
    arguments = parser().parse_args(words)
    os.chdir(ROOT)  # configs are named from here
    if arguments.list:
        print("\n".join(f"{case.name}  [{case.device}]" for case in CASES))
        return 0
    try:
        cases = find(arguments.only or [])
    except KeyError as error:
        print(f"benchmarks: no case or group {error}; --list shows them", file=sys.stderr)
        return 2
    threads = arguments.threads or usable_cores()
    torch.set_num_threads(threads)
    options = Options(arguments.repeats, threads, arguments.checkpoint or "", _command(arguments))
    folders = {} if arguments.pages else run_all(cases, options, arguments.out)
    for folder in folders or sorted(path for path in arguments.out.glob("*") if path.is_dir()):
        pages.write(folder)
    pages.fill(PERFORMANCE_PAGE)
    return 0 if folders or arguments.pages else 1


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases or beginnings of names")
    parser.add_argument("--repeats", type=_whole, default=7, help="rounds of a case (%(default)s)")
    parser.add_argument("--threads", type=_whole, help="of every program; all cores by default")
    parser.add_argument(
        "--checkpoint",
        type=_absolute,
        metavar="PATH",
        help="network that translates; else one is trained first",
    )
    parser.add_argument("--out", type=_place, default=ROOT / "results" / "speed", metavar="FOLDER")
    parser.add_argument("--pages", action="store_true", help="only tables and figures, anew")
    parser.add_argument("--list", action="store_true", help="name all cases")
    return parser


def run_all(cases: Sequence[Case], options: Options, out: Path) -> dict[Path, None]:
    """Measure case by case, each saved at once; gives the machines' folders."""
    folders: dict[Path, None] = {}
    for number, case in enumerate(cases, 1):
        title = f"[{number}/{len(cases)}] {case.name}"
        reason = missing(case)
        if reason:
            say(f"{title}: skipped, {reason}")
            continue
        say(title)
        start = time.monotonic()
        try:
            raw = run_case(case, options, lambda line: say(f"    {line}"))
        except UserError as error:
            say(f"{title}: skipped, {error}")
            continue
        folder = out / machine.kind(case.device, options.threads)
        save(raw, case, folder)
        folders[folder] = None
        say(f"    done in {time.monotonic() - start:.0f} s")
    return folders


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _command(arguments: argparse.Namespace) -> str:
    """The command as somebody else would give it: without the places of files."""
    words = ["python", "-m", "benchmarks", "--repeats", str(arguments.repeats)]
    words += ["--threads", str(arguments.threads)] if arguments.threads else []
    words += ["--checkpoint", Path(arguments.checkpoint).name] if arguments.checkpoint else []
    words += ["--only", *arguments.only] if arguments.only else []
    return shlex.join(words)


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _place(text: str) -> Path:
    return Path(text).absolute()


def _absolute(text: str) -> str:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return str(Path(text).absolute())


if __name__ == "__main__":
    sys.exit(main())
