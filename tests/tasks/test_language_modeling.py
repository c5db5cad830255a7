"""Language modeling from a config to a record, and what its numbers mean."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from qvbench.cli.experiment import Experiment
from qvbench.cli.main import main
from qvbench.data.batching import Windows
from qvbench.data.corpora import Grammar
from qvbench.positions import POSITIONS
from tests.tasks.conftest import make_language_task

pytestmark = pytest.mark.slow  # nearly every test trains; `make test` runs them

CONFIG: dict[str, Any] = {
    "task": "language_modeling",
    "model": {
        "attention": "QV",
        "position": "AGF",
        "network": {
            "class_path": "DecoderOnly",
            "init_args": {"d_model": 16, "num_heads": 2, "layers": 2, "ffn_dim": 24},
        },
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": 1.0, "weight_decay": 0.5},
        },
        "schedule": {"class_path": "Cosine", "init_args": {"peak": 0.02, "final": 0.002}},
    },
    "data": {
        "corpus": {
            "class_path": "Grammar",
            "init_args": {"train_pairs": 60, "val_pairs": 10, "test_pairs": 10},
        },
        "tokenizer": "bytes",
        "context": 32,
        "eval_context": 128,
        "max_tokens": 256,
    },
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 24,
        "gradient_clip_val": 1.0,
        "log_every_n_steps": 4,
        "val_check_interval": 8,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
    },
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a config, ``lm.yaml``."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QVBENCH_RUN_FOLDER", "")
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path / "cache"))
    Path("lm.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def run(command: str, *args: str) -> int:
    return main([command, "--config", "lm.yaml", *args])


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_from_a_config_to_a_record(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a metric of pairs taken for granted, tokens scored that do not count or left out,
    bits per byte of something else, positions of a window in two parts or in none, and a network
    that learns nothing."""
    assert run("fit") == 0, capsys.readouterr().err
    found = record(here / "runs/lm/seed-0")
    assert (found["mechanism"], found["position"], found["corpus"]) == ("qv", "agf", "grammar")
    metric, values = found["primary_metric"], found["metrics"]
    assert (metric["name"], metric["higher_is_better"]) == ("val/loss", False)
    assert values["val/loss"] < math.log(256) - 1
    assert values["val/bits_per_byte"] == pytest.approx(values["val/loss"] / math.log(2))
    assert values["val/perplexity"] == pytest.approx(math.exp(values["val/loss"]))
    with np.load(here / "runs/lm/seed-0/sentences.npz") as counts:
        tokens = int(counts["tokens"].sum())
    text = "".join(Grammar(60, 10, 10).text("val"))
    assert tokens == len(text.encode()) - 1
    whole, rest = divmod(tokens, 128)
    parts = {start: values.pop(f"val/loss_at_{start}") for start in (0, 32, 64)}
    counts = {n: whole * max(n, 32) + min(max(rest - n, 0), max(n, 32)) for n in parts}
    mean = sum(counts[start] * loss for start, loss in parts.items()) / tokens
    assert mean == pytest.approx(values["val/loss"], abs=1e-6)
    assert not any("loss_at" in name for name in values)
    capsys.readouterr()
    assert run("validate", "--ckpt_path", "last") == 0
    assert f"{values['val/loss']:.6g}" in capsys.readouterr().out
    assert run("test", "--ckpt_path", "last") == 0
    tested = record(here / "runs/lm/seed-0")["metrics"]
    assert {name for name in tested if name.startswith("test/")} == {
        name.replace("val", "test") for name in tested if name.startswith("val/")
    }
    assert 0 < abs(tested["test/loss"] - values["val/loss"]) < 0.5
    Path("other.txt").write_text("".join(Grammar(60, 10, 10).text("test")))
    Path("train.txt").write_text("abc" * 99)
    test = '{"class_path": "Files", "init_args": {"paths": ["train.txt"], "test": ["other.txt"]}}'
    assert run("test", "--ckpt_path", "last", "--data.corpus", test) == 0
    again = record(here / "runs/lm/seed-0")["metrics"]
    assert again["test/loss"] == tested["test/loss"]
    capsys.readouterr()
    without = ("--data.corpus", test.replace(', "test": ["other.txt"]', ""))
    for command, more, message in (
        ("predict", (), "not for the task language_modeling"),
        ("test", without, "test: Files has no test set; `qvbench validate` scores its val"),
        ("validate", ("--data.tokenizer", "characters"), "was trained with another vocabulary"),
    ):
        assert run(command, "--ckpt_path", "last", *more) == 2
        assert_one_line(capsys, message)


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    (line,) = (ln for ln in capsys.readouterr().err.splitlines() if ln.startswith("qvbench: error"))
    assert message in line


def test_bits_per_byte_of_tokens_of_several_bytes(here: Path) -> None:
    """Catches a loss per token taken for one per byte, and the bytes of another set."""
    settings = ("--data.tokenizer", "bpe", "--data.vocab_size", "300", "--trainer.max_steps", "8")
    assert run("fit", *settings) == 0
    assert run("test", "--ckpt_path", "last", *settings) == 0
    values = record(here / "runs/lm/seed-0")["metrics"]
    (store,) = (here / "cache").glob("grammar-*")
    for name in ("val", "test"):
        size = len("".join(Grammar(60, 10, 10).text(name)).encode())
        tokens = len(np.memmap(store / f"{name}.bin", np.uint16, "r"))
        assert 1.2 * tokens < size
        bits = values[f"{name}/loss"] * tokens / size / math.log(2)
        assert values[f"{name}/bits_per_byte"] == pytest.approx(bits)


def test_documents_of_a_window_are_passed_to_the_network() -> None:
    """Catches a mask that data and network know of, and the task between them loses."""
    task = make_language_task()
    task.network = task.build_network(20)
    ids = torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([0] * 4 + [1] * 4).expand(2, -1)
    batch = Windows(ids[:, :-1], ids[:, 1:], torch.arange(2), documents)
    alone = task.network(ids[:, 4:-1])
    torch.testing.assert_close(task(batch).hidden[:, 4:], alone)


def test_what_weights_are_worth_before_the_first_step(here: Path) -> None:
    """Catches a loss of converted weights that no curve has, one of a few batches among those of
    the whole set, and one that a resumed run measures again."""
    still = ("--model.schedule.peak", "1e-30", "--model.schedule.final", "1e-31")
    whole = (*still, "--trainer.max_steps", "8", "--trainer.num_sanity_val_steps", "-1")
    for more in ((), ("--ckpt_path", "last")):
        assert run("fit", *whole, *more) == 0
        with (here / "runs/lm/seed-0/curves.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["metric"] == "val/loss"]
        assert [row["step"] for row in rows] == ["0", "8"]
        assert float(rows[0]["value"]) == pytest.approx(float(rows[1]["value"]), abs=1e-6)
    few = ("--name", "few", "--trainer.max_steps", "8", "--trainer.num_sanity_val_steps", "1")
    assert run("fit", *few) == 0
    assert "\n0," not in (here / "runs/few/seed-0/curves.csv").read_text()


FAULTS = {
    "empty.txt": (b"", "train: a text of 0 tokens; give it more text"),
    "short.txt": (b"ab" * 30, "a training text of 54 tokens is shorter than two windows of contex"),
    "binary.bin": (bytes(range(256)) * 9, "binary.bin:2: not UTF-8 (byte 0x80, 118"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_text_that_cannot_be_trained_on_is_one_line(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a traceback, or half a store left, for files without text or with too little."""
    content, message = FAULTS[name]
    Path(name).write_bytes(content)
    corpus = f'{{"class_path": "Files", "init_args": {{"paths": ["{name}"]}}}}'
    assert run("fit", "--data.corpus", corpus) == 2
    assert_one_line(capsys, message)
    stores = (here / "cache").glob("files-*")
    assert all((store / "manifest.json").is_file() for store in stores)


def test_a_context_beyond_the_positions_is_refused_before_the_data_is_prepared(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a table of positions that ends within the first batch, after hours of encoding."""
    for key, value, most in (("context", 32, 31), ("eval_context", 128, 127)):
        position = f'{{"class_path": "Learned", "init_args": {{"max_length": {most}}}}}'
        assert run("fit", "--model.position", position) == 2
        message = f"data: {key} of {value} tokens is longer than the {most} positions of Learned; l"
        assert_one_line(capsys, message)
    assert not (here / "cache").exists()


@pytest.mark.parametrize("document_mask", ["false", "true"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(here: Path, document_mask: str) -> None:
    """Catches windows, dropout or moments that a resume does not take up."""
    settings = ("--model.network.dropout", "0.1", "--data.document_mask", document_mask)
    checkpoints = here / "checkpoints.yaml"
    saver = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 5}}
    saver["init_args"] |= {"save_top_k": -1, "filename": "{step}"}  # type: ignore[operator]
    checkpoints.write_text(yaml.safe_dump({"trainer": {"callbacks": [saver]}}))
    more = ("--config", "checkpoints.yaml", *settings)
    assert run("fit", "--name", "whole", *more) == 0
    (middle,) = here.glob("runs/whole/seed-0/**/step=15.ckpt")
    whole = torch.load(here / "runs/whole/seed-0/checkpoints/last.ckpt", weights_only=True)
    copy = here / "middle.ckpt"
    copy.write_bytes(middle.read_bytes())
    assert run("fit", "--name", "again", *more, "--ckpt_path", str(copy)) == 0
    again = torch.load(here / "runs/again/seed-0/checkpoints/last.ckpt", weights_only=True)
    assert whole["global_step"] == again["global_step"] == 24
    for name, value in whole["state_dict"].items():
        assert torch.equal(again["state_dict"][name], value), name


def test_weight_decay_is_for_matrices_alone() -> None:
    """Catches a decay of norms, biases or AGF's exponents, and a matrix or table without."""
    for position in POSITIONS:
        settings = ["--model.network.bias", "true", "--model.network.tied", "false"]
        words = [
            "--config",
            "lm/nanogpt_cpu.yaml",
            "--model.position",
            POSITIONS[position].__name__,
        ]
        task = Experiment("fit", [*words, *settings, "--data.context", "64"]).build().model
        task.network = task.build_network(65)
        optimizer = task.configure_optimizers()["optimizer"]
        decayed, spared = (group["params"] for group in optimizer.param_groups)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
        names = {id(p): name for name, p in task.network.named_parameters()}
        assert {id(p) for p in (*decayed, *spared)} == set(names)
        for parameter in decayed:
            assert parameter.dim() == 2
            assert "attention.position" not in names[id(parameter)]
        tables = [name for name in map(names.__getitem__, map(id, decayed)) if "embeddings" in name]
        assert len(tables) == 1 + (position == "learned")
