"""An experiment: from a command's arguments (as Lightning has them) or a checkpoint to modules."""

from __future__ import annotations

import inspect
import math
import os
import sys
from contextlib import suppress
from enum import Enum
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_type_hints

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import qvbench.training.callbacks  # noqa: F401 - so that configs name it without its module
from qvbench.cli.inputs import DEFAULT_TASK, Inputs, explain, objection
from qvbench.data.language import TextVocabulary
from qvbench.data.text import TextProcessor, Vocabulary
from qvbench.errors import UserError
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.runs.identity import DEFAULTS, EXCLUDED
from qvbench.tasks import TASKS
from qvbench.tasks.base import Task
from qvbench.tasks.language_modeling import LanguageModelingTask
from qvbench.tasks.translation import TranslationTask
from qvbench.training import machine
from qvbench.training.checkpoints import read_checkpoint
from qvbench.training.schedules import end_with_training

# Arguments of Lightning's callbacks have members of enums by default, which YAML does not know.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, item: dumper.represent_data(item.value))

RANGES = {
    "seed_everything": (0, 2**32 - 1),
    "trainer.accumulate_grad_batches": (1, math.inf),
    "trainer.log_every_n_steps": (1, math.inf),
    "trainer.val_check_interval": (1e-9, math.inf),
    "trainer.check_val_every_n_epoch": (1, math.inf),
    "trainer.gradient_clip_val": (0, math.inf),
}
"""Lightning takes other numbers, and fails or does something else later."""


def resolve(args: list[str]) -> dict[str, Any]:
    """The resolved config of ``fit``'s arguments: what a run of them keeps as ``config.yaml``."""
    return Experiment("fit", args).resolved()


class Experiment:
    """A command (one of the trainer's, or another that reads a config) and its arguments, parsed
    and checked; nothing is built yet.

    Attributes:
        name: of the first config; ``command-line`` if there is none.
        settings: parsed, with all defaults; what is wrong raises UserError with place and key.
    """

    def __init__(self, command: str, args: list[str]) -> None:
        if os.getcwd() not in sys.path:  # noqa: PTH109 - a user's own modules lie beside the config
            sys.path.append(os.getcwd())  # noqa: PTH109
        self.command, self.args = command, args
        inputs = Inputs(args)
        self.name = inputs.name or "command-line"
        self.task = task = find_task(inputs.task)
        self.parser, self.method_arguments = make_parser(command, task)
        try:
            self.settings: Namespace = self.parser.parse_args(inputs.args)
            self._check()
        except (ArgumentError, TypeError) as error:
            keys = self.parser.get_defaults(skip_validation=True).keys(branches=False)
            corpus = get_type_hints(task.data_module.__init__).get("corpus", object)
            raise explain(str(error), inputs, keys, {"data.corpus": corpus}) from error
        schedule, steps = self.settings.model.get("schedule"), self.settings.trainer.max_steps
        end_with_training(schedule, steps, command == "fit")

    def _check(self) -> None:
        """Raise TypeError, in the parser's words, for what it lets pass: None, above all."""
        settings = self.settings
        if not isinstance(trainer := settings.trainer, Namespace):
            raise TypeError(f"Parser key 'trainer': Expected a mapping. Got value: {trainer}")
        self.parser.validate(nulls(settings), skip_unset=False, skip_required=True)
        parts = {"trainer": Trainer, "model": self.task, "data": self.task.data_module}
        arguments = [(key, cls, settings[key]) for key, cls in parts.items()]
        for key, part in settings.items(branches=True):
            if isinstance(part, Namespace) and isinstance(part.get("init_args"), Namespace):
                arguments.append((key, resolve_name(part.class_path), part.init_args))
        for key, cls, given in arguments:
            with suppress(KeyError):  # what its bases take beyond what can be read off it
                found = Namespace({key: nulls(given)})
                class_parser(cls, key).validate(found, skip_unset=False, skip_required=True)
        for key, (lowest, highest) in RANGES.items():
            value = settings.get(key)
            if isinstance(value, int | float) and not lowest <= value <= highest:
                expected = f"Expected a number from {lowest} to {highest}"
                raise TypeError(f"Parser key '{key}': {expected}. Got value: {value}")

    def resolved(self) -> dict[str, Any]:
        """The whole config as plain data: fragments read in, defaults filled in, no checkpoint."""
        settings = self.settings.clone()
        for key in ("config", "name", *self.method_arguments):
            settings.pop(key, None)
        text = self.parser.dump(settings, skip_unset=False, skip_validation=True)
        resolved: dict[str, Any] = yaml.safe_load(text)
        return resolved | {"trainer": without_new_defaults(resolved["trainer"], Trainer)}

    def build(self, trainer: bool = False) -> Namespace:
        """Seeded ``model`` and ``data``, with ``trainer`` its arguments; may raise UserError."""
        seed_everything(self.settings.seed_everything, workers=True, verbose=False)
        parts = Namespace(model=self.settings.model, data=self.settings.data)
        try:
            return self.parser.instantiate(self.settings if trainer else parts)
        except (ValueError, MisconfigurationException) as error:
            raise UserError(f"config: {objection(str(error))}") from error


def without_new_defaults(trainer: dict[str, Any], trainer_class: type) -> dict[str, Any]:
    """A trainer's settings without the defaults of arguments that this version does not know: a
    release of Lightning that has one more is no other experiment. What is off by default stays."""
    new = {
        name: parameter.default
        for name, parameter in inspect.signature(trainer_class).parameters.items()
        if f"trainer.{name}" not in DEFAULTS.keys() | EXCLUDED
        and parameter.default is not None
        and parameter.default is not False
    }
    return {key: value for key, value in trainer.items() if key not in new or value != new[key]}


@cache
def make_parser(command: str, task: Any) -> tuple[ArgumentParser, list[str]]:
    """The parser of a command for a task, and which options are of the trainer's method."""
    parser = LightningArgumentParser(
        prog=f"qvbench {command}",
        description="Every key of a config is an option: --model.attention QV, --data.merges 9.",
        dump_header=["qvbench"],
        exit_on_error=False,
    )
    add = parser.add_argument
    add("-c", "--config", action=ActionConfigFile, help="YAML file, or a name of `qvbench list`")
    tasks = f"what is learned: {', '.join(TASKS)}, or a class of your own (my_module.MyTask)"
    add("--task", type=str, default=TASKS.name_of(task), help=tasks)
    add("--seed_everything", type=int, default=0, help="seed of weights, dropout and data order")
    add("--name", type=str | None, help="of the run's folder under runs/; else that of the config")
    parser.add_lightning_class_args(Trainer, "trainer")
    # The data module cuts its batches up itself, and the record says in a line what matters here.
    off = ("trainer.use_distributed_sampler", "trainer.enable_model_summary")
    parser.set_defaults(dict.fromkeys(off, False))
    parser.add_lightning_class_args(task, "model")
    parser.add_lightning_class_args(task.data_module, "data")
    parser.link_arguments("seed_everything", "data.seed")
    if command == "prepare":
        add("--dry_run", action="store_true", help="say what would be fetched, and do nothing")
    if not hasattr(Trainer, command):
        return parser, []
    parts = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
    return parser, parser.add_method_arguments(Trainer, command, skip=parts)


def nulls(settings: Namespace) -> Namespace:
    """What is None among settings, without those of their parts."""
    return Namespace({key: None for key, value in vars(settings).items() if value is None})


@cache
def class_parser(cls: type, key: str) -> ArgumentParser:
    """Of a class's arguments below a key."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, key, fail_untyped=False)
    return parser


def find_task(name: str) -> Any:
    """A task by its name in the registry, or by the path of its class (``my_module.MyTask``)."""
    if "." not in name:
        return TASKS[name]
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"task: {name}: cannot be imported ({error})") from error
    if not (isinstance(found, type) and hasattr(found, "data_module")):
        raise UserError(f"task: {name}: not a task; see qvbench.tasks")
    return found


def load_translator_parts(path: Path) -> tuple[EncoderDecoder, Vocabulary, TextProcessor]:
    """From a checkpoint alone: its network with the weights, its vocabulary and text processing."""
    task, stored = load_task(path, TranslationTask, "a model that translates")
    return task.network, task.vocabulary, TextProcessor.from_state(stored["text"])


def load_language_model(path: Path) -> tuple[DecoderOnly, TextVocabulary]:
    """From a checkpoint alone: its network with the weights, and its vocabulary."""
    task, _ = load_task(path, LanguageModelingTask, "a language model")
    return task.network, task.vocabulary


def load_task(
    path: Path, kind: type[Task] | tuple[type[Task], ...], words: str
) -> tuple[Any, dict[str, Any]]:
    """The task of a checkpoint, its network in evaluation mode, and what else was stored."""
    machine.keep_freed_memory()
    checkpoint = read_checkpoint(path)
    stored = checkpoint["qvbench"]
    named = stored.get("task") or DEFAULT_TASK
    if not {"config", "vocabulary"} <= stored.keys() or not issubclass(find_task(named), kind):
        raise UserError(f"{path}: a checkpoint, but not of {words}")
    try:
        task = task_from_config(stored["config"], named)
        vocabulary = task.data_module.vocabulary_class
        task.build(vocabulary.from_json(stored["vocabulary"]))
        task.load_state_dict(checkpoint["state_dict"])
    except UserError:
        raise
    except Exception as error:  # of jsonargparse, YAML, tokenizers and torch, each its own
        reason = " ".join(str(error).split())
        what = f"{path}: its model cannot be built here ({reason}); a class of your own is imported"
        raise UserError(f"{what} from the folder in which you run") from error
    if not all(weight.isfinite().all() for weight in task.network.parameters()):
        raise UserError(f"{path}: its weights are not finite; give an earlier checkpoint")
    task.network.eval()
    return task, stored


def task_from_config(text: str, name: str = DEFAULT_TASK) -> Any:
    """The task that a resolved ``model`` section (YAML) describes, without a network yet."""
    parser = class_parser(find_task(name), "model")
    return parser.instantiate(parser.parse_object({"model": yaml.safe_load(text)})).model
