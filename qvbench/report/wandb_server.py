"""The W&B server, as far as a report asks it: which runs and reports it has, and their labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from qvbench.errors import UserError
from qvbench.report.wandb_folders import DIGEST
from qvbench.report.wandb_runs import Project, Sent, first_line
from qvbench.training.wandb_account import has_wandb_key

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Args:
        api: W&B's public API.
        project: with its entity.
    """

    api: Any
    project: Project

    @property
    def path(self) -> str:
        return f"{self.project.entity}/{self.project.name}"

    def runs(self) -> dict[str, Any]:
        """The runs of the project by id; none where the project is still to be made."""
        try:
            return {run.id: run for run in self.api.runs(self.path, lazy=False)}
        except ValueError:  # W&B's word for a project that is not there
            return {}

    def label(self, sent: Sent) -> None:
        """Give a run that was synced what a report's own have: it was logged without labels."""
        run = self.api.run(f"{self.path}/{sent.id}")
        own = {key: value for key, value in sent.config.items() if key not in run.config}
        run.config.update({**own, "variant": sent.group, DIGEST: sent.digest})
        run.group = sent.group
        run.summary.update(sent.summary)
        run.update()

    def report_url(self, title: str) -> str | None:
        """Where the report of a title is, if there is one."""
        try:
            found = [r.url for r in self.api.reports(self.path) if r.display_name == title]
        except ValueError:
            return None
        return found[0] if found else None


def connect(project: Project) -> Server | str:
    """The server, or in words why nothing can be sent now.

    Raises:
        UserError: W&B is switched off, or the key belongs to nobody.
    """
    mode = os.environ.get("WANDB_MODE", "")
    if mode == "disabled":
        raise UserError("--wandb: WANDB_MODE=disabled switches W&B off; unset it")
    if mode in ("offline", "dryrun"):
        return f"WANDB_MODE={mode}"
    if not has_wandb_key():
        return "no API key found (WANDB_API_KEY or `wandb login`)"
    import wandb

    try:
        api = wandb.Api(timeout=TIMEOUT_SECONDS)
        entity = project.entity or api.default_entity
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        return first_line(error)
    if not entity:
        raise UserError(
            f"--wandb {project.name}: the key has no default entity; give ENTITY/PROJECT"
        )
    return Server(api, project._replace(entity=entity))
