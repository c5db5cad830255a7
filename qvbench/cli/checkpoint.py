"""From a checkpoint alone, without its run's folder or its data, to what translates."""

from __future__ import annotations

from pathlib import Path

import yaml

from qvbench.cli.parser import Parser
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.tasks.translation import TranslationTask
from qvbench.training.checkpoint_io import read_checkpoint


def load_translator_parts(path: Path) -> tuple[EncoderDecoder, Vocabulary, TextProcessor]:
    """The network of a checkpoint with its weights, its vocabulary and its text processing.

    Loading runs no code from the file.

    Raises:
        UserError: the file is no checkpoint, or none of this suite's.
    """
    checkpoint = read_checkpoint(path)
    stored = checkpoint["qvbench"]
    if not isinstance(stored, dict) or not {"config", "vocabulary", "text"} <= stored.keys():
        raise UserError(f"{path}: a checkpoint, but not of a model that translates")
    vocabulary = Vocabulary.from_json(stored["vocabulary"])
    task = task_from_config(stored["config"])
    task.build(vocabulary)
    assert task.network is not None
    task.load_state_dict(checkpoint["state_dict"])
    return task.network.eval(), vocabulary, TextProcessor.from_state(stored["text"])


def task_from_config(text: str) -> TranslationTask:
    """The task that a resolved ``model`` section (YAML) describes, without a network yet."""
    parser = Parser(exit_on_error=False)
    parser.add_lightning_class_args(TranslationTask, "model")
    task = parser.instantiate(parser.parse_object({"model": yaml.safe_load(text)})).model
    assert isinstance(task, TranslationTask)
    return task
