"""Too little memory for a batch is one line that says what to lower."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qvbench.data.batching import Batch
from qvbench.tasks.translation import TranslationTask
from tests.cli.conftest import Answer


def test_the_command_says_what_to_lower(
    tiny: Path, here: Path, qvbench: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback, a page of CUDA's advice, and the shape of another batch."""
    shapes = []
    forward = TranslationTask.forward

    def limited(task: TranslationTask, batch: Batch) -> Any:
        shapes[:] = [tuple(batch.source.shape), tuple(batch.target.shape)]
        if task.training and batch.source.numel() + batch.target.numel() > 200:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\n")
        return forward(task, batch)

    monkeypatch.setattr(TranslationTask, "forward", limited)
    answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 2
    last = answer.err.splitlines()[-1]
    (rows, source), (_, target) = shapes
    where = f"out of memory on a batch of {rows} x {source} and {rows} x {target} tokens: lower"
    assert last.startswith(f"qvbench: error: {where}"), answer.err
    for remedy in ("--data.max_tokens", "accumulate_grad_batches", "precision"):
        assert remedy in last
    record = json.loads((here / "runs" / "tiny" / "seed-3" / "run.json").read_text())
    assert (record["status"], record["fault"]["kind"]) == ("failed", "memory")


def test_validation_has_no_batch_of_training(
    tiny: Path, qvbench: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches the last training batch named for one of the validation after it, and the budget of
    training batches."""
    forward = TranslationTask.forward

    def limited(task: TranslationTask, batch: Batch) -> Any:
        if not task.training:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\n")
        return forward(task, batch)

    monkeypatch.setattr(TranslationTask, "forward", limited)
    answer = qvbench("fit", "--config", "tiny.yaml", "--trainer.num_sanity_val_steps", "0")
    assert answer.status == 2
    said = "qvbench: error: out of memory: lower --data.eval_max_tokens, or take"
    assert answer.err.splitlines()[-1].startswith(said)
