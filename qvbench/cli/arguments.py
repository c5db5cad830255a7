"""The argument parser of the commands that are not Lightning's: an error is one line."""

from __future__ import annotations

import argparse
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
        """Report a fault.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; `{self.prog} --help` lists what is known")


def option_values(words: list[str], *options: str) -> list[str]:
    """The values that an option has on a command line, given as ``--a b`` or ``--a=b``."""
    values = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options:
            values += [value] if equals else words[place + 1 : place + 2]
    return values
