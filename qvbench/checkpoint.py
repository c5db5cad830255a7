"""From a checkpoint alone, without its run's folder or its data, to what translates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.parser import Parser
from qvbench.tasks.translation import TranslationTask


def load_translator_parts(path: Path) -> tuple[EncoderDecoder, Vocabulary, TextProcessor]:
    """The network of a checkpoint with its weights, its vocabulary and its text processing.

    Loading runs no code from the file.

    Raises:
        UserError: the file is no checkpoint, or none of this suite's.
    """
    checkpoint = _read(path)
    stored = checkpoint["qvbench"]
    vocabulary = Vocabulary.from_json(stored["vocabulary"])
    task = task_from_config(stored["config"])
    task.build(vocabulary)
    assert task.network is not None
    task.load_state_dict(checkpoint["state_dict"])
    return task.network.eval(), vocabulary, TextProcessor(**stored["text"])


def task_from_config(text: str) -> TranslationTask:
    """The task that a resolved ``model`` section (YAML) describes, without a network yet."""
    parser = Parser(exit_on_error=False)
    parser.add_class_arguments(TranslationTask, "model")
    config = parser.parse_object({"model": yaml.safe_load(text)})
    task = parser.instantiate_classes(config).model
    assert isinstance(task, TranslationTask)
    return task


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the bytes happen to cause
        raise UserError(
            f"{path}: not a checkpoint, or damaged ({type(error).__name__}); give a .ckpt file "
            "that `qvbench fit` wrote"
        ) from error
    if not isinstance(checkpoint, dict) or "qvbench" not in checkpoint:
        raise UserError(f"{path}: a checkpoint, but not one that `qvbench fit` wrote")
    return checkpoint
