"""``qvbench translate``: beam search over a file or standard input, line by line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveFloat, PositiveInt
from jsonargparse.typing import restricted_number_type as number_type

from qvbench.cli import ArgumentParser, decoded, opened
from qvbench.data.cache import track
from qvbench.errors import UserError

if TYPE_CHECKING:  # torch is loaded once the arguments are known to be right
    from qvbench.data.text import TextProcessor
    from qvbench.decoding.translator import Translator

CHUNK = 2048  # lines read and answered together: enough that batches of one length fill up

FloatFrom0To10 = number_type("FloatFrom0To10", float, [(">=", 0), ("<=", 10)])


def main(args: list[str]) -> int:
    options = _parser().parse_args(args)
    source, target = options.input, options.output
    if source.is_file() and target.is_file() and source.samefile(target):
        raise UserError(f"--output {target}: is the input as well; give another file")
    with opened("--input", source, "rb") as lines:
        parts = _load(options)  # an old output is only emptied once there is a model
        with opened("--output", target, "wb") as written:
            chunk = 1 if lines.isatty() else CHUNK  # somebody who types waits for each line
            translations = _translate(decoded(lines, source), *parts, chunk)
            for translation in track(translations, "translating", _lines_of(source)):
                written.write(f"{translation}\n".encode())
                if chunk == 1:
                    written.flush()
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench translate",
        description="Translate a file or standard input by beam search: a line out for each line "
        "in, in the form of those that the model was trained on (tokenized or plain text).",
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="PATH", help="of a training run")
    add("--input", type=Path, default="-", metavar="FILE", help="UTF-8; - is standard input")
    add("--output", type=Path, default="-", metavar="FILE", help="- is standard output")
    add("--beam_size", type=PositiveInt, default=5, help="1 is greedy search")
    penalty = "exponent of the length that divides log-probabilities, up to 10; 0 for none"
    add("--length_penalty", type=FloatFrom0To10, default=1.0, help=penalty)
    patience = "ended hypotheses at which a search ends, as a multiple of the beam; inf for all"
    add("--patience", type=PositiveFloat, default=1.0, help=patience)
    add("--max_tokens", type=PositiveInt, default=4096, help="source tokens of a padded batch")
    return parser


def _load(options: argparse.Namespace) -> tuple[Translator, TextProcessor]:
    """The translator of a checkpoint, on a GPU if there is one, and its text processor."""
    import torch

    from qvbench.cli.experiment import load_translator_parts
    from qvbench.decoding.translator import Translator

    network, vocabulary, processor = load_translator_parts(options.checkpoint)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    settings = (options.beam_size, options.length_penalty, options.patience)
    translator = Translator(network, vocabulary, *settings, max_tokens=options.max_tokens)
    return translator, processor


def _translate(
    lines: Iterator[str], translator: Translator, processor: TextProcessor, chunk: int
) -> Iterator[str]:
    while together := list(islice(lines, chunk)):
        found = translator.translate_lines([processor.source(line) for line in together])
        # A tokenized corpus has tokenized lines on both sides; so has what we write.
        yield from found if processor.tokenized else map(processor.detokenize, found)


def _lines_of(file: Path) -> int | None:
    """How many there are, for a bar; None where none is shown, or they can be read but once."""
    if not (sys.stderr.isatty() and file.is_file()):
        return None
    with file.open("rb") as lines:
        return sum(1 for _ in lines)
