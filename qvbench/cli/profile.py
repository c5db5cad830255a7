"""``qvbench profile --config NAME [--config NAME ...]``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from qvbench.cli.arguments import ArgumentParser


def main(argv: list[str]) -> int:
    """Run the command with the arguments after ``profile``.

    Raises:
        UserError: an option, a config or an override is wrong.
    """
    arguments, overrides = _parser().parse_known_args(argv)
    # PyTorch's profiler, which reads off memory, else says on standard error that it starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from qvbench.profile.render import FORMATS

    print(FORMATS[arguments.format](_records(arguments, overrides)))
    return 0


def _records(arguments: argparse.Namespace, overrides: list[str]) -> list[dict[str, Any]]:
    import torch

    from qvbench.cli.profile_model import build
    from qvbench.models.flops import Size
    from qvbench.profile.count import count
    from qvbench.profile.measure import measure

    size = Size(arguments.batch_size, arguments.source_length, arguments.target_length)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = []
    for name in arguments.config:
        model = build(name, overrides, arguments.vocab_size)
        record, repeats = count(model, size), arguments.repeats
        record["measured"] = measure(model, size, repeats, device) if repeats else None
        records.append(record)
    return records


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench profile",
        description="Parameters, FLOPs per target token (by PyTorch's flop counter), elements and "
        "bytes that decoding keeps per token, and the time and memory of a step: of configs side "
        "by side. Needs no data.",
    )
    parser.usage = "%(prog)s --config NAME [--config NAME ...] [OPTIONS] [--KEY VALUE ...]"
    parser.epilog = (
        "Other options override keys of every config, as `qvbench fit` has them: "
        "--model.attention QV, --trainer.precision bf16-mixed."
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        required=True,
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="YAML file, or the name of a config that ships with qvbench; may be repeated",
    )
    parser.add_argument(
        "--format", choices=("table", "json", "latex"), default="table", help="form of the output"
    )
    sizes = (
        ("--source_length", 32, "source tokens of a sentence"),
        ("--target_length", 32, "target tokens of a sentence"),
        ("--batch_size", 2, "sentences"),
        ("--vocab_size", None, "entries; None takes those of a prepared corpus, else 32000"),
    )
    for name, default, text in sizes:
        parser.add_argument(name, type=at_least(1), default=default, metavar="N", help=text)
    parser.add_argument(
        "--repeats",
        type=at_least(0),
        default=3,
        metavar="N",
        help="training steps to time; with 0 nothing is timed",
    )
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """A type for argparse: whole numbers from ``least`` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    number.__name__ = "whole number"  # what argparse calls it where the text is none
    return number
