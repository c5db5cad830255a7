"""The report of a suite with a search and several budgets."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qvbench.cli.experiment import resolve
from qvbench.cli.sweep import main as sweep
from qvbench.errors import UserError
from qvbench.report.comparison import Options, compare
from qvbench.report.page import markdown_page
from qvbench.report.runs import gather, runs_of_suite
from qvbench.report.search import search_section
from qvbench.sweep.plan import PlannedRun, plan
from qvbench.sweep.suite import read_suite
from tests.report.helpers import compared, contents, report, write_run
from tests.sweep.conftest import write_suite

SEARCH = {
    "key": "model.schedule.init_args.peak",
    "values": [0.001, 0.002, 0.004],
    "seeds": [11, 12],
    "budget": {"steps": 4},
    "settings": {"data.val_split": "test"},
}
FOUND = {"qv": {0.001: 60, 0.002: 70, 0.004: 65}, "one": {0.001: 50, 0.002: 40, 0.004: None}}
GAPS = {2: -8, 6: -3}


def finish(run: PlannedRun, root: Path) -> None:
    """A record of a planned run; ``one`` falls apart at the highest rate."""
    name, value = run.variant.name, run.value
    if run.of_search:
        score = FOUND[name].get(value, 45)
    else:
        score = 80 + (GAPS[run.budget] if name == "one" else 0) + run.seed
    status = {"status": "diverged"} if score is None else {}
    values = [30.0, (score or 10) + 0.5 * (run.seed % 2)]
    write_run(root, run.group, "agf", values, run.seed, identity=run.identity, **status)


@cache
def resolved(args: tuple[str, ...]) -> dict[str, Any]:
    return resolve(list(args))


def resolve_once(args: list[str]) -> dict[str, Any]:
    """What is asked for again and again as the sweep gets on."""
    return resolved(tuple(args))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep has come to its end."""
    tmp_path = tmp_path_factory.mktemp("swept")
    schedule = {"class_path": "LinearDecay", "init_args": {"peak": 0.003}}
    settings = {"trainer.val_check_interval": 2, "data.merges": 150, "model.schedule": schedule}
    changes = {"budget": {"steps": [2, 6]}, "search": SEARCH, "settings": settings}
    suite = read_suite(write_suite(tmp_path, **changes))
    while missing := [r for r in plan(suite, tmp_path, resolve_once) if not r.record()]:
        for run in missing:
            finish(run, tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_page_of_a_search_and_of_budgets(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches seeds of the search in the results, runs of two budgets averaged, a diverged run
    that nobody sees, a search denied, and a folder that does not give the same page again."""
    monkeypatch.chdir(swept)
    monkeypatch.setattr("qvbench.cli.experiment.resolve", resolve_once)
    page = report(Path("out"), "--suite", "pair.yaml")
    assert "2 variants, 2 seeds each" in page
    assert "| variant | 2 steps | 6 steps |" in page
    assert re.search(r"\| ONE \| \u22128.00 \(.* to .*\) \| \u22123.00 \(.* to .*\) \|", page)
    # sqrt(26.5 * 26 / (18.5 * 18)), and 21.5 * 21 above: not a ratio of accuracies, or turned round
    assert re.search(r"\| ONE \| \+44 \(.* to .*\) \| \+16 \(.* to .*\) \|", page)
    assert "| variant | 0.0005 | 0.001 | 0.002 | 0.004 |" in page
    assert "| QV | - | 60.25 | **70.25** | 65.25 |" in page
    assert "| ONE | 45.25 | **50.25** | 40.25 | diverged |" in page
    assert "of which 2 diverged" in page
    assert "No setting was searched" not in page
    assert "- ONE: \u221230.00 there, \u221220.00 at its own 0.001" in page
    for figure in ("budgets", "rates"):
        assert (swept / "out" / f"{figure}.svg").is_file()
    before = contents(swept / "out")
    report(Path("out"), "out")
    assert contents(swept / "out") == before


@pytest.mark.usefixtures("no_figures")
def test_budgets_that_were_not_run_are_named(swept: Path, tmp_path: Path) -> None:
    """Catches a page of the first budgets of a suite that passes for all of them."""
    runs = runs_of_suite(read_suite(swept / "pair.yaml"), [swept], resolve_once)
    begun = [run for run in runs if run.record["sweep"].get("budget") != 6]
    for some, notice in ((runs, False), (begun, True)):
        page = markdown_page(compare(some, tmp_path, Options(), {}))
        assert ("**Planned and not run:** 6 steps." in page) == notice


@pytest.mark.usefixtures("no_figures")
def test_a_search_that_is_not_whole(swept: Path, tmp_path: Path) -> None:
    """Catches a traceback where the runs of the value taken are not given, runs that have not come
    to their end counted as diverged, and the search's steps read off a run that diverged."""
    runs = runs_of_suite(read_suite(swept / "pair.yaml"), [swept], resolve_once)
    taken = {"qv": 0.002, "one": 0.001}
    next(run for run in runs if run.record["sweep"]["of_search"]).record["steps"] = 3  # diverged
    given = [
        r for r in runs if r.record["sweep"]["value"] != taken["qv"] or r.record["variant"] == "one"
    ]
    missing = [r for r in runs if r not in given and not r.record["sweep"]["of_search"]]
    page = markdown_page(compare([*given, *missing], tmp_path, Options(), {}))
    assert "| QV | - |" not in page
    assert " of 100 steps" in page
    assert "| ONE | 45.25 | **50.25** | 40.25 | diverged |" in page
    running = [
        replace(r, record=r.record | {"status": "running"}) if r.seed == 12 else r for r in runs
    ]
    page = markdown_page(compare(running, tmp_path, Options(), {}))
    assert "of which 1 diverged" in page
    assert f"left out:** {', '.join(r.id for r in running if r.seed == 12)}." in page


@pytest.mark.parametrize("chosen", [0.1, 0.2])
def test_what_a_search_came_to(chosen: float, tmp_path: Path) -> None:
    """Catches a run that failed counted as diverged, and a value on the edge that nobody sees."""
    sweep = {"file": "trial.yaml", "title": "A trial", "baseline": "qkv", "overrides": []}
    sweep |= {"key": "model.rate"}
    own = {"suite": "trial", "variant": "qkv"}
    runs = [write_run(tmp_path, "a", "agf", [9.0], sweep=sweep | {"value": chosen}, **own)]
    ends = {0.1: "finished", 0.2: "finished", 0.4: "failed", 0.8: "diverged"}
    for value, status in ends.items():
        of_search = {"sweep": sweep | {"value": value, "of_search": True}, "status": status}
        runs.append(write_run(tmp_path, f"a-{value}", "agf", [5.0], **of_search, **own))
    text, table, *_ = search_section(compared(runs))
    assert "of which 1 diverged and 1 failed" in text
    assert table.endswith("| failed | diverged |")
    assert "by at most 3 values" in text
    assert ("Still on an edge, beyond which" in text) == (chosen == 0.1)
    assert text.endswith(": A, agf (0.1).") == (chosen == 0.1)


def test_a_search_alone_compares_nothing(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches scores of the selection split in the place of results, and a search that cannot be
    kept before the variants' own runs."""
    monkeypatch.chdir(swept)
    monkeypatch.setattr("qvbench.cli.experiment.resolve", resolve_once)
    runs = runs_of_suite(read_suite(swept / "pair.yaml"), [swept], resolve_once)
    searched = [run for run in runs if run.record["sweep"]["of_search"]]
    assert len(searched) == 14
    with pytest.raises(UserError, match="the runs of a search alone, which report nothing"):
        compare(searched, Path("out"), Options(), {})
    gather(searched, swept / "alone")
    page = report(swept / "alone", "alone", "--title", "Mine")
    assert page.startswith("# Mine\n")
    assert "14 runs so far" in page
    assert "| QV | - | 60.250 | 70.250 | 65.250 |" in page
    assert "| ONE | 45.250 | 50.250 | 40.250 | diverged |" in page
    before = contents(swept / "alone")
    report(swept / "alone", "alone")
    assert contents(swept / "alone") == before
    words = ["--suite", "pair.yaml", "--results", "alone", "--output", "new"]
    assert sweep([*words, "--dry_run"]) == 0
    assert "22 runs, 14 of them finished" in capsys.readouterr().out
