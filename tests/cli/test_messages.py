"""Mistakes in a command or config: status 2, one line: the place, the key, what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.attention import ATTENTION
from tests.cli.conftest import Answer

Command = Callable[..., Answer]

MECHANISMS = ", ".join(cls.__name__ for cls in ATTENTION.values())

ON_THE_COMMAND_LINE = {
    "unknown mechanism": (
        ["--model.attention", "QVX"],
        f"command line: model.attention: QVX: no attention mechanism of that name, and no such "
        f"file; known are: {MECHANISMS}",
    ),
    "unknown setting of a mechanism": (
        ["--model.attention.contxt_dim", "64"],
        "command line: model.attention.contxt_dim: QVKa has no setting 'contxt_dim'; known are: "
        "context_dim, context, num_value_heads, head_dim, bias",
    ),
    "value of the wrong type": (
        ["--model.attention.context_dim", "abc"],
        "command line: model.attention.context_dim: abc is not allowed here; expected: "
        "a whole number or null",
    ),
    "value that is no choice": (
        ["--model.attention.context=both"],
        "command line: model.attention.context: both is not allowed here; expected: "
        "shared, per_head",
    ),
    "unknown key": (
        ["--model.beamsize", "3"],
        "command line: model.beamsize: no such config key; near it: model.beam_size",
    ),
    "unknown class elsewhere": (
        ["--model.optimizer", "Adm"],
        "command line: model.optimizer: Adm: no class of that name is known here, and there is "
        "no such file",
    ),
    "seed that is no number": (
        ["--seed_everything", "true"],
        "command line: seed_everything: True is not allowed here; expected: a whole number",
    ),
    "stray word": (["stray"], "stray: a word that belongs to no option"),
}

IN_A_FILE = {
    "unknown key": ("modle:\n  a: 3\n", "more.yaml: modle.a: no such config key; near it: model"),
    "unknown mechanism": (
        "model:\n  attention: QVX\n",
        "more.yaml: model.attention: QVX: no attention mechanism of that name",
    ),
    "unknown setting of a corpus": (
        "data:\n  corpus:\n    class_path: Grammar\n    init_args:\n      trainpairs: 3\n",
        "more.yaml: data.corpus.trainpairs: Grammar has no setting 'trainpairs'; known are: "
        "train_pairs",
    ),
    "value of the wrong type": (
        "trainer:\n  max_steps: many\n",
        "more.yaml: trainer.max_steps: many is not allowed here; expected: a whole number",
    ),
    "broken YAML": ("trainer:\n  max_steps: [1\n", "more.yaml:3: not valid YAML: expected"),
}


def _is_one_line(answer: Answer, start: str) -> bool:
    lines = answer.err.splitlines()
    return (
        answer.status == 2
        and answer.out == ""
        and len(lines) == 1
        and lines[0].startswith(f"qvbench: error: {start}")
    )


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_on_the_command_line(case: str, tiny: Path, qvbench: Command) -> None:
    words, start = ON_THE_COMMAND_LINE[case]
    answer = qvbench("fit", "--config", "tiny.yaml", *words)
    assert _is_one_line(answer, start), answer


@pytest.mark.parametrize("case", IN_A_FILE)
def test_in_a_file(case: str, tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a message that does not say which of two configs is wrong."""
    text, start = IN_A_FILE[case]
    (here / "more.yaml").write_text(text)
    answer = qvbench("fit", "--config", "tiny.yaml", "--config", "more.yaml")
    assert _is_one_line(answer, start), answer


def test_in_a_fragment(tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a key that is repeated (data.data.corpus) because the fragment starts anew."""
    (here / "data").mkdir()
    (here / "data" / "mine.yaml").write_text("corpus:\n  class_path: Gramar\n")
    (here / "more.yaml").write_text("data: data/mine.yaml\n")
    answer = qvbench("fit", "--config", "tiny.yaml", "--config", "more.yaml")
    assert _is_one_line(answer, "more.yaml: data.corpus: Gramar: no corpus of that name"), answer


def test_bytes_that_are_not_utf8(tiny: Path, here: Path, qvbench: Command) -> None:
    (here / "more.yaml").write_bytes(b"trainer:\n  # \xff\n")
    answer = qvbench("fit", "--config", "more.yaml")
    assert _is_one_line(answer, "more.yaml: not UTF-8 text"), answer


def test_no_config_at_all(qvbench: Command, here: Path) -> None:
    answer = qvbench("fit")
    assert _is_one_line(answer, "the config leaves out: model.attention,"), answer


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
