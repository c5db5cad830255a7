"""The exception for what the user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something wrong in what the user gave: command line, config, file or network.

    The message names the place, what is wrong and what is allowed. The command line prints it in
    one line without a traceback, and exits with status 2; any other exception is a bug.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words, for the end of a message; empty if none is near."""
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.7)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
