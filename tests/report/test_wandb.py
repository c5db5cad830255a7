"""W&B: what is sent of the runs, once each, and the report; checked against the real packages.

The server is a stand-in. Calls go through the signatures of the installed packages, the report
through wandb-workspaces up to the request that it would send, and offline runs through W&B itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import wandb
import wandb_workspaces.reports.v2.interface as workspaces
from wandb.apis.public import Api
from wandb.apis.public import Run as PublicRun
from wandb.cli.cli import sync as sync_command
from wandb.sdk.wandb_run import Run as LiveRun

from qvbench.cli import report as command
from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report import wandb_runs
from qvbench.report.figures import Figures, draw_figures
from qvbench.report.load import load
from qvbench.report.wandb_folders import DIGEST, kept_in
from qvbench.report.wandb_runs import Project, sent
from tests.report.test_comparison import write_variant

CACHE = {"cache_per_token": {"self": 64, "cross": 32}}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a W&B account, in an empty folder."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds; the test of the figures draws."""
    monkeypatch.setattr(command, "draw_figures", lambda *_: Figures([], [], []))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        *write_variant(tmp_path, "qv", [91.0, 92.0], 1, **CACHE),
        *write_variant(tmp_path, "qkv", [92.0, 93.2]),
    ]


def report(*words: str | Path) -> int:
    return main([*map(str, words), "--output", "out", "--wandb", "me/trial"])


class Stand:
    """A W&B server that remembers: runs as the public API has them, and requests of reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.there: dict[str, Any] = {}
        self.live: dict[str, Any] = {}
        self.views: list[dict[str, Any]] = []
        self.synced: list[Any] = []
        self.scratch = tmp_path / "scratch" / "files"
        self.scratch.mkdir(parents=True)
        self.api = mock.create_autospec(Api, instance=True)
        self.api.default_entity = "somebody"
        self.api.runs.side_effect = lambda *_, **__: list(self.there.values())
        self.api.run.side_effect = lambda path: self.there[path.rpartition("/")[2]]
        self.api.reports.side_effect = lambda *_, **__: [
            SimpleNamespace(display_name=v["displayName"], url=f"/e/p/reports/T--{v['id']}")
            for v in self.views
        ]
        self.api.projects.return_value = []
        self.api._service_api = SimpleNamespace(
            execute_graphql=self.execute, app_url="https://wandb.example.org"
        )
        self.init = mock.create_autospec(wandb.init, side_effect=self.open)
        monkeypatch.setattr(wandb, "init", self.init)
        monkeypatch.setattr(wandb, "Api", mock.create_autospec(Api, return_value=self.api))
        monkeypatch.setattr(workspaces, "_get_api", lambda: self.api)
        monkeypatch.setattr(wandb_runs, "subprocess", SimpleNamespace(run=self.sync))
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    def open(self, **arguments: Any) -> Any:
        run = mock.create_autospec(LiveRun, instance=True)
        run.dir, run.summary, run.arguments = str(self.scratch), {}, arguments
        self.live[arguments["id"]] = run
        self.add(arguments["id"], arguments["config"])
        return run

    def add(self, name: str, config: dict[str, Any]) -> None:
        run = mock.create_autospec(PublicRun, instance=True)
        run.id, run.config, run.summary = name, dict(config), {}
        self.there[name] = run

    def sync(self, words: list[str], **_: Any) -> Any:
        assert words[1:4] == ["-m", "wandb", "sync"]
        parsed = sync_command.make_context("sync", words[4:]).params
        self.synced.append(parsed)
        self.add(parsed["run_id"], {"model": {}})
        return subprocess.CompletedProcess(words, 0)

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
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    return Stand(monkeypatch, tmp_path)


def test_a_run_is_sent_as_it_was(runs: list[Path], tmp_path: Path) -> None:
    """Curves by another axis, costs left out; another id from a results folder, which doubles."""
    first = next(run for run in load(runs) if run.id == "trial-qv/seed-1")
    told = sent(first, "qv")
    assert told.history[0] == (
        1,
        {"target_tokens": 1000, "seconds": 1.5, "val/accuracy": 71.0},
    )
    assert told.summary["val/accuracy"] == 91.0
    assert (told.summary["parameters/total"], told.summary["cache_per_token/self"]) == (1234567, 64)
    assert (told.config["variant"], told.config["seed"], told.group) == ("qv", 1, "qv")
    main([*map(str, runs), "--output", str(tmp_path / "out")])
    again = {run.id: sent(run, "qv") for run in load([tmp_path / "out"])}
    assert again[first.id] == told
    assert len({run.id for run in again.values()}) == len(runs)


def test_a_run_that_went_on_is_told_from_its_earlier_state(runs: list[Path]) -> None:
    """A longer run that stays on the server as it was, or gets a second one."""
    before = sent(load(runs[:1])[0], "qv")
    curves = runs[0] / "curves.csv"
    curves.write_text(curves.read_text() + "9,,9000,9,val/accuracy,99\n")
    after = sent(load(runs[:1])[0], "qv")
    assert (before.id, before.digest != after.digest) == (after.id, True)


@pytest.mark.slow
def test_without_a_key_runs_are_kept_offline_once(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A prompt for a key, a run kept twice, nothing said of what to do; W&B itself writes them."""
    for _ in range(2):
        assert report(*runs) == 0
        said = capsys.readouterr().out
        assert "no API key found" in said
        assert "wandb sync --project trial wandb/*run-*" in said
    wandb.teardown()  # its own process writes; it is done when that has ended
    kept = kept_in(Path())
    assert kept.keys() == {sent(run, "").id for run in load(runs)}
    assert all(len(folders) == 1 for folders in kept.values())
    for run in load(runs):
        (folder,) = kept[sent(run, "").id]
        (file,) = folder.glob("*.wandb")
        content = file.read_bytes()
        for word in ("val/accuracy", "target_tokens", "parameters/total", run.id):
            assert word.encode() in content


def test_each_run_is_logged_once(
    runs: list[Path], stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs doubled by a second report, a keyword that W&B does not know, a curve without axis."""
    assert report(*runs) == 0
    assert "4 logged" in capsys.readouterr().out
    names = {run.arguments["name"] for run in stand.live.values()}
    assert names == {*(run.id for run in load(runs)), "A trial"}
    told = sent(load(runs[:1])[0], "qv")
    live = stand.live[told.id]
    assert live.arguments["entity"] == "me"
    assert (live.arguments["mode"], live.arguments["resume"]) == ("online", "allow")
    assert [call.kwargs["step"] for call in live.log.call_args_list] == [1, 2, 3]
    live.define_metric.assert_called_once_with("*", step_metric="target_tokens")
    live.finish.assert_called_once_with()
    before = stand.init.call_count
    assert report(*runs) == 0
    assert "4 there already" in capsys.readouterr().out
    assert stand.init.call_count == before


def test_the_default_entity_is_the_keys(runs: list[Path], stand: Stand) -> None:
    main([*map(str, runs), "--output", "out", "--wandb", "trial"])
    assert {run.arguments["entity"] for run in stand.live.values()} == {"somebody"}
    assert stand.views[0]["entityName"] == "somebody"


def test_runs_that_training_kept_are_synced(runs: list[Path], stand: Stand) -> None:
    """A run that fit logged offline, and again from the report; its parts as two runs."""
    for name in ("offline-run-20260102_000000-later", "offline-run-20260101_000000-first"):
        (runs[0] / "wandb" / name).mkdir(parents=True)
    report(*runs)
    (parsed,) = stand.synced
    assert (parsed["run_id"], parsed["project"], parsed["entity"]) == ("first", "trial", "me")
    assert [Path(path).name[-5:] for path in parsed["paths"]] == ["first", "later"]
    assert parsed["include_synced"]
    assert parsed["include_online"]
    assert "trial-qv/seed-1" not in {run.arguments["name"] for run in stand.live.values()}
    labelled = stand.there["first"]
    assert (labelled.config["variant"], labelled.config["seed"]) == ("qv", 1)
    labelled.update.assert_called_once_with()
    report("out")
    assert len(stand.synced) == 1, "known from the results folder alone"


def test_runs_that_a_report_kept_offline_are_picked_up(runs: list[Path], stand: Stand) -> None:
    """Offline runs that stay offline for ever; one of an older state sent for the present one."""
    told = [sent(run, "") for run in load(runs)][:2]
    for run, state in zip(told, (told[0].digest, "older"), strict=True):
        folder = Path(f"wandb/offline-run-20260101_000000-{run.id}")
        folder.mkdir(parents=True)
        (folder / DIGEST).write_text(state)
    report(*runs)
    assert [parsed["run_id"] for parsed in stand.synced] == [told[0].id]
    assert told[1].id in stand.live


def specification(stand: Stand) -> list[dict[str, Any]]:
    return list(json.loads(stand.views[0]["spec"])["blocks"])


def test_the_report_compares_the_same(
    runs: list[Path], stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of all runs of a project, panels of metrics that no run has, figures left out."""
    monkeypatch.setattr(command, "draw_figures", draw_figures)
    report(*runs)
    (view,) = stand.views
    assert (view["displayName"], view["projectName"], view["type"]) == ("A trial", "trial", "runs")
    text = json.dumps(specification(stand))
    for words in ("Against qkv", "minus baseline", "QV behind QKV", "qvbench sweep --suite trial"):
        assert words in text
    assert ".png" not in text
    grids = [block for block in specification(stand) if block["type"] == "panel-grid"]
    panels = [
        panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]
    ]
    kinds = [panel["viewType"] for panel in panels]
    assert kinds.count("Run History Line Plot") == 3
    assert kinds.count("Scatter Plot") == 2
    media = {key for panel in panels for key in panel["config"].get("mediaKeys") or []}
    logged = {
        key
        for run in stand.live.values()
        for call in run.log.call_args_list
        for key in call.args[0]
        if key.startswith("figures/")
    }
    assert media == logged == {f"figures/{path.stem}" for path in Path("out").glob("*.png")}
    lines = [panel["config"] for panel in panels if panel["viewType"].endswith("Line Plot")]
    assert [line["xAxis"] for line in lines] == ["target_tokens", "target_tokens", "seconds"]
    assert all(line["metrics"] == ["val/accuracy"] for line in lines)
    for run in load(runs):
        assert sent(run, "").id in text


def test_the_report_is_made_once(runs: list[Path], stand: Stand) -> None:
    """A report more each time; an older comparison that stays."""
    report(*runs)
    report(*runs[:1], *runs[2:])
    (view,) = stand.views
    assert "qvbench sweep --suite trial --seeds" in view["spec"]
    assert sent(load(runs)[-1], "").id not in view["spec"]


@pytest.mark.parametrize("target", ["", "a/b/c", "/b", "a/"])
def test_a_target_that_is_none(target: str) -> None:
    with pytest.raises(UserError, match="give PROJECT or ENTITY/PROJECT"):
        Project.named(target)


def test_what_goes_wrong_is_one_line(
    runs: list[Path], stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracebacks of other people's code; half of the runs sent before a package is missed."""
    stand.init.side_effect = wandb.errors.CommError("no such entity\nmore")
    with pytest.raises(UserError, match=r"trial-qkv/seed-1 cannot be logged: no such entity$"):
        report(*runs)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    before = stand.init.call_count
    with pytest.raises(UserError, match=r"pip install qvbench\[reports\]"):
        report(*runs)
    assert stand.init.call_count == before
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(UserError, match="unset it"):
        report(*runs)


@pytest.mark.parametrize("fault", [wandb.errors.CommError("no route"), ConnectionError("no route")])
def test_a_server_that_does_not_answer_leaves_the_runs_offline(
    runs: list[Path],
    stand: Stand,
    fault: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wandb, "Api", mock.create_autospec(Api, side_effect=fault))
    assert report(*runs) == 0
    assert "W&B      no route: 4 runs are kept offline" in capsys.readouterr().out
    assert {run.arguments["mode"] for run in stand.live.values()} == {"offline"}
    assert all("resume" not in run.arguments for run in stand.live.values())


def test_no_torch_is_needed() -> None:
    """A report that can only be sent from where models can be trained."""
    code = "import sys, qvbench.report.wandb_publish; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
