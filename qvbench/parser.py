"""Lightning's argument parser, with shipped configs by name and errors of one line."""

from __future__ import annotations

from typing import Any, NoReturn

from jsonargparse import ActionConfigFile
from lightning.pytorch.cli import LightningArgumentParser

from qvbench.config_files import find_config
from qvbench.errors import UserError
from qvbench.parser_messages import one_line


class ConfigByName(ActionConfigFile):
    """``--config NAME``: a file here, else the shipped config of that name."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        super().__call__(parser, cfg, find_config(str(values)), option_string)


class Parser(LightningArgumentParser):
    """Says in one line what is wrong with a command line or config, instead of a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Report a fault.

        Raises:
            UserError: the fault, in one line. A parser inside another one leaves it to the outer.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise UserError(one_line(message, known_options(self))) from ex


def known_options(parser: Parser) -> list[str]:
    """Every option of a parser, by its config key (``trainer.max_steps``)."""
    return [
        option.removeprefix("--")
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    ]
