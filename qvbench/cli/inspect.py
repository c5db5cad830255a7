"""``qvbench inspect``: what a trained network attends to in sentences, as figures and a page."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jsonargparse.typing import PositiveInt

from qvbench.cli import ArgumentParser
from qvbench.data.corpora.files import read_lines
from qvbench.errors import UserError

if TYPE_CHECKING:  # torch is loaded once the arguments are known to be right
    from qvbench.inside.reading import Reader, Reading
    from qvbench.inside.words import Sentence

PAGE = "index.html"


class Given(NamedTuple):
    """A sentence, plain or with what a treebank says of it, its target, and where it stands."""

    place: str
    sentence: str | Sentence
    target: str | None


def main(args: list[str]) -> int:
    """Run the command with the arguments after ``inspect``."""
    options = _parser().parse_args(args)
    if options.output.exists() and not options.output.is_dir():
        raise UserError(f"--output {options.output}: not a folder; give one, or a new name")
    sentences = list(islice(_sentences(options), options.sentences))
    if not sentences:
        raise UserError(f"{options.file or options.conllu}: no sentences there; give it some")
    reader = load_reader(options.checkpoint)
    _write(reader, [_read(reader, *each) for each in sentences], options)
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench inspect",
        description="Attention of a translation or language model in sentences: a figure of every "
        f"layer with its heads, and one page to explore ({PAGE}).",
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="PATH", help="of a training run")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--text", metavar="SENTENCE", help="in the form that the model knows")
    given.add_argument("--file", type=Path, metavar="FILE", help="UTF-8, a sentence a line")
    treebank = "words, tags and trees in CoNLL-U, as they are or compressed to .gz"
    given.add_argument("--conllu", type=Path, metavar="FILE", help=treebank)
    target = "the other side in translation: a sentence, or for a file a file with a line for each"
    add("--target", metavar="SENTENCE", help=f"{target}; else the model's own translation")
    add("--sentences", type=PositiveInt, default=10, help="of a file that are read, from the first")
    add("--output", type=Path, required=True, metavar="FOLDER", help="to write")
    return parser


def _sentences(options: Namespace) -> Iterator[Given]:
    if options.text is not None:
        yield Given("--text", options.text, options.target)
        return
    place, sentences = _file(options)
    targets = None if options.target is None else _lines("--target", Path(options.target))
    for number, sentence in enumerate(sentences, start=1):
        target = None if targets is None else next(targets, None)
        if targets is not None and target is None:
            raise UserError(f"--target {options.target}: ends before sentence {number} of {place}")
        yield Given(f"{place}, sentence {number}", sentence, target)


def _file(options: Namespace) -> tuple[str, Iterator[str | Sentence]]:
    if options.conllu is None:
        return f"--file {options.file}", _lines("--file", options.file)
    from qvbench.inside import conllu

    return f"--conllu {options.conllu}", conllu.read(options.conllu)


def _lines(option: str, file: Path) -> Iterator[str]:
    if not file.is_file():
        raise UserError(f"{option} {file}: no such file")
    return read_lines(file, allow_empty=True)


def load_reader(path: Path) -> Reader:
    """Of a checkpoint alone, what reads sentences with its network."""
    from qvbench.cli.experiment import load_task
    from qvbench.data.text import TextProcessor
    from qvbench.inside.reading import LanguageReader, TranslationReader
    from qvbench.tasks.language_modeling import LanguageModelingTask
    from qvbench.tasks.translation import TranslationTask

    kinds = (TranslationTask, LanguageModelingTask)
    task, stored = load_task(path, kinds, "a model of translation or language")
    if isinstance(task, LanguageModelingTask):
        return LanguageReader(task.network, task.vocabulary)
    processor = TextProcessor.from_state(stored["text"])
    return TranslationReader(task.network, task.vocabulary, processor)


def _read(reader: Reader, place: str, sentence: str | Sentence, target: str | None) -> Reading:
    try:
        source = reader.sentence(sentence) if isinstance(sentence, str) else sentence
        return reader.read(source, None if target is None else reader.target(target))
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _write(reader: Reader, readings: list[Reading], options: Namespace) -> None:
    from qvbench.inside.page import draw, html_page

    network, folder = reader.network, options.output
    title = f"{network.attention.label}, {network.position.label}"
    page = html_page(title, str(options.checkpoint), readings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text(page, encoding="utf-8")
        for number, reading in enumerate(readings, start=1):
            print(f"figures of sentence {number} of {len(readings)}", file=sys.stderr)
            draw(reading, folder, f"{number}-")
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written: {error.strerror}") from error
    print(f"wrote {folder / PAGE}")
