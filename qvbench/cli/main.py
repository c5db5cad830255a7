"""The command ``qvbench``: one word chooses a command, and only that command's code is loaded.

Nothing here imports torch at the top, so that help and a mistyped command answer at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence

from qvbench import __version__
from qvbench.errors import UserError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def _fit(args: list[str]) -> int:
    """train the model of a config, e.g. --config tiny/qvka.yaml"""
    from qvbench.cli.fit import run

    return run("fit", args)


def _validate(args: list[str]) -> int:
    """accuracy and loss of a checkpoint: --ckpt_path PATH"""
    from qvbench.cli.fit import run

    return run("validate", args)


def _test(args: list[str]) -> int:
    """BLEU and chrF of a checkpoint by beam search"""
    from qvbench.cli.fit import run

    return run("test", args)


def _predict(args: list[str]) -> int:
    """translate the test set of a config to a file"""
    from qvbench.cli.fit import run

    return run("predict", args)


def _list(args: list[str]) -> int:
    """what a config can name: mechanisms, positions, configs and their fragments"""
    from qvbench.cli.list import main

    return main(args)


def _prepare(args: list[str]) -> int:
    """fetch, verify, tokenize and store a corpus"""
    from qvbench.cli.prepare import main

    return main(args)


def _translate(args: list[str]) -> int:
    """translate a file or standard input"""
    from qvbench.cli.translate import main

    return main(args)


def _profile(args: list[str]) -> int:
    """what configs cost, side by side"""
    from qvbench.cli.profile import main

    return main(args)


def _sweep(args: list[str]) -> int:
    """run a suite of configs over its seeds"""
    from qvbench.cli.sweep import main

    return main(args)


def _report(args: list[str]) -> int:
    """gather runs into tables, figures and a page"""
    from qvbench.cli.report import main

    return main(args)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "fit": _fit,
    "validate": _validate,
    "test": _test,
    "predict": _predict,
    "list": _list,
    "prepare": _prepare,
    "translate": _translate,
    "profile": _profile,
    "sweep": _sweep,
    "report": _report,
}
"""What follows ``qvbench`` on a command line; the docstring is its line in ``qvbench --help``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process if not given.

    Returns:
        0 for success, 2 for what the user can fix (one line on standard error says what), 130
        for an interruption, 128 + its number for another signal that ended a training (143 for
        SIGTERM, 138 for SIGUSR1); a training has left a checkpoint by then. Any other error is
        raised: Python prints the traceback, status 1.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if args[0] in ("-V", "--version"):
        print(f"qvbench {__version__}")
        return 0
    try:
        status = find_command(args[0])(args[1:])
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


def find_command(name: str) -> Callable[[list[str]], int]:
    """The function behind a command's name.

    Raises:
        UserError: there is no such command.
    """
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"unknown command {name!r}{hint}; known are: {', '.join(COMMANDS)}")
    return COMMANDS[name]


def overview() -> str:
    """What ``qvbench --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.__doc__}" for name, command in COMMANDS.items()]
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
