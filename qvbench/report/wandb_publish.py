"""``qvbench report --wandb``: every run once, and a report of their comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qvbench.report.load import Run
from qvbench.report.variants import Comparison
from qvbench.report.wandb_folders import DIGEST, kept_in, reports_place, tracked_folders
from qvbench.report.wandb_page import page_run, save_report, workspaces
from qvbench.report.wandb_runs import Project, Sent, log, sent, sync
from qvbench.report.wandb_server import Server, connect


def publish(target: str, runs: Sequence[Run], comparison: Comparison | None, folder: Path) -> None:
    """Send runs and report to W&B; where it cannot be reached, keep the runs for later.

    A run that is there already is left as it is; one that W&B kept on this machine, when it was
    trained or by an earlier report, is synced; the others are logged. All ids are stable, so that
    a run is there once however often this is done.

    Args:
        target: ``PROJECT`` or ``ENTITY/PROJECT``.
        runs: those of the report.
        comparison: of the runs, if there is one.
        folder: the results folder, written.

    Raises:
        UserError: the target is none, a package is missing, or W&B refuses.
    """
    project = Project.named(target)
    names = _variants(runs, comparison)
    server = connect(project)
    if isinstance(server, str):
        _keep(server, project, runs, names)
        return
    workspaces()  # before anything is sent
    text = (folder / "README.md").read_text(encoding="utf-8")
    title = _title(text, folder)
    told = [(run, sent(run, names[run.id])) for run in runs]
    there = server.runs()
    print(f"W&B      {len(runs)} runs to {server.path}", flush=True)
    done = Counter(_send(run, sending, server, there) for run, sending in told)
    shown = page_run(folder, title)
    if _state(there, shown) != shown.digest:
        log(shown, server.project, online=True)
    print("W&B      " + ", ".join(f"{count} {word}" for word, count in done.items()))
    url = save_report(server, text, title, [sending for _, sending in told], shown)
    print(f"W&B      report: {url}")


def _state(there: dict[str, Any], run: Sent) -> str | None:
    """Digest of the state of a run that the server has."""
    return there[run.id].config.get(DIGEST) if run.id in there else None


def _send(run: Run, sending: Sent, server: Server, there: dict[str, Any]) -> str:
    """Bring one run to the server; gives what was done."""
    if _state(there, sending) == sending.digest:
        if there[sending.id].config.get("variant") != sending.group:
            server.label(sending)
        return "there already"
    kept = tracked_folders(run.folder) if run.folder is not None else []
    kept = kept or _kept_by_report(sending)
    if not kept:
        log(sending, server.project, online=True)
        return "logged"
    sync(kept, sending.id, server.project)
    server.label(sending)
    return "synced"


def _kept_by_report(sending: Sent) -> list[Path]:
    """The newest folder that an earlier report wrote of this state of the run."""
    folders = kept_in(reports_place()).get(sending.id, [])
    files = [folder / DIGEST for folder in folders]
    same = [f.parent for f in files if f.is_file() and f.read_text("utf-8") == sending.digest]
    return same[-1:]


def _keep(reason: str, project: Project, runs: Sequence[Run], names: dict[str, str]) -> None:
    """Write what is not kept yet, and say what uploads it."""
    folders: list[Path] = []
    for run in runs:
        sending = sent(run, names[run.id])
        kept = tracked_folders(run.folder) if run.folder is not None else []
        kept = kept or _kept_by_report(sending)
        folders += kept or [log(sending, project, online=False)]
    places = sorted({f"{_from_here(folder.parent)}/*run-*" for folder in folders})
    several = f" (and {len(places) - 1} more folders)" if len(places) > 1 else ""
    print(
        f"W&B      {reason}: {len(runs)} runs are kept offline; to upload them and make the "
        "report, give this command again online; the runs alone: "
        f"wandb sync --project {project.name} {places[0]}{several}"
    )


def _from_here(folder: Path) -> Path:
    """As the user would type it in the current folder."""
    whole, here = folder.resolve(), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole


def _variants(runs: Sequence[Run], comparison: Comparison | None) -> dict[str, str]:
    """The variant of each run; that of a run by itself is its group of seeds."""
    names = {run.id: run.id.rpartition("/")[0] or run.id for run in runs}
    for variant in comparison.variants if comparison else ():
        names |= {run.id: variant.name for run in variant.runs}
    return names


def _title(page: str, folder: Path) -> str:
    found = re.match(r"# (.+)", page)
    return found[1] if found else folder.name
