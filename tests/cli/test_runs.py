"""What a run leaves: folder, record, curves, config; and how it is taken up again."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from qvbench.cli.experiment import resolve
from qvbench.runs.identity import identity
from qvbench.tasks.translation import TranslationTask
from tests.cli.conftest import Answer

pytestmark = pytest.mark.slow  # each trains

Command = Callable[..., Answer]

# The keys of run.json that scripts read; more may be added, none of these renamed.
KEYS = {
    "id": str,
    "config": str,
    "mechanism": str,
    "position": str,
    "corpus": str,
    "seed": int,
    "git": str,
    "versions": dict,
    "hardware": dict,
    "data_fingerprint": str,
    "parameters": dict,
    "attention_backend": dict,
    "steps": int,
    "target_tokens": int,
    "wall_seconds": float,
    "metrics": dict,
    "bleu_signatures": dict,
}


def record_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def curve_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(
    tiny: Path, here: Path, qvbench: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished tiny run, trained for the first test and copied for the others."""
    kept = tmp_path_factory.getbasetemp() / "trained"
    if not kept.exists():
        answer = qvbench("fit", "--config", "tiny.yaml")
        assert answer.status == 0, answer.err
        assert answer.out.count("translation ") == 3
        for shown in ("validation accuracy", "      runs/tiny/seed-3/curves.csv", "last.ckpt"):
            assert shown in answer.out
        shutil.copytree(here / "runs", kept)
    shutil.copytree(kept, here / "runs", dirs_exist_ok=True)
    return here / "runs" / "tiny" / "seed-3"


def test_a_finished_run(trained: Path) -> None:
    """Catches a renamed key, a wrong count of steps, and metrics that never reach the record."""
    record = record_of(trained)
    assert {key: type(record[key]) for key in KEYS} == KEYS
    assert record["id"] == "tiny/seed-3"
    assert (record["mechanism"], record["position"], record["corpus"]) == ("qvka", "agf", "grammar")
    assert (record["config"], record["seed"], record["steps"]) == ("tiny.yaml", 3, 6)
    assert record["status"] == "finished"
    assert record["target_tokens"] > 0
    assert 0 <= record["metrics"]["val/accuracy"] <= 100
    assert record["versions"]["torch"]
    assert {"cpu", "cores", "threads", "gpus", "memory_gib"} <= record["hardware"].keys()
    assert record["threads"] == record["hardware"]["threads"] == torch.get_num_threads()
    assert record["cores"] == record["hardware"]["cores"] >= 1
    assert record["label"] == {"mechanism": "QV-Ka 1\u00d7, context per head", "position": "AGF"}
    assert record["primary_metric"]["name"] == "val/accuracy"
    assert record["command"] == "qvbench fit --config tiny.yaml"
    assert record["started"] <= record["ended"]
    assert record["identity"] == identity(resolve(["--config", "tiny.yaml"]))
    assert 0 < record["parameters"]["attention"] < record["parameters"]["total"]
    assert not list(trained.glob("*.partial"))


def test_the_curve_is_one_tidy_file(trained: Path) -> None:
    """Catches Lightning's nested version folders, and a metric that is lost on the way."""
    rows = curve_of(trained)
    assert {"train/loss", "train/accuracy", "train/tokens_per_second", "val/accuracy"} <= {
        row["metric"] for row in rows
    }
    losses = [row for row in rows if row["metric"] == "train/loss"]
    assert [row["step"] for row in losses] == ["2", "4", "6"]
    tokens = [int(row["target_tokens"]) for row in rows if row["metric"] == "val/accuracy"]
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 2


def test_the_saved_config_gives_the_same_run(trained: Path, qvbench: Command, here: Path) -> None:
    """Catches a resolved config that lacks an override, or that cannot be read back."""
    saved = yaml.safe_load((trained / "config.yaml").read_text())
    assert saved["model"]["attention"]["init_args"]["context_dim"] == 8
    assert saved["seed_everything"] == 3
    answer = qvbench("fit", "--config", str(trained / "config.yaml"))
    assert answer.status == 0, answer.err
    again = here / "runs" / "tiny" / "seed-3-2"
    assert yaml.safe_load((again / "config.yaml").read_text()) == saved

    def measured(folder: Path) -> list[tuple[str, ...]]:
        return [
            (row["step"], row["metric"], row["value"])
            for row in curve_of(folder)
            if row["metric"] != "train/tokens_per_second"
        ]

    assert measured(again) == measured(trained)


def test_taking_up_a_run_goes_on_in_its_folder(trained: Path, qvbench: Command, here: Path) -> None:
    """Catches a second folder for one run, a piece of curve twice, wall time that restarts."""
    before = record_of(trained)
    words = ["--ckpt_path", "last", "--trainer.max_steps", "10"]
    answer = qvbench("fit", "--config", "tiny.yaml", *words)
    assert answer.status == 0, answer.err
    assert [folder.name for folder in (here / "runs" / "tiny").iterdir()] == ["seed-3"]
    after = record_of(trained)
    assert after["steps"] == 10
    assert after["identity"] == identity(resolve(["--config", "tiny.yaml", *words[2:]]))
    assert after["started"] == before["started"] <= before["ended"] <= after["ended"]
    assert after["wall_seconds"] > before["wall_seconds"]
    assert after["target_tokens"] > before["target_tokens"]
    rows = curve_of(trained)
    steps = [int(row["step"]) for row in rows if row["metric"] == "train/loss"]
    assert steps == [2, 4, 6, 8, 10]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_a_refused_resume_leaves_its_run_alone(trained: Path, qvbench: Command) -> None:
    """Catches a finished run that counts as failed, or as another experiment, after its checkpoint
    was given to another mechanism or other batches; and one resumed at its end that is not again
    finished."""
    words = ("fit", "--config", "tiny.yaml", "--ckpt_path", "last")
    files = [trained / name for name in ("config.yaml", "run.json", "curves.csv")]
    before = [file.read_text() for file in files]
    for change, said in (
        (("--model.attention", "QV"), "the checkpoint is of another model"),
        (("--data.max_tokens", "255"), "its data state has max_tokens=256"),
    ):
        answer = qvbench(*words, *change)
        assert answer.status == 2
        assert said in answer.err.splitlines()[-1]
        assert [file.read_text() for file in files] == before
    assert qvbench(*words).status == 0
    assert (record_of(trained)["status"], record_of(trained)["steps"]) == ("finished", 6)


def test_a_test_adds_to_the_record(trained: Path, qvbench: Command) -> None:
    """Catches scores that overwrite the training's record, or stand without signature; a
    validation that left no counts by sentence, a test without its lines, and scores of a few
    batches that pass for those of the set."""
    before = record_of(trained)
    with np.load(trained / "sentences.npz") as kept:
        right, tokens = kept["last_right"].sum(dtype=int), kept["tokens"].sum(dtype=int)
    assert 100 * right / tokens == pytest.approx(before["metrics"]["val/accuracy"])
    command = ("test", "--ckpt_path", str(trained / "checkpoints" / "last.ckpt"))
    assert qvbench(*command, "--trainer.limit_test_batches", "1").status == 0
    assert record_of(trained) == before
    assert not list(trained.glob("test-*.txt"))
    answer = qvbench(*command)
    assert answer.status == 0, answer.err
    after = record_of(trained)
    assert after["metrics"].keys() - before["metrics"].keys() >= {"test/bleu", "test/chrf"}
    assert after["bleu_signatures"].keys() >= {"test/bleu", "test/chrf"}
    assert after["tested_checkpoint"] == "last.ckpt"
    kept = KEYS.keys() - {"metrics", "bleu_signatures"}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    texts = [(trained / f"test-{name}.txt").read_text() for name in ("translations", "references")]
    assert [len(text.splitlines()) for text in texts] == [10, 10]


def test_predict_writes_a_line_for_each_of_the_test_set(trained: Path, qvbench: Command) -> None:
    answer = qvbench("predict", "--ckpt_path", str(trained / "checkpoints" / "last.ckpt"))
    assert answer.status == 0, answer.err
    assert len((trained / "predictions-test.txt").read_text().splitlines()) == 10


def test_a_checkpoint_of_another_model(trained: Path, qvbench: Command) -> None:
    """Catches a page of tensor names."""
    checkpoint = str(trained / "checkpoints" / "last.ckpt")
    answer = qvbench("test", "--ckpt_path", checkpoint, "--model.attention", "QV")
    assert answer.status == 2
    assert f"--ckpt_path {checkpoint}: the checkpoint is of another model" in answer.err


def test_a_crashed_run_leaves_its_record(
    tiny: Path, here: Path, qvbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a record that is only written when all went well, and a swallowed exception."""
    steps = iter(range(4))
    real = TranslationTask.training_step

    def failing(self: Any, batch: Any, batch_idx: int) -> Any:
        if next(steps) == 3:
            raise ZeroDivisionError
        return real(self, batch, batch_idx)

    monkeypatch.setattr(TranslationTask, "training_step", failing)
    with pytest.raises(ZeroDivisionError):
        qvbench("fit", "--config", "tiny.yaml")
    folder = here / "runs" / "tiny" / "seed-3"
    assert record_of(folder)["status"] == "failed"
    assert record_of(folder)["steps"] == 3
    assert (folder / "config.yaml").exists()
    assert curve_of(folder)


def test_parameters_are_counted_once(trained: Path, qvbench: Command) -> None:
    """Catches shared embeddings counted twice: against the tensors of the checkpoint."""
    file = trained / "checkpoints" / "last.ckpt"
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    storages = {v.data_ptr(): v.numel() for k, v in state.items() if k.startswith("network.")}
    assert record_of(trained)["parameters"]["total"] == sum(storages.values())
