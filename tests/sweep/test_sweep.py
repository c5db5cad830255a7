"""A suite through the real command: killed, taken up by two sweeps at once, edited, failing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.conftest import SUITE, write_suite

pytestmark = pytest.mark.slow

SWEEP = [sys.executable, "-m", "qvbench", "sweep", "--suite", "pair.yaml"]
IDS = {f"{variant}/seed-{seed}" for variant in ("qv", "one") for seed in (1, 2)}
HASH = re.compile(r"-[0-9a-f]{8}(?=/)")


def without_hash(run: str) -> str:
    return HASH.sub("", run)


class Sweeps:
    """A folder with the suite, in which sweeps run as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "QVBENCH_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*SWEEP, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def records(self, steps: int = 2) -> dict[str, dict[str, Any]]:
        """Records of the runs of so many steps, by variant and seed."""
        files = self.folder.glob("runs/*/*/run.json")
        contents = [json.loads(file.read_text()) for file in files]
        found = [record for record in contents if record["steps"] in (0, steps)]
        return {without_hash(record["id"]): record for record in found}

    def kill_in_flight(self, sign: str, *words: str) -> None:
        """Kill a sweep and its run once there is a file of a pattern under runs/."""
        sweeping = self.start(*words)
        deadline = time.monotonic() + 120
        while not list(self.folder.glob(f"runs/{sign}")):
            assert time.monotonic() < deadline, "no run was started"
            time.sleep(0.01)
        os.killpg(sweeping.pid, signal.SIGKILL)
        sweeping.communicate()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweeps, list[str], set[str]]:
    """A sweep killed in flight, then finished by two at once: what they said, what was left."""
    sweeps = Sweeps(tmp_path_factory.mktemp("sweep"))
    write_suite(sweeps.folder)
    sweeps.kill_in_flight("*/*")
    left = {key for key, record in sweeps.records().items() if record["status"] == "finished"}
    both = [sweeps.start(), sweeps.start()]
    said = [sweeping.communicate()[0] for sweeping in both]
    assert [sweeping.returncode for sweeping in both] == [0, 0], said
    return sweeps, said, left


Swept = tuple[Sweeps, list[str], set[str]]


def test_a_killed_sweep_goes_on_and_two_run_everything_once(swept: Swept) -> None:
    """Catches a run left half, begun in a folder beside its own, done twice, or never."""
    sweeps, said, finished_before = swept
    assert finished_before == set()
    records = sweeps.records()
    assert records.keys() == IDS
    assert {record["status"] for record in records.values()} == {"finished"}
    started = [line for text in said for line in text.splitlines() if ": started" in line]
    assert sorted(without_hash(line.split()[1].rstrip(":")) for line in started) == sorted(IDS)
    assert all(": started" in text for text in said), "one sweep left all the work to the other"
    folders = {path.relative_to(sweeps.folder / "runs") for path in sweeps.folder.glob("runs/*/*")}
    assert {without_hash(folder.as_posix()) for folder in folders} == IDS
    report = "compare: qvbench report --suite pair.yaml --output results/pair"
    assert all(report in text for text in said)


def test_a_record_says_what_a_comparison_needs(swept: Swept) -> None:
    """Catches settings of the suite that never reach the run; a row without cache or variant."""
    record = swept[0].records()["one/seed-2"]
    assert (record["variant"], record["seed"]) == ("one", 2)
    assert (record["mechanism"], record["steps"]) == ("single", 2)
    assert record["cache_per_token"] == {"self": 16, "cross": 16}
    assert len(record["identity"]) == 16


def test_a_second_call_runs_nothing(swept: Swept) -> None:
    sweeps = swept[0]
    before = {file: file.stat().st_mtime_ns for file in sweeps.folder.rglob("*") if file.is_file()}
    again = sweeps.start()
    said = again.communicate()[0]
    assert again.returncode == 0
    assert "4 runs, 4 of them finished" in said
    assert before == {
        file: file.stat().st_mtime_ns for file in sweeps.folder.rglob("*") if file.is_file()
    }


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(swept: Swept, tmp_path: Path) -> None:
    """Catches a kill of a sweep that costs its run everything from the first step on."""
    sweeps = Sweeps(tmp_path)
    sweeps.environment["QVBENCH_CACHE"] = str(swept[0].folder / "cache")
    write_suite(tmp_path)
    words = ("--only", "qv", "--seeds", "1", "--trainer.max_steps", "400")
    sweeps.kill_in_flight("*/*/checkpoints/last.ckpt", *words)
    sweeping = sweeps.start(*words)
    said = sweeping.communicate()[0]
    assert sweeping.returncode == 0, said
    assert "qv/seed-1: resumed from its last checkpoint" in without_hash(said)
    record = sweeps.records(400)["qv/seed-1"]
    assert record["status"] == "finished"
    rows = [row.split(",") for row in next(tmp_path.glob("runs/*/*/curves.csv")).open()]
    first = [row for row in rows if (row[0], row[4]) == ("2", "val/accuracy")]
    assert len(first) == 1, "the first validation, once"


def test_a_report_finds_the_runs_of_a_suite(swept: Swept) -> None:
    """Catches labels of the suite that had a run made, not of the one that compares it."""
    sweeps = swept[0]
    write_suite(sweeps.folder, title="Others", baseline="one", margin=0.3).rename(
        sweeps.folder / "others.yaml"
    )
    write_suite(sweeps.folder)
    command = [sys.executable, "-m", "qvbench", "report", "--suite", "others.yaml"]
    for place, output in ((), "results/a"), (("results/a",), "results/b"):
        words = [*command, *place, "--output", output]
        subprocess.run(words, cwd=sweeps.folder, env=sweeps.environment, check=True)
        page = (sweeps.folder / output / "README.md").read_text(encoding="utf-8")
        assert page.startswith("# Others")
        assert "Baseline: Q = K = V" in page
        kept = [json.loads(f.read_text()) for f in (sweeps.folder / output).glob("runs/*.json")]
        assert {record["sweep"]["margin"] for record in kept} == {0.3}
        assert "qvbench report --suite others.yaml" in page


def test_an_edited_variant_runs_again_and_a_failing_one_stops_nobody(swept: Swept) -> None:
    """Catches results of the old variant kept for the edited one; a sweep that ends at an error."""
    sweeps = swept[0]
    before = sweeps.records()
    edited = {"model.attention": "single.yaml", "trainer.max_steps": 3}
    broken = {"model.network.num_heads": 3}
    write_suite(sweeps.folder, variants={"broken": broken, **SUITE["variants"], "one": edited})
    sweeping = sweeps.start("--seeds", "1")
    said = sweeping.communicate()[0]
    assert sweeping.returncode == 1
    assert sweeps.records() == before
    assert sweeps.records(3)["one/seed-1"]["status"] == "finished"
    failed = "broken/seed-1: failed with status 2; the end of sweeps/broken/seed-1.log"
    assert failed in without_hash(said)
    assert "d_model 16 is not divisible by num_heads 3" in said
    assert "2 of 3 runs finished, 1 failed" in said
