"""From a config to its model, without its data."""

from __future__ import annotations

import logging

from lightning.pytorch import seed_everything

from qvbench.cli.experiment import Experiment
from qvbench.data.module import TranslationDataModule
from qvbench.errors import UserError
from qvbench.profile.count import Model

DEFAULT_VOCABULARY = 32_000
"""Entries where the corpus is not prepared: a multiple of 8, as all the suite's vocabularies."""


def build(name: str, overrides: list[str], vocab_size: int | None = None) -> Model:
    """The model of a config.

    Args:
        name: of the config: a file, or one that ships with the package.
        overrides: words of a command line that override its keys.
        vocab_size: entries of the vocabulary; if not given, those of the config's corpus where
            that is prepared, else ``DEFAULT_VOCABULARY``.

    Raises:
        UserError: there is no such config, or it or an override is wrong.
    """
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    experiment = Experiment("profile", ["--config", name, *overrides])
    seed_everything(experiment.settings.seed_everything, workers=True)
    built = experiment.build()
    task = built.model
    source = "--vocab_size"
    if vocab_size is None:
        vocab_size = prepared_vocabulary(built.data)
        source = "corpus"
    if vocab_size is None:
        vocab_size, source = DEFAULT_VOCABULARY, "default"
    task.network = task.build_network(vocab_size)
    return Model(
        config=experiment.inputs.name,
        task=task,
        network=task.network,
        precision=str(experiment.settings.trainer.precision or "32-true"),
        vocabulary_source=source,
    )


def prepared_vocabulary(data: TranslationDataModule) -> int | None:
    """Entries of a corpus's vocabulary, if the corpus is prepared."""
    try:
        return len(data.vocabulary) if (data.folder / "manifest.json").is_file() else None
    except UserError:  # the corpus's own files are not there
        return None
