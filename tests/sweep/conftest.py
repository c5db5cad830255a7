"""A suite small enough for a test, and runs that are no training at all."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from qvbench.cli.experiment import resolve
from qvbench.sweep.plan import PlannedRun, plan
from qvbench.sweep.suite import read_suite
from tests.cli.conftest import TINY_CONFIG, here, qvbench

__all__ = ["here", "qvbench"]

SUITE = {
    "base": "tiny.yaml",
    "baseline": "qv",
    "seeds": [1, 2],
    "settings": {"trainer": {"max_steps": 2, "val_check_interval": 2}, "data.merges": 150},
    "variants": {"qv": {}, "one": {"model.attention": "single.yaml"}},
}


def write_suite(folder: Path, **changes: Any) -> Path:
    """A suite ``pair.yaml`` with its base config and a fragment beside it."""
    base = TINY_CONFIG | {"model": TINY_CONFIG["model"] | {"attention": "QV"}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(base))
    (folder / "single.yaml").write_text("class_path: Single\n")
    file = folder / "pair.yaml"
    file.write_text("# A pair.\n" + yaml.safe_dump(SUITE | changes, sort_keys=False))
    return file


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No label of a sweep that may have started the tests."""
    monkeypatch.delenv("QVBENCH_SWEEP", raising=False)


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[PlannedRun]:
    folder = tmp_path_factory.mktemp("planned")
    return plan(read_suite(write_suite(folder)), folder, resolve)


@pytest.fixture
def runs(planned: list[PlannedRun], tmp_path: Path) -> list[PlannedRun]:
    """The four runs of the small suite."""
    return [replace(run, output=tmp_path) for run in planned]


PRETEND = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
(folder.parent / "starts").open("a").write("x")
{action}
record = {{"identity": sys.argv[2], "status": "finished", "metrics": {{}}}}
(folder / "run.json").write_text(json.dumps(record))
"""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let every run be a short script that writes a finished record after some action."""

    def install(action: str) -> None:
        script = PRETEND.format(action=action)
        command = property(
            lambda run: [sys.executable, "-c", script, str(run.folder), run.identity]
        )
        monkeypatch.setattr(PlannedRun, "command", command)

    return install


FAKES = {
    "sbatch": 'cat "$1" > {folder}/submitted.sh; echo "Submitted batch job 12"; {then}',
    "srun": 'while [ "${{1#-}}" != "$1" ]; do [ "$1" = --unbuffered ] || shift; shift; done; "$@"',
    "squeue": "cat {folder}/state 2>/dev/null; true",
    "scontrol": 'echo "$@" >> {folder}/asked',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Slurm's commands that note what they were asked; ``state`` is what squeue answers."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)

    def install(then: str = "") -> Path:
        commands = tmp_path / "bin"
        commands.mkdir()
        for name, text in FAKES.items():
            (commands / name).write_text("#!/bin/bash\n" + text.format(folder=tmp_path, then=then))
            (commands / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
        return tmp_path

    return install


@pytest.fixture
def _handlers() -> Iterator[None]:
    """Signals given back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
