"""What was tried instead: each alternative is really run, and computes the same function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.cases import CASES, PREDICTED
from benchmarks.peers.protocol import Work
from benchmarks.programs.train import Training
from benchmarks.trials import TRIALS
from qvbench.attention import core
from qvbench.attention import dropout as own_dropout
from qvbench.cli.profile_model import build
from qvbench.models import loss
from qvbench.tasks import base
from tests.benchmarks.test_programs import memory_as_it_was, training_work  # noqa: F401

SWAPPED = (
    (own_dropout, "dropout"),
    (core, "dropout"),
    (core, "_attend_by_sdpa"),
    (loss, "CHUNK_ROWS"),
    (base, "training_totals"),
)


@pytest.fixture(autouse=True)
def swapped_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a trial swaps is as it was for the next test."""
    for module, name in SWAPPED:
        monkeypatch.setattr(module, name, getattr(module, name))


def parts() -> list[Any]:
    return [getattr(module, name) for module, name in SWAPPED]


def test_every_prediction_is_of_a_trial() -> None:
    """A name that no trial has, or a trial that is never run."""
    assert {name for each in PREDICTED.values() for name in each} == set(TRIALS)
    entries = {e.name: e for case in CASES if case.group == "trials" for e in case.programs}
    assert {e.shape["trial"] for e in entries.values() if e.shape} == set(TRIALS)


@pytest.mark.parametrize("name", sorted({*TRIALS} - {"torch.compile"}))
def test_a_trial_swaps_a_part_and_still_learns(tmp_path: Path, name: str) -> None:
    """An alternative that is not reached, or does not compute the loss of the first batch."""
    folder, expected = training_work(tmp_path, "tiny/qv.yaml")
    before = parts()
    (folder.folder / "shape.json").write_text(
        (folder.folder / "shape.json").read_text().replace("{", f'{{"trial": "{name}", ', 1)
    )
    program = Training(Work(folder.folder))
    first = program.check()["loss"]
    assert first == pytest.approx(expected, rel=1e-5)
    program.repeat()
    assert program.check()["loss"] < first
    if name == "Adam a tensor at a time":
        assert not program._task.trainer.optimizers[0].param_groups[0]["fused"]
    else:
        assert parts() != before


def test_the_network_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that compiles something else; compiling itself takes a minute."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **k: calls.append((self, k)))
    task = build("tiny/qv.yaml", [], 40).task
    TRIALS["torch.compile"](task)
    assert calls == [(task.network, {"dynamic": True})]
