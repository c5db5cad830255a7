"""An experiment: from the arguments of a command to what trains, tests or translates.

The options are those of Lightning's command line, read by its parser. One parser is built for one
command and one task; nothing of Lightning's or jsonargparse's private parts is used.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from qvbench.cli.checks import check_network, check_settings, keys_named
from qvbench.cli.inputs import Inputs
from qvbench.cli.messages import config_key, objection, one_line
from qvbench.cli.parser import ParserError, find_task, make_parser
from qvbench.errors import UserError
from qvbench.runs import folder as run_folder
from qvbench.runs.identity import DEFAULTS, EXCLUDED
from qvbench.runs.slurm import slurm_job, was_requeued
from qvbench.training import faults, tracking
from qvbench.training.callbacks import folder_callbacks, terminal_callbacks
from qvbench.training.checkpoint_io import (
    checkpoint_of_job,
    last_checkpoint,
    read_checkpoint,
    with_safe_checkpoints,
)
from qvbench.training.curves import CurvesLogger
from qvbench.training.dry_pass import dry_pass
from qvbench.training.hardware import check_hardware
from qvbench.training.process import is_first_process
from qvbench.training.run_record import RunRecord
from qvbench.training.schedules import end_with_training
from qvbench.training.stop_signals import StoppedBySignal

# Arguments of Lightning's callbacks have members of enums by default, which YAML does not know.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, item: dumper.represent_data(item.value))

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "QVBENCH_RUN_FOLDER"
"""Tells the processes that a run starts for its other devices which folder it has."""


def without_new_defaults(trainer: dict[str, Any], trainer_class: type) -> dict[str, Any]:
    """A trainer's settings without the defaults of arguments that this version does not know.

    A release of Lightning that has one more argument is no other experiment. What is off by default
    (None, False) stays, as it counts for nothing.
    """
    new = {
        name: parameter.default
        for name, parameter in inspect.signature(trainer_class).parameters.items()
        if f"trainer.{name}" not in DEFAULTS.keys() | EXCLUDED
        and parameter.default is not None
        and parameter.default is not False
    }
    return {key: value for key, value in trainer.items() if key not in new or value != new[key]}


def resolve(args: list[str]) -> dict[str, Any]:
    """The resolved config of a command line of ``fit``: what a run of it keeps as ``config.yaml``.

    Args:
        args: those after ``fit``, without ``--name`` and ``--ckpt_path``.

    Raises:
        UserError: one line that names the place, the key, and what is allowed.
    """
    return Experiment("fit", args).resolved()


def check_checkpoint(path: str) -> None:
    """Refuse what is no checkpoint of a run.

    Raises:
        UserError: there is no such file, or it is another one.
    """
    if not Path(path).is_file():
        raise UserError(f"--ckpt_path {path}: no such file")
    checkpoint = read_checkpoint(Path(path), tensors=False)
    if "pytorch-lightning_version" not in checkpoint or not isinstance(checkpoint["qvbench"], dict):
        raise UserError(f"--ckpt_path {path}: not a checkpoint of a run")


class Experiment:
    """A command with its config, parsed and checked; nothing is built yet.

    A run has a folder of its own with its resolved config, record, curves and checkpoints,
    whatever the config adds.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict`` for :meth:`run`; any other reads a
            config and builds parts of it.
        args: the arguments after the command.

    Raises:
        UserError: one line that names the place, the key, and what is allowed.
    """

    def __init__(self, command: str, args: list[str]) -> None:
        if os.getcwd() not in sys.path:  # noqa: PTH109 - a user's own modules lie beside the config
            sys.path.append(os.getcwd())  # noqa: PTH109
        self.command = command
        self.args = args
        self.inputs = Inputs(args)
        self.folder: Path | None = None
        with self._placing_errors():
            self.task_class: Any = find_task(self.inputs.task)
        self.parser = make_parser(command, self.task_class)
        try:
            self.settings: Namespace = self.parser.parse_args(self.inputs.args)
        except ParserError as error:
            known = self.parser.get_defaults(skip_validation=True).keys(branches=False)
            line, place = one_line(str(error), known), self.inputs.place(config_key(str(error)))
            raise UserError(f"{place}: {line}" if place else line) from error
        parts = {"model": self.task_class, "data": self.task_class.data_module, "trainer": Trainer}
        with self._placing_errors():
            check_settings(self.settings, parts)
            schedule, steps = self.settings.model.get("schedule"), self.settings.trainer.max_steps
            end_with_training(schedule, steps, command == "fit")

    @contextmanager
    def _placing_errors(self) -> Iterator[None]:
        """Say where the keys were given that an error names."""
        try:
            yield
        except UserError as error:
            settings = getattr(self, "settings", None) or Namespace(task=self.inputs.task)
            places = {self.inputs.place(key) for key in keys_named(str(error), settings)} - {""}
            place = "command line" if "command line" in places else min(places, default="")
            if not place or str(error).startswith(("--", place)):
                raise
            raise UserError(f"{place}: {error}") from error

    def resolved(self) -> dict[str, Any]:
        """The whole config as plain data: fragments read in, defaults filled in, no checkpoint."""
        settings = self.settings.clone()
        for key in ("config", "name", "dry_pass", *self.parser.method_arguments):
            settings.pop(key, None)
        text = self.parser.dump(settings, skip_unset=False, skip_validation=True)
        resolved: dict[str, Any] = yaml.safe_load(text)
        resolved["trainer"] = without_new_defaults(resolved["trainer"], Trainer)
        return resolved

    def build(self, trainer: bool = False) -> Namespace:
        """Instances of the config's ``model`` and ``data``.

        Args:
            trainer: with the callbacks and loggers among the trainer's arguments.

        Raises:
            UserError: a class objects to its settings.
        """
        settings = self.settings
        if not trainer:
            settings = Namespace(model=settings.model, data=settings.data)
        with self._placing_errors():
            try:
                return self.parser.instantiate(settings)
            except ValueError as error:
                fault = objection(str(error))
                if not fault:
                    raise
                raise UserError(fault) from error

    def data_module(self) -> Any:
        """The data module alone, of the config's seed."""
        seed_everything(self.settings.seed_everything, workers=True)
        return self.build().data

    # Running

    def run(self) -> None:
        """Run ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            UserError: what the config asks for cannot be had, the checkpoint is of another model,
                or memory, disk or numbers gave out in a way that the user can fix.
        """
        settings = self.settings
        settings.ckpt_path = self._find_checkpoint()
        settings.seed_everything = seed_everything(settings.seed_everything, workers=True)
        with self._placing_errors():
            trainer = settings.trainer
            check_hardware(trainer.accelerator, trainer.devices, trainer.precision)
            resolved = self.resolved()
            if not trainer.fast_dev_run:
                self.folder = self._choose_folder()
                job_type = "train" if self.command == "fit" else self.command
                tracking.configure(settings, self.folder, self._group, job_type)
            try:
                self._build_run(resolved)
            except BaseException:
                self._give_folder_back()
                raise
        self._execute()

    def _build_run(self, resolved: dict[str, Any]) -> None:
        built = self.build(trainer=True)
        self.model, self.data = built.model, built.data
        self.model.config_yaml = yaml.safe_dump(resolved["model"], sort_keys=False)
        self.model.task_name = resolved["task"]
        self.trainer = self._build_trainer(dict(built.trainer), resolved)
        check_network(self.model)

    def _build_trainer(self, arguments: dict[str, Any], resolved: dict[str, Any]) -> Trainer:
        """The trainer with the suite's own logger and callbacks beside those of the config.

        Raises:
            UserError: Lightning refuses the combination of settings.
        """
        given = arguments["callbacks"] or []
        arguments["callbacks"] = given if isinstance(given, list) else [given]
        callbacks = terminal_callbacks(arguments)
        arguments["plugins"] = with_safe_checkpoints(arguments["plugins"])
        if self.folder is not None:
            seed = self.settings.seed_everything
            words = [self.command, *self.args]
            callbacks.append(RunRecord(self.folder, self.inputs.name, resolved, seed, words))
            callbacks += folder_callbacks(self.command, arguments, self.folder)
            callbacks.append(dry_pass(self.settings.dry_pass))
            arguments["default_root_dir"] = str(self.folder)
            loggers = [CurvesLogger(self.folder), *tracking.wrapped(arguments["logger"])]
            arguments["logger"] = loggers
            tracking.open_runs(loggers, resolved)
        arguments["callbacks"] += callbacks
        try:
            return Trainer(**arguments)
        except (MisconfigurationException, ValueError, TypeError) as error:
            if self.folder is not None:
                tracking.close_runs(loggers)
            raise UserError(f"trainer: {error}") from error

    def _execute(self) -> None:
        method = getattr(self.trainer, self.command)
        options = {name: self.settings[name] for name in self.parser.method_arguments}
        try:
            method(self.model, datamodule=self.data, **options)
        except StoppedBySignal as end:
            log.info("%s", end)
            raise
        except Exception as error:
            fault = faults.explain(error)
            if "loading state_dict" in str(error):  # of a config that the checkpoint does not hold
                fault = UserError(
                    f"--ckpt_path {self.settings.ckpt_path}: the checkpoint is of another model "
                    f"than the config's: {str(error).splitlines()[1].strip()}"
                )
            if fault is None or fault is error:
                raise
            raise fault from error
        finally:
            tracking.close_runs(self.trainer.loggers)

    def _find_checkpoint(self) -> str | None:
        """The path of the checkpoint that ``--ckpt_path`` names.

        Raises:
            UserError: there is no such checkpoint, or a command that needs one was given none.
        """
        settings = self.settings
        given = settings.ckpt_path
        where = (self._base, self._group, settings.seed_everything)
        if given == "last":
            return str(last_checkpoint(*where))
        if given is not None:
            check_checkpoint(given)  # before hours of preparing data
            return str(given)
        if self.command != "fit":
            raise UserError(
                f"{self.command} needs a checkpoint: --ckpt_path PATH, or --ckpt_path last for "
                "the newest of this config and seed"
            )
        # Slurm gives the same command again: it continues what the job had begun.
        job = slurm_job() if was_requeued() else ""
        found = checkpoint_of_job(*where, job) if job else None
        if found is not None and is_first_process():
            log.info("Slurm job %s resumes from %s", job, found)
        return None if found is None else str(found)

    # Names and places

    @property
    def _base(self) -> Path:
        return Path(self.settings.trainer.default_root_dir or ".")

    @property
    def _group(self) -> str:
        given = self.settings.name
        if given is None:
            return run_folder.run_group(self.inputs.name)
        return run_folder.checked_name(given)

    def _choose_folder(self) -> Path:
        """A new folder; that of the checkpoint's run, if one is resumed."""
        checkpoint = self.settings.ckpt_path
        known = run_folder.folder_of(Path(checkpoint)) if checkpoint else None
        if known is not None:
            if self.command == "fit":
                run_folder.check_writable(known)
            return known
        base = self._base.resolve()
        if not is_first_process():  # writes nothing, but should agree on the place
            return Path(os.environ.get(FOLDER_VARIABLE) or base / "runs" / self._group)
        folder = run_folder.create_folder(base, self._group, self.settings.seed_everything)
        os.environ[FOLDER_VARIABLE] = str(folder)
        return folder

    def _give_folder_back(self) -> None:
        """Leave no empty folder behind when the run could not be built."""
        if self.folder is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
