"""Tasks: what a batch is, which network is trained, what is scored.

A task is one file: a subclass of LightningModule that names its ``data_module`` class and its
``primary_metric``, and is registered here.
"""

from __future__ import annotations

from lightning.pytorch import LightningModule

from qvbench.registry import Registry
from qvbench.tasks.language_modeling import LanguageModelingTask
from qvbench.tasks.recall import RecallTask
from qvbench.tasks.translation import TranslationTask

TASKS: Registry[LightningModule] = Registry("task")
TASKS.register("translation", TranslationTask)
TASKS.register("language_modeling", LanguageModelingTask)
TASKS.register("recall", RecallTask)
