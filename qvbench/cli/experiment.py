"""Lightning's command line, with a folder for every run and one line for every fault."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import qvbench.training.averaging  # noqa: F401 - so that configs name it without its module
from qvbench import config_files
from qvbench.cli.arguments import option_values
from qvbench.cli.parser import ConfigByName, Parser, ParserFault, place_of
from qvbench.cli.parser_messages import config_key, one_line
from qvbench.cli.run_summary import print_summary
from qvbench.cli.setting_checks import (
    check_network,
    check_parts,
    check_settings,
    fault_in_union,
    keys_named,
)
from qvbench.data.module import TranslationDataModule
from qvbench.errors import UserError
from qvbench.runs import folder as run_folder
from qvbench.runs.identity import DEFAULTS, EXCLUDED
from qvbench.runs.slurm import slurm_job, was_requeued
from qvbench.tasks.translation import TranslationTask
from qvbench.training import faults, tracking
from qvbench.training.callbacks import folder_callbacks, terminal_callbacks
from qvbench.training.checkpoint_io import read_checkpoint, with_safe_checkpoints
from qvbench.training.curves import CurvesLogger
from qvbench.training.dry_pass import DEVICES, dry_pass
from qvbench.training.find_checkpoint import checkpoint_of_job, last_checkpoint
from qvbench.training.hardware import check_hardware
from qvbench.training.process import is_first_process
from qvbench.training.run_record import RunRecord
from qvbench.training.schedules import end_with_training
from qvbench.training.stop_signals import StoppedBySignal

log = logging.getLogger(__name__)

# Arguments of Lightning's callbacks have members of enums by default, which YAML does not know.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, item: dumper.represent_data(item.value))

FOLDER_VARIABLE = "QVBENCH_RUN_FOLDER"
"""Tells the processes that a run starts for its other devices which folder it has."""


class ExperimentCLI(LightningCLI):
    """Lightning's command line for the suite's one task and one data module.

    A run has a folder of its own with its resolved config, record, curves and checkpoints,
    whatever the config adds.

    Args:
        args: the words after ``qvbench``.
        run: run the verb that comes first in ``args``; else only the data module is built.
    """

    def __init__(self, args: list[str], run: bool = True) -> None:
        self.run = run
        self.folder: Path | None = None
        super().__init__(
            TranslationTask,
            TranslationDataModule,
            save_config_callback=None,  # RunRecord saves it
            seed_everything_default=0,
            trainer_defaults={
                "use_distributed_sampler": False,  # the data module cuts its batches up itself
                "enable_model_summary": False,  # RunRecord says in a line what matters here
            },
            parser_class=Parser,
            args=args,
            run=run,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    # What the command line accepts

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that looks a config up by its name."""
        parser = Parser(dump_header=["qvbench"], **kwargs)
        parser.add_argument(
            "-c",
            "--config",
            action=ConfigByName,
            help="YAML file, or the name of a config that ships with qvbench (`qvbench list`)",
        )
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """A seed, always a number, as a run that nobody can repeat is of no use; and a name."""
        parser.add_argument(
            "--seed_everything",
            type=int,
            default=self.seed_everything_default,
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
            help="try the largest batches before training, to see if memory is enough (auto: on "
            "CUDA)",
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the given words.

        Raises:
            UserError: one line that names the place, the key, and what is allowed.
        """
        self.words = [str(word) for word in args]
        try:
            self.config = parser.parse_args(args)
        except ParserFault as fault:
            raise UserError(self._explain(str(fault))) from fault
        with self._placing_faults():
            check_parts(self._settings)
            check_settings(self._settings)
            if self.run:
                settings, fit = self._settings, self.config.subcommand == "fit"
                end_with_training(settings.model.schedule, settings.trainer.max_steps, fit)

    def _explain(self, message: str) -> str:
        """The parser's message in one line that starts with the place of the fault."""
        active = self._parser(self.words[0] if self.run else None)
        key = config_key(message)
        place = self._place(key) if key else ""
        line = one_line(message, active.config_keys() if isinstance(active, Parser) else [])
        return f"{place}: {line}" if place else line

    def _place(self, key: str) -> str:
        """Where a config key was given: on the command line, or in which file."""
        names = option_values(self.words, "--config", "-c")
        files = [Path(config_files.find_config(name)) for name in names]
        return place_of(key, self.words, [file for file in files if file.is_file()])

    @contextmanager
    def _placing_faults(self) -> Iterator[None]:
        """Say where the keys were given that a fault names."""
        try:
            yield
        except UserError as error:
            places = {self._place(key) for key in keys_named(str(error), self._settings)} - {""}
            place = "command line" if "command line" in places else min(places, default="")
            if not place or str(error).startswith(("--", place)):
                raise
            raise UserError(f"{place}: {error}") from error

    def _parse_ckpt_path(self) -> None:
        """Find the checkpoint that ``--ckpt_path`` names; its config is not taken from it.

        Raises:
            UserError: there is no such checkpoint, or a verb that needs one was given none.
        """
        if not self.run:
            return
        verb = self.config.subcommand
        settings = self.config[verb]
        given = settings.ckpt_path
        if given is None:
            if verb == "fit":
                settings.ckpt_path = self._checkpoint_of_requeued_job()
            else:
                raise UserError(
                    f"{verb} needs a checkpoint: --ckpt_path PATH, or --ckpt_path last for the "
                    "newest of this config and seed"
                )
        elif given == "last":
            settings.ckpt_path = str(
                last_checkpoint(self._base, self._group, settings.seed_everything)
            )
        elif not Path(given).is_file():
            raise UserError(f"--ckpt_path {given}: no such file")
        else:
            read_checkpoint(Path(given), tensors=False)  # before hours of preparing data

    def _checkpoint_of_requeued_job(self) -> str | None:
        """Slurm gives the same command again: it goes on with what the job had begun."""
        job = slurm_job() if was_requeued() else ""
        seed = self._settings.seed_everything
        found = checkpoint_of_job(self._base, self._group, seed, job) if job else None
        if found is not None and is_first_process():
            log.info("Slurm job %s goes on from %s", job, found)
        return None if found is None else str(found)

    # From config to run

    def instantiate_classes(self) -> None:
        """Check the machine, give the run its folder, then build everything.

        Raises:
            UserError: what the config asks for cannot be had.
        """
        with self._placing_faults():
            if self.run:
                self._instantiate_run()
            else:
                self.datamodule = self.parser.instantiate_classes(self.config).data

    def _instantiate_run(self) -> None:
        settings = self._settings
        trainer = settings.trainer
        check_hardware(trainer.accelerator, trainer.devices, trainer.precision)
        self.resolved = self._resolve()
        if not trainer.fast_dev_run:
            self.folder = self._choose_folder()
            job_type = "train" if self.config.subcommand == "fit" else self.config.subcommand
            tracking.configure(settings, self.folder, self._group, job_type)
        try:
            super().instantiate_classes()
            check_network(self.model)
        except ValueError as error:
            self._give_folder_back()
            fault = fault_in_union(error)
            if not fault:
                raise
            raise UserError(fault) from error
        except BaseException:
            self._give_folder_back()
            raise
        self.model.config_yaml = yaml.safe_dump(self.resolved["model"], sort_keys=False)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the suite's own logger and callbacks beside those of the config.

        Raises:
            UserError: Lightning refuses the combination of settings.
        """
        config = {**self.config_init[self.subcommand].trainer, **kwargs}
        callbacks = terminal_callbacks(config)
        config["plugins"] = with_safe_checkpoints(config["plugins"])
        if self.folder is not None:
            seed = self._settings.seed_everything
            record = RunRecord(self.folder, self._name, self.resolved, seed, self.words)
            callbacks += [record, *folder_callbacks(self.config.subcommand, config, self.folder)]
            callbacks.append(dry_pass(self._settings.dry_pass))
            config["default_root_dir"] = str(self.folder)
            config["logger"] = [CurvesLogger(self.folder), *tracking.wrapped(config["logger"])]
            tracking.open_runs(config["logger"], self.resolved)
        try:
            return self._instantiate_trainer(config, callbacks)
        except (MisconfigurationException, ValueError, TypeError) as error:
            if self.folder is not None:
                tracking.close_runs(config["logger"])
            raise UserError(f"trainer: {error}") from error

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the verb.

        Raises:
            UserError: the checkpoint is of another model than the config's, or memory, disk or
                numbers gave out in a way that the user can mend.
        """
        try:
            super()._run_subcommand(subcommand)
        except StoppedBySignal as end:
            log.info("%s", end)
            raise
        except Exception as error:
            fault = faults.explain(error)
            if "loading state_dict" in str(error):  # of a config that the checkpoint does not hold
                fault = UserError(
                    f"--ckpt_path {self._settings.ckpt_path}: the checkpoint is of another model "
                    f"than the config's: {str(error).splitlines()[1].strip()}"
                )
            if fault is None or fault is error:
                raise
            raise fault from error
        finally:
            tracking.close_runs(self.trainer.loggers)

    def after_fit(self) -> None:
        """Show what came of it and where it lies."""
        if self.folder is not None and self.trainer.is_global_zero:
            print_summary(self.trainer, self.model, self.datamodule, self.folder)
            tracking.say_how_to_sync(self.trainer.loggers)

    # Names and places

    @property
    def _settings(self) -> Namespace:
        return self.config[self.config.subcommand] if self.run else self.config

    @property
    def _base(self) -> Path:
        return Path(self._settings.trainer.default_root_dir or ".")

    @property
    def _name(self) -> str:
        paths = [path for path in self._settings.config or [] if path is not None]
        return config_files.config_name(str(paths[0])) if paths else "command-line"

    @property
    def _group(self) -> str:
        given = self._settings.name
        return run_folder.run_group(self._name) if given is None else run_folder.checked_name(given)

    def _choose_folder(self) -> Path:
        """A new folder; that of the checkpoint's run, if one is taken up."""
        checkpoint = self._settings.ckpt_path
        known = run_folder.folder_of(Path(checkpoint)) if checkpoint else None
        if known is not None:
            if self.config.subcommand == "fit":
                run_folder.check_writable(known)
            return known
        seed = self._settings.seed_everything
        base = self._base.resolve()
        if not is_first_process():  # writes nothing, but should agree on the place
            return Path(os.environ.get(FOLDER_VARIABLE) or base / "runs" / self._group)
        folder = run_folder.create_folder(base, self._group, seed)
        os.environ[FOLDER_VARIABLE] = str(folder)
        return folder

    def _give_folder_back(self) -> None:
        """Leave no empty folder behind when the run could not be built."""
        if self.folder is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _resolve(self) -> dict[str, Any]:
        """The whole config as plain data: fragments read in, defaults filled in, no checkpoint."""
        settings = self._settings.clone()
        method = self._subcommand_method_arguments[self.config.subcommand] if self.run else []
        for key in (*method, "config", "name", "dry_pass"):
            settings.pop(key, None)
        parser = self._parser(self.config.subcommand if self.run else None)
        text = parser.dump(settings, skip_none=False, skip_validation=True)
        resolved: dict[str, Any] = yaml.safe_load(text)
        resolved["trainer"] = without_new_defaults(resolved["trainer"], Trainer)
        return resolved


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


class _Resolver(ExperimentCLI):
    """Resolves one command line after the other with one parser; builds and runs nothing."""

    def __init__(self) -> None:
        super().__init__([], run=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Nothing is given yet; a seed of ``False`` leaves the random numbers alone."""
        self.config = Namespace(seed_everything=False)

    def instantiate_classes(self) -> None:
        """Nothing is built."""

    def resolve(self, args: list[str]) -> dict[str, Any]:
        super().parse_arguments(self.parser, args)
        return self._resolve()


def resolve(args: list[str]) -> dict[str, Any]:
    """The resolved config of a command line of ``fit``: what a run of it keeps as ``config.yaml``.

    A tenth of a second each; the first call builds the parser.

    Args:
        args: those after ``fit``, without ``--name`` and ``--ckpt_path``.

    Raises:
        UserError: one line that names the place, the key, and what is allowed.
    """
    return _resolver().resolve(args)


@cache
def _resolver() -> _Resolver:
    return _Resolver()
