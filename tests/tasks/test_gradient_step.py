"""A gradient step means the same however it is cut into batches and devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from qvbench.training.record import CurvesLogger
from tests.tasks.conftest import make_task
from tests.tasks.test_log import curves


class FirstGradient(Callback):
    """Keeps the gradients with which the first optimizer step is made."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer, pl_module) -> None:
        def keep(*_: object) -> None:
            parameters = pl_module.named_parameters()
            self.gradients = {n: p.grad.clone() for n, p in parameters if p.grad is not None}

        trainer.optimizers[0].register_step_post_hook(keep)


def gradient_of_one_step(trainer, data, task=None, **settings) -> dict[str, torch.Tensor]:
    kept = FirstGradient()
    run = trainer(max_steps=1, callbacks=[kept], **settings)
    run.fit(task or make_task(), datamodule=data)
    return kept.gradients


def count_batches(data) -> int:
    data.prepare_data()
    data.setup("fit")
    return len(list(data.train_dataloader()))


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert len(a) > 20
    for name, gradient in a.items():
        torch.testing.assert_close(gradient, b[name], rtol=1e-5, atol=1e-6)


def test_one_batch_or_many_accumulated(data, trainer):
    """A mean of means: a sentence in a short batch would weigh more than one in a long."""
    whole = gradient_of_one_step(trainer, data(max_tokens=4000))
    pieces = data(max_tokens=40)
    count = count_batches(pieces)
    assert count > 4
    assert_same(whole, gradient_of_one_step(trainer, pieces, accumulate_grad_batches=count))


def test_a_step_cut_short_by_the_end_of_an_epoch(data, trainer):
    """Lightning divides by the batches asked for, not by those that came."""
    whole = gradient_of_one_step(trainer, data(max_tokens=4000))
    pieces = data(max_tokens=40)
    assert_same(whole, gradient_of_one_step(trainer, pieces, accumulate_grad_batches=999))


def test_the_gradient_is_that_of_the_mean_loss_over_tokens(data, trainer):
    """All ways of cutting could agree on a wrong number."""
    module = data(max_tokens=4000)
    gradient = gradient_of_one_step(trainer, module)
    (batch,) = list(module.train_dataloader())
    fresh = make_task()
    fresh.build(module.vocabulary)
    logits = fresh.network.project(fresh.network(batch.source, batch.target[:, :-1]))
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.target[:, 1:].flatten(), ignore_index=0, label_smoothing=0.1
    )
    loss.backward()
    for name, parameter in fresh.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_clipping_sees_the_normalised_gradient(data, trainer):
    """Clipping before the division by tokens would depend on the number of batches."""
    settings = {"gradient_clip_val": 0.01}
    whole = gradient_of_one_step(trainer, data(max_tokens=4000), **settings)
    pieces = data(max_tokens=40)
    count = count_batches(pieces)
    assert_same(
        whole, gradient_of_one_step(trainer, pieces, accumulate_grad_batches=count, **settings)
    )
    norm = torch.stack([g.norm() for g in whole.values()]).norm()
    torch.testing.assert_close(norm, torch.tensor(0.01), rtol=1e-3, atol=0)


TWO_PROCESSES = """
import sys, torch
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from qvbench.data.module import TranslationDataModule
from qvbench.errors import UserError
from qvbench.training.record import CurvesLogger
from tests.tasks.conftest import make_task, write_corpus
from tests.tasks.test_gradient_step import FirstGradient

folder = Path(sys.argv[1])
corpus = write_corpus(folder / "text", 24)
data = TranslationDataModule(
    corpus, max_tokens=40, eval_max_tokens=80, merges=20, cache_dir=str(folder / "cache")
)
kept = FirstGradient()
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_steps=1, callbacks=[kept],
    logger=CurvesLogger(folder), log_every_n_steps=1, enable_progress_bar=False,
    enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
    num_sanity_val_steps=0, accumulate_grad_batches=int(sys.argv[2]),
    val_check_interval=int(sys.argv[2]),
)
task = make_task(beam_size=1)
trainer.fit(task, datamodule=data)
torch.save(kept.gradients, folder / f"rank{trainer.global_rank}.pt")
trainer.test(task, datamodule=data)

def run(name, ckpt_path=None):
    task = make_task(dropout=0.3)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=4, logger=False,
        callbacks=[ModelCheckpoint(
            folder / name, filename="{step}", every_n_train_steps=1, save_top_k=-1
        )],
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        num_sanity_val_steps=0, limit_val_batches=0, accumulate_grad_batches=2,
    )
    trainer.fit(task, datamodule=data, ckpt_path=ckpt_path)
    state = {"weights": task.network.state_dict(), "tokens": task.tokens_seen_now()}
    state["random"] = torch.get_rng_state()
    torch.save(state, folder / f"{name}{trainer.global_rank}.pt")

first = str(folder / "whole" / "step=1.ckpt")
run("whole")
run("resumed", first)

data = TranslationDataModule(
    write_corpus(folder / "single", 1), merges=20, cache_dir=str(folder / "cache")
)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_steps=1, logger=False,
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    use_distributed_sampler=False,
)
try:
    trainer.validate(make_task(), datamodule=data)
except UserError as error:
    (folder / f"refused{trainer.global_rank}").write_text(str(error))
"""


@pytest.mark.slow
def test_two_processes_are_one(
    data: Callable[..., Any], trainer: Callable[..., Any], tmp_path: Path
) -> None:
    """Catches an average over devices that hold different numbers of tokens, and a log of what the
    first process alone has seen; a run in which all are resumed on the dropout of one; and a rank
    without validation pairs that goes on while the others wait for it."""
    pieces = data(max_tokens=40)
    share = count_batches(pieces) // 2
    task, alone = make_task(beam_size=1), tmp_path / "alone"
    alone.mkdir()
    gradient = gradient_of_one_step(
        trainer,
        pieces,
        task,
        accumulate_grad_batches=2 * share,
        logger=CurvesLogger(alone),
        log_every_n_steps=1,
        limit_val_batches=None,
        val_check_interval=2 * share,
    )
    trainer(logger=CurvesLogger(alone)).test(task, datamodule=pieces)
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES, encoding="utf-8")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(share)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert_same(gradient, torch.load(tmp_path / f"rank{rank}.pt", weights_only=True))
    logged, expected = curves(tmp_path), curves(alone)
    assert logged.keys() == expected.keys() >= {"train/loss", "val/loss", "test/bleu"}
    del expected["train/tokens_per_second"]
    for name, values in expected.items():
        assert logged[name] == pytest.approx(values, rel=1e-5), name
    assert "sync_dist" not in done.stderr
    random = []
    for rank in (0, 1):
        refused = (tmp_path / f"refused{rank}").read_text()
        assert "1 evaluation pairs are too few for 2 processes" in refused
        whole, resumed = (
            torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True)
            for name in ("whole", "resumed")
        )
        assert whole["tokens"] == resumed["tokens"] > 0
        assert torch.equal(whole["random"], resumed["random"])
        random.append(whole["random"])
        for name, value in whole["weights"].items():
            assert torch.equal(resumed["weights"][name], value), name
    assert not torch.equal(*random), "with equal numbers the test would prove nothing"
