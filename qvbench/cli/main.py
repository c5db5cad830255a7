"""The command ``qvbench``: one word chooses a verb, and only that verb's code is loaded.

Nothing here imports torch, so that help and a mistyped command answer at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from qvbench import __version__
from qvbench.errors import UserError


class Verb(NamedTuple):
    """One word of the command line: where its code is and what it does, in a line."""

    module: str
    function: str
    summary: str


_LIGHTNING = "qvbench.cli.fit"
VERBS = {
    "fit": Verb(_LIGHTNING, "fit", "train the model of a config, e.g. --config tiny/qvka.yaml"),
    "validate": Verb(_LIGHTNING, "validate", "accuracy and loss of a checkpoint: --ckpt_path PATH"),
    "test": Verb(_LIGHTNING, "test", "BLEU and chrF of a checkpoint by beam search"),
    "predict": Verb(_LIGHTNING, "predict", "translate the test set of a config to a file"),
    "list": Verb("qvbench.cli.list_parts", "main", "mechanisms, positions, corpora, configs"),
    "prepare": Verb("qvbench.cli.prepare", "main", "fetch, verify, tokenise and store a corpus"),
    "translate": Verb("qvbench.cli.translate", "main", "translate a file or standard input"),
    "profile": Verb("qvbench.cli.profile", "main", "what configs cost, side by side"),
    "sweep": Verb("qvbench.cli.sweep", "main", "run a suite of configs over its seeds"),
    "report": Verb("qvbench.cli.report", "main", "gather runs into table, figure and page"),
}

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: words after the program's name; those of the process if not given.

    Returns:
        0 for success, 2 for what the user can mend (one line on standard error says what), 130
        for an interruption, 128 + its number for another signal that ended a training (143 for
        SIGTERM, 138 for SIGUSR1); a training has left a checkpoint by then. Anything else that
        goes wrong is raised: Python shows where, status 1.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"qvbench {__version__}")
        return 0
    try:
        status = load(words[0])(words[1:])
        sys.stdout.flush()  # a reader who left shows here, not when Python exits
        return status
    except UserError as error:
        print(f"qvbench: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except SystemExit as end:  # argparse after --help, Lightning after an interruption
        if isinstance(end.__context__, KeyboardInterrupt):
            return INTERRUPTED
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        print("qvbench: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def load(word: str) -> Callable[[list[str]], int]:
    """The function behind a verb; it takes the words after the verb and returns a status.

    Raises:
        UserError: there is no such verb.
    """
    if word not in VERBS:
        near = difflib.get_close_matches(word, VERBS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"unknown command {word!r}{hint}; known are: {', '.join(VERBS)}")
    verb = VERBS[word]
    function: Callable[[list[str]], int] = getattr(import_module(verb.module), verb.function)
    return function


def overview() -> str:
    """What ``qvbench --help`` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            f"qvbench {__version__}: does attention need its keys?",
            "",
            "usage: qvbench COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "qvbench COMMAND --help lists the options of a command. A --config that is no file is",
            "looked up among the configs that ship with qvbench, which `qvbench list` shows.",
        ]
    )
