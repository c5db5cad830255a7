"""Searches: which values are trained, which is taken, and what is run after it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from qvbench.cli.experiment import resolve
from qvbench.errors import UserError
from qvbench.sweep.plan import PlannedRun, plan
from qvbench.sweep.suite import Search, read_suite
from tests.sweep.conftest import write_suite

KEY = "model.schedule.init_args.peak"
SEARCH = {
    "key": KEY,
    "values": [0.001, 0.002],
    "seeds": [11, 12],
    "budget": {"steps": 4},
    "settings": {"data.val_split": "test"},
}


def search(*values: float) -> Search:
    return Search(KEY, tuple(map(float, values)), (11, 12), ())


class TestGrid:
    def test_a_best_value_inside_is_taken(self) -> None:
        """Catches a worst value taken, a choice made before all values are trained."""
        scores = {1.0: 3.0, 2.0: 5.0}
        assert search(1, 2, 4).choice(scores) is None
        assert search(1, 2, 4).choice(scores | {4.0: 4.0}) == 2

    def test_a_best_value_on_an_edge_extends_the_grid(self) -> None:
        """Catches a learning rate that is best because no lower one was tried; a wrong ratio."""
        assert search(1, 2, 6).grid({1: 5, 2: 4, 6: 3}) == [0.5, 1, 2, 6]
        assert search(1, 2, 6).grid({1: 3, 2: 4, 6: 5}) == [1, 2, 6, 18]
        assert search(1, 2, 6).choice({1: 3, 2: 4, 6: 5}) is None
        assert search(1, 2, 6).choice({1: 3, 2: 4, 6: 5, 18: 4}) == 6

    def test_extensions_end(self) -> None:
        """Catches a search that never ends where more is always better."""
        up = {float(2**n): float(n) for n in range(-20, 20)}
        assert search(1, 2).grid(up) == [1, 2, 4, 8, 16]
        assert search(1, 2).choice(up) == 16
        down = {value: -score for value, score in up.items()}
        assert search(1, 2).grid(down) == [0.125, 0.25, 0.5, 1, 2]
        assert search(1, 2).choice(down) == 0.125

    def test_whole_numbers_stay_whole(self) -> None:
        """Catches a width of 4.5 that no config takes, a number below 1, and a search without end
        where nothing lies beyond the edge."""
        heads = Search("model.network.num_heads", (2, 3), (11, 12), ())
        assert heads.grid({2: 5, 3: 4}) == [1, 2, 3]
        assert heads.choice({1: 6, 2: 5, 3: 4}) == 1
        wider = heads.grid({2: 4, 3: 5})
        assert (wider, heads.setting(wider[-1])) == ([2, 3, 4], ((heads.key, "4"),))

    def test_a_value_at_which_a_run_diverged_is_out(self) -> None:
        """Catches a mean over the seeds that survived."""
        assert search(1, 2, 4).choice({1: 2, 2: 3, 4: -math.inf}) == 2


def finish(run: PlannedRun, value: float, status: str = "finished") -> None:
    """A record of a run as training writes it."""
    metric = {"name": "val/accuracy", "label": "accuracy", "unit": "%", "higher_is_better": True}
    record = {"identity": run.identity, "status": status, "metrics": {"val/accuracy": value}}
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text(json.dumps(record | {"primary_metric": metric}))


def rates(runs: list[PlannedRun]) -> list[tuple[Any, ...]]:
    return [
        (run.variant.name, run.seed, run.resolved["model"]["schedule"]["init_args"]["peak"])
        for run in runs
    ]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    settings = {"trainer.val_check_interval": 2, "data.merges": 150}
    settings |= {"model.schedule": {"class_path": "LinearDecay", "init_args": {"peak": 0.003}}}
    changes = {"budget": {"steps": [2, 6]}, "search": SEARCH, "settings": settings}
    return write_suite(tmp_path, **changes)


@pytest.mark.slow
def test_the_seeds_follow_the_search_of_their_variant(place: Path) -> None:
    """Catches seeds trained at another rate than the one found, or scored where it was found; a
    variant that waits for another's search; a diverged search run that is tried for ever."""
    suite, output = read_suite(place), place.parent
    first = plan(suite, output, resolve)
    values = [(11, 0.001), (11, 0.002), (12, 0.001), (12, 0.002)]
    assert sorted(rates(first)) == sorted((n, s, v) for n in ("qv", "one") for s, v in values)
    assert all(run.of_search for run in first)
    assert {run.resolved["data"]["val_split"] for run in first} == {"test"}
    assert {run.resolved["trainer"]["max_steps"] for run in first} == {4}
    for run, value in zip([r for r in first if r.variant.name == "qv"], (7, 5, 6, 5), strict=True):
        finish(run, value)
    lower = [run for run in plan(suite, output, resolve) if run not in first]  # beyond the edge
    assert rates(lower) == [("qv", 11, 0.0005), ("qv", 12, 0.0005)]
    finish(lower[0], 9)
    finish(lower[1], 9, "diverged")
    own = [run for run in plan(suite, output, resolve) if not run.of_search]
    assert rates(own) == [("qv", 1, 0.001), ("qv", 2, 0.001)] * 2
    assert [run.resolved["trainer"]["max_steps"] for run in own] == [2, 2, 6, 6]
    assert {run.resolved["data"]["val_split"] for run in own} == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [0.002, 0.001]}, "search: values must be two or more, ascending, above 0"),
        ({"values": [0.001]}, "values must be two or more"),
        ({"values": [0.001, math.inf]}, "values must be two or more"),
        ({"key": None}, "the search lacks 'key'"),
        ({"grid": [1]}, "a search has no key 'grid'; known are: key, values, seeds, budget"),
        ({"seeds": [1, 1]}, "seeds must be different whole numbers"),
        ({"budget": {"steps": [1, 2]}}, "search: budget must be one"),
    ],
)
def test_a_wrong_search_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Catches a search that fails after hours, or that searches nothing."""
    with pytest.raises(UserError, match=message):
        read_suite(write_suite(tmp_path, search=SEARCH | change))
