"""The argument parser of the verbs that are not Lightning's: a fault is one line."""

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
