"""Mistakes in a command or config: status 2, one line: the place, the key, what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.attention import ATTENTION
from tests.cli.conftest import Answer

Command = Callable[..., Answer]

MECHANISMS = ", ".join(cls.__name__ for cls in ATTENTION.values())

# What is wrong, and what the line says of it: place and key, then what is allowed.
ON_THE_COMMAND_LINE = {
    "unknown mechanism": (
        ["--model.attention", "QVX"],
        ("command line: model.attention: QVX: no class", MECHANISMS),
    ),
    "unknown setting of a mechanism": (
        ["--model.attention.contxt_dim", "64"],
        ("command line: model.attention.contxt_dim: QVKa", "context_dim, context, num_value_heads"),
    ),
    "value of the wrong type": (
        ["--model.attention.context_dim", "abc"],
        ("command line: model.attention.context_dim: abc is not allowed", "int or null"),
    ),
    "value that is no choice": (
        ["--model.attention.context=both"],
        ("command line: model.attention.context: both is not allowed", "'shared', 'per_head'"),
    ),
    "unknown key": (
        ["--model.beamsize", "3"],
        ("command line: model.beamsize: no such config key", "near it: model.beam_size"),
    ),
    "unknown class elsewhere": (
        ["--model.optimizer", "Adm"],
        ("command line: model.optimizer: Adm: no class",),
    ),
    "seed that is no number": (
        ["--seed_everything", "true"],
        ("command line: seed_everything: True is not allowed", "int"),
    ),
    "stray argument": (["stray"], ("stray: an argument that belongs to no option",)),
    "fragment that is nowhere": (
        ["--model.attention", "attention/qvx.yaml"],
        ("command line: model.attention: attention/qvx.yaml: no class", "nor a file"),
    ),
    "unknown task": (["--task", "nope"], ("command line: unknown task", "translation")),
    "task that cannot be imported": (
        ["--task", "no_such_module.MyTask"],
        ("command line: task: no_such_module.MyTask: cannot be imported",),
    ),
    "class that is no task": (
        ["--task", "torch.nn.Linear"],
        ("command line: task: torch.nn.Linear: not a task",),
    ),
}

IN_A_FILE = {
    "unknown key": ("modle:\n  a: 3\n", ("more.yaml:2: modle.a: no such", "near it: model")),
    "unknown mechanism": (
        "model:\n  attention: QVX\n",
        ("more.yaml:2: model.attention: QVX: no class", MECHANISMS),
    ),
    "unknown setting of a corpus": (
        "data:\n  corpus:\n    class_path: Grammar\n    init_args:\n      trainpairs: 3\n",
        ("more.yaml:5: data.corpus.trainpairs: Grammar", "train_pairs"),
    ),
    "value of the wrong type": (
        "trainer:\n  max_steps: many\n",
        ("more.yaml:2: trainer.max_steps: many is not allowed", "int"),
    ),
    "broken YAML": ("trainer:\n  max_steps: [1\n", ("more.yaml:3: not valid YAML: expected",)),
    "a fragment": (
        "data: data/mine.yaml\n",
        ("data/mine.yaml:2: data.corpus: Gramar: no class", "Grammar"),
    ),
    "a fragment of itself": ("data: more.yaml\n", ("more.yaml: a config that is a fragment",)),
}


def _is_one_line(answer: Answer, start: str, *parts: str) -> bool:
    lines = answer.err.splitlines()
    return (
        answer.status == 2
        and answer.out == ""
        and len(lines) == 1
        and lines[0].startswith(f"qvbench: error: {start}")
        and all(part in lines[0] for part in parts)
    )


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_on_the_command_line(case: str, tiny: Path, qvbench: Command) -> None:
    """Catches a page of types and alternatives, and a line without the key or what is allowed."""
    args, parts = ON_THE_COMMAND_LINE[case]
    answer = qvbench("fit", "--config", "tiny.yaml", *args)
    assert _is_one_line(answer, *parts), answer


@pytest.mark.parametrize("case", IN_A_FILE)
def test_in_a_file(case: str, tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a message that does not say which of several files is wrong, or a repeated key."""
    text, parts = IN_A_FILE[case]
    (here / "data").mkdir()
    (here / "data" / "mine.yaml").write_text("# mine\ncorpus:\n  class_path: Gramar\n")
    (here / "more.yaml").write_text(text)
    answer = qvbench("fit", "--config", "tiny.yaml", "--config", "more.yaml")
    assert _is_one_line(answer, *parts), answer


def test_bytes_that_are_not_utf8(tiny: Path, here: Path, qvbench: Command) -> None:
    (here / "more.yaml").write_bytes(b"trainer:\n  # \xff\n")
    answer = qvbench("fit", "--config", "more.yaml")
    assert _is_one_line(answer, "more.yaml: not UTF-8 text"), answer


def test_no_config_at_all(qvbench: Command, here: Path) -> None:
    answer = qvbench("fit")
    assert _is_one_line(answer, "the config leaves out: model.attention"), answer


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_checkpoint_is_needed(verb: str, tiny: Path, qvbench: Command) -> None:
    """Catches a test of freshly initialised weights, which Lightning would do without a word."""
    answer = qvbench(verb, "--config", "tiny.yaml")
    assert _is_one_line(answer, f"{verb} needs a checkpoint"), answer


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("none.ckpt", "--ckpt_path none.ckpt: no such file"),
        ("last", "--ckpt_path last: no checkpoint last.ckpt under"),
    ],
)
def test_a_checkpoint_that_is_not_there(
    given: str, start: str, tiny: Path, here: Path, qvbench: Command
) -> None:
    answer = qvbench("fit", "--config", "tiny.yaml", "--ckpt_path", given)
    assert _is_one_line(answer, start), answer
    assert not (here / "runs").exists()


def test_settings_that_lightning_refuses(tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a traceback for a fault in the config, and the folder of a run that never was."""
    answer = qvbench("fit", "--config", "tiny.yaml", "--trainer.max_steps", "-7")
    assert answer.status == 2
    assert answer.err.splitlines()[-1].startswith(
        "qvbench: error: command line: trainer.max_steps: must be at least -1, got -7"
    )
    assert not list(here.glob("runs/*/*"))


def test_hardware_is_checked_before_anything_is_built(
    tiny: Path, here: Path, qvbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    words = ["--trainer.accelerator", "cuda", "--trainer.precision", "16-mixed"]
    answer = qvbench("fit", "--config", "tiny.yaml", *words)
    assert answer.status == 2
    assert "--trainer.accelerator cpu --trainer.precision bf16-mixed" in answer.err
    assert not (here / "runs").exists()
