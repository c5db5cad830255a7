"""The commands with a parser of their own: an error is one line and status 2."""

from __future__ import annotations

import pytest

from qvbench.cli.main import COMMANDS, main

OWN = [name for name in COMMANDS if name not in ("fit", "validate", "test", "predict")]


@pytest.mark.parametrize("word", OWN)
def test_an_unknown_option_is_one_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a page of usage in front of the message, or a traceback."""
    assert main([word, "--no_such_option=1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("qvbench: error: ")
    assert f"`qvbench {word} --help`" in line or "no_such_option" in line
