"""The command line, one file per command; here what those with a parser of their own share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from qvbench.errors import UserError


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviated options, and without a page of usage before each message."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise a :class:`UserError`."""
        raise UserError(f"{message}; `{self.prog} --help` lists what is known")


RESERVED = {
    "config": "name it in the suite file",
    "c": "name it in the suite file",
    "seed_everything": "use --seeds",
    "name": "the variants name the runs",
    "ckpt_path": "a sweep resumes its own runs",
    "trainer.default_root_dir": "use --output",
}
"""Options of ``fit`` that are the sweep's to set, and what to do instead."""


def part_overrides(args: Sequence[str]) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """A command line without the options of ``fit`` for all runs, and these with their values.

    They are those with a dot in their name, and ``--dry_pass``.
    """
    own: list[str] = []
    overrides: list[tuple[str, str]] = []
    rest = iter(args)
    for arg in rest:
        name, equals, value = arg.partition("=")
        key = name.lstrip("-")
        if arg.startswith("-") and key in RESERVED:
            raise UserError(f"{name}: cannot be given to a sweep; {RESERVED[key]}")
        if not arg.startswith("--") or ("." not in key and key != "dry_pass"):
            own.append(arg)
            continue
        found = value if equals else next(rest, "--")
        if found.startswith("--"):  # the next option
            raise UserError(f"{name}: needs a value")
        overrides.append((key, found))
    return own, tuple(overrides)
