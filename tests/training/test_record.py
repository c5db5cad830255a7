"""The record of a run that is resumed, trained further or tested while it trains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qvbench.errors import UserError
from qvbench.runs.folder import CONFIG, RECORD, REFERENCES, TRANSLATIONS
from qvbench.runs.record import read_json, write_record
from qvbench.training import record
from qvbench.training.record import RunRecord

TESTED = {
    "identity": "of 300 steps",
    "mechanism": "qv",
    "position": "agf",
    "parameters": {"total": 2, "attention": 1},
    "steps": 300,
    "wall_seconds": 9.0,
    "metrics": {"val/loss": 1.0, "test/bleu": 30.0},
    "bleu_signatures": {"test/bleu": "tok:none"},
    "tested_checkpoint": "last.ckpt",
    "status": "finished",
}
CHANGED = ("identity", "command", "wall_seconds", "target_tokens", "attention_backend", "ended")
FILES = {CONFIG: "old: 1\n", TRANSLATIONS: "ein hund\n", REFERENCES: "ein hund\n"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a run of 300 steps which was tested."""
    monkeypatch.setattr(record, "attention_backend", lambda network: None)
    write_record(tmp_path, TESTED)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def parts(folder: Path, step: int, fn: str = "fit", **metrics: float) -> tuple[RunRecord, Any, Any]:
    """The callback of a command for a checkpoint of the run, and what its hooks are given."""
    trainer = SimpleNamespace(
        is_global_zero=True,
        ckpt_path="last.ckpt",
        loggers=[],
        state=SimpleNamespace(fn=fn),
        sanity_checking=False,
        limit_test_batches=1.0,
        global_step=step,
        callback_metrics={f"{name}/bleu": value for name, value in metrics.items()},
    )
    module = SimpleNamespace(
        network=None,
        batch_shapes=[],
        target_tokens_seen=7,
        tokens_seen_now=lambda: 7,
        bleu_signatures={},
    )
    return RunRecord(folder, "tiny.yaml", {"trainer": {"max_steps": 500}}, 3, [fn]), trainer, module


def test_a_refused_resume_leaves_its_run_alone(folder: Path) -> None:
    """Catches a finished run that counts as failed, so that a sweep removes it, after somebody gave
    its checkpoint to another mechanism."""
    before = {file.name: file.read_text() for file in folder.iterdir()}
    resumed, trainer, module = parts(folder, 0)
    resumed.setup(trainer, module, "fit")
    resumed.on_fit_start(trainer, module)
    resumed.on_exception(trainer, module, UserError("of another model"))
    assert {file.name: file.read_text() for file in folder.iterdir()} == before


def test_weights_that_are_trained_further_lose_their_test(folder: Path) -> None:
    """Catches test scores and translations of earlier weights, a resume whose record begins at step
    0, and one that says nothing of its own config."""
    resumed, trainer, module = parts(folder, 300)
    resumed.setup(trainer, module, "fit")
    resumed.on_fit_start(trainer, module)
    resumed.on_train_start(trainer, module)
    begun = read_json(folder / RECORD)
    assert (begun["status"], begun["steps"]) == ("running", 300)
    assert begun["identity"] != TESTED["identity"]
    assert begun["metrics"] == TESTED["metrics"]
    assert (folder / CONFIG).read_text() == "trainer:\n  max_steps: 500\n"
    trainer.global_step = 301
    resumed.on_validation_end(trainer, module)
    further = read_json(folder / RECORD)
    assert (further["metrics"], further["bleu_signatures"]) == ({"val/loss": 1.0}, {})
    assert "tested_checkpoint" not in further
    assert {file.name for file in folder.iterdir()} == {CONFIG, RECORD}


def test_a_run_resumed_at_its_end_is_finished(folder: Path) -> None:
    """Catches a run, killed after its last checkpoint, that no sweep ever sees finished, for
    Lightning starts no training without steps left."""
    write_record(folder, {**TESTED, "status": "running"})
    resumed, trainer, module = parts(folder, 300)
    resumed.on_fit_start(trainer, module)
    resumed.on_fit_end(trainer, module)
    ended = read_json(folder / RECORD)
    assert ended == {**TESTED, **{key: ended[key] for key in CHANGED}}
    assert (ended["status"], ended["steps"]) == ("finished", 300)


def test_a_test_beside_the_training_keeps_what_that_wrote(folder: Path) -> None:
    """Catches a record that goes back to when the test was started."""
    tested, trainer, module = parts(folder, 300, "test", test=31.0)
    tested.on_test_start(trainer, module)
    write_record(folder, {**TESTED, "steps": 400, "metrics": {"val/loss": 0.5}})
    tested.on_test_end(trainer, module)
    after = read_json(folder / RECORD)
    assert (after["steps"], after["metrics"]) == (400, {"val/loss": 0.5, "test/bleu": 31.0})
