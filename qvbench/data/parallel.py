"""A map over several processes whose results come in order."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TypeVar

from qvbench.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], processes: int
) -> Iterator[tuple[T, R]]:
    """Items with their results, in the order of the items, which are read as they are needed.

    Unlike ``Executor.map``, which reads all items first.

    Args:
        function: can be pickled, as items and results can.
        items: at most three per process are held at a time.
        processes: with one, or for one item, all is done in this process.

    Raises:
        UserError: a process was killed.
    """
    items = iter(items)
    first = list(islice(items, 2)) if processes > 1 else []
    items = chain(first, items)
    if len(first) < 2:
        yield from ((item, function(item)) for item in items)
        return
    del first  # what is done is not kept
    # Not forked: this process may have threads, whose locks a fork would leave locked.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > 2 * processes:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
    except BrokenProcessPool:
        raise UserError(
            f"one of {processes} processes that prepare text was killed; if memory ran out, let "
            "it run on fewer cores (taskset)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
