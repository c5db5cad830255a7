"""``qvbench generate``: a language model goes on with prompts, one per line or one argument."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt
from jsonargparse.typing import restricted_number_type as number_type

from qvbench.cli import ArgumentParser, decoded, opened
from qvbench.errors import UserError

if TYPE_CHECKING:  # torch is loaded once the arguments are known to be right
    from torch import Tensor

    from qvbench.data.language import TextVocabulary

BATCHES = 8  # are read and answered together, so that prompts of one length fill them up
SEPARATOR = "-" * 15  # a line of its own between two texts
UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what the first bytes of a character decode to

Probability = number_type("Probability", float, [(">", 0), ("<=", 1)])


def main(args: list[str]) -> int:
    """Run the command with the arguments after ``generate``."""
    options = _parser().parse_args(args)
    if options.prompt is not None and options.input is not None:
        raise UserError("--prompt and --input: give one of them")
    if options.prompt is not None:
        _generate(options, iter([("--prompt", options.prompt)]), chunk=1)
        return 0
    file = options.input or Path("-")
    with opened("--input", file, "rb") as lines:
        numbered = enumerate(decoded(lines, file), start=1)
        prompts = ((f"--input {file}, line {number}", line) for number, line in numbered)
        _generate(options, prompts, 1 if lines.isatty() else BATCHES * options.batch_size)
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench generate",
        description="Texts that begin with a prompt and go on as a language model has it. Several "
        f"texts have a line {SEPARATOR} between them; a single one is shown as it comes where "
        "standard output is a terminal.",
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="PATH", help="of a training run")
    add("--prompt", metavar="TEXT", help="what the text begins with; else each line of --input")
    add("--input", type=Path, metavar="FILE", help="UTF-8; standard input unless given")
    add("--max_new_tokens", type=PositiveInt, default=256, help="tokens after the prompt")
    stop = "one token of the model, before which a text ends, such as '<|endoftext|>'"
    add("--stop", metavar="TEXT", help=stop)
    context = "tokens that the model sees, the last ones, where it was trained on no more; else all"
    add("--context", type=PositiveInt, metavar="N", help=context)
    add("--num_samples", type=PositiveInt, default=1, help="texts for each prompt")
    temperature = "divides the logits; 0 takes the likeliest token each time"
    add("--temperature", type=NonNegativeFloat, default=1.0, help=temperature)
    add("--top_k", type=PositiveInt, help="draw from the k likeliest tokens alone")
    top_p = "draw from the fewest likeliest tokens that have this probability together"
    add("--top_p", type=Probability, default=1.0, help=top_p)
    seed = "of the draws; a prompt's texts depend on nothing else that is generated"
    add("--seed", type=NonNegativeInt, default=0, help=seed)
    add("--batch_size", type=PositiveInt, default=32, help="texts that are generated together")
    return parser


def _generate(options: argparse.Namespace, prompts: Iterator[tuple[str, str]], chunk: int) -> None:
    """Write the texts of prompts, each of which has the place where it was given."""
    import torch

    from qvbench.cli.experiment import load_language_model
    from qvbench.decoding.sampling import Sampling, generate

    network, vocabulary = load_language_model(options.checkpoint)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    sampling = Sampling(options.temperature, options.top_k, options.top_p, options.seed)
    stop = None if options.stop is None else vocabulary.token(options.stop)
    if stop is None and options.stop is not None:
        raise UserError(f"--stop {options.stop!r}: not one token of the model; give one that is")
    sizes = options.max_new_tokens, options.num_samples, options.batch_size, stop, options.context
    stream = Stream(vocabulary)
    while together := list(islice(prompts, chunk)):
        ids = [_encoded(vocabulary, *prompt) for prompt in together]
        if len(ids) * options.num_samples == 1 and sys.stdout.isatty():
            stream.add(ids[0])
            generate(network, ids, sampling, *sizes, each=stream.add_tokens)
            stream.end()
        else:
            for text in generate(network, ids, sampling, *sizes):
                stream.add(text)
                stream.end()


def _encoded(vocabulary: TextVocabulary, place: str, prompt: str) -> list[int]:
    ids = vocabulary.encode(prompt)
    if missing := vocabulary.left_out(prompt):
        raise UserError(f"{place}: the model does not know the characters {missing!r}")
    if not ids:
        raise UserError(f"{place}: empty; a text goes on from one token at least")
    return ids


class Stream:
    """Writes texts from their ids as they come, characters of several bytes once they are whole."""

    def __init__(self, vocabulary: TextVocabulary) -> None:
        self.vocabulary = vocabulary
        self.ids: list[int] = []
        self.shown = ""
        self.before = ""  # the line between two texts, once there has been one

    def add(self, ids: list[int]) -> None:
        """The next ids of a text, which may be its first."""
        if not self.ids:
            self._write(self.before)
        self.ids += ids
        self._show(self.vocabulary.decode(self.ids).rstrip(UNFINISHED))

    def add_tokens(self, tokens: Tensor) -> None:
        """The next token of the only text of a batch (1,)."""
        self.add(tokens.tolist())

    def end(self) -> None:
        """The end of a text; what is added next begins another."""
        self._show(self.vocabulary.decode(self.ids) + "\n")
        self.ids, self.shown, self.before = [], "", f"{SEPARATOR}\n"

    def _show(self, text: str) -> None:
        self._write(text[len(self.shown) :])
        self.shown = text

    def _write(self, text: str) -> None:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
