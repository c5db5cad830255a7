"""Lightning's argument parser, with shipped configs by name and errors of one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile
from lightning.pytorch.cli import LightningArgumentParser

from qvbench.config_files import find_config, read_yaml
from qvbench.errors import UserError


class ParserFault(UserError):
    """What the parser did not accept, in its own words."""


class ConfigByName(ActionConfigFile):
    """``--config NAME``: a file here, else the shipped config of that name."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        config = find_config(str(values))
        if Path(config).is_file() and not isinstance(read_yaml(Path(config)), dict):
            raise UserError(f"{config}: not a config: empty, or no keys with values")
        super().__call__(parser, cfg, config, option_string)


class Parser(LightningArgumentParser):
    """Raises what is wrong with a command line or config, instead of printing a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Report a fault.

        Raises:
            ParserFault: always, but from a parser inside another one, which leaves it to that.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise ParserFault(message) from ex

    def config_keys(self) -> list[str]:
        """Every option by its config key, such as ``trainer.max_steps``."""
        return [
            option.removeprefix("--")
            for action in self._actions
            for option in action.option_strings
            if option.startswith("--") and not option.endswith((".help", "+"))
        ]


def place_of(key: str, words: Iterable[str], configs: Iterable[Path]) -> str:
    """Where a config key was given: on the command line, or in the last config that has it."""
    parts = key.split(".")
    names = {"--" + ".".join(parts[: n + 1]) for n in range(1 if len(parts) > 1 else 0, len(parts))}
    if any(word.partition("=")[0] in names for word in words):
        return "command line"
    holders = [file for file in configs if _has(read_yaml(file), parts)]
    return str(holders[-1]) if holders else ""


def _has(content: Any, parts: list[str]) -> bool:
    """Whether nested keys occur in a config, as far as it does not hand over to a fragment."""
    for part in parts:
        if not isinstance(content, dict):
            return content is not None
        content = content.get("init_args", content) if part not in content else content
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True
