"""W&B: which runs are sent, once each, how they are labelled, and the report over them.

The server is a small stand-in; arguments go through the signatures of the installed packages, the
report through wandb-workspaces up to the request that it would send.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import wandb_workspaces.reports.v2.interface as workspaces

from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report.runs import load
from qvbench.report.wandb import wandb_id
from tests.report.helpers import write_variant

pytestmark = pytest.mark.usefixtures("no_figures")
CACHE = {"cache_per_token": {"self": 64, "cross": 32}}
INIT = inspect.signature(wandb.init)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a W&B account, in an empty folder."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        *write_variant(tmp_path, "qv", [91.0, 92.0], 1, mechanism="qv", **CACHE),
        *write_variant(tmp_path, "qkv", [92.0, 93.2], mechanism="qkv"),
    ]


def report(*args: str | Path, output: str = "out") -> None:
    main([*map(str, args), "--output", output, "--wandb", "me/trial"])


class Logged:
    """A run: what W&B's own have that is used here, live and on the server."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.id, self.config = name, dict(config)
        self.summary: dict[str, Any] = {}
        self.tags: list[str] = []
        self.steps: dict[int, dict[str, float]] = {}
        self.updates = 0

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "target_tokens")

    def log(self, values: dict[str, float], step: int) -> None:
        self.steps[step] = values

    def finish(self) -> None:
        assert self.steps

    def update(self) -> None:
        self.updates += 1


class Server:
    """A W&B server that remembers runs, and requests of reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: dict[str, Logged] = {}
        self.opened: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.default_entity = "somebody"
        self._service_api = SimpleNamespace(
            execute_graphql=self.execute, app_url="https://wandb.example.org"
        )
        monkeypatch.setattr(wandb, "init", self.init)
        monkeypatch.setattr(wandb, "Api", lambda timeout: self)
        monkeypatch.setattr(workspaces, "_get_api", lambda: self)
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    def init(self, **arguments: Any) -> Any:
        given = INIT.bind(**arguments).arguments
        self.opened.append(given)
        return self.there.setdefault(given["id"], Logged(given["id"], {}))

    def runs(self, path: str, filters: dict[str, Any]) -> list[Logged]:
        if not self.there:
            raise ValueError(f"Could not find project {path}")
        return [run for run in self.there.values() if run.id in filters["name"]["$in"]]

    def run(self, path: str) -> Logged:
        return self.there[path.rpartition("/")[2]]

    def projects(self, entity: str) -> list[Any]:
        return [SimpleNamespace(name="trial")]

    def reports(self, path: str) -> list[Any]:
        return [
            SimpleNamespace(description=v["description"], url=f"/e/p/reports/T--{v['id']}")
            for v in self.views
        ]

    def execute(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" in query:
            view = {**variables, "id": variables["id"] or f"vie{len(self.views)}"}
            view["project"] = {"name": view["projectName"], "entityName": view["entityName"]}
            self.views = [v for v in self.views if v["id"] != view["id"]] + [view]
            return {"upsertView": {"view": view}}
        if "ProjectInternalId" in query:
            return {"project": {"id": "p", "internalId": "7"}}
        assert "SpecificReport" in query
        return {"view": next(dict(v) for v in self.views if v["id"] == variables["reportId"])}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_a_run_is_sent_as_it_was(runs: list[Path], server: Server, tmp_path: Path) -> None:
    """Catches curves by another axis, costs left out, another id from a results folder."""
    report(*runs)
    sent = server.there[wandb_id(load(runs[:1])[0])]
    assert sent.steps[1] == {"target_tokens": 1000, "seconds": 1.5, "val/accuracy": 71.0}
    assert (sent.summary["val/accuracy"], sent.summary["parameters/total"]) == (91.0, 1234567)
    assert (sent.summary["cache_per_token/self"], sent.config["seed"]) == (64, 1)
    kept = load([Path("out")])
    assert {wandb_id(run) for run in kept} == {wandb_id(run) for run in load(runs)}
    assert len(server.there) == len(runs)


def test_each_run_is_sent_once(
    runs: list[Path], server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches runs doubled by a second report, or sent without their curves."""
    report(*runs)
    assert "4 of 4 runs sent" in capsys.readouterr().out
    assert {given["name"] for given in server.opened} == {run.id for run in load(runs)}
    assert {given["entity"] for given in server.opened} == {"me"}
    assert {given["resume"] for given in server.opened} == {"allow"}
    assert all([*run.steps] == [1, 2, 3] for run in server.there.values())
    report(*runs)
    assert "0 of 4 runs sent" in capsys.readouterr().out
    assert len(server.opened) == 4


def test_the_default_entity_is_the_keys(runs: list[Path], server: Server) -> None:
    """Catches a report under one entity of runs under another."""
    main([*map(str, runs), "--output", "out", "--wandb", "trial"])
    assert server.views[0]["entityName"] == "somebody"
    server.default_entity = ""
    with pytest.raises(UserError, match="no default entity; give ENTITY/PROJECT"):
        main([*map(str, runs), "--output", "out", "--wandb", "trial"])


def test_a_run_is_sent_under_the_id_that_fit_logged_it_by(runs: list[Path], server: Server) -> None:
    """Catches a run that W&B kept offline made two when its folder is synced."""
    record = json.loads((runs[0] / "run.json").read_text())
    (runs[0] / "run.json").write_text(json.dumps(record | {"wandb_id": "first"}))
    report(*runs)
    run = server.there["first"]
    assert (run.config["seed"], run.summary["val/accuracy"]) == (1, 91.0), "logged without"
    report("out")
    assert len(server.there) == 4, "known from the results folder alone"


def test_labels_are_of_each_report(runs: list[Path], server: Server) -> None:
    """Catches a report that renames or judges a run in the panels of an earlier one, and runs that
    cannot be filtered by what was found of them."""
    first = wandb_id(load(runs[:1])[0])
    earlier = {"variants": {"earlier": "Base"}, "verdicts": {"earlier": "none"}}
    server.there[first] = Logged(first, {"group": "mine", **earlier})
    server.there[first].tags = ["earlier"]
    report(*runs)
    run = server.there[first]
    assert run.config["variants"] == {"earlier": "Base", "trial": "QV"}
    assert run.config["verdicts"] == {"earlier": "none", "trial": "inconclusive"}
    assert run.config["margins"] == {"trial": 0.1}
    assert (run.config["group"], run.tags) == ("mine", ["earlier", "trial"])
    assert run.summary["minus_baseline/trial"] == pytest.approx(91 - (92 + 93.2) / 2)
    assert not run.steps, "live, so not logged again"
    assert run.updates == 1
    base = server.there[wandb_id(load(runs[2:3])[0])]
    assert "minus_baseline/trial" not in base.summary


def test_the_report_compares_the_same(runs: list[Path], server: Server) -> None:
    """Catches a report of all runs of a project, ten runs of many, metrics that no run has."""
    report(*runs)
    (view,) = server.views
    assert (view["displayName"], view["projectName"], view["type"]) == ("A trial", "trial", "runs")
    found = list(json.loads(view["spec"])["blocks"])
    text = json.dumps(found)
    for words in ("Against QKV", "minus baseline", "Machine", "qvbench sweep --suite trial"):
        assert words in text
    assert ".png" not in text
    (grid,) = [block for block in found if block["type"] == "panel-grid"]
    (runset,) = grid["metadata"]["runSets"]
    colors = grid["metadata"]["customRunColors"]
    assert [colors[wandb_id(run)] for run in load(runs)] == ["#000000"] * 2 + ["#0072B2"] * 2
    assert all(wandb_id(run) in json.dumps(runset["filters"]) for run in load(runs))
    assert runset["grouping"] == [{"section": "config", "name": "variants.value.trial"}]
    panels = grid["metadata"]["panelBankSectionConfig"]["panels"]
    kinds = [panel["viewType"] for panel in panels]
    assert kinds == ["Run History Line Plot"] * 2 + ["Bar Chart"] * 2 + ["Scatter Plot"] * 2
    lines, bars = panels[:2], panels[2:4]
    assert [line["config"]["xAxis"] for line in lines] == ["target_tokens", "seconds"]
    assert all(line["config"]["metrics"] == ["val/accuracy"] for line in lines)
    metrics = [bar["config"]["metrics"] for bar in bars]
    assert metrics == [["val/accuracy"], ["minus_baseline/trial"]]
    for panel in lines + bars:
        assert panel["config"]["limit"] == 4, "W&B shows ten otherwise"
        assert panel["config"]["groupBy"] == "variants.value.trial"
        assert panel["config"]["groupArea"] == "minmax"


def test_a_report_is_made_once(runs: list[Path], server: Server) -> None:
    """Catches a report more each time, and one overwritten by another of the same title."""
    report(*runs)
    report(*runs[:1], *runs[2:], "--title", "Renamed")
    (view,) = server.views
    assert view["displayName"] == "Renamed"
    assert wandb_id(load(runs)[-1]) not in view["spec"]
    for folder in runs:
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"suite": "second"}))
    report(*runs, "--title", "Renamed")
    assert len(server.views) == 2


def test_what_goes_wrong_is_one_line(
    runs: list[Path], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches tracebacks of other people's code, and runs sent before a package is missed."""
    for target in ("", "a/b/c", "/b", "a/"):
        with pytest.raises(UserError, match="give PROJECT or ENTITY/PROJECT"):
            main([*map(str, runs), "--output", "out", "--wandb", target])

    def fails(**_: Any) -> None:
        raise wandb.errors.CommError("no such entity\nmore")

    with monkeypatch.context() as patched:
        patched.setattr(wandb, "init", fails)
        with pytest.raises(UserError, match=r"^W&B, me/trial: no such entity; this command"):
            report(*runs)
        patched.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
        with pytest.raises(UserError, match=r"pip install qvbench\[reports\]"):
            report(*runs)


def test_without_a_server_nothing_is_sent(
    runs: list[Path],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Catches a prompt for a key, a report that fails for want of a network, runs sent by half."""

    def fails(timeout: int) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(wandb, "Api", fails)
    report(*runs)
    assert "W&B      no route: nothing was sent; give" in capsys.readouterr().out
    monkeypatch.delenv("WANDB_API_KEY")
    report(*runs)
    assert "no API key found" in capsys.readouterr().out
    monkeypatch.setenv("WANDB_MODE", "offline")
    report(*runs)
    assert "WANDB_MODE=offline: nothing was sent" in capsys.readouterr().out
    assert not server.opened
