"""The folder of a run: ``runs/<config>/seed-<n>/``, a new one for every run, and its file names.

config.yaml               resolved config
run.json                  record: what was run, on what, how it ended
curves.csv                every measurement
sentences.npz             what each validation sentence added to the scores
test-translations.txt     test set as translated, a line per sentence
test-references.txt
predictions-<set>.txt     of ``qvbench predict``
checkpoints/last.ckpt     the newest; previous.ckpt is the one before
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from qvbench.errors import UserError

RUNS = "runs"
RECORD = "run.json"
CONFIG = "config.yaml"
CURVES = "curves.csv"
SENTENCES = "sentences.npz"
TRANSLATIONS = "test-translations.txt"
REFERENCES = "test-references.txt"
CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"


def predictions(test_set: str) -> str:
    """Name of the file with the translations of a test set."""
    return f"predictions-{test_set}.txt"


def run_group(config_name: str) -> str:
    """The name under which the runs of a config are kept: ``tiny/qvka.yaml`` to ``tiny-qvka``."""
    return "-".join(Path(config_name).with_suffix("").parts)


def checked_name(name: str) -> str:
    """A name that the user gave instead of the config's.

    Raises:
        UserError: it is not the name of one folder.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(f"--name {name!r}: not the name of a folder; give letters, digits, - and _")
    return name


def create_folder(base: Path, group: str, seed: int) -> Path:
    """Make a folder that no other run has: a second run of a config and seed is numbered.

    Raises:
        UserError: the folder cannot be made.
    """
    number = 1
    while True:
        name = f"seed-{seed}" if number == 1 else f"seed-{seed}-{number}"
        folder = base / RUNS / group / name
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(
                f"{folder}: cannot make the run's folder ({error.strerror}); "
                "choose another place with --trainer.default_root_dir"
            ) from error
        else:
            return folder


def folder_of(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it still lies there."""
    for folder in list(checkpoint.resolve().parents)[:2]:
        if (folder / RECORD).is_file():
            return folder
    return None


def check_writable(folder: Path) -> None:
    """Find out before training that a run's folder takes files.

    Raises:
        UserError: it does not.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); make the folder writable, or copy "
            "it elsewhere and give that checkpoint's path"
        ) from error
