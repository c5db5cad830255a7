"""The parser of the commands that run a config, for one task: Lightning's, with errors raised."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Literal, NoReturn

from jsonargparse import ActionConfigFile
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

import qvbench.training.averaging  # noqa: F401 - so that configs name it without its module
from qvbench.errors import UserError
from qvbench.tasks import TASKS
from qvbench.training.dry_pass import DEVICES

GIVEN = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
"""Arguments of the trainer's methods that the config's parts are given as."""


DESCRIPTION = "Every key of a config is an option: --model.attention QV, --trainer.max_steps 100."


class ParserError(UserError):
    """What the parser did not accept, in its own words."""


class Parser(LightningArgumentParser):
    """Lightning's parser, which raises what is wrong instead of printing a page of usage.

    Attributes:
        method_arguments: options that are arguments of the trainer's method, not of a class.
    """

    method_arguments: tuple[str, ...] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Report an error.

        Raises:
            ParserError: always, but from a parser inside another one, which leaves it to that.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise ParserError(message) from ex


def find_task(name: str) -> Any:
    """A task by its name in the registry, or by the path of its class (``my_module.MyTask``).

    Raises:
        UserError: there is no such task.
    """
    module, _, class_name = name.rpartition(".")
    if not module:
        return TASKS[name]
    try:
        found = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"task: {name}: cannot be imported ({error})") from error
    if not (isinstance(found, type) and hasattr(found, "data_module")):
        raise UserError(f"task: {name}: not a task; see qvbench.tasks")
    return found


@cache
def make_parser(command: str, task: Any) -> Parser:
    """The parser of a command for a task."""
    parser = Parser(prog=f"qvbench {command}", description=DESCRIPTION, dump_header=["qvbench"])
    parser.add_argument(
        "-c",
        "--config",
        action=ActionConfigFile,
        help="YAML file, or the name of a config that ships with qvbench (`qvbench list`)",
    )
    parser.add_argument(
        "--task",
        type=str,
        default=TASKS.name_of(task),
        help=f"what is learned: {', '.join(TASKS)}, or a class of your own (my_module.MyTask)",
    )
    parser.add_argument(
        "--seed_everything",
        type=int,
        default=0,
        help="seed of weights, dropout and the order of the data",
    )
    parser.add_argument(
        "--name",
        type=str | None,
        help="folder of the run under runs/, beside its seed; named after the config if absent",
    )
    parser.add_argument(
        "--dry_pass",
        type=Literal[tuple(DEVICES)],
        default="auto",
        help="try the largest batches before training, to see if memory is enough (auto: on CUDA)",
    )
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults(
        {
            "trainer.use_distributed_sampler": False,  # the data module cuts its batches up itself
            "trainer.enable_model_summary": False,  # RunRecord says in a line what matters here
        }
    )
    parser.add_lightning_class_args(task, "model")
    parser.add_lightning_class_args(task.data_module, "data")
    parser.link_arguments("seed_everything", "data.seed")
    if hasattr(Trainer, command):
        parser.method_arguments = tuple(parser.add_method_arguments(Trainer, command, skip=GIVEN))
    if command == "prepare":
        parser.add_argument(
            "--dry_run",
            action="store_true",
            help="say what would be fetched and stored, and do none of it",
        )
    return parser
