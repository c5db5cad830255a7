"""The folder of a run, ``runs/<config>/seed-<n>/``, a new one for every run, and its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from qvbench.errors import UserError

RUNS = "runs"
CONFIG = "config.yaml"  # resolved
RECORD = "run.json"  # what was run, on what, how it ended
CURVES = "curves.csv"  # every measurement
SENTENCES = "sentences.npz"  # what each validation sentence added to the scores
TRANSLATIONS = "test-translations.txt"  # test set as translated, a line per sentence
REFERENCES = "test-references.txt"
INSIDE = "inside.json"  # what `qvbench measure` found
CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"  # the newest checkpoint
PREVIOUS = "previous.ckpt"  # the one before
PARTIAL = ".partial"  # ending of a file that is not complete yet


def predictions(test_set: str) -> str:
    """Name of the file with what ``qvbench predict`` made of a test set."""
    return f"predictions-{test_set}.txt"


def run_group(config_name: str) -> str:
    """The name under which the runs of a config are kept: ``tiny/qvka.yaml`` to ``tiny-qvka``."""
    return "-".join(Path(config_name).with_suffix("").parts)


def checked_name(name: str) -> str:
    """A name that the user gave instead of the config's.

    Raises:
        UserError: it is not the name of one folder.
    """
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise UserError(f"--name {name!r}: not the name of a folder; give letters, digits, - and _")
    return name


def create_folder(base: Path, group: str, name: str) -> Path:
    """Make a folder that no other run has: a second one of a name is numbered.

    Raises:
        UserError: the folder cannot be made.
    """
    folder = base / RUNS / group / name
    numbered = (folder.with_name(f"{name}-{number}") for number in count(2))
    try:
        while True:
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                if not os.path.lexists(folder):  # in the way is a link above it that leads nowhere
                    raise
            folder = next(numbered)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot make the run's folder ({error.strerror}); "
            "choose another place with --trainer.default_root_dir"
        ) from error


def folder_of(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it still lies there."""
    parents = list(checkpoint.resolve().parents)[:2]
    return next((folder for folder in parents if (folder / RECORD).is_file()), None)


def check_writable(folder: Path) -> None:
    """Find out before training that a run's folder takes files.

    Raises:
        UserError: it does not.
    """
    if not os.access(folder, os.W_OK):
        raise UserError(
            f"{folder}: cannot be written; make the folder writable, or copy it elsewhere and give "
            "that checkpoint's path"
        )


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """Open a file whose content replaces another's at the end, whole and on the disk.

    Whatever goes wrong, also with the power gone, the name stands for the old content or the new.
    A killed process leaves an unfinished file beside it, which the next writer overwrites; there is
    one writer at a time.

    Raises:
        OSError: it cannot be written.
    """
    partial = file.with_name(file.name + PARTIAL)
    try:
        with partial.open("wb") as opened:
            yield opened
            sync(opened)
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    with suppress(OSError):  # where the system cannot have names of files on the disk
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(file: Path, text: str) -> None:
    """Replace a text file as :func:`replacing` does."""
    with replacing(file) as opened:
        opened.write(text.encode())


def sync(opened: BinaryIO) -> None:
    """Have on the disk what was written to an open file."""
    opened.flush()
    os.fsync(opened.fileno())
