"""Runs as tasks of a Ray cluster."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from qvbench.errors import UserError
from qvbench.sweep.estimate import Costs
from qvbench.sweep.launch import PATIENCE, execute
from qvbench.sweep.launchers.interface import Launcher, claim_all
from qvbench.sweep.plan import PlannedRun
from qvbench.sweep.terminal import in_words, near, say, say_result, show

OURS = "QVBENCH_"


class Ray(Launcher):
    """Ray tasks; resources are a task's options: num_cpus, num_gpus, memory, resources.

    The cluster is that of ``RAY_ADDRESS`` or one that runs here already, else one is started on
    this machine for as long as the sweep lasts. Ray queues the runs. This process holds the locks
    of all that it has handed out, so that other sweeps on this machine leave them alone; when it
    ends, Ray ends their tasks.
    """

    def launch(self, runs: list[PlannedRun]) -> None:
        """Hand out all that is not finished; returns when all of it has ended."""
        ray = _imported()
        ours = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
        try:
            ray.init(runtime_env={"env_vars": ours}, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise UserError(f"--launcher ray: {str(error).splitlines()[0]}") from error
        try:
            with ExitStack() as locks:
                free = claim_all(runs, locks)
                self._follow(ray, self._hand_out(ray, free), runs)
        finally:
            ray.shutdown()

    def _hand_out(self, ray: Any, runs: list[PlannedRun]) -> dict[Any, PlannedRun]:
        try:
            task = ray.remote(_execute).options(**self.resources)
        except (TypeError, ValueError) as error:
            raise UserError(f"--resources: {error}") from error
        return {task.remote(run): run for run in runs}

    def _follow(self, ray: Any, tasks: dict[Any, PlannedRun], runs: list[PlannedRun]) -> None:
        """Wait for the tasks, and say of each how it ended."""
        total = len(tasks)
        try:
            while tasks:
                ended, _ = ray.wait(list(tasks), timeout=1.0)
                for task in ended:
                    _say_end(ray, task, tasks.pop(task), f"[{total - len(tasks)}/{total}]")
                rest = in_words(Costs(runs).seconds_left())
                show(f"{len(tasks)} of {total} runs with Ray; {rest} one after another")
        except BaseException:
            for task in tasks:
                ray.cancel(task)
            ray.wait(list(tasks), num_returns=len(tasks), timeout=PATIENCE)
            raise


def _execute(run: PlannedRun) -> str:
    """In a process of a worker: run it, and say on which machine that was."""
    execute(run, None, lambda seconds: None)
    return os.uname().nodename


def _say_end(ray: Any, task: Any, run: PlannedRun, place: str) -> None:
    try:
        host = ray.get(task)
    except ray.exceptions.RayError as error:
        say(f"{place} {run.id}: Ray gave it up: {str(error).strip().splitlines()[-1]}")
        return
    if run.outcome() is None:
        say(
            f"{place} {run.id}: {host} ended it, and nothing of it is in {near(run.output)}; "
            "--output must be a folder that all machines share"
        )
        return
    say_result(f"{place} {run.id} on {host}", run)


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("--launcher ray: not installed; pip install 'qvbench[ray]'") from error
    return ray
