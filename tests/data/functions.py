"""What the processes of :func:`ordered_map` are given: in a module that imports next to nothing."""

from __future__ import annotations

import os
import signal
import time


def slow_if_even(number: int) -> tuple[int, int]:
    time.sleep(0.1 * (number % 2 == 0))
    return number, os.getpid()


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number
