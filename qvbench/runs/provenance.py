"""Which code ran: git revision of the package, versions of what it stands on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import qvbench

PACKAGES = (
    "torch",
    "lightning",
    "torchmetrics",
    "sacrebleu",
    "wandb",
    "jsonargparse",
    "tokenizers",
    "sacremoses",
    "numpy",
)


WATCHED = (".", ":(exclude)docs", ":(exclude)results")
"""Files of a checkout that a run depends on."""


def git_revision() -> str:
    """The commit of the checkout that the package runs from, ``+dirty`` if files differ from it.

    Pages and results do not count: they change no run, and what makes them writes them.

    Empty where the package is installed: a repository that merely contains the environment
    (``.venv`` in a user's project) says nothing about this code.
    """
    folder = Path(qvbench.__file__).resolve().parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    revision = _git(folder, "rev-parse", "HEAD")
    if not revision:
        return ""
    changed = _git(folder.parent, "status", "--porcelain", "--untracked-files=no", "--", *WATCHED)
    return f"{revision}+dirty" if changed else revision


def versions() -> dict[str, str]:
    """Versions of Python, this package and those that determine a result."""
    known = {"python": platform.python_version(), "qvbench": qvbench.__version__}
    for package in PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = ""
    return known


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers, or nothing if it fails or is not installed."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
