"""Random texts and configs for the readers: each works, or is refused in one line for its user.

    python -m tests.fuzz --minutes 10 --output results/reliability/fuzz.json

runs the targets in turn until the time is over and writes what came of it. A fault that was found
belongs into the ordinary tests, with its mending. ``tests/faults/test_fuzz.py`` runs a few examples
of every target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from qvbench.runs import record
from tests.fuzz_targets import TARGETS, Target


class Outcome:
    """What fuzzing a target came to."""

    def __init__(self) -> None:
        self.examples = self.accepted = 0
        self.seconds = 0.0
        self.faults: dict[str, str] = {}  # where, and the smallest example

    def run(self, target: Target, examples: int, number: int | None) -> None:
        """Try examples; a fault ends the round, shrunk, and is kept by the place that raised it."""

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=number is None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if target.shrunk else [])],
        )
        @given(target.examples)
        def attempt(example: Any) -> None:
            self.examples += 1
            self.accepted += target.check(example)

        started = time.monotonic()
        last: list[Any] = []
        check = target.check

        def remembered(example: Any) -> bool:
            last[:] = [example]
            return check(example)

        target = target._replace(check=remembered)
        try:
            (attempt if number is None else seed(number)(attempt))()
        except (Exception, SystemExit) as error:
            frames = traceback.extract_tb(error.__traceback__)
            frame = next((f for f in reversed(frames) if "/qvbench/" in f.filename), frames[-1])
            place = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
            text = f"{' '.join(str(error).split())[:200]} <- {str(last)[:1500]}"
            self.faults.setdefault(place, text)
        self.seconds += time.monotonic() - started

    def summary(self) -> dict[str, Any]:
        return {
            "examples": self.examples,
            "accepted": self.accepted,
            "refused": self.examples - self.accepted - len(self.faults),
            "seconds": round(self.seconds),
            "faults": self.faults,
        }


def main(words: list[str] | None = None) -> int:
    """Fuzz for some minutes; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given_words = parser.parse_args(words)
    commit = record.git_revision()
    before = _read(given_words.output)
    outcomes = {name: Outcome() for name in TARGETS}
    start, number, summary = time.monotonic(), given_words.seed, {}
    while time.monotonic() - start < 60 * given_words.minutes:
        behind = min(TARGETS, key=lambda name: outcomes[name].seconds / TARGETS[name].share)
        number += 1
        outcomes[behind].run(TARGETS[behind], TARGETS[behind].round, number)
        summary = {
            "command": f"python -m tests.fuzz --minutes {given_words.minutes:g} "
            f"--seed {given_words.seed}",
            "commit": commit,
            "versions": {"python": platform.python_version(), "hypothesis": hypothesis.__version__},
            "minutes": round((time.monotonic() - start) / 60, 1),
            "cpu_seconds": round(time.process_time()),
            "targets": {name: outcome.summary() for name, outcome in outcomes.items()},
        }
        if given_words.output:  # after every round: a run that is killed leaves what it did
            write(given_words.output, [*before, summary])
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    return int(any(outcome.faults for outcome in outcomes.values()))


def _read(file: Path | None) -> list[dict[str, Any]]:
    if file is None or not file.exists():
        return []
    runs: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["runs"]
    return runs


def write(file: Path, runs: list[dict[str, Any]]) -> None:
    """Write runs and what they come to together."""
    total = {
        "minutes": round(sum(run["minutes"] for run in runs), 1),
        "examples": sum(t["examples"] for run in runs for t in run["targets"].values()),
        "runs": runs,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(total, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(total: dict[str, Any]) -> str:
    """The runs of a file by target, as a table in Markdown."""
    lines = ["| fuzzed | examples | accepted | refused in a line | faults found |"]
    lines.append("|---|---|---|---|---|")
    for name in TARGETS:
        runs = [run["targets"][name] for run in total["runs"]]
        sums = [sum(run[key] for run in runs) for key in ("examples", "accepted", "refused")]
        faults = sum(len(run["faults"]) for run in runs)
        lines.append("| " + " | ".join([name, *(f"{n:,}" for n in (*sums, faults))]) + " |")
    last = total["runs"][-1]
    busy = sum(run["cpu_seconds"] for run in total["runs"]) / 60
    lines.append(
        f"\n{total['examples']:,} examples in {total['minutes']:g} minutes, {busy:.1f} of them of "
        f"processor time; the last run: `{last['command']}` at commit `{last['commit'][:12]}`."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("QVBENCH_CACHE", tempfile.mkdtemp(prefix="fuzz-cache-"))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
