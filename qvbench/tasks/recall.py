"""Recall: a decoder-only network on sequences that ask what they held before."""

from __future__ import annotations

from qvbench.data.synthetic import SyntheticDataModule
from qvbench.tasks.base import Task
from qvbench.tasks.language_modeling import LanguageModelingTask


class RecallTask(LanguageModelingTask):
    """Trains and validates a decoder-only network on sequences, by the tokens that they ask for.

    ``val/accuracy`` is the share of these that it finds.
    """

    data_module = SyntheticDataModule
    primary_metric = Task.primary_metric
