"""Errors that end a run and that its user can fix, as one line; others keep their traceback."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from qvbench.errors import UserError

LESS_MEMORY = (
    "lower --data.max_tokens (with as much more --trainer.accumulate_grad_batches a step stays the "
    "same), or take --trainer.precision 16-mixed or bf16-mixed"
)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORKER = re.compile(r"DataLoader worker .*?(?:killed by signal: ([\w ]+)|exited unexpectedly)")
_NO_MEMORY = ("DefaultCPUAllocator: can't allocate", "DefaultCPUAllocator: not enough memory")


class RunFault(UserError):
    """An error that ends a training, with what its record keeps of it.

    Args:
        message: one line.
        status: of the run, in its record.
        facts: the same as plain data.
    """

    def __init__(self, message: str, status: str = "failed", **facts: Any) -> None:
        super().__init__(message)
        self.status = status
        self.facts = facts


def explain(error: BaseException) -> UserError | None:
    """An exception as one line for the user; None where it is a bug of the suite.

    Args:
        error: whatever ended the run.
    """
    if isinstance(error, UserError):
        return error
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError) or any(sign in text for sign in _NO_MEMORY):
        return RunFault(f"out of memory: {LESS_MEMORY}", kind="memory")
    worker = _WORKER.search(text) if isinstance(error, RuntimeError) else None
    if worker:
        return _dead_worker(worker[1])
    if _is_full(error):
        file = getattr(error, "filename", None)
        return RunFault(
            f"{file or 'the folder of the run'}: the disk is full; free some space, then go on "
            "with --ckpt_path last",
            kind="disk",
        )
    return None


def last_good_checkpoint(trainer: Trainer) -> Path | None:
    """The newest checkpoint that the run has written; None if there is none yet."""
    folders = {
        Path(folder)
        for callback in trainer.checkpoint_callbacks
        if (folder := getattr(callback, "dirpath", None))
    }
    found = [file for folder in folders for file in folder.glob("*.ckpt") if file.is_file()]
    return max(found, key=lambda file: (file.stat().st_mtime, file.name), default=None)


def how_to_go_on(checkpoint: Path | None) -> str:
    """The end of a line that stops a training: from where it can be resumed."""
    if checkpoint is None:
        return "no checkpoint had been written yet"
    return f"the last good checkpoint is {checkpoint} (--ckpt_path resumes from it)"


def _dead_worker(signal: str | None) -> UserError:
    how = f"was killed (signal: {signal})" if signal else "ended without a word"
    return RunFault(
        f"a process that prepares batches {how}; mostly that is the system short of memory: lower "
        "--data.num_workers (0 needs no such process), then go on with --ckpt_path last",
        kind="worker",
    )


def _is_full(error: BaseException) -> bool:
    """Whether the disk was full; torch's writer says so without the system's error number."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if "PytorchStreamWriter failed writing" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
