"""A suite's runs are found by what they are, and get its labels when they are gathered."""

from __future__ import annotations

from pathlib import Path

import pytest

from qvbench.cli.experiment import resolve
from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report.suite_runs import runs_of_suite
from qvbench.sweep.plan import part_overrides, plan
from qvbench.sweep.suite import read_suite
from tests.report.test_report import write_run
from tests.sweep.conftest import write_suite


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """The folder of the small suite, three of its four runs finished, one under another name."""
    runs = plan(read_suite(write_suite(tmp_path)), tmp_path, resolve)
    for place, run in enumerate(runs[:3]):
        group = run.group.replace("one-", "elsewhere-")
        labels = {"variant": group.partition("-")[0], "identity": run.identity}
        write_run(tmp_path, group, "agf", [50.0, 60.0 + place], run.seed, **labels)
    write_run(tmp_path, "other-01234567", "agf", [50.0], identity="0123456701234567")
    return tmp_path


@pytest.mark.parametrize("below", ["", "runs"])
def test_runs_are_found_by_what_they_are(below: str, swept: Path) -> None:
    """A run of another name that is left out, one of another definition that is taken in."""
    runs = runs_of_suite(read_suite(swept / "pair.yaml"), [swept / below], resolve)
    found = {(run.record["variant"], run.record["seed"]) for run in runs}
    assert found == {("qv", 1), ("one", 1), ("qv", 2)}
    assert {run.record["suite"] for run in runs} == {"pair"}
    assert runs[0].record["sweep"]["rows"] == ["qv", "one"]
    assert len(runs_of_suite(read_suite(swept / "pair.yaml"), [swept], resolve, seeds=[2])) == 1


def test_results_serve_another_suite(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published folder of which no second table can be made."""
    monkeypatch.chdir(swept)
    main(["--suite", "pair.yaml", "--output", "results/pair"])
    page = (swept / "results/pair/README.md").read_text(encoding="utf-8")
    assert "**Planned and not run:** one (seeds 2)." in page
    write_suite(swept, title="Again", baseline="one", margin=0.3).rename("again.yaml")
    main(["results/pair", "--suite", "again.yaml", "--output", "results/again"])
    again = (swept / "results/again/README.md").read_text(encoding="utf-8")
    assert again.startswith("# Again")


def test_nothing_found_says_how_to_make_it(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(swept)
    with pytest.raises(UserError, match="none of its runs in runs; `qvbench sweep --suite pair`"):
        main(["--suite", "pair.yaml", "--trainer.max_steps", "3", "--output", "out"])
    with pytest.raises(UserError, match=r"--trainer\.max_steps: belongs to a suite's runs"):
        main(["runs", "--trainer.max_steps=3", "--output", "out"])
    with pytest.raises(UserError, match="nothing to report"):
        main(["--output", "out"])


def test_options_of_fit_are_told_from_the_reports() -> None:
    """The value of an option taken for a folder of runs."""
    words = ["runs", "--trainer.max_steps", "3", "--suite", "x", "--data.merges=9", "--output", "o"]
    own, overrides = part_overrides(words)
    assert own == ["runs", "--suite", "x", "--output", "o"]
    assert overrides == (("trainer.max_steps", "3"), ("data.merges", "9"))
    with pytest.raises(UserError, match="needs a value"):
        part_overrides(["--trainer.max_steps"])
