"""From a checkpoint alone, without its run's folder or its data, to what translates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from qvbench.cli.inputs import DEFAULT_TASK
from qvbench.cli.parser import Parser, find_task
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError
from qvbench.models.encoder_decoder import EncoderDecoder
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
    task = task_from_config(stored["config"], stored.get("task") or DEFAULT_TASK)
    task.build(vocabulary)
    task.load_state_dict(checkpoint["state_dict"])
    return task.network.eval(), vocabulary, TextProcessor.from_state(stored["text"])


def task_from_config(text: str, name: str = DEFAULT_TASK) -> Any:
    """The task that a resolved ``model`` section (YAML) describes, without a network yet.

    Args:
        text: of the section.
        name: of the task; checkpoints written before there were names are of translation.
    """
    parser = Parser(exit_on_error=False)
    parser.add_lightning_class_args(find_task(name), "model")
    return parser.instantiate(parser.parse_object({"model": yaml.safe_load(text)})).model
