"""Claims, failures and folders, with short scripts in the place of trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.errors import UserError
from qvbench.sweep.claims import claim, is_claimed
from qvbench.sweep.estimate import Costs, describe_seconds
from qvbench.sweep.launch import execute, last_lines, make_room
from qvbench.sweep.launchers.local import Local
from qvbench.sweep.plan import PlannedRun

Pretend = Callable[[str], None]
sweep = Local({}).launch


def starts(run: PlannedRun) -> int:
    file = run.folder.parent / "starts"
    return len(file.read_text()) if file.exists() else 0


def write_record(run: PlannedRun, **changes: object) -> None:
    run.folder.mkdir(parents=True)
    record = {"identity": run.identity, "status": "finished", "metrics": {}, **changes}
    (run.folder / "run.json").write_text(json.dumps(record))


def test_a_claim_is_held_by_one(runs: list[PlannedRun]) -> None:
    with claim(runs[0]) as first, claim(runs[0]) as second, claim(runs[1]) as other:
        assert first is not None
        assert other is not None
        assert second is None
        assert is_claimed(runs[0])
    assert not is_claimed(runs[0])


def test_a_dead_process_holds_no_claim(runs: list[PlannedRun]) -> None:
    """A lock file left by kill -9 that stops every later sweep."""
    runs[0].log.parent.mkdir(parents=True)
    lock = runs[0].log.with_suffix(".lock")
    code = f"import fcntl,os,time;f=open({str(lock)!r},'w');fcntl.flock(f,2);print(1,flush=1);"
    command = [sys.executable, "-c", code + "time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_claimed(runs[0])
        holder.kill()
    with claim(runs[0]) as mine:
        assert mine is not None


def test_a_run_outlives_its_sweep_and_keeps_its_claim(
    runs: list[PlannedRun], tmp_path: Path
) -> None:
    """A second sweep that starts a run which the orphan of a killed one still trains."""
    gate = tmp_path / "gate"
    training = (
        f"import time,pathlib\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(.02)"
    )
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from qvbench.cli.experiment import resolve\n"
        "from qvbench.sweep.plan import PlannedRun, plan\n"
        "from qvbench.sweep.suite import read_suite\n"
        "from qvbench.sweep.launchers.local import Local\n"
        f"PlannedRun.command = property(lambda run: [sys.executable, '-c', {training!r}])\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "Local({}).launch(plan(read_suite(folder / 'pair.yaml'), folder, resolve))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as sweeping:
        while not is_claimed(runs[0]):
            time.sleep(0.02)
        while not runs[0].log.exists():
            time.sleep(0.02)
        time.sleep(0.3)  # the log is opened just before the process starts
        sweeping.send_signal(signal.SIGKILL)
        sweeping.wait()
        assert is_claimed(runs[0])
        gate.touch()
        deadline = time.monotonic() + 10
        while is_claimed(runs[0]):
            assert time.monotonic() < deadline, "the orphan ended and its claim did not"
            time.sleep(0.02)


def test_sweeps_share_the_work(runs: list[PlannedRun], pretend: Pretend) -> None:
    """A run done twice, or none done by the second sweep."""
    pretend("time.sleep(0.2)")
    began = time.monotonic()
    other = threading.Thread(target=sweep, args=(runs,))
    other.start()
    sweep(runs)
    assert all(run.finished for run in runs), "it returned before the other sweep had finished"
    other.join()
    assert time.monotonic() - began < 30
    assert [starts(run) for run in runs] == [2, 2, 2, 2]  # two seeds of each variant
    sweep(runs)
    assert [starts(run) for run in runs] == [2, 2, 2, 2]


def test_a_failure_is_not_tried_again_by_the_sweep_beside_it(
    runs: list[PlannedRun], pretend: Pretend
) -> None:
    """Two sweeps that hand a failing run to and fro for ever; and one never retried."""
    pretend("time.sleep(0.1); folder.parent.name.startswith('qv-') and sys.exit('no such thing')")
    threads = [threading.Thread(target=sweep, args=(runs,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.finished for run in runs] == [False, True, False, True]
    assert starts(runs[0]) == 2
    assert last_lines(runs[0].log) == ["no such thing"]
    outcome = runs[0].outcome()
    assert outcome is not None
    assert outcome.status == 1
    pretend("")
    sweep(runs)
    assert all(run.finished for run in runs)
    assert starts(runs[0]) == 4


def test_a_run_that_a_signal_ended_is_a_failure(
    runs: list[PlannedRun], pretend: Pretend, capfd: pytest.CaptureFixture[str]
) -> None:
    """A machine without memory taken for success."""
    pretend("os.kill(os.getpid(), 9)")
    with claim(runs[0]) as lock:
        assert lock is not None
        assert execute(runs[0], lock, lambda seconds: None).status == -9
    assert runs[0].failed_since(0.0)


def test_a_half_run_is_begun_anew(runs: list[PlannedRun], pretend: Pretend) -> None:
    """A half run counted as one, or its leavings mixed with the new one's."""
    pretend("")
    half = runs[1]
    write_record(half, status="running")
    (half.folder / "half").touch()
    assert not half.finished
    sweep(runs)
    assert half.finished
    assert not (half.folder / "half").exists()


@pytest.mark.parametrize("other", [{}, {"run.json": '{"identity": "another"}'}])
def test_a_folder_of_somebody_elses_is_left_alone(
    other: dict[str, str], runs: list[PlannedRun], pretend: Pretend
) -> None:
    """Somebody's work removed for standing where a run should."""
    pretend("")
    runs[0].folder.mkdir(parents=True)
    for name, text in {"thesis.tex": "", **other}.items():
        (runs[0].folder / name).write_text(text)
    with pytest.raises(UserError, match="which is not of this run"):
        sweep(runs)
    assert (runs[0].folder / "thesis.tex").exists()


def test_a_sweep_that_is_ended_ends_its_run(tmp_path: Path, runs: list[PlannedRun]) -> None:
    """A training that nobody waits for goes on after Ctrl-C."""
    training = (
        "import os,pathlib,time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    )
    code = (
        "import sys\nfrom qvbench.sweep import plan\nfrom qvbench.cli.main import main\n"
        f"plan.PlannedRun.command = property(lambda run: [sys.executable, '-c', {training!r}])\n"
        "sys.exit(main(['sweep', '--suite', 'pair.yaml']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as sweeping:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        sweeping.terminate()
        assert sweeping.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_time_left(runs: list[PlannedRun]) -> None:
    """An estimate from the wrong variant, or one that leaves out who helps."""
    assert Costs(runs).seconds_left() is None
    assert Costs(runs).describe_rest() == "4 runs of 2 steps left, time unknown"
    assert Costs(runs).describe(runs[2]).startswith("2 steps; no run is finished")
    write_record(runs[0], wall_seconds=100.0)
    assert Costs(runs).seconds_left() == 300.0
    assert Costs(runs).describe(runs[2]) == "about 1:40, from 1 of this variant"
    assert Costs(runs).describe(runs[3]) == "about 1:40, from 1 of other variants"
    write_record(runs[1], wall_seconds=20.0)
    assert Costs(runs).seconds_left() == 120.0
    write_record(runs[2], status="running")
    assert Costs(runs).seconds_left() == 120.0
    with claim(runs[2]), claim(runs[3]):
        assert Costs(runs).seconds_left() == 120.0
        assert Costs(runs).seconds_left(begun=runs[3]) == 60.0, "before its record says so"
        write_record(runs[3], status="running")
        assert Costs(runs).seconds_left() == 60.0
    assert Costs(runs).seconds_left() == 120.0, "what is in nobody's hands is not at work"
    assert describe_seconds(3723.4) == "1:02:03"
    assert describe_seconds(61) == "1:01"


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [("running", True), ("interrupted", True), ("diverged", False), ("failed", False)],
)
def test_what_was_cut_off_goes_on_from_its_checkpoint(
    runs: list[PlannedRun], status: str, goes_on: bool
) -> None:
    """Hours of training thrown away by a sweep that was killed; a fault repeated for ever."""
    run = runs[0]
    write_record(run, status=status)
    make_room(run)
    assert not run.folder.exists(), "killed before its first checkpoint: from the start"
    write_record(run, status=status)
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "last.ckpt").touch()
    assert ("--ckpt_path" in run.words) is goes_on
    make_room(run)
    assert run.folder.exists() is goes_on
