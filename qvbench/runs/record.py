"""``run.json``, the record of a run: reading, writing, its metrics, its sweep and its code."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import qvbench
from qvbench.runs.folder import RECORD, write_text

SWEEP_VARIABLE = "QVBENCH_SWEEP"
"""Environment variable in which a sweep names suite and variant, as JSON."""

PACKAGES = "torch lightning torchmetrics sacrebleu wandb jsonargparse tokenizers sacremoses numpy"


class Metric(NamedTuple):
    """A metric: in curves and records ``val/accuracy``, for people "validation accuracy", "%"."""

    name: str
    label: str
    unit: str
    higher_is_better: bool


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def score(record: Mapping[str, Any]) -> float:
    """A run's primary metric, turned so that more is better; ``-inf`` if the run diverged."""
    metric = record["primary_metric"]
    value = record["metrics"].get(metric["name"])
    if record["status"] != "finished" or value is None or not math.isfinite(value):
        return -math.inf
    return float(value) if metric["higher_is_better"] else -float(value)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run, so that no reader sees half of it.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / RECORD, text + "\n")


def without_folders(text: str) -> str:
    """A text whose absolute paths are their last parts: it names no folder of a machine."""
    return re.sub(r"(?<![\w./:])(?:/[\w.+~-]+)+/([\w.+~-]+)", r"\1", text)


def sweep_labels() -> dict[str, str]:
    """``suite`` and ``variant`` of the sweep that started this process; empty if none did."""
    return dict(json.loads(os.environ.get(SWEEP_VARIABLE) or "{}"))


def now() -> str:
    """This moment as records have it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def git_revision() -> str:
    """The commit of the checkout that the package runs from, ``+dirty`` if files differ from it.

    Pages and results do not count: they change no run. Empty where the package is installed, in
    whatever repository (``.venv`` in a user's project).
    """
    package = Path(qvbench.__file__).resolve().parent
    if not _git(package, "ls-files", "__init__.py"):
        return ""
    files = ("--", ":(top)", ":(top,exclude)docs", ":(top,exclude)results")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", *files)
    return _git(package, "rev-parse", "HEAD") + ("+dirty" if changed else "")


def versions() -> dict[str, str]:
    """Versions of Python, this package and those that determine a result."""
    known = {"python": platform.python_version(), "qvbench": qvbench.__version__}
    return known | {package: version(package) for package in PACKAGES.split()}


def _git(folder: Path, *arguments: str) -> str:
    """What git answers; empty if it fails or is not installed."""
    command = ["git", "-C", str(folder), *arguments]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def has_wandb_key() -> bool:
    """Whether Weights & Biases would find a key in the environment or in a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb
    from requests.utils import get_netrc_auth

    given = os.environ.get("WANDB_BASE_URL")
    hosts = [given] if given else [wandb.setup().settings.base_url, "https://api.wandb.ai"]
    return any(get_netrc_auth(host) for host in hosts)


def first_line(error: Exception) -> str:
    """What an exception of somebody else's package says, as far as it fits a message of ours."""
    return str(error).partition("\n")[0] or type(error).__name__
