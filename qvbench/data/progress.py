"""A progress bar for long work, silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


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
    """Yield ``items`` while a bar with ``description`` counts them."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)
