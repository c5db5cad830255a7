"""A suite through the command: what it prints, and one real training that is killed and resumed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Answer
from tests.sweep.conftest import SUITE, write_suite

Command = Callable[..., Answer]
Pretend = Callable[[str], None]

HASH = re.compile(r"-[0-9a-f]{8}(?=/)")


@pytest.fixture
def sweep(
    here: Path, qvbench: Command, capfd: pytest.CaptureFixture[str], _handlers: None
) -> Callable[..., tuple[int, str]]:
    """Status of a sweep of the suite here, and what it printed, without hashes."""

    def run(*words: str) -> tuple[int, str]:
        answer = qvbench("sweep", "--suite", "pair.yaml", *words)
        return answer.status, HASH.sub("", answer.err)

    return run


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Records by variant and seed; several of one name by the last."""
    files = sorted(folder.glob("runs/*/*/run.json"), key=lambda file: file.stat().st_mtime_ns)
    found = {file.parent.relative_to(folder / "runs").as_posix(): file for file in files}
    return {HASH.sub("", run): json.loads(file.read_text()) for run, file in found.items()}


@pytest.mark.slow
def test_a_second_call_runs_nothing(
    here: Path, sweep: Callable[..., tuple[int, str]], pretend: Pretend
) -> None:
    """Catches a run left out, one done twice, and a file of a finished run that is touched."""
    pretend("")
    write_suite(here)
    status, said = sweep()
    assert status == 0
    assert records(here).keys() == {f"{name}/seed-{n}" for name in ("qv", "one") for n in (1, 2)}
    assert said.count(": started") == 4
    assert "\n4 of 4 runs finished, 0 failed, 0 elsewhere\n" in said
    assert "compare: qvbench report --suite pair.yaml --output results/pair" in said
    before = {file: file.stat().st_mtime_ns for file in here.rglob("*") if file.is_file()}
    status, said = sweep()
    assert status == 0
    assert "4 runs, 4 of them finished" in said
    assert {f: f.stat().st_mtime_ns for f in here.rglob("*") if f.is_file()} == before


@pytest.mark.slow
def test_an_edited_variant_runs_again_and_a_failing_one_stops_nobody(
    here: Path, sweep: Callable[..., tuple[int, str]], pretend: Pretend
) -> None:
    """Catches results of the old variant kept for the edited one; a sweep that ends at an error."""
    pretend("folder.parent.name.startswith('broken') and sys.exit('no such head')")
    write_suite(here)
    assert sweep("--seeds", "1")[0] == 0
    before = records(here)
    edited = {"model.attention": "single.yaml", "trainer.max_steps": 3}
    write_suite(here, variants={"broken": {"data.merges": 9}, **SUITE["variants"], "one": edited})
    status, said = sweep("--seeds", "1")
    assert status == 1
    assert "broken/seed-1: failed with status 1; the end of sweeps/broken/seed-1.log" in said
    assert "  no such head\n" in said
    assert "2 of 3 runs finished, 1 failed" in said
    assert records(here)["qv/seed-1"] == before["qv/seed-1"]
    assert records(here)["one/seed-1"]["identity"] != before["one/seed-1"]["identity"]


KILL = """
import os, pathlib
from lightning.pytorch import Callback

class KillOnce(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 5 and not pathlib.Path("killed").exists():
            pathlib.Path("killed").touch()
            os.kill(os.getpid(), 9)
"""


@pytest.mark.integration
@pytest.mark.slow
def test_a_killed_run_is_resumed_by_a_slurm_job(
    here: Path,
    sweep: Callable[..., tuple[int, str]],
    slurm: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a kill that costs a run everything from the first step on; a job's script that looks
    right and cannot load or do its run; settings of the suite that never reach the run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (here / "killer.py").write_text(KILL)
    write_suite(here)
    words = ("--only", "one", "--seeds", "2", "--trainer.max_steps", "6")
    words += ("--trainer.callbacks+", "killer.KillOnce")
    status, said = sweep(*words)
    assert status == 1
    assert "one/seed-2: ended by signal 9" in said
    assert records(here)["one/seed-2"]["status"] == "running"

    environment = "SLURM_JOB_ID=12 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0"
    slurm(f'(sleep 1; {environment} SLURM_JOB_NAME=pair bash "$1") > /dev/null 2>&1 &')
    (here / "state").write_text("PENDING\n")
    status, said = sweep(*words, "--launcher", "slurm")
    assert status == 0, said
    assert "1 runs submitted as Slurm job 12" in said
    deadline = time.monotonic() + 240
    while records(here)["one/seed-2"]["status"] != "finished":
        assert time.monotonic() < deadline, list(here.rglob("*_log.err"))
        time.sleep(0.2)

    record = records(here)["one/seed-2"]
    assert (record["variant"], record["seed"], record["mechanism"]) == ("one", 2, "single")
    assert (record["steps"], record["cache_per_token"]) == (6, {"self": 16, "cross": 16})
    assert len(record["identity"]) == 16
    rows = [row.split(",") for row in next(here.glob("runs/*/*/curves.csv")).open()]
    first = [row for row in rows if (row[0], row[4]) == ("2", "val/accuracy")]
    assert len(first) == 1, "the first validation, once"
