"""Ray on a local cluster of two workers; Slurm's job script and signals without a cluster."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qvbench.cli.sweep import main, read_resources
from qvbench.errors import UserError
from qvbench.sweep.launch import job_file, locked, runs_elsewhere
from qvbench.sweep.launchers import local, run_in_job
from qvbench.sweep.launchers import slurm as submit
from qvbench.sweep.plan import PlannedRun
from tests.sweep.conftest import write_suite

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="no ray")
needs_submitit = pytest.mark.skipif(not importlib.util.find_spec("submitit"), reason="no submitit")
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


# Slurm


@needs_submitit
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
    assert [job_file(run).read_text() for run in runs] == [f"12_{n}\n" for n in range(4)]
    assert "4 runs submitted as Slurm job 12" in capfd.readouterr().err
    (folder / "submitted.sh").unlink()
    (folder / "state").write_text("PENDING\n")
    assert all(map(runs_elsewhere, runs))
    submit(runs, {})
    assert not (folder / "submitted.sh").exists()
    assert "4 running elsewhere" in capfd.readouterr().err
    (folder / "state").write_text("")
    assert not any(map(runs_elsewhere, runs)), "the job is gone, and nobody may do its run"


@needs_submitit
def test_what_slurm_refuses_is_one_line(
    runs: list[PlannedRun], slurm: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match='--launcher slurm: Could not detect "srun"'):
        submit(runs, {})
    slurm("exit 1")
    with pytest.raises(UserError, match="Unavailable parameter"):
        submit(runs, {"gpus": 1})
    with pytest.raises(UserError, match="sbatch refused the jobs"):
        submit(runs, {})
    assert not any(job_file(run).exists() for run in runs)


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
    runs[0].log.parent.mkdir(parents=True)
    job_file(runs[0]).write_text("12_0\n")
    with locked(runs[0]) as lock:
        assert lock is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert run_in_job(runs[0]) == "finished"
    assert not job_file(runs[0]).exists()
    assert run_in_job(runs[0]) == "finished"
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
    runs[0].log.parent.mkdir(parents=True)
    job_file(runs[0]).write_text("12\n")

    def warn() -> None:
        while not (runs[0].folder / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=warn).start()
    with pytest.raises(SystemExit) as end:
        run_in_job(runs[0])
    assert end.value.code == 128 + signal.SIGUSR1
    assert told.exists()
    assert runs[0].outcome() is None
    (folder / "state").write_text("REQUEUED\n")
    assert runs_elsewhere(runs[0])


@pytest.mark.integration
@pytest.mark.slow
@needs_submitit
def test_a_submitted_script_trains(slurm: Callable[..., Path], tmp_path: Path) -> None:
    """Catches a script that looks right and whose job cannot load or do its run."""
    environment = "SLURM_JOB_ID=12 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0"
    slurm(f'(sleep 1; {environment} SLURM_JOB_NAME=pair bash "$1") > /dev/null 2>&1 &')
    (tmp_path / "state").write_text("PENDING\n")
    write_suite(tmp_path)
    words = ["--suite", "pair.yaml", "--only", "qv", "--seeds", "1", "--launcher", "slurm"]
    done = subprocess.run(
        [sys.executable, "-m", "qvbench", "sweep", *words],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 runs submitted as Slurm job 12" in done.stderr
    deadline = time.monotonic() + 120
    while not any('"finished"' in file.read_text() for file in tmp_path.glob("runs/*/*/run.json")):
        assert time.monotonic() < deadline, list(tmp_path.rglob("*_log.err"))
        time.sleep(0.2)


# Ray


@pytest.mark.integration
@pytest.mark.slow
@needs_ray
def test_two_workers_of_ray_share_a_sweep(tmp_path: Path) -> None:
    """Catches runs that Ray cannot unpack, that go one after another, or that are run twice."""
    from ray.cluster_utils import Cluster

    write_suite(tmp_path)
    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        environment = os.environ | {
            "RAY_ADDRESS": cluster.address,
            "QVBENCH_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        words = ["--suite", "pair.yaml", "--launcher", "ray", "--resources", "{num_cpus: 1}"]
        said = subprocess.run(
            [sys.executable, "-m", "qvbench", "sweep", *words],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        cluster.shutdown()
    assert said.returncode == 0, said.stderr
    assert "4 of 4 runs finished" in said.stderr
    outcomes = [file.read_text() for file in tmp_path.glob("sweeps/*/seed-*.json")]
    assert len(outcomes) == 4
    spans = sorted(
        (outcome["ended"] - outcome["seconds"], outcome["ended"])
        for outcome in map(json.loads, outcomes)
    )
    assert spans[1][0] < spans[0][1], "the second began when the first had ended"


# Both


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_what_is_not_installed_is_named(
    launcher: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    file = write_suite(tmp_path)
    with pytest.raises(UserError, match=rf"pip install 'qvbench\[{launcher}\]'"):
        main(["--suite", str(file), "--output", str(tmp_path), "--launcher", launcher])


def test_resources(tmp_path: Path, runs: list[PlannedRun]) -> None:
    """Catches resources that are dropped unseen."""
    assert read_resources("{num_gpus: 0.5}") == {"num_gpus": 0.5}
    (tmp_path / "node.yaml").write_text("time: 3\n")
    assert read_resources(str(tmp_path / "node.yaml")) == {"time": 3}
    for text in ("3", "{a", "none.yaml"):
        with pytest.raises(UserError, match=text):
            read_resources(text)
    with pytest.raises(UserError, match="the whole machine"):
        local(runs, {"num_cpus": 1})
