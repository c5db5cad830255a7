"""Locks, failures, folders and Slurm jobs, with short scripts in the place of trainings."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qvbench.cli.sweep import _conclude, main, read_resources
from qvbench.errors import UserError
from qvbench.sweep import launch
from qvbench.sweep.launch import (
    local,
    locked,
    make_room,
    run_in_job,
    runs_elsewhere,
    time_left,
)
from qvbench.sweep.launch import slurm as submit
from qvbench.sweep.plan import PlannedRun
from tests.sweep.conftest import write_suite

Pretend = Callable[[str], None]


def sweep(runs: list[PlannedRun]) -> None:
    local(runs, {})


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def starts(run: PlannedRun) -> int:
    file = run.folder.parent / "starts"
    return len(file.read_text()) if file.exists() else 0


def write_record(run: PlannedRun, **changes: object) -> None:
    run.folder.mkdir(parents=True)
    record = {"identity": run.identity, "status": "finished", "metrics": {}, **changes}
    (run.folder / "run.json").write_text(json.dumps(record))


def test_a_lock_is_held_by_one(runs: list[PlannedRun]) -> None:
    """Catches a run that two sweeps train at once."""
    with locked(runs[0]) as first, locked(runs[0]) as second, locked(runs[1]) as other:
        assert first is not None
        assert other is not None
        assert second is None
        assert runs_elsewhere(runs[0])
    assert not runs_elsewhere(runs[0])


def test_a_dead_process_holds_no_locked(runs: list[PlannedRun]) -> None:
    """Catches a lock file left by kill -9 that stops every later sweep."""
    runs[0].beside(".log").parent.mkdir(parents=True)
    lock = runs[0].beside(".lock")
    code = f"import fcntl,os,time;f=open({str(lock)!r},'w');fcntl.flock(f,2);print(1,flush=1);"
    command = [sys.executable, "-c", code + "time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert runs_elsewhere(runs[0])
        holder.kill()
    with locked(runs[0]) as mine:
        assert mine is not None


def test_a_file_system_without_locks_is_one_line(
    runs: list[PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback on a network's disk, and a run that counts as free there."""
    with locked(runs[0]):
        pass

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"seed-1\.lock: no lock can be had there .*--output"):
        runs_elsewhere(runs[0])
    with pytest.raises(UserError, match="no lock can be had there"), locked(runs[0]):
        pass


def test_two_names_of_one_experiment_are_one_run(runs: list[PlannedRun], pretend: Pretend) -> None:
    """Catches a run trained twice by sweeps of two suites that were planned before either began it,
    also where each began another seed."""
    pretend("")
    digits = runs[0].identity[:8]
    first, second = (
        replace(run, variant=replace(run.variant, name="named"), group=f"named-{digits}")
        for run in (runs[0], runs[2])
    )
    with locked(runs[0]) as mine, locked(first) as theirs:
        assert mine is not None
        assert theirs is None
        assert runs_elsewhere(first)
    write_record(runs[0])
    write_record(second)
    sweep([first, second, runs[0], runs[2]])
    assert not list(runs[0].output.glob("runs/*/starts"))
    assert [first.placed().id, runs[2].placed().id] == [runs[0].id, second.id]


def start_sweep(runs: list[PlannedRun], training: str) -> subprocess.Popen[bytes]:
    """A sweep in a process of its own, whose runs are a short script."""
    folder = runs[0].output
    (folder / "runs.pickle").write_bytes(pickle.dumps(runs))
    code = (
        "import pickle, signal, sys\nfrom pathlib import Path\n"
        "from qvbench.sweep.launch import exit_on, local\n"
        "from qvbench.sweep.plan import PlannedRun\n"
        f"PlannedRun.command = property(lambda run: [sys.executable, '-c', {training!r}])\n"
        "exit_on(signal.SIGTERM)\n"
        "local(pickle.loads(Path('runs.pickle').read_bytes()), {})\n"
    )
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)


def test_a_run_outlives_its_sweep_and_keeps_its_lock(
    runs: list[PlannedRun], tmp_path: Path
) -> None:
    """Catches a second sweep that starts a run which the orphan of a killed one still trains."""
    gate, started = tmp_path / "gate", tmp_path / "started"
    training = (
        f"import time,pathlib\npathlib.Path({str(started)!r}).touch()\n"
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(.02)"
    )
    with start_sweep(runs, training) as sweeping:
        wait_until(lambda: runs_elsewhere(runs[0]))
        wait_until(started.exists)
        sweeping.send_signal(signal.SIGKILL)
        sweeping.wait()
        assert runs_elsewhere(runs[0])
        gate.touch()
        wait_until(lambda: not runs_elsewhere(runs[0]))


@pytest.mark.slow
def test_sweeps_share_the_work(
    runs: list[PlannedRun], pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a run done twice, or none done by the second sweep."""
    pretend("time.sleep(0.2)")
    workers, execute = set(), launch.execute

    def observed(*args: Any) -> Any:
        workers.add(threading.current_thread())
        return execute(*args)

    monkeypatch.setattr(launch, "execute", observed)
    other = threading.Thread(target=sweep, args=(runs,))
    other.start()
    sweep(runs)
    assert all(run.is_finished for run in runs), "it returned before the other sweep had finished"
    other.join()
    assert [starts(run) for run in runs] == [2, 2, 2, 2]  # two seeds of each variant
    assert len(workers) == 2
    sweep(runs)
    assert [starts(run) for run in runs] == [2, 2, 2, 2]


@pytest.mark.slow
def test_a_failure_is_not_tried_again_by_the_sweep_beside_it(
    runs: list[PlannedRun], pretend: Pretend
) -> None:
    """Catches two sweeps that hand a failing run to and fro for ever; and one never retried; a
    machine without memory, whose runs are killed, taken for success."""
    pretend(
        "time.sleep(0.1); folder.parent.name.startswith('qv-') and (sys.exit('no such thing')"
        " if folder.name == 'seed-1' else os.kill(os.getpid(), 9))"
    )
    threads = [threading.Thread(target=sweep, args=(runs,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.is_finished for run in runs] == [False, True, False, True]
    assert starts(runs[0]) == 2
    assert runs[0].beside(".log").read_text().rstrip().endswith("no such thing")
    assert [runs[0].outcome()["status"], runs[2].outcome()["status"]] == [1, -9]
    assert runs[2].failed_since(0.0)
    pretend("")
    sweep(runs)
    assert all(run.is_finished for run in runs)
    assert starts(runs[0]) == 4


def test_a_half_run_is_begun_anew(runs: list[PlannedRun], pretend: Pretend) -> None:
    """Catches a half run counted as one, or its leavings mixed with the new one's."""
    pretend("")
    half = runs[1]
    write_record(half, status="running")
    (half.folder / "half").touch()
    assert not half.is_finished
    sweep(runs)
    assert half.is_finished
    assert not (half.folder / "half").exists()


@pytest.mark.parametrize("other", [{}, {"run.json": '{"identity": "another"}'}])
def test_a_folder_of_somebody_elses_is_left_alone(
    other: dict[str, str], runs: list[PlannedRun], pretend: Pretend
) -> None:
    """Catches somebody's work removed for standing where a run should."""
    pretend("")
    runs[0].folder.mkdir(parents=True)
    for name, text in {"thesis.tex": "", **other}.items():
        (runs[0].folder / name).write_text(text)
    with pytest.raises(UserError, match="which is not of this run"):
        sweep(runs)
    assert (runs[0].folder / "thesis.tex").exists()


def test_a_sweep_that_is_ended_ends_its_run(tmp_path: Path, runs: list[PlannedRun]) -> None:
    """Catches a training that nobody waits for and that goes on after its sweep is ended."""
    training = (
        "import os,pathlib,time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    )
    with start_sweep(runs, training) as sweeping:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        sweeping.terminate()
        assert sweeping.wait(60) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_time_left(runs: list[PlannedRun]) -> None:
    """Catches an estimate from the wrong variant, or one that leaves out who helps."""
    assert time_left(runs) == "time left unknown"
    write_record(runs[0], wall_seconds=100.0)
    assert time_left(runs) == "about 0:05:00 left"
    write_record(runs[1], wall_seconds=20.0)
    assert time_left(runs) == "about 0:02:00 left"
    with locked(runs[2]), locked(runs[3]):
        assert time_left(runs) == "about 0:01:00 left"
    assert time_left(runs) == "about 0:02:00 left", "what nobody runs shares no work"
    outcome = {"identity": runs[2].identity, "status": 1, "seconds": 3.0, "ended": 7.0}
    runs[2].beside(".json").parent.mkdir()
    runs[2].beside(".json").write_text(json.dumps(outcome))
    assert time_left(runs, started=6.0) == "about 0:00:20 left", "what failed is not left"
    assert time_left(runs, started=8.0) == "about 0:02:00 left"


@pytest.mark.parametrize(
    ("status", "kind", "resumes"),
    [
        *(("running", None, True), ("interrupted", None, True)),
        *(("failed", "disk", True), ("failed", "worker", True)),
        *(("failed", "memory", False), ("failed", None, False), ("diverged", "loss", False)),
    ],
)
@pytest.mark.parametrize("file", ["last.ckpt", "previous.ckpt"])
def test_what_was_cut_off_resumes_from_its_checkpoint(
    runs: list[PlannedRun], status: str, kind: str | None, resumes: bool, file: str
) -> None:
    """Catches hours of training lost by a sweep that was killed, or by a disk that was full; an
    error repeated for ever."""
    run, fault = runs[0], {"fault": {"kind": kind}} if kind else {}
    write_record(run, status=status, **fault)
    make_room(run)
    assert not run.folder.exists(), "killed before its first checkpoint: from the start"
    write_record(run, status=status, **fault)
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / file).touch()
    assert ("--ckpt_path" in run.args) is resumes
    make_room(run)
    assert run.folder.exists() is resumes


def test_the_command_that_compares_names_folders_that_exist(
    runs: list[PlannedRun], capfd: pytest.CaptureFixture[str]
) -> None:
    """Catches a command that is refused where all runs are published ones."""
    published = [replace(run, published={"status": "finished"}) for run in runs]
    options = Namespace(results=[Path("results/pair")], suite="pair.yaml", seeds=None)
    assert _conclude(published, options) == 0
    assert "qvbench report results/pair --suite pair.yaml " in capfd.readouterr().err


# Slurm


def test_the_job_script(
    runs: list[PlannedRun], slurm: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Catches jobs without their time or GPU, that die unwarned, or are submitted twice."""
    folder = slurm()
    more = {"additional_parameters": {"nice": 3}}
    submit(runs, {"time": 240, "partition": "v100", "gpus_per_node": 1, **more})
    script = (folder / "submitted.sh").read_text()
    for line in (
        "#SBATCH --array=0-3%4",
        "#SBATCH --time=240",
        "#SBATCH --partition=v100",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --nice=3",
        "#SBATCH --signal=USR1@120",
        "#SBATCH --requeue",
        "#SBATCH --job-name=pair",
    ):
        assert f"{line}\n" in script
    assert f"{sys.executable} -u -m submitit.core._submit {folder}/sweeps/slurm" in script
    assert [run.beside(".job").read_text() for run in runs] == [f"12_{n}\n" for n in range(4)]
    assert "4 runs submitted as Slurm job 12" in capfd.readouterr().err
    (folder / "submitted.sh").unlink()
    (folder / "state").write_text("PENDING\n")
    assert all(map(runs_elsewhere, runs))
    submit(runs, {})
    assert not (folder / "submitted.sh").exists()
    (folder / "state").write_text("")
    assert not any(map(runs_elsewhere, runs)), "the job is gone, and nobody may do its run"


def test_what_slurm_refuses_is_one_line(
    runs: list[PlannedRun], slurm: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match='--launcher slurm: Could not detect "srun"'):
        submit(runs, {})
    slurm("exit 1")
    with pytest.raises(UserError, match="Unavailable parameter"):
        submit(runs, {"gpus": 1})
    with pytest.raises(UserError, match=r"--launcher slurm: .*sbatch"):
        submit(runs, {})
    assert not any(run.beside(".job").exists() for run in runs)


@pytest.mark.usefixtures("_handlers")
def test_a_job_does_its_run_alone(
    runs: list[PlannedRun],
    slurm: Callable[..., Path],
    pretend: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a run that waits for the very job in which it is; one that a second job repeats."""
    folder = slurm()
    (folder / "state").write_text("RUNNING\n")
    pretend("")
    runs[0].beside(".log").parent.mkdir(parents=True)
    runs[0].beside(".job").write_text("12_0\n")
    with locked(runs[0]) as lock:
        assert lock is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    run_in_job(runs[0])
    assert runs[0].is_finished
    assert not runs[0].beside(".job").exists()
    run_in_job(runs[0])
    assert (runs[0].folder.parent / "starts").read_text() == "x"


@pytest.mark.usefixtures("_handlers")
def test_a_job_whose_time_is_up_passes_the_signal_on(
    runs: list[PlannedRun], slurm: Callable[..., Path], pretend: Callable[[str], None]
) -> None:
    """Catches a run killed with its job, without checkpoint and requeueing; one that counts as
    failed, or that another sweep resumes while Slurm starts its job again."""
    folder = slurm()
    told = folder / "told"
    pretend(
        f"import signal; signal.signal(10, lambda *_: (pathlib.Path({str(told)!r}).touch(),"
        "sys.exit(138))); (folder / 'ready').touch(); time.sleep(60)"
    )
    runs[0].beside(".log").parent.mkdir(parents=True)
    runs[0].beside(".job").write_text("12\n")

    def warn() -> None:
        wait_until((runs[0].folder / "ready").exists)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=warn).start()
    with pytest.raises(SystemExit) as end:
        run_in_job(runs[0])
    assert end.value.code == 128 + signal.SIGUSR1
    assert told.exists()
    assert runs[0].outcome() == {}
    (folder / "state").write_text("REQUEUED\n")
    assert runs_elsewhere(runs[0])


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback for an extra that was left out."""
    monkeypatch.setitem(sys.modules, "submitit", None)
    file = write_suite(tmp_path)
    with pytest.raises(UserError, match=r"pip install 'qvbench\[slurm\]'"):
        main(["--suite", str(file), "--output", str(tmp_path), "--launcher", "slurm"])


def test_resources(tmp_path: Path, runs: list[PlannedRun]) -> None:
    """Catches resources that are dropped unseen."""
    assert read_resources("{mem: 3GB}") == {"mem": "3GB"}
    (tmp_path / "node.yaml").write_text("time: 3\n")
    assert read_resources(str(tmp_path / "node.yaml")) == {"time": 3}
    for text in ("3", "{a", "{time: 2024-13-45}", "none.yaml"):
        with pytest.raises(UserError, match=text):
            read_resources(text)
    with pytest.raises(UserError, match="the whole machine"):
        local(runs, {"time": 1})
