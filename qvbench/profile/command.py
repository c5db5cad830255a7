"""``qvbench profile --config NAME [--config NAME ...]``."""

from __future__ import annotations

import argparse
import os
from typing import Any


def main(argv: list[str]) -> int:
    """Run the verb with the words after ``profile``.

    Raises:
        UserError: a config or an override is wrong.
        DisagreementError: what a mechanism declares is not what it does.
    """
    arguments, overrides = _parser().parse_known_args(argv)
    # PyTorch's profiler, which reads off memory, else says on standard error that it starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from qvbench.profile.render import FORMATS

    print(FORMATS[arguments.format](_records(arguments, overrides)))
    return 0


def _records(arguments: argparse.Namespace, overrides: list[str]) -> list[dict[str, Any]]:
    import torch

    from qvbench.profile import model, record
    from qvbench.profile.formula import Size

    size = Size(arguments.batch_size, arguments.source_length, arguments.target_length)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return [
        record.profile(
            model.build(name, overrides, arguments.vocab_size), size, arguments.repeats, device
        )
        for name in arguments.config
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qvbench profile",
        usage="%(prog)s --config NAME [--config NAME ...] [OPTIONS] [--KEY VALUE ...]",
        description="Parameters, FLOPs per target token (by formula and by PyTorch's flop counter, "
        "which have to agree), numbers and bytes that decoding keeps, and the time and memory of a "
        "step: of configs side by side. Needs no data.",
        epilog="Other options override keys of every config, as `qvbench fit` has them: "
        "--model.attention QV, --trainer.precision bf16-mixed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        required=True,
        metavar="NAME",
        help="YAML file, or the name of a config that ships with qvbench; may be repeated",
    )
    parser.add_argument("--format", choices=("table", "json", "latex"), default="table")
    parser.add_argument(
        "--source_length", type=_positive, default=32, metavar="N", help="tokens (%(default)s)"
    )
    parser.add_argument(
        "--target_length", type=_positive, default=32, metavar="N", help="tokens (%(default)s)"
    )
    parser.add_argument(
        "--batch_size", type=_positive, default=2, metavar="N", help="sentences (%(default)s)"
    )
    parser.add_argument(
        "--vocab_size",
        type=_positive,
        metavar="N",
        help="entries; those of a config's corpus if it is prepared, else 32000, if not given",
    )
    parser.add_argument(
        "--repeats",
        type=_whole,
        default=3,
        metavar="N",
        help="training steps to time; 0 measures nothing (%(default)s)",
    )
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
