"""The command ``qvbench``: one word chooses a command, and only its code (and torch) is loaded."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from qvbench import __version__
from qvbench.errors import DISK_FULL, UserError, did_you_mean, is_out_of_memory

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

COMMANDS = {
    "fit": "train the model of a config, e.g. --config tiny/qvka.yaml",
    "validate": "accuracy and loss of a checkpoint: --ckpt_path PATH",
    "test": "the same of a test set, of translations BLEU and chrF by beam search",
    "predict": "translate the test set of a config to a file",
    "list": "what a command line can name: mechanisms, positions, corpora, configs, suites",
    "prepare": "fetch, verify, tokenize and store a corpus",
    "translate": "translate a file or standard input",
    "generate": "go on with prompts as a language model has it",
    "inspect": "what a model attends to in a sentence, as figures and a page",
    "measure": "attention of models against gold tags, trees and alignments",
    "convert": "give a trained model another mechanism",
    "profile": "what configs cost, side by side",
    "sweep": "run a suite of configs over its seeds",
    "report": "gather runs into tables, figures and a page",
}
OF_A_CONFIG = ("fit", "validate", "test", "predict", "prepare")  # others have a file each
_LINES = "\n".join(f"  {name:9}  {line}" for name, line in COMMANDS.items())
OVERVIEW = f"""qvbench {__version__}: does attention need its keys?

usage: qvbench COMMAND [OPTIONS]

{_LINES}

qvbench COMMAND --help lists the options of a command. A --config that is no file is
looked up among the configs that ship with qvbench, which `qvbench list` shows."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status.

    0 is success, 2 what the user can fix (one line on standard error says what), 1 a sweep of which
    runs failed, 130 an interruption, 143 (SIGTERM) or 138 (SIGUSR1) a training that a signal ended,
    which has left a checkpoint. Any other error is raised: a traceback and status 1.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        status = run(args[0] if args else "help", args[1:])
        if sys.stdout is not None:  # it is closed
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
        _discard_output()
        return 0
    except (OSError, RuntimeError) as error:
        fault = _fault(error)
        if not fault:
            raise
        print(f"qvbench: error: {fault}", file=sys.stderr)
        return 2


def _fault(error: OSError | RuntimeError) -> str:
    """What the user can fix of an error of the system's or of torch's; empty if nothing."""
    if isinstance(error, RuntimeError):
        remedy = "lower --batch_size or --max_tokens, or give shorter texts"
        return f"out of memory; {remedy}" if is_out_of_memory(error) else ""
    if error.errno in DISK_FULL:
        _discard_output()
        return "the disk is full; free some space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return f"{error.filename}: {error.strerror}; change that, or name another place"
    return ""


def _discard_output() -> None:
    """Let Python write what is left in buffers, when it exits, to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def run(command: str, args: list[str]) -> int:
    if command in ("-h", "--help", "help", "-V", "--version"):
        print(f"qvbench {__version__}" if command in ("-V", "--version") else OVERVIEW)
        return 0
    if command not in COMMANDS:
        near = did_you_mean(command, COMMANDS)
        raise UserError(f"unknown command {command!r}{near}; known are: {', '.join(COMMANDS)}")
    if command in OF_A_CONFIG:
        from qvbench.cli.fit import run_config

        return run_config(command, args)
    status: int = import_module(f"qvbench.cli.{command}").main(args)
    return status
