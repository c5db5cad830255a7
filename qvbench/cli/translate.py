"""``qvbench translate``: beam search over a file or standard input, line by line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from qvbench.cli.arguments import ArgumentParser
from qvbench.errors import UserError

if TYPE_CHECKING:  # torch is loaded once the arguments are known to be right
    from qvbench.data.text_processing import TextProcessor
    from qvbench.decoding.translator import Translator

CHUNK = 2048
"""Lines translated together: enough that batches of one length fill up."""

STANDARD = "-"


def main(argv: list[str]) -> int:
    """Run the verb with the arguments after ``translate``; the exit status.

    Raises:
        UserError: checkpoint, input or output cannot be used.
        SystemExit: with status 2, for arguments that cannot be parsed.
    """
    arguments = _parser().parse_args(argv)
    _refuse_overwriting(arguments.input, arguments.output)
    with ExitStack() as open_files:
        source = open_files.enter_context(_open_input(arguments.input))
        translator, processor = _load(arguments)
        target = open_files.enter_context(_open_output(arguments.output))
        progress = open_files.enter_context(_progress(arguments.input))
        lines = _lines(source, "standard input" if source is sys.stdin.buffer else arguments.input)
        chunk = 1 if source.isatty() else CHUNK  # somebody who types waits for each line
        for translation in _translate(lines, translator, processor, chunk):
            target.write(translation + "\n")
            if chunk == 1:
                target.flush()
            progress(1)
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench translate",
        description="Translate a file or standard input by beam search: a line out for each line "
        "in, in order, in the form of the lines that the model was trained on (tokenized or plain "
        "text). An empty line gives an empty line.",
    )
    parser.add_argument("--checkpoint", required=True, metavar="PATH", help="of a training run")
    parser.add_argument(
        "--input", default=STANDARD, metavar="FILE", help="UTF-8; - is standard input"
    )
    parser.add_argument("--output", default=STANDARD, metavar="FILE", help="- is standard output")
    parser.add_argument("--beam_size", type=_whole, default=5, help="1 is greedy search")
    parser.add_argument(
        "--length_penalty",
        type=_not_negative,
        default=1.0,
        help="exponent of the length that divides log-probabilities; 0 for none",
    )
    parser.add_argument(
        "--patience",
        type=_positive,
        default=1.0,
        help="ended hypotheses at which a search ends, as a multiple of the beam; inf to miss none",
    )
    parser.add_argument(
        "--max_tokens", type=_whole, default=4096, help="source tokens of a batch, with padding"
    )
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, or inf")
    return value


def _load(arguments: argparse.Namespace) -> tuple[Translator, TextProcessor]:
    """The translator of a checkpoint, on a GPU if there is one, and its text processor."""
    path = Path(arguments.checkpoint)
    if not path.is_file():
        raise UserError(f"--checkpoint {path}: no such file; a run keeps them under checkpoints/")
    import torch

    from qvbench.cli.checkpoint import load_translator_parts
    from qvbench.decoding.translator import Translator

    network, vocabulary, processor = load_translator_parts(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    translator = Translator(
        network,
        vocabulary,
        beam_size=arguments.beam_size,
        length_penalty=arguments.length_penalty,
        patience=arguments.patience,
        max_tokens=arguments.max_tokens,
    )
    return translator, processor


def _translate(
    lines: Iterator[str], translator: Translator, processor: TextProcessor, chunk: int
) -> Iterator[str]:
    """Translations of ``lines``, ``chunk`` at a time."""
    while together := list(islice(lines, chunk)):
        words = translator.translate_lines([processor.source(line) for line in together])
        # A tokenized corpus has tokenized lines on both sides; so has what we write.
        yield from words if processor.tokenized else map(processor.detokenize, words)


def _lines(source: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of UTF-8 text without their ends.

    Raises:
        UserError: a line that is not UTF-8, by its number.
    """
    for number, line in enumerate(source, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as fault:
            raise UserError(
                f"{name}, line {number}: byte {fault.start + 1} is not UTF-8; convert the text, "
                "for instance with iconv -f latin1 -t utf-8"
            ) from None


@contextmanager
def _open_input(name: str) -> Iterator[BinaryIO]:
    if name == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        source = Path(name).open("rb")  # noqa: SIM115 (only opening is guarded)
    except OSError as fault:
        raise UserError(f"--input {name}: {fault.strerror}; give a readable text file") from None
    with source:
        yield source


@contextmanager
def _open_output(name: str) -> Iterator[IO[str]]:
    if name == STANDARD:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        yield sys.stdout
        return
    try:
        target = Path(name).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115
    except OSError as fault:
        raise UserError(f"--output {name}: {fault.strerror}; give a path to write to") from None
    with target:
        yield target


def _refuse_overwriting(source: str, target: str) -> None:
    """Opening the output empties it: it must not be the input."""
    if STANDARD in (source, target) or not Path(source).exists() or not Path(target).exists():
        return
    if Path(source).samefile(target):
        raise UserError(f"--output {target}: is the input as well; give another file")


@contextmanager
def _progress(source: str) -> Iterator[Callable[[int], None]]:
    """A function to be told of translated lines: a bar on standard error if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda lines: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("translating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("lines"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("translating", total=_count_lines(Path(source)))
        yield lambda lines: bar.advance(task, lines)


def _count_lines(path: Path) -> int | None:
    """None for a pipe, which can be read but once, and for standard input."""
    if not path.is_file():
        return None
    with path.open("rb") as source:
        return sum(1 for _ in source)
