"""The command line, one file per command; here what those with a parser of their own share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NoReturn

from qvbench.errors import UserError


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviated options, and without a page of usage before each message."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, None, description, formatter_class=_Formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` lists what is known")


RESERVED = ("config", "c", "seed_everything", "name", "ckpt_path", "trainer.default_root_dir")
"""Options of ``fit`` that are the sweep's to set."""


def part_overrides(args: Sequence[str]) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """A command line without the options of ``fit`` for all runs, which have a dot in their name,
    and these with their values."""
    own: list[str] = []
    overrides: list[tuple[str, str]] = []
    rest = iter(args)
    for arg in rest:
        name, equals, value = arg.partition("=")
        key = name.lstrip("-")
        if arg.startswith("-") and key in RESERVED:
            raise UserError(f"{name}: the sweep's to set, by --suite, --seeds and --output")
        if not arg.startswith("--") or "." not in key:
            own.append(arg)
            continue
        found = value if equals else next(rest, "--")
        if found.startswith("--"):  # the next option
            raise UserError(f"{name}: needs a value")
        overrides.append((key, found))
    return own, tuple(overrides)


def opened(option: str, file: Path, mode: str) -> AbstractContextManager[BinaryIO]:
    """The file of an option, or the standard stream for ``-``; UserError if it cannot be opened."""
    if str(file) == "-":
        stream = sys.stdin if mode == "rb" else sys.stdout
        if stream is None:
            raise UserError(f"{option} -: the standard stream is closed; name a file")
        return nullcontext(stream.buffer)
    try:
        return file.open(mode)  # type: ignore[return-value]
    except OSError as error:
        raise UserError(f"{option} {file}: {error.strerror}") from error


def decoded(lines: Iterable[bytes], file: Path) -> Iterator[str]:
    """Lines of ``--input`` as text, without their ends; UserError, with its place, for no UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            where = f"--input {file}, line {number}"
            raise UserError(f"{where}: byte {error.start + 1} is not UTF-8 (try iconv)") from None
