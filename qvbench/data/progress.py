"""How far long work is: a bar on a terminal, now and then a line in a log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

logger = logging.getLogger(__name__)

_LOG_SECONDS = 30.0
_MIB = 1 << 20


def progress_bar(transfer: bool = False) -> Progress:
    """A rich ``Progress`` on standard error, off where that is no terminal.

    Args:
        transfer: show bytes and speed instead of counts.
    """
    from rich import progress as rich_progress
    from rich.console import Console

    middle: tuple[rich_progress.ProgressColumn, ...] = (
        (rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn())
        if transfer
        else (rich_progress.MofNCompleteColumn(),)
    )
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        *middle,
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,  # the log says what was done
    )


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` while a bar with ``description`` counts them.

    Where nobody watches, nothing is counted: a bar costs a microsecond an item.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)


@contextmanager
def transfer_progress(name: str, have: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes notice of bytes that have arrived.

    Args:
        name: of the file.
        have: bytes that are here already.
        total: bytes in all, where that is known.
    """
    done, said = have, time.monotonic()
    with progress_bar(transfer=True) as bar:
        task = bar.add_task(name, total=total, completed=have)

        def advance(count: int) -> None:
            nonlocal done, said
            done += count
            bar.update(task, advance=count)
            if bar.disable and time.monotonic() - said >= _LOG_SECONDS:
                said = time.monotonic()
                of = f" of {total / _MIB:,.0f}" if total else ""
                logger.info("%s: %s%s MiB", name, f"{done / _MIB:,.0f}", of)

        yield advance
