"""From a config to its model, without its data."""

from __future__ import annotations

import logging

from jsonargparse import Namespace

from qvbench import config_files
from qvbench.cli.experiment import ExperimentCLI
from qvbench.data.module import TranslationDataModule
from qvbench.errors import UserError
from qvbench.profile.measure import Model
from qvbench.tasks.translation import TranslationTask

DEFAULT_VOCABULARY = 32_000
"""Entries where the corpus is not prepared: a multiple of 8, as all the suite's vocabularies."""


class _ConfigReader(ExperimentCLI):
    """Reads a config as ``qvbench fit`` does, and builds its task and data module alone."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(words, run=False)

    def instantiate_classes(self) -> None:
        parts = Namespace(model=self.config.model, data=self.config.data)
        built = self.parser.instantiate_classes(parts)
        self.model, self.datamodule = built.model, built.data


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
    reader = _ConfigReader(["--config", name, *overrides])
    task = reader.model
    assert isinstance(task, TranslationTask)
    source = "--vocab_size"
    if vocab_size is None:
        vocab_size = prepared_vocabulary(reader.datamodule)
        source = "corpus"
    if vocab_size is None:
        vocab_size, source = DEFAULT_VOCABULARY, "default"
    task.network = task.build_network(vocab_size)
    return Model(
        config=config_files.config_name(config_files.find_config(name)),
        task=task,
        network=task.network,
        precision=str(reader.config.trainer.precision or "32-true"),
        vocabulary_source=source,
    )


def prepared_vocabulary(data: TranslationDataModule) -> int | None:
    """Entries of a corpus's vocabulary, if the corpus is prepared."""
    try:
        return len(data.vocabulary) if (data.folder / "manifest.json").is_file() else None
    except UserError:  # the corpus's own files are not there
        return None
