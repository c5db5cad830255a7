"""``qvbench measure``: attention of trained networks against gold words, tags and trees."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from qvbench.cli import ArgumentParser
from qvbench.errors import UserError
from qvbench.runs.folder import INSIDE, folder_of

if TYPE_CHECKING:  # torch is loaded once the arguments are known to be right
    from qvbench.inside.analysis import Gold


def main(args: list[str]) -> int:
    """Run the command with the arguments after ``measure``."""
    options = _parser().parse_args(args)
    treebank = options.conllu and options.conllu.name  # folders are of this machine
    words = {"sentences": options.sentences, "words": options.words, "conllu": treebank}
    given = " ".join(f"--{name} {value}" for name, value in words.items() if value is not None)
    origin = {"text": treebank or "grammar", "options": given}
    short = (s for s in _sentences(options) if len(s.source.words) <= (options.words or math.inf))
    sentences = list(islice(short, options.sentences))
    from qvbench.cli.inspect import load_reader
    from qvbench.inside.analysis import measures
    from qvbench.inside.summary import summary

    for checkpoint in options.checkpoint:
        print(f"reading {len(sentences)} sentences with {checkpoint}", file=sys.stderr)
        reader = load_reader(checkpoint)
        try:
            found = measures(reader, sentences)
        except UserError as error:
            raise UserError(f"{checkpoint}: {origin['text']}: {error}") from error
        file = (folder_of(checkpoint) or checkpoint.parent) / options.output
        try:
            content = {"summary": {**origin, **summary(found)}, **found}
            file.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from error
        print(f"wrote {file}")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench measure",
        description="Attention of trained models against gold words, tags, trees and alignments: "
        "affinity, attachment, diffusion, probes and decay with distance, as JSON in the folder of "
        "each run (docs/inside.md).",
    )
    add = parser.add_argument
    checkpoint = "of training runs"
    add("--checkpoint", type=Path, nargs="+", required=True, metavar="PATH", help=checkpoint)
    treebank = "words, tags and trees in CoNLL-U; the grammar corpus's val if not given"
    add("--conllu", type=Path, metavar="FILE", help=treebank)
    add("--sentences", type=PositiveInt, default=400, help="to read, from the first")
    words = "leave out longer sentences: give the longest of training"
    add("--words", type=PositiveInt, metavar="N", help=words)
    add("--output", default=INSIDE, metavar="NAME", help="of the file to write")
    return parser


def _sentences(options: Namespace) -> Iterator[Gold]:
    from qvbench.inside import analysis, conllu

    if options.conllu is None:
        return analysis.grammar(options.sentences)
    return (analysis.Gold(sentence) for sentence in conllu.read(options.conllu))
