"""Where downloads and stored token ids live."""

from __future__ import annotations

import os
from pathlib import Path

from qvbench.errors import UserError


def cache_root(cache_dir: str | None = None) -> Path:
    """The cache folder: the one given, else ``$QVBENCH_CACHE``, else ``~/.cache/qvbench``."""
    return Path(cache_dir or os.environ.get("QVBENCH_CACHE") or "~/.cache/qvbench").expanduser()


def make_folder(path: Path) -> Path:
    """Create a folder of the cache with its parents, and make sure that it can be written.

    Raises:
        UserError: it cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        fault = "" if os.access(path, os.W_OK | os.X_OK) else "permission denied"
    except OSError as error:
        fault = error.strerror or str(error)
    if fault:
        raise UserError(
            f"{path}: the cache cannot be written ({fault}); set cache_dir or the environment "
            "variable QVBENCH_CACHE to a folder that can"
        )
    return path
