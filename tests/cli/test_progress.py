"""What a run shows while it goes on: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rich.console import Console

from qvbench.training import progress
from qvbench.training.progress import RunProgress
from tests.cli.conftest import Answer

Command = Callable[..., Answer]

SHOWN = re.compile(r"loss \d+\.\d{3}, accuracy \d+\.\d %, [\d,]+ tokens/s")


@pytest.mark.slow
def test_plain_lines_do_not_flood_a_log(
    tiny: Path, qvbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a line per step, or a bar's control characters, in a file."""
    monkeypatch.setattr(progress, "LINE_SECONDS", math.inf)
    answer = qvbench("fit", "--config", "tiny.yaml")
    lines = [line for line in answer.err.splitlines() if line.startswith("step ")]
    # Two validations, and before them the first line of training unless they came first.
    assert 2 <= len(lines) <= 3
    assert all(SHOWN.search(line) for line in lines)
    assert lines[-1].startswith("step 6/6: ")
    assert "val accuracy" in lines[-1]
    assert "\x1b" not in answer.err


def test_a_reader_who_left_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches hours of training lost with a closed terminal, or with `2>&1 | head`."""
    left = Mock(write=Mock(side_effect=BrokenPipeError))
    monkeypatch.setattr(sys, "stderr", left)
    RunProgress().print("step 1")
    left.write.assert_called()


@pytest.mark.slow
def test_a_bar_on_a_terminal(tiny: Path, qvbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a bar without throughput and accuracy, one left open after an evaluation, and
    Lightning's notice at every evaluation that the training's callbacks are missing."""
    bars: list[RunProgress] = []
    consoles: list[Console] = []

    def bar() -> RunProgress:
        bars.append(RunProgress())
        return bars[-1]

    def console(**settings: Any) -> Console:
        consoles.append(Console(force_terminal=True, width=160, record=True, stderr=True))
        return consoles[-1]

    monkeypatch.setattr("qvbench.training.callbacks.RunProgress", bar)
    monkeypatch.setattr(progress, "Console", console)
    monkeypatch.setattr(progress, "on_a_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has 80 columns, whatever is asked for
    answer = qvbench("fit", "--config", "tiny.yaml")
    assert answer.status == 0, answer.err
    shown = consoles[0].export_text()
    assert re.search(r"training .* 6/6 ", shown)
    assert SHOWN.search(shown)
    for verb in ("validate", "test", "predict"):
        checkpoint = "runs/tiny/seed-3/checkpoints/last.ckpt"
        with warnings.catch_warnings(record=True) as warned:
            assert qvbench(verb, "--ckpt_path", checkpoint).status == 0
        assert not [w for w in warned if "callbacks used" in str(w.message)]
    assert len(bars) == len(consoles) == 4
    assert all(bar.bar is None for bar in bars)


@pytest.mark.slow
def test_no_progress_where_none_is_wanted(tiny: Path, qvbench: Command) -> None:
    words = ["--trainer.enable_progress_bar", "false"]
    answer = qvbench("fit", "--config", "tiny.yaml", *words)
    assert answer.status == 0, answer.err
    assert "step 6/6" not in answer.err
