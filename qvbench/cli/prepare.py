"""``qvbench prepare``: fetch, verify, tokenize and store the corpus of a config."""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser

from qvbench.cli.experiment import ExperimentCLI
from qvbench.data.prepare import describe, plan
from qvbench.training.process import set_up_logging


def main(words: list[str]) -> int:
    """Prepare the corpus of a config and say what was stored, or only what would be done."""
    set_up_logging()
    cli = _Preparation(words, run=False)
    if cli.config.dry_run:
        print(plan(cli.datamodule))
        return 0
    cli.datamodule.prepare_data()
    print(describe(cli.datamodule))
    return 0


class _Preparation(ExperimentCLI):
    """A config with the options of this verb."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--dry_run",
            action="store_true",
            help="say what would be fetched and stored, and do none of it",
        )
