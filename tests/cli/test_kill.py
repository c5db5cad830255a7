"""`qvbench fit` killed with SIGKILL at any moment, taken up until its end: nothing is different."""

from __future__ import annotations

import copy
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import TINY_CONFIG
from tests.cli.killing import Outcome, differences, finish, outcome, run

MOMENTS = 130
"""Kills fall among so many moments: the start of a run has about 20, a validation with all that it
writes 55, a batch two. A run gets on only where a kill can fall behind the next checkpoint."""


EPOCHS = ("--trainer.val_check_interval", "1.0", "--trainer.check_val_every_n_epoch", "1")


@pytest.fixture
def long_run(here: Path, tiny: Path) -> Path:
    """A run over several epochs, with all that keeps a state: steps of two batches, dropout,
    validations within epochs and steps, averaging, early stopping, a schedule."""
    config: dict[str, Any] = copy.deepcopy(TINY_CONFIG)
    config["model"]["network"]["init_args"]["dropout"] = 0.2
    config["data"]["eval_max_tokens"] = 100
    config["trainer"] |= {
        "max_steps": 15,
        "accumulate_grad_batches": 2,
        "log_every_n_steps": 2,
        "val_check_interval": 7,
        "callbacks": [
            {"class_path": "CheckpointAveraging", "init_args": {"last": 2}},
            {
                "class_path": "EarlyStopping",
                "init_args": {"monitor": "val/loss", "patience": 100},
            },
        ],
    }
    (here / "tiny.yaml").write_text(yaml.safe_dump(config))
    prepared = run(here, "prepare", "--config", "tiny.yaml")  # whose moments do not count
    assert prepared.status == 0, prepared.text
    return here


WHOLE: dict[str, Outcome] = {}


def whole(folder: Path, *settings: str) -> Outcome:
    """What a run of these settings leaves that nobody kills: it is trained once."""
    key = (folder / "tiny.yaml").read_text() + repr(settings)
    if key not in WHOLE:
        end = run(folder, "fit", "--config", "tiny.yaml", *settings, "--name", "whole")
        assert end.status == 0, end.text
        WHOLE[key] = outcome(folder / "runs" / "whole" / "seed-3")
    return WHOLE[key]


def check(
    folder: Path,
    settings: list[str],
    seed: int,
    others: list[str] | None = None,
    moments: int = MOMENTS,
) -> None:
    """Compare a run that is killed at random with one that is not."""
    one = whole(folder, *settings)
    chance = random.Random(seed)
    settings = settings if others is None else others
    found, killed = finish(
        folder, "tiny.yaml", lambda: chance.randint(1, moments), *settings, "--name", "killed"
    )
    print(seed, killed)
    assert len(killed) >= 3, "the run should have been killed more often"
    assert not differences(one, outcome(found)), killed


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(long_run: Path) -> None:
    """Catches a batch or a step twice or never, a random state, a row of the curve, a validation
    left out, an average over other weights, a checkpoint that is half written; and a number of
    workers that matters. Other tests kill runs with none and with one."""
    check(long_run, [], seed=2, others=["--data.num_workers", "2"])


@pytest.mark.slow
def test_a_killed_language_model_in_epochs_that_end_with_their_validation(long_run: Path) -> None:
    """Catches what is different where Lightning saves after the epoch; another number of workers
    in the killed run, which must not matter; and windows of a text that come twice or never."""
    config = yaml.safe_load((long_run / "tiny.yaml").read_text())
    sizes = {"d_model": 16, "num_heads": 2, "ffn_dim": 16, "layers": 1, "dropout": 0.2}
    config["task"] = "language_modeling"
    config["model"]["network"] = {"class_path": "DecoderOnly", "init_args": sizes}
    del config["model"]["beam_size"], config["data"]["merges"]
    config["data"] |= {"context": 32, "tokenizer": "bytes", "eval_max_tokens": 128}
    config["data"]["max_tokens"] = 1024
    (long_run / "tiny.yaml").write_text(yaml.safe_dump(config))
    check(long_run, [*EPOCHS], seed=5, others=[*EPOCHS, "--data.num_workers", "1"], moments=140)


@pytest.mark.slow
def test_early_stopping_is_not_forgotten(long_run: Path) -> None:
    """Catches a run that trains on when it is killed after the validation that ended it."""
    config = yaml.safe_load((long_run / "tiny.yaml").read_text())
    config["trainer"]["callbacks"][1]["init_args"] |= {"min_delta": 100.0, "patience": 2}
    (long_run / "tiny.yaml").write_text(yaml.safe_dump(config))
    check(long_run, [], seed=7)
    assert whole(long_run).record["steps"] < 15, "it should have stopped early"


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "stops"), [((), (4, 9, 15)), (EPOCHS, (14, 15))])
def test_more_steps_go_on_from_the_final_weights(
    long_run: Path, settings: tuple[str, ...], stops: tuple[int, ...]
) -> None:
    """Catches a final checkpoint from which the rest of an epoch is left out, and early stopping
    that misses its measure where a resumed run ends before its first validation."""
    fit = ("fit", "--config", "tiny.yaml", *settings)
    for stop in stops:
        args = ["--trainer.max_steps", str(stop), "--name", "pieces"]
        args += ["--ckpt_path", "last"] if stop != stops[0] else []
        end = run(long_run, *fit, *args)
        assert end.status == 0, end.text
    other = outcome(long_run / "runs" / "pieces" / "seed-3")
    assert not differences(whole(long_run, *settings), other)


# Signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.slow
def test_a_signal_leaves_a_checkpoint_of_the_moment(long_run: Path) -> None:
    """Catches a signal that ends the run with status 0, that loses what came after the last
    validation, or a checkpoint within a step or a validation that does not go on exactly."""
    fit = ("fit", "--config", "tiny.yaml")
    words: tuple[str, ...] = ("--name", "stopped")
    for number, moment in ((signal.SIGTERM, 21), (signal.SIGINT, 37), (signal.SIGUSR1, 95)):
        end = run(long_run, *fit, *words, moment=moment, act=partial(send, number))
        assert end.status == 128 + number, end.text
        assert "--ckpt_path last resumes from there" in end.text
        assert "Traceback" not in end.text
        assert '"interrupted"' in (long_run / "runs/stopped/seed-3/run.json").read_text()
        words = ("--name", "stopped", "--ckpt_path", "last")
    end = run(long_run, *fit, *words)
    assert end.status == 0, end.text
    other = outcome(long_run / "runs" / "stopped" / "seed-3")
    assert not differences(whole(long_run), other)


@pytest.mark.slow
def test_slurm_requeues_a_job_and_it_goes_on(
    long_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a job whose second start begins anew, or that is not asked for at all."""
    asked = long_run / "asked"
    scontrol = long_run / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    fit = ("fit", "--config", "tiny.yaml")
    end = run(long_run, *fit, moment=30, act=lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert end.status == 128 + signal.SIGUSR1, end.text
    assert asked.read_text() == "requeue 71\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    end = run(long_run, *fit)
    assert end.status == 0, end.text
    assert "Slurm job 71 resumes from" in end.text
    assert [folder.name for folder in (long_run / "runs" / "tiny").iterdir()] == ["seed-3"]
