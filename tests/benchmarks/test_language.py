"""Programs of language models do the same work from one folder: ours, nanoGPT's loop and GPT-2."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import language
from benchmarks.peers import gpt2, nanogpt
from benchmarks.protocol import Work

READY = {"comparable": "same function"}
SIZES = ["--model.network.d_model", "16", "--model.network.layers", "2"]
BIASED = ["--model.network.bias", "true", "--model.attention.bias", "true"]


def shape(overrides: list[str], **more: int) -> SimpleNamespace:
    words = [*SIZES, *overrides]
    given = {"vocabulary": 31, "rows": 3, "length": 9, "precision": "32-true", **more}
    return SimpleNamespace(config="lm/nanogpt_cpu.yaml", overrides=words, **given)


@pytest.mark.parametrize("overrides", [[], BIASED])
def test_every_program_starts_at_the_same_loss_and_learns(
    tmp_path: Path, overrides: list[str]
) -> None:
    """Catches queries for keys, a matrix that is not transposed, a bias that is left out, windows
    one token off, and tokens counted that are not predicted."""
    work = Work(tmp_path)
    more = {"batches": 2, "learning_rate": 0.01}
    judge = language.write_text(work, shape(overrides, **more), 1e-5)  # type: ignore[arg-type]
    for program in (language, nanogpt, gpt2):
        task = program.text(work)
        before = task.check()
        assert judge(before, READY).passed, (program, judge(before, READY).facts)
        task.run(range(1))
        assert task.items == 2 * 3 * 9
        assert task.check()["loss"] < before["loss"]


def test_texts_go_on_alike(tmp_path: Path) -> None:
    """Catches a token that is drawn, a prompt that is left out or counted as new, and a judge who
    takes any text."""
    work = Work(tmp_path)
    judge = language.write_generate(work, shape([], new_tokens=20), 0.0)
    for program in (language, gpt2):
        task = program.generate(work)
        answer = task.check()
        assert judge(answer, READY).passed
        task.run(range(1))
        assert task.items == 3 * 20
        answer["lines"][1][-1] += 1
        assert not judge(answer, READY).passed
