"""Progress of long work: a bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(
    items: Iterable[T], description: str, total: int | None = None, done: int = 0
) -> Iterator[T]:
    """Yield ``items`` while a bar on standard error counts them, where that is a terminal.

    Args:
        items: to count; ``bytes`` count by their length.
        description: stands before the bar.
        total: of the count, if known.
        done: count to start from.
    """
    if not sys.stderr.isatty():
        yield from items  # a bar costs a microsecond per item
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task, len(item) if isinstance(item, bytes) else 1)
