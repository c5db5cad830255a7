"""Help, version and unknown commands: at once, without torch."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench import __version__
from qvbench.attention import ATTENTION
from qvbench.cli.main import COMMANDS, INTERRUPTED, main
from qvbench.config_files import shipped_configs
from qvbench.data.corpora import CORPORA
from qvbench.errors import UserError
from qvbench.positions import POSITIONS
from tests.cli.conftest import Answer

Command = Callable[..., Answer]

HEAVY = ("torch", "lightning", "numpy", "jsonargparse", "wandb", "rich")


@pytest.mark.parametrize(
    "words",
    ["--help", "", "--version", "fot", "profile --help", "translate --help", "sweep --help"],
)
def test_answers_without_heavy_imports(words: str) -> None:
    """Catches an import of torch on the way to help, which would cost seconds."""
    code = (
        "import sys; from qvbench.cli.main import main; main(sys.argv[1:]); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in ("[]", "['jsonargparse']" if " " in words else "")


def test_help_names_every_verb_with_a_line(qvbench: Command) -> None:
    """Catches a verb that exists but that nobody can find."""
    answer = qvbench("--help")
    assert answer.status == 0
    lines = [line.split() for line in answer.out.splitlines()]
    for name, line in COMMANDS.items():
        assert [name, *line.split()] in lines
    assert qvbench().out == answer.out


def test_version(qvbench: Command) -> None:
    assert qvbench("--version") == Answer(0, f"qvbench {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a command whose module or function was renamed: it is only loaded when called."""
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_unknown_verb_is_one_line_with_the_nearest(qvbench: Command) -> None:
    answer = qvbench("tets", "--config", "x")
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("qvbench: error: unknown command 'tets' (did you mean test?)")
    assert all(name in answer.err for name in COMMANDS)


def _raiser(error: BaseException) -> Callable[[str, list[str]], int]:
    def command(name: str, args: list[str]) -> int:
        raise error

    return command


def test_user_errors_are_one_line_and_status_2(
    qvbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a message with a line break, which would look like two faults."""
    monkeypatch.setattr("qvbench.cli.main.run", _raiser(UserError("a.txt:3:\n  not UTF-8")))
    assert qvbench("fit") == Answer(2, "", "qvbench: error: a.txt:3: not UTF-8\n")


def test_our_own_faults_are_not_hidden(qvbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a handler so broad that a bug of ours would read like a mistake of the user's."""
    monkeypatch.setattr("qvbench.cli.main.run", _raiser(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        qvbench("fit")


def test_a_folder_without_permission(qvbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback for what the user can fix, and an OSError without a place hidden."""
    denied = PermissionError(errno.EACCES, "Permission denied", "runs/qkv")
    monkeypatch.setattr("qvbench.cli.main.run", _raiser(denied))
    said = "runs/qkv: Permission denied; change that, or name another place"
    assert qvbench("fit") == Answer(2, "", f"qvbench: error: {said}\n")
    monkeypatch.setattr("qvbench.cli.main.run", _raiser(PermissionError(errno.EACCES, "denied")))
    with pytest.raises(PermissionError):
        qvbench("fit")


def test_too_little_memory(qvbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback where a smaller batch would fit, and a bug of ours hidden with it."""
    for text in ("CUDA out of memory. Tried to", "DefaultCPUAllocator: can't allocate memory: you"):
        monkeypatch.setattr("qvbench.cli.main.run", _raiser(RuntimeError(text)))
        said = "out of memory; lower --batch_size or --max_tokens, or give shorter texts"
        assert qvbench("translate") == Answer(2, "", f"qvbench: error: {said}\n")
    monkeypatch.setattr("qvbench.cli.main.run", _raiser(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError):
        qvbench("translate")


@pytest.mark.parametrize("command", ["translate", "generate"])
def test_standard_input_that_is_closed(command: str) -> None:
    """Catches a traceback where a service manager gives no standard input."""
    lines = f"{sys.executable} -m qvbench {command} --checkpoint last.ckpt <&-"
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=False)
    said = "qvbench: error: --input -: the standard stream is closed; name a file\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_interruption_has_the_shells_status(
    qvbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches Lightning's exit(1) after Ctrl-C being taken for a failure."""
    monkeypatch.setattr("qvbench.cli.main.run", _raiser(KeyboardInterrupt()))
    assert qvbench("fit").status == INTERRUPTED

    def as_lightning_does(name: str, args: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr("qvbench.cli.main.run", as_lightning_does)
    assert qvbench("fit").status == INTERRUPTED


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [
        (">/dev/full", 2, "qvbench: error: the disk is full; free some space\n"),
        (">&-", 0, ""),  # closed
        ("| exec true", 0, ""),  # which reads nothing
    ],
)
def test_output_that_nobody_takes(output: str, status: int, said: str) -> None:
    """Catches a traceback, of ours or of Python's own when it exits."""
    if output == ">/dev/full" and not Path("/dev/full").exists():
        pytest.skip("needs Linux's device that is full")
    lines = f"{sys.executable} -m qvbench --help {output}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)


def test_list_shows_every_part(qvbench: Command) -> None:
    """Catches a registry or folder that the list forgets."""
    lines = [line.split() for line in qvbench("list").out.splitlines()]
    for registry in (ATTENTION, POSITIONS, CORPORA):
        for name, cls in registry.items():
            shown = [words for words in lines if words[:2] == [name, cls.__name__]]
            assert shown, f"{name} is missing"
            assert len(shown[0]) > 2, f"{name} says nothing of itself"
    for config in (*shipped_configs(), *shipped_configs(whole=False)):
        assert any(words[:1] == [config] for words in lines), config


def test_list_as_json_is_one_document(qvbench: Command) -> None:
    answer = qvbench("list", "--format", "json")
    parts = json.loads(answer.out)
    assert [part["name"] for part in parts["mechanisms"]] == list(ATTENTION)
    assert [part["class"] for part in parts["positions"]] == [
        c.__name__ for c in POSITIONS.values()
    ]
    assert [part["name"] for part in parts["configs"]] == shipped_configs()
    cut = [p["summary"] for kind in parts.values() for p in kind if p["summary"][-1:] not in ".?"]
    assert not cut, "the list shows first lines: each is a sentence"
