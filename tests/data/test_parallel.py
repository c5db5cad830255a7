"""Work shared out to processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qvbench.data import storing
from qvbench.data.corpora import Text
from qvbench.data.module import TranslationDataModule
from qvbench.data.parallel import ordered_map
from qvbench.errors import UserError


def slow_if_even(number: int) -> tuple[int, int]:
    time.sleep(0.1 * (number % 2 == 0))
    return number, os.getpid()


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order_from_several_processes() -> None:
    """A result beside another item's, or one process that does all."""
    found = list(ordered_map(slow_if_even, range(12), 2))
    assert [(item, result[0]) for item, result in found] == [(n, n) for n in range(12)]
    processes = {result[1] for _, result in found}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_items_are_read_as_they_are_needed() -> None:
    """A corpus that is read into memory before the first of it is done."""
    read = []
    items = (read.append(n) or n for n in range(100))
    mapped = ordered_map(slow_if_even, items, 2)
    next(mapped)
    assert len(read) <= 3 * 2
    mapped.close()


@pytest.mark.parametrize(("items", "processes"), [(5, 1), (1, 4), (0, 4)])
def test_little_work_starts_no_process(items: int, processes: int) -> None:
    found = list(ordered_map(slow_if_even, range(items), processes))
    assert [result for _, result in found] == [(n, os.getpid()) for n in range(items)]


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(UserError, match="was killed; if memory ran out"):
        list(ordered_map(die_at_three, range(6), 2))


def test_an_error_in_a_process_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ordered_map((1).__truediv__, [2, 1, 0, 4], 2))


def test_raw_text_is_stored_alike_by_one_process_and_by_two(
    tmp_path: Path, text_corpus: Callable[..., Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that change places, or a process whose tokenizer is set up otherwise."""
    monkeypatch.setattr(storing, "_PAIRS_AT_ONCE", 7)
    stores = []
    for processes in (1, 2):
        monkeypatch.setattr(storing, "usable_cores", lambda count=processes: count)
        module = TranslationDataModule(
            text_corpus(tokenized=False), merges=60, cache_dir=str(tmp_path / str(processes))
        )
        module.prepare_data()
        files = sorted(module.folder.iterdir())
        stores.append({path.name: path.read_bytes() for path in files})
    assert stores[0] == stores[1]
    assert len(stores[0]) > 9
