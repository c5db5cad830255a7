"""``qvbench prepare``: fetch, verify, tokenize and store the corpus of a config."""

from __future__ import annotations

from qvbench.cli.experiment import Experiment
from qvbench.data.prepare import describe, plan
from qvbench.training.process import set_up_logging


def main(args: list[str]) -> int:
    """Prepare the corpus of a config and say what was stored, or only what would be done."""
    set_up_logging()
    experiment = Experiment("prepare", args)
    data = experiment.data_module()
    if experiment.settings.dry_run:
        print(plan(data))
        return 0
    data.prepare_data()
    print(describe(data))
    return 0
