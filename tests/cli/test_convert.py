"""``qvbench convert``: from a run's checkpoint to one that is validated and fine-tuned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.conftest import Answer

Command = Callable[..., Answer]


@pytest.fixture
def trained(tiny: Path, here: Path, qvbench: Command) -> Path:
    """The last checkpoint of a tiny translation model with QKV."""
    config = yaml.safe_load(tiny.read_text())
    config["model"]["attention"] = "QKV"
    Path("qkv.yaml").write_text(yaml.safe_dump(config))
    answer = qvbench("fit", "--config", "qkv.yaml")
    assert answer.status == 0, answer.err
    (checkpoint,) = here.glob("runs/*/seed-3/checkpoints/last.ckpt")
    return checkpoint


def value(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


@pytest.mark.slow
def test_a_converted_model_is_validated_and_fine_tuned(
    trained: Path, here: Path, qvbench: Command
) -> None:
    """Catches a checkpoint that keeps the old mechanism's config or optimizer, weights that a run
    does not start on, or needs again to be resumed, and a conversion to itself that changes
    numbers."""
    before = qvbench("validate", "--ckpt_path", str(trained))
    for mechanism, file in (("QKV", "same.ckpt"), ("attention/qv.yaml", "qv.ckpt")):
        words = ("--checkpoint", str(trained), "--attention", mechanism, "--output", file)
        answer = qvbench("convert", *words, "--tokens", "50")
        assert answer.status == 0, answer.err
        assert file in answer.out
        own = ("--config", "qkv.yaml", "--model.attention", mechanism)
        after = qvbench("validate", *own, "--ckpt_path", file)
        assert after.status == 0, after.err
        same = value(after.out, "val/loss") == value(before.out, "val/loss")
        assert same == (mechanism == "QKV")
        tune = ("--name", file, "--model.init_from", file, "--trainer.max_steps", "1")
        rate = ("--model.schedule", "Constant", "--model.schedule.rate", "1e-30")
        answer = qvbench("fit", *own, *tune, *rate)
        assert answer.status == 0, answer.err
        assert qvbench("fit", *own, "--ckpt_path", file).status == 2
        (last,) = here.glob(f"runs/{file}/seed-3/checkpoints/last.ckpt")
        started = torch.load(last, weights_only=True)["state_dict"]
        for name, weight in torch.load(file, weights_only=True)["state_dict"].items():
            assert torch.equal(started[name], weight), name
        (here / file).unlink()
        answer = qvbench("fit", *own, *tune, *rate, "--ckpt_path", "last")
        assert answer.status == 0, answer.err
    # Not the folders of what was validated or refused.
    assert {f.name for f in here.glob("runs/qkv/v*")} == {"validate", "validate-2"}
    answer = qvbench("fit", "--config", "qkv.yaml", "--ckpt_path", "last")
    assert answer.status == 0, answer.err


@pytest.mark.slow
def test_what_cannot_be_converted_is_one_line(trained: Path, here: Path, qvbench: Command) -> None:
    """Catches a traceback, a file that is overwritten, weights taken into another network, and
    settings that are passed over."""
    (here / "moved.ckpt").write_bytes(trained.read_bytes())
    (here / "there.ckpt").write_text("mine")
    own = torch.load(trained, weights_only=True)
    own["qvbench"]["config"] = own["qvbench"]["config"].replace("QKV", "nowhere.Mine")
    torch.save(own, here / "own.ckpt")
    for words, message in (
        (("--attention", "MLA"), "to mla there is no way; known are: qkv, gqa"),
        (("--attention", "QVX"), "QVX: no class of that name is known here"),
        (("--output", "there.ckpt"), "there.ckpt: is there already"),
        (("--output", "there.ckpt/new.ckpt"), "there.ckpt/new.ckpt: cannot be written"),
        (("--checkpoint", "moved.ckpt"), "is in no run's folder; give its --config"),
        (("--checkpoint", "none.ckpt"), "none.ckpt: no such checkpoint"),
        (("--checkpoint", "own.ckpt"), "own.ckpt: its model cannot be built here"),
        (("--model.position", "RoPE"), "the model is the checkpoint's"),
        (("--data.merges", "10"), "was trained with another vocabulary"),
    ):
        given = {"--checkpoint": str(trained), "--attention": "QV", "--output": "new.ckpt"}
        given |= {words[0]: words[1]}
        answer = qvbench("convert", *(word for pair in given.items() for word in pair))
        assert (answer.status, answer.err.count("qvbench: error")) == (2, 1), answer.err
        assert message in answer.err.splitlines()[-1]
    # Before the data is prepared, which would fail here.
    words = ("fit", "--config", "tiny.yaml", "--data.cache_dir", "tiny.yaml", "--model.init_from")
    for file, message in (
        (str(trained), "model.attention is QKV there"),
        ("none.ckpt", "no such checkpoint"),
    ):
        answer = qvbench(*words, file)
        assert (answer.status, answer.err.count("qvbench: error")) == (2, 1), answer.err
        assert message in answer.err.splitlines()[-1]
    assert not (here / "new.ckpt").exists()
