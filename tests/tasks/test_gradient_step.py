"""A gradient step means the same however it is cut into batches and devices."""

from __future__ import annotations

import functools
import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from qvbench.errors import UserError
from qvbench.training.record import CurvesLogger
from tests.tasks.conftest import (
    make_data,
    make_language_data,
    make_language_task,
    make_task,
)
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


TASKS: dict[str, tuple[Callable[..., Any], Callable[..., Any], set[str]]] = {
    "translation": (
        make_data,
        functools.partial(make_task, beam_size=1),
        {"train/loss", "val/loss", "test/bleu"},
    ),
    "language_modeling": (
        make_language_data,
        make_language_task,
        {"train/loss", "val/bits_per_byte", "test/loss"},
    ),
}
"""By task: its data, a task, and some of what a run logs."""


def train_on_two(kind: str, rank: int, port: int, folder: Path, share: int) -> None:
    """One of two processes, as Lightning starts them: what it trains goes to files of its rank."""
    warnings.filterwarnings("error", message=".*sync_dist")
    place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    devices: dict[str, Any] = {
        **{"accelerator": "cpu", "devices": 2, "strategy": "ddp", "num_sanity_val_steps": 0},
        **{"enable_progress_bar": False, "enable_model_summary": False},
        "use_distributed_sampler": False,
    }
    data_of, task_of, _ = TASKS[kind]
    own, cache = folder / f"rank{rank}", str(folder / "cache")
    data = data_of(own, eval_max_tokens=80, cache_dir=cache)
    kept = FirstGradient()
    trainer = Trainer(
        max_steps=1,
        callbacks=[kept],
        logger=CurvesLogger(folder),
        log_every_n_steps=1,
        enable_checkpointing=False,
        accumulate_grad_batches=share,
        val_check_interval=share,
        **devices,
    )
    assert (trainer.global_rank, trainer.world_size) == (rank, 2)
    task = task_of()
    trainer.fit(task, datamodule=data)
    torch.save(kept.gradients, folder / f"rank{rank}.pt")
    trainer.test(task, datamodule=data)

    for name, checkpoint in (("whole", None), ("resumed", folder / "whole" / "step=1.ckpt")):
        every = ModelCheckpoint(
            folder / name, filename="{step}", every_n_train_steps=1, save_top_k=-1
        )
        trainer = Trainer(
            max_steps=4,
            logger=False,
            callbacks=[every],
            limit_val_batches=0,
            accumulate_grad_batches=2,
            **devices,
        )
        task = task_of(dropout=0.3)
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint)
        state = {"weights": task.network.state_dict(), "tokens": task.tokens_seen_now()}
        state["random"] = torch.get_rng_state()
        torch.save(state, folder / f"{name}{rank}.pt")

    data = data_of(own, 1, cache_dir=cache)
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, **devices)
    with pytest.raises(UserError, match="1 evaluation pairs are too few for 2 processes"):
        trainer.validate(task_of(), datamodule=data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TASKS)
def test_two_processes_are_one(kind: str, trainer: Callable[..., Any], tmp_path: Path) -> None:
    """Catches an average over devices that hold different numbers of tokens, and a log of what the
    first process alone has seen; a run in which all are resumed on the dropout of one; and a rank
    without validation pairs that goes on while the others wait for it."""
    data_of, task_of, names = TASKS[kind]
    pieces = data_of(tmp_path)
    share = count_batches(pieces) // 2
    task, alone = task_of(), tmp_path / "alone"
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")  # imports take longer than the trainings
    ranks = [
        fork.Process(target=train_on_two, args=(kind, n, port, tmp_path, share)) for n in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    for rank in (0, 1):
        assert_same(gradient, torch.load(tmp_path / f"rank{rank}.pt", weights_only=True))
    logged, expected = curves(tmp_path), curves(alone)
    assert logged.keys() == expected.keys() >= names
    del expected["train/tokens_per_second"]
    for name, values in expected.items():
        assert logged[name] == pytest.approx(values, rel=1e-5), name
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
            assert torch.equal(resumed["weights"][name], value), name
    assert not torch.equal(*random), "with equal numbers the test would prove nothing"
