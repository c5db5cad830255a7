"""A program of a benchmark: it loads its work and answers requests, as ``protocol`` has them.

``PYTHON -m benchmarks.serve MODULE TASK FOLDER``: the module has a function of that name, from a
folder of work to a ``Task``.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.protocol import Task, Work

PACKAGES = {name: name for name in ("qvbench", "torch", "lightning", "numpy", "transformers")}
PACKAGES |= {"onmt": "OpenNMT-py", "ctranslate2": "ctranslate2"}
"""By module: the package whose version is reported if the program has loaded it."""


def main() -> None:
    """Load the task of the command line and answer requests until the end.

    Nothing here starts a thread: beside a second one that computes, GNU's OpenMP lets those of both
    sleep between any two operations, which ``qvbench fit`` never does.
    """
    module, kind, folder = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a toolkit prints goes to standard error

    def answer(message: Mapping[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    task: Task = getattr(import_module(module), kind)(Work(Path(folder)))
    versions = {name: version(name) for each, name in PACKAGES.items() if each in sys.modules}
    versions["python"] = platform.python_version()
    answer({"versions": versions, "comparable": task.comparable, "settings": task.settings})

    def repeats() -> Iterator[None]:
        """One for each that is asked for; it is over when the next is."""
        for line in sys.stdin:
            request = line.strip()
            if request == "end":
                return
            if request == "check":
                answer(task.check())
                continue
            reset_peak_memory()
            start, cpu_start = time.perf_counter(), cpu_time()
            yield
            seconds, cpu_seconds = time.perf_counter() - start, cpu_time() - cpu_start
            taken = {"seconds": seconds, "cpu_seconds": cpu_seconds, "items": task.items}
            answer({**taken, "peak_bytes": peak_memory()})

    task.run(repeats())


def cpu_time() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def reset_peak_memory() -> None:
    """Let the peak start from what is in use now, where the system can do that."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Of the process, in bytes."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
