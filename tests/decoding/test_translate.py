"""The verb ``translate``: streams, order, and one clear line for every fault in what was given."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from qvbench.cli import translate
from qvbench.data.text import TextProcessor, Vocabulary
from qvbench.errors import UserError
from tests.decoding.language_models import PAD, TableState
from tests.tasks.conftest import make_task

LINES = ["ein Hund bellt .", "", "zwei Katzen schlafen im Haus .", "ja"]


class Echo(torch.nn.Module):
    """A network that repeats its source: the likeliest next token is the source's next."""

    max_length = None

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((vocab,), 20.0))
        self.batches: list[int] = []

    def start(self, source: torch.Tensor) -> TableState:
        self.batches.append(len(source))
        self.source = source
        return TableState(len(source), 1)

    def step(self, tokens: torch.Tensor, state: TableState) -> torch.Tensor:
        position = state.past.shape[1]
        if position == 0:  # only now it shows how many hypotheses a sentence has
            state.__init__(len(self.source), len(tokens) // len(self.source))  # type: ignore[misc]
        state.past = torch.cat([state.past, tokens[:, None]], 1)
        logits = torch.zeros(len(tokens), len(self.weight))
        expected = torch.nn.functional.pad(self.source, (0, 99), value=PAD)[:, position]
        return logits.scatter(1, expected[state.sentence][:, None], 20.0)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for a checkpoint of the echo, trained on tokenized text."""
    vocabulary = Vocabulary.train(LINES, merges=20, alphabet=set("".join(LINES)))
    module = ModuleType("qvbench.cli.experiment")
    network = Echo(len(vocabulary))
    parts = (network, vocabulary, TextProcessor("en", "de", tokenized=True))
    module.load_translator_parts = lambda path: parts  # type: ignore[attr-defined]
    module.network = network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "qvbench.cli.experiment", module)
    path = tmp_path / "echo.ckpt"
    path.write_bytes(b"")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def run(*arguments: object) -> int:
    return translate.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_line_out_for_each_line_in_in_order(
    checkpoint: Path, source: Path, tmp_path: Path, beam_size: int
) -> None:
    """Catches lost empty lines, lines ordered by length, and a missing last line end."""
    target = tmp_path / "out.txt"
    settings = ("--checkpoint", checkpoint, "--beam_size", beam_size)
    assert run(*settings, "--input", source, "--output", target) == 0
    assert target.read_bytes() == source.read_bytes()


def test_standard_streams_by_default(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a verb that cannot stand in a pipe, or writes anything else into it; a last line
    without an end and Windows line ends count as well."""
    text = "\r\n".join(LINES).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run("--checkpoint", checkpoint) == 0
    assert capsys.readouterr() == ("\n".join(LINES) + "\n", "")


def test_long_inputs_are_translated_piece_by_piece(
    checkpoint: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a whole corpus read before the first line is written, and order lost between
    pieces."""
    monkeypatch.setattr(translate, "CHUNK", 2)
    target = tmp_path / "out.txt"
    assert run("--checkpoint", checkpoint, "--input", source, "--output", target) == 0
    assert target.read_bytes() == source.read_bytes()
    assert sys.modules["qvbench.cli.experiment"].network.batches == [1, 2]


def test_plain_text_in_plain_text_out(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches tokenized output from a model that was trained on plain text."""
    network, vocabulary, _ = sys.modules["qvbench.cli.experiment"].load_translator_parts(checkpoint)
    parts = (network, vocabulary, TextProcessor("de", "de", tokenized=False))
    monkeypatch.setattr(
        sys.modules["qvbench.cli.experiment"], "load_translator_parts", lambda p: parts
    )
    source, target = tmp_path / "plain.txt", tmp_path / "out.txt"
    source.write_text("ein Hund bellt.\n", encoding="utf-8")
    run("--checkpoint", checkpoint, "--input", source, "--output", target)
    assert target.read_text(encoding="utf-8") == "ein Hund bellt.\n"


def test_faults_in_what_was_given_are_one_line_that_names_it(
    checkpoint: Path, source: Path, tmp_path: Path
) -> None:
    """Catches tracebacks, and messages that leave one guessing which file was meant."""
    with pytest.raises(UserError, match=r"--input .*nowhere.txt: No such file"):
        run("--checkpoint", checkpoint, "--input", tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match=r"--input .*: Is a directory"):
        run("--checkpoint", checkpoint, "--input", tmp_path)
    with pytest.raises(UserError, match=r"--output .*nowhere/out.txt: No such file"):
        run("--checkpoint", checkpoint, "--input", source, "--output", tmp_path / "nowhere/out.txt")


def test_bytes_that_are_no_utf8_are_named_by_their_line(checkpoint: Path, tmp_path: Path) -> None:
    """Catches a fault at line 3 of a million that is reported without its place."""
    source = tmp_path / "latin1.txt"
    source.write_bytes(b"ja\n\nein B\xe4r\n")
    with pytest.raises(UserError, match=r"latin1.txt, line 3: byte 6 is not UTF-8"):
        run("--checkpoint", checkpoint, "--input", source, "--output", tmp_path / "out.txt")


def test_the_input_is_never_overwritten(checkpoint: Path, source: Path, tmp_path: Path) -> None:
    """Catches an input emptied by opening the output, also under another name."""
    before = source.read_bytes()
    alias = tmp_path / "alias.txt"
    alias.symlink_to(source)
    with pytest.raises(UserError, match="is the input as well"):
        run("--checkpoint", checkpoint, "--input", source, "--output", alias)
    assert source.read_bytes() == before


def test_a_fault_in_the_checkpoint_leaves_an_old_output_alone(
    checkpoint: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches yesterday's translations lost to a mistyped checkpoint."""

    def refuse(path: Path) -> None:
        raise UserError(f"{path}: is no checkpoint of qvbench")

    monkeypatch.setattr(sys.modules["qvbench.cli.experiment"], "load_translator_parts", refuse)
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(UserError, match="is no checkpoint"):
        run("--checkpoint", checkpoint, "--input", source, "--output", target)
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--beam_size", "0"], "invalid PositiveInt value: '0'"),
        (["--patience", "0"], "invalid PositiveFloat value: '0'"),
        (["--patience", "nan"], "invalid PositiveFloat value: 'nan'"),
        (["--beam_size", "five"], "invalid PositiveInt value: 'five'"),
        (["--length_penalty", "-1"], "invalid FloatFrom0To10 value: '-1'"),
        (["--length_penalty", "nan"], "invalid FloatFrom0To10 value: 'nan'"),
        (["--length_penalty", "40"], "invalid FloatFrom0To10 value: '40'"),
        (["--max_tokens", "-5"], "--max_tokens"),
        (["--beam", "5"], "unrecognized arguments: --beam"),
    ],
)
def test_settings_out_of_range_end_with_status_2(
    checkpoint: Path, settings: list[str], message: str
) -> None:
    """Catches settings that fail deep inside, an hour later."""
    with pytest.raises(UserError, match=re.escape(message)):
        run("--checkpoint", checkpoint, *settings)


def test_a_translator_searches_as_asked(checkpoint: Path) -> None:
    """Catches beam size, length penalty and patience handed on in another order, where each takes
    any of the others' values; and a length penalty under which no score is a number."""
    asked = {"beam_size": 3, "length_penalty": 0.2, "patience": 2.0}
    args = [part for name, value in asked.items() for part in (f"--{name}", str(value))]
    options = translate._parser().parse_args(["--checkpoint", str(checkpoint), *args])
    translator, _ = translate._load(options)
    for found in (translator, make_task(**asked).translator()):
        assert {name: getattr(found, name) for name in asked} == asked
    for penalty in (40.0, math.inf):
        with pytest.raises(UserError, match=r"model\.length_penalty must be from 0 to 10, got"):
            make_task(length_penalty=penalty)


def test_a_reader_that_leaves_early_is_no_traceback(checkpoint: Path, source: Path) -> None:
    """Catches a BrokenPipeError in ``qvbench translate ... | head -1``."""
    code = (
        "import sys, qvbench.cli.main, qvbench.cli.translate as t\n"
        "t._load = lambda arguments: (None, None)\n"
        "t._translate = lambda *given: ('x' * 1000 for _ in range(10000))\n"
        "sys.exit(qvbench.cli.main.main(['translate', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, "--checkpoint", str(checkpoint), "--input", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
