"""The report on W&B: the sections of the page, with panels that W&B draws of the runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qvbench.errors import UserError
from qvbench.report.bands import EARLY
from qvbench.report.wandb_runs import Project, Sent, digest, first_line
from qvbench.report.wandb_server import Server

FIGURE = re.compile(r"!\[[^\]]*\]\(([\w-]+)\.png\)\n*")
MEDIA = "figures/"
ACCURACY, TOKENS = "val/accuracy", "target_tokens"
TITLE_LENGTH = 128
COSTS = ("parameters/total", "flops_per_target_token/train", "cache_per_token/self")
KIND = "report"


def workspaces() -> Any:
    """The module that makes reports.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError as error:
        raise UserError(
            "--wandb: a report on W&B needs wandb-workspaces; `pip install qvbench[reports]`"
        ) from error
    return reports


def page_run(folder: Path, title: str) -> Sent:
    """The run that carries the figures and the page, as a report on W&B shows no local file."""
    import wandb

    names = sorted(file.stem for file in folder.glob("*.png"))
    media: dict[str, Any] = {f"{MEDIA}{n}": wandb.Image(str(folder / f"{n}.png")) for n in names}
    media["page"] = wandb.Html((folder / "report.html").read_text(encoding="utf-8"), inject=False)
    content = digest([(folder / "README.md").read_text(encoding="utf-8"), names])
    return Sent(
        id=digest([KIND, title]),
        name=title,
        group=KIND,
        kind=KIND,
        config={},
        history=[(None, media)],
        summary={},
        digest=content,
    )


def save_report(server: Server, page: str, title: str, runs: Sequence[Sent], shown: Sent) -> str:
    """Make the report, or write the one of this title anew; gives where it is.

    Args:
        server: that has the runs.
        page: of the results folder, Markdown.
        title: of the report.
        runs: that it compares.
        shown: the run that carries the figures.

    Raises:
        UserError: W&B does not take it, or wandb-workspaces is missing.
    """
    reports = workspaces()
    title = title[:TITLE_LENGTH]
    try:
        url = server.report_url(title)
        if url is None:
            entity, name = server.project
            report = reports.Report(project=name, entity=entity, title=title, width="fluid")
        else:
            report = reports.Report.from_url(url)
        report.blocks = blocks(page, server.project, runs, shown)
        report.save()
        return str(report.url)
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        raise UserError(
            f"W&B: the runs are there, the report fails: {first_line(error)}"
        ) from error


def blocks(page: str, project: Project, runs: Sequence[Sent], shown: Sent) -> list[Any]:
    """The sections of a page as blocks of a report, its pictures as panels."""
    reports = workspaces()
    found: list[Any] = [reports.TableOfContents()]
    for section in re.split(r"(?m)^(?=## )", page):
        heading, _, rest = section.partition("\n")
        names = FIGURE.findall(rest)
        text = FIGURE.sub("", rest).strip()
        if heading.startswith("## "):
            found.append(reports.H2(heading[3:]))
        found += [reports.MarkdownBlock(text)] if text else []
        if names:
            panels = [
                reports.MediaBrowser(media_keys=[MEDIA + name], num_columns=1, layout=_wide(row))
                for row, name in enumerate(names)
            ]
            found.append(_grid(project, "figures", [shown], panels))
        if heading == "## Curves":
            found.append(_grid(project, "runs", runs, _curves(runs)))
        if heading == "## Quality against cost":
            found.append(_grid(project, "runs", runs, _costs(runs)))
    return found


def _grid(project: Project, name: str, runs: Sequence[Sent], panels: list[Any]) -> Any:
    """Panels over these runs and no others of the project."""
    from wandb_workspaces import expr

    reports = workspaces()
    runset = reports.Runset(
        entity=project.entity,
        project=project.name,
        name=name,
        filters=expr.And(expr.Metric("ID").isin([run.id for run in runs])),
    )
    return reports.PanelGrid(runsets=[runset], panels=panels)


def _curves(runs: Sequence[Sent]) -> list[Any]:
    """Accuracy against target tokens, its early part, and against wall time, by variant."""
    reports = workspaces()
    tokens = [values[TOKENS] for run in runs for _, values in run.history if TOKENS in values]
    early = EARLY * max(tokens, default=0)
    shared = {
        "y": [ACCURACY],
        "groupby": reports.Config("variant"),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
        "smoothing_type": "none",
        "title_y": "validation tokens right, per cent",
    }
    return [
        reports.LinePlot(
            title="Validation accuracy",
            x=TOKENS,
            title_x="target tokens",
            layout=_third(0),
            **shared,
        ),
        reports.LinePlot(
            title=f"The first {EARLY:.0%}",
            x=TOKENS,
            title_x="target tokens",
            range_x=(0, early),
            layout=_third(1),
            **shared,
        ),
        reports.LinePlot(
            title="Against wall time", x="seconds", title_x="seconds", layout=_third(2), **shared
        ),
    ]


def _costs(runs: Sequence[Sent]) -> list[Any]:
    """A point a run: accuracy against each cost that a run has."""
    reports = workspaces()
    known = [cost for cost in COSTS if any(cost in run.summary for run in runs)]
    return [
        reports.ScatterPlot(
            title=cost,
            x=reports.SummaryMetric(cost),
            y=reports.SummaryMetric(ACCURACY),
            layout=_third(place),
        )
        for place, cost in enumerate(known)
    ]


def _third(place: int) -> Any:
    return workspaces().Layout(x=8 * place, y=0, w=8, h=8)


def _wide(row: int) -> Any:
    return workspaces().Layout(x=0, y=12 * row, w=24, h=12)
