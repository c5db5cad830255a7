"""Mistakes in a command or config: status 2, one line: the place, the key, what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.attention import ATTENTION
from qvbench.cli.experiment import RANGES
from qvbench.cli.main import COMMANDS
from tests.cli.conftest import Answer

Command = Callable[..., Answer]

MECHANISMS = ", ".join(cls.__name__ for cls in ATTENTION.values())

# What is added to a command line that works, and what the line says of it: where it begins, and
# what else it names.
ON_THE_COMMAND_LINE = {
    "--config tiny/qkw": ("--config tiny/qkw: no such file here, nor in", "mean tiny/qkv.yaml"),
    # keys, classes and types
    "--model.attention QVX": ("command line: model.attention: QVX: no class", MECHANISMS),
    "--model.attention attention/qvx.yaml": (
        "command line: model.attention: attention/qvx.yaml: no",
    ),
    "--model.attention.contxt_dim 64": (
        "command line: model.attention.contxt_dim: QVKa has no such setting",
        "`qvbench fit --model.attention.help QVKa`",
    ),
    "--model.attention.context_dim abc": (
        "command line: model.attention.context_dim: abc",
        "int or null",
    ),
    "--model.attention.context=both": ("command line: model.attention.context: both", "'per_head'"),
    "--model.beamsize 3": ("command line: model.beamsize: no such option", "model.beam_size"),
    "--model.label_smoothing.by 3": (
        "command line: model.label_smoothing.by: no such option",
        "mean model.label_smoothing?",
    ),
    "--model.optimizer Adm": ("command line: model.optimizer: Adm: no class",),
    "--model.optimizer.betas 3": ("command line: model.optimizer.betas: 3", "tuple"),
    "--model.schedule LinearDecay": ("command line: model.schedule: ", "required: peak"),
    "--model.network.dropout nan": ("command line: model.network.dropout: nan", "float"),
    "--seed_everything true": ("command line: seed_everything: True is not allowed", "int"),
    "--seed_everything 5000000000": ("command line: seed_everything: 5000000000", "4294967295"),
    "--trainer.precision 17": (
        "command line: trainer.precision: 17 is not allowed",
        "'bf16-mixed'",
    ),
    "--trainer.callbacks Nope": ("command line: trainer.callbacks: Nope: no class",),
    "--data.seed 4": ('Linked "data.seed" must be given via "seed_everything"',),
    "--task nope": ("unknown task 'nope'", "translation"),
    "--task no_such_module.MyTask": ("task: no_such_module.MyTask: cannot be imported",),
    "--task torch.nn.Linear": ("task: torch.nn.Linear: not a task",),
    "--name a/b": ("--name 'a/b': not the name of a folder",),
    "stray": ("stray: no such option",),
    # what Lightning refuses itself
    "--trainer.max_steps -7": ("trainer: `max_steps` must be a non-negative integer or -1",),
    "--trainer.strategy nope": ("trainer: You selected an invalid strategy name",),
    "--trainer.max_time soon": ("trainer: `Timer(duration='soon')`",),
    "--trainer.enable_checkpointing false": ("trainer: Trainer was configured with",),
    "--trainer.precision transformer-engine": ("trainer: ", "transformer_engine"),
    "--trainer.callbacks ModelCheckpoint --trainer.callbacks.mode x": (
        "config: `mode` can be min",
    ),
    # this machine
    "--trainer.devices 9999": ("trainer.devices: 9999 asked for, but no GPU is used",),
    "--trainer.accelerator cuda --trainer.precision 16-mixed": (
        "trainer.",
        "--trainer.accelerator cpu --trainer.precision 32-true",
    ),
    # parts that object, alone or to one another: before any data is prepared
    "--model.network.d_model 15": ("QVKa: d_model 15 is not divisible by num_heads 2",),
    "--model.network.num_heads 0": ("network: num_heads must be at least 1, got 0",),
    f"--model.network.num_heads {2**63}": ("model: a size is larger than a tensor's can be",),
    "--model.network.dropout 1.5": ("network: dropout probabilities must be in [0, 1)",),
    "--model.attention.num_value_heads 3": ("QVKa: num_value_heads must divide num_heads 2",),
    "--model.attention QKV --model.attention.head_dim_qk 0": (
        "QKV: head_dim_qk must be at least 1",
    ),
    "--model.position RoPE --model.network.d_model 6": ("QVKa with RoPE: it rotates pairs of",),
    "--model.optimizer.lr -1": ("model.optimizer: Invalid learning rate: -1.0",),
    "--model.schedule Noam --model.schedule.warmup_steps 0": (
        "config: Noam: warmup_steps must be positive",
    ),
    "--model.label_smoothing 1": ("model.label_smoothing must be in [0, 1), got 1.0",),
    "--model.beam_size 0": ("model.beam_size must be at least 1, got 0",),
    "--model.length_penalty -1": ("model.length_penalty must be from 0 to 10, got -1.0",),
    "--data.max_tokens 0": ("max_tokens must be at least 1, got 0",),
    "--data.merges -1": ("merges must be at least 0, got -1",),
    "--data.max_vocabulary 3": ("max_vocabulary=3 leaves no room for characters beside 200",),
    "--data.test_split nope": ("test_split=nope: no such set; known are test",),
    "--data.corpus.train_pairs 0": ("grammar corpus: train_pairs is 0",),
    "--data.corpus Files": (
        "command line: data.corpus: Files: not for the task translation",
        "Multi30k, Wmt17, Wmt17Raw",
    ),
    "--trainer.max_steps 3 --config tiny/qkv.yaml": (
        "--config tiny/qkv.yaml: stands after --trainer.max_steps, which it may override",
    ),
    # checkpoints
    "--ckpt_path none.ckpt": ("none.ckpt: no such checkpoint",),
    "--ckpt_path last": ("--ckpt_path last: no checkpoint last.ckpt under",),
}

# The text of a second config, and the same of it.
IN_A_FILE = {
    "modle:\n  a: 3\n": ("more.yaml:2: modle.a: no such",),
    "model: {a: {b: 3}}": ("more.yaml:1: model.a.b: no such",),
    "model:\n  attention: QVX\n": ("more.yaml:2: model.attention: QVX: no class", MECHANISMS),
    "data:\n  corpus:\n    class_path: Grammar\n    init_args:\n      trainpairs: 3\n": (
        "more.yaml:5: data.corpus.trainpairs: Grammar has no such setting",
    ),
    "trainer:\n  max_steps: many\n": ("more.yaml:2: trainer.max_steps: many is not allowed", "int"),
    "trainer:\n  max_steps: [1\n": ("more.yaml:3: not valid YAML: expected",),
    "data: data/mine.yaml\n": ("data/mine.yaml:2: data.corpus: Gramar: no class", "Grammar"),
    "data: more.yaml\n": ("more.yaml: nested too deep, or a fragment of itself",),
    "[]": ("more.yaml: not a config: empty, or no keys with values",),
    "trainer: -5": ("more.yaml:1: trainer: -5", "mapping"),
    "data: {max_length: null}": ("more.yaml:1: data.max_length: null is not allowed", "int"),
    "model: {network: {class_path: EncoderDecoder, init_args: {d_model: null}}}": (
        "more.yaml:1: model.network.d_model: null is not allowed",
    ),
    "\nseed_everything: -4": ("more.yaml:2: seed_everything: -4 is not allowed", "from 0"),
}


def assert_one_line(answer: Answer, start: str, *parts: str) -> None:
    (line,) = answer.err.splitlines()
    assert (answer.status, answer.out) == (2, "")
    assert line.startswith(f"qvbench: error: {start}"), line
    assert all(part in line for part in parts), line


@pytest.fixture(autouse=True)
def _no_data_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qvbench.data.translation.TranslationDataModule.prepare_data", None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


@pytest.mark.parametrize("given", ON_THE_COMMAND_LINE)
def test_on_the_command_line(given: str, tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a traceback, a page of types and alternatives, a line without the key or what is
    allowed, a fault found only after the corpus is prepared, and the folder of a run that never
    was."""
    answer = qvbench("fit", "--config", "tiny.yaml", *given.split())
    assert_one_line(answer, *ON_THE_COMMAND_LINE[given])
    assert not list(here.glob("runs/*/*"))


@pytest.mark.parametrize("text", IN_A_FILE)
def test_in_a_file(text: str, tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a message that leaves open which of several files is wrong, and nulls and parts that
    are no mappings, which the parser lets pass."""
    (here / "data").mkdir()
    (here / "data" / "mine.yaml").write_text("# mine\ncorpus:\n  class_path: Gramar\n")
    (here / "more.yaml").write_text(text)
    answer = qvbench("fit", "--config", "tiny.yaml", "--config", "more.yaml")
    assert_one_line(answer, *IN_A_FILE[text])


def test_every_range_is_checked(tiny: Path, qvbench: Command) -> None:
    """Catches numbers that Lightning takes, and fails at hours later or reads in another way."""
    for key, (lowest, _) in RANGES.items():
        answer = qvbench("fit", "--config", "tiny.yaml", f"--{key}={lowest - 1}")
        assert_one_line(answer, f"command line: {key}: ", f"from {lowest}")


@pytest.mark.slow
def test_every_mechanism_is_tried_before_its_data(tiny: Path, qvbench: Command) -> None:
    """Catches a mechanism that cannot be built without memory, whose faults would show late."""
    for cls in ATTENTION.values():
        args = ["--model.attention", cls.__name__, "--model.network.d_model", "15"]
        answer = qvbench("fit", "--config", "tiny.yaml", *args)
        assert "15 is not divisible by num_heads 2" in answer.err, cls


def test_no_config_at_all(qvbench: Command, here: Path) -> None:
    """Catches a list of missing keys without the way to give them."""
    assert_one_line(
        qvbench("fit"), "the config leaves out model.network, model.attention, ", "--config"
    )


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_checkpoint_is_needed(command: str, tiny: Path, qvbench: Command) -> None:
    """Catches a test of freshly initialized weights, which Lightning would do without a word."""
    answer = qvbench(command, "--config", "tiny.yaml")
    assert_one_line(answer, f"{command} needs a checkpoint")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_one_line(command: str, tiny: Path, qvbench: Command) -> None:
    """Catches a page of usage in front of the message, or a traceback."""
    answer = qvbench(command, "--no_such_option=1")
    assert answer.status == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("qvbench: error: ")
    assert f"`qvbench {command} --help`" in line or "no_such_option" in line
