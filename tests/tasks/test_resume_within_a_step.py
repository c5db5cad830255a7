"""A checkpoint between two micro-batches of one step, in one process and in two.

Validation counts batches over all epochs, accumulation counts them within one: where an epoch is no
multiple of the accumulated batches, validations and their checkpoints fall within a step.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.tasks.conftest import make_task


@pytest.mark.parametrize(("step", "within"), [(2, True), (5, True), (8, False)])
def test_nothing_of_the_step_is_lost(data, trainer, tmp_path, step, within):
    """A step that goes on with the gradients of its second half alone."""

    def run(folder: str, ckpt_path: str | None = None):
        task = make_task(dropout=0.3)
        saver = ModelCheckpoint(tmp_path / folder, filename="{step}", save_top_k=-1)
        trainer(
            max_steps=9,
            accumulate_grad_batches=2,
            val_check_interval=5,  # batches; an epoch has 9 of them, and 5 steps
            check_val_every_n_epoch=None,
            limit_val_batches=1,
            enable_checkpointing=True,
            callbacks=[saver],
        ).fit(task, datamodule=data(), ckpt_path=ckpt_path)
        return task

    whole = run("whole")
    checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
    stored = torch.load(checkpoint, weights_only=True)["qvbench"]
    assert bool(stored["unfinished_step"]) is within
    resumed = run("resumed", str(checkpoint))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert whole.tokens_seen_now() == resumed.tokens_seen_now() > 0


TWO_PROCESSES = """
import sys, torch
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from qvbench.data.module import TranslationDataModule
from tests.tasks.conftest import make_task, write_corpus

folder = Path(sys.argv[1])
corpus = write_corpus(folder / "text", 24)

def run(name, ckpt_path=None):
    data = TranslationDataModule(corpus, max_tokens=40, merges=20, cache_dir=str(folder / "cache"))
    task = make_task(dropout=0.3)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=4, logger=False,
        callbacks=[ModelCheckpoint(folder / name, filename="{step}", save_top_k=-1)],
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        num_sanity_val_steps=0, limit_val_batches=1, accumulate_grad_batches=2,
        val_check_interval=3, check_val_every_n_epoch=None,
    )
    trainer.fit(task, datamodule=data, ckpt_path=ckpt_path)
    state = {"weights": task.network.state_dict(), "tokens": task.tokens_seen_now()}
    state["random"] = torch.get_rng_state()
    torch.save(state, folder / f"{name}{trainer.global_rank}.pt")

run("whole")
run("resumed", str(folder / "whole" / "step=1.ckpt"))
"""


@pytest.mark.slow
def test_every_process_goes_on_with_its_own_numbers(tmp_path):
    """All processes resumed on the first one's dropout, or gradients of the others forgotten."""
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES, encoding="utf-8")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    stored = torch.load(tmp_path / "whole" / "step=1.ckpt", weights_only=True)["qvbench"]
    assert stored["unfinished_step"], "the checkpoint was to fall within a step"
    random = []
    for rank in (0, 1):
        whole, resumed = (
            torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True)
            for name in ("whole", "resumed")
        )
        assert whole["tokens"] == resumed["tokens"] > 0
        assert torch.equal(whole["random"], resumed["random"])
        random.append(whole["random"])
        for name, value in whole["weights"].items():
            # Sums over processes and batches are taken in another order; Adam's first steps
            # divide by the gradient's size, so that the error of a tiny gradient shows.
            torch.testing.assert_close(resumed["weights"][name], value, rtol=1e-4, atol=1e-5)
    assert not torch.equal(*random), "with equal numbers the test would prove nothing"
