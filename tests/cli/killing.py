"""Runs of the command in processes of their own that die at a chosen moment, by SIGKILL."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._pytree import keystr, tree_leaves_with_path

from qvbench.cli.experiment import make_parser
from qvbench.cli.main import main
from qvbench.tasks.base import Task
from qvbench.tasks.translation import TranslationTask
from qvbench.training import record

WALL_TIME = ("train/tokens_per_second",)


class End(NamedTuple):
    """How a process ended: its status, minus the signal's number if one killed it."""

    status: int
    text: str
    moment: str


class Moments:
    """Counts what a run does, and ends the process at one of these moments.

    Args:
        number: of the moment, from 1; 0 for none.
        note: file that gets the name of the moment.
        act: what to do then.
    """

    def __init__(self, number: int, note: Path, act: Callable[[], None]) -> None:
        self.left = number
        self.note = note
        self.act = act

    def come(self, name: str) -> None:
        self.left -= 1
        if self.left == 0:
            with open(self.note, "w") as file:  # noqa: PTH123 - Path.open is one of the moments
                file.write(name)
            self.act()

    def install(self) -> None:
        """Only in a process that goes away: modules are changed for good. FLOPs are not counted:
        that takes a third of so short a run, and nothing of it can be lost."""
        record.recorded_flops = lambda network: {}
        for owner, name, label in (
            (Task, "training_step", "training"),
            (Task, "validation_step", "validation"),
            (os, "fsync", "fsync"),
            (os, "link", "link"),
            (Path, "replace", "rename"),
            (Path, "unlink", "remove"),
        ):
            setattr(owner, name, self._around(getattr(owner, name), label))
        save, opened = torch.save, Path.open

        def half_a_checkpoint(value: Any, file: Any) -> None:
            buffer = io.BytesIO()
            save(value, buffer)
            self._halves(file, "half a checkpoint")(buffer.getvalue())

        def half_a_line(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = opened(path, mode, *args, **kwargs)
            if mode == "a":
                file.write = self._halves(file, "half a line")  # type: ignore[method-assign]
            return file

        torch.save = half_a_checkpoint
        Path.open = half_a_line  # type: ignore[method-assign]

    def _around(self, real: Callable[..., Any], label: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.come(f"before {label}")
            result = real(*args, **kwargs)
            self.come(f"after {label}")
            return result

        return call

    def _halves(self, file: Any, label: str) -> Callable[[Any], None]:
        """Writes to a file with a moment in the middle."""
        write = file.write

        def call(content: Any) -> None:
            half = len(content) // 2 + 1
            write(content[:half])
            file.flush()
            self.come(label)
            write(content[half:])

        return call


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, *words: str, moment: int = 0, act: Callable[[], None] = kill_myself) -> End:
    """The command in a process of its own: forked, as imports take longer than the run."""
    output, note = folder / "output.txt", folder / "moment.txt"
    note.unlink(missing_ok=True)
    make_parser("fit", TranslationTask)  # kept, so that no child takes the time to make it
    child = os.fork()
    if child == 0:
        status = 99
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)
            os.chdir(folder)
            os.environ["QVBENCH_RUN_FOLDER"] = ""
            Moments(moment, note, act).install()
            status = main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    name = note.read_text() if note.exists() else ""
    return End(os.waitstatus_to_exitcode(ended), output.read_text(), name)


def finish(
    folder: Path, config: str, next_moment: Callable[[], int], *words: str
) -> tuple[Path, list[str]]:
    """Start a run, kill it, take it up again, until it ends by itself.

    Returns:
        the folder of the run, and the moments at which it was killed.
    """
    fit = ("fit", "--config", config, *words)
    killed: list[str] = []
    end = run(folder, *fit, moment=next_moment())
    while end.status:
        assert end.status in (-signal.SIGKILL, 2), end.text
        if end.status == 2:  # killed before there was a checkpoint
            assert "first checkpoint" in end.text or "no checkpoint last.ckpt" in end.text, end.text
            end = run(folder, *fit, moment=next_moment())
            continue
        killed.append(end.moment)
        assert len(killed) < 60, killed
        end = run(folder, *fit, "--ckpt_path", "last", moment=next_moment())
    record = max(folder.glob("runs/*/*/run.json"), key=lambda file: file.stat().st_mtime)
    return record.parent, killed


class Outcome(NamedTuple):
    """All of a run that must not depend on how often it was killed."""

    trained: dict[str, Any]
    averaged: dict[str, Any]
    curves: list[list[str]]
    sentences: dict[str, list[float]]
    record: dict[str, Any]


def outcome(folder: Path) -> Outcome:
    """What a finished run left."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    averaged = folder / "checkpoints" / "averaged.ckpt"
    last["qvbench"]["step_logs"][0].pop("elapsed")
    stopping = [state for key, state in last["callbacks"].items() if key.startswith("EarlyS")]
    with (folder / "curves.csv").open(newline="") as file:
        rows = [row[:3] + row[4:] for row in csv.reader(file) if row[4] not in WALL_TIME]
    with np.load(folder / "sentences.npz") as arrays:
        sentences = {name: arrays[name].tolist() for name in arrays.files}
    record = json.loads((folder / "run.json").read_text())
    return Outcome(
        {
            **{key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")},
            **{key: last["qvbench"][key] for key in last["qvbench"] if key != "config"},
            "stopping": stopping,
        },
        torch.load(averaged, weights_only=True)["state_dict"] if averaged.exists() else {},
        rows,
        sentences,
        {key: record[key] for key in ("steps", "target_tokens", "status")}
        | {key: value for key, value in record["metrics"].items() if key.startswith("val/")},
    )


def differences(one: Any, other: Any) -> list[str]:
    """Where two structures of tensors and plain values differ, to the last bit."""
    leaves = [
        {
            keystr(path): (leaf.dtype, leaf.tolist()) if torch.is_tensor(leaf) else leaf
            for path, leaf in x
        }
        for x in map(tree_leaves_with_path, (one, other))
    ]
    places = sorted(leaves[0].keys() | leaves[1].keys())
    return [p for p in places if leaves[0].get(p, "missing") != leaves[1].get(p, "missing")]
