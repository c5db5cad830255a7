"""Whether a checkpoint is of the model that a config describes, setting by setting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from qvbench.errors import UserError

NETWORK = ("attention", "position", "network")
"""What the weights belong to."""

TRAINING = (*NETWORK, "optimizer", "schedule", "label_smoothing")
"""What a training that goes on belongs to; how is searched may change."""


def check_same_model(stored: str, own: str, where: str, fit: bool) -> None:
    """Refuse a checkpoint of another mechanism, network or way to train.

    Settings that only one side knows are no fault: another version may have added them.

    Args:
        stored: the ``model`` section (YAML) of the run that wrote the checkpoint; may be empty.
        own: the same of this run.
        where: which checkpoint, for the message.
        fit: whether training is to go on from it.

    Raises:
        UserError: the first setting that differs, with both values.
    """
    then, now = (dict(_settings(yaml.safe_load(text) or {})) for text in (stored, own))
    for key in then:
        if key.split(".")[0] not in (TRAINING if fit else NETWORK) or key not in now:
            continue
        if then[key] != now[key]:
            name = key.replace(".init_args", "").removesuffix(".class_path")
            raise UserError(
                f"{where}: the checkpoint is of another model than the config's: model.{name} is "
                f"{_short(then[key])} there, {_short(now[key])} here; give the config of its run, "
                "or start a new run"
            )


def _settings(section: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; classes come before their arguments."""
    if not isinstance(section, dict):
        yield key, section
        return
    for name in sorted(section, key=lambda name: (name != "class_path", name)):
        yield from _settings(section[name], f"{key}.{name}" if key else str(name))


def _short(value: Any) -> str:
    return str(value).rpartition(".")[2] if isinstance(value, str) else str(value)
