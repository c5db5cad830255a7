"""The commands that run a config: ``fit``, ``validate``, ``test``, ``predict`` and ``prepare``."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import suppress
from itertools import pairwise
from os.path import relpath
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden

from qvbench.cli.experiment import Experiment
from qvbench.errors import UserError
from qvbench.runs import folder as run_folder
from qvbench.runs.slurm import slurm_job, was_requeued
from qvbench.training import checkpoints, machine, trackers
from qvbench.training.callbacks import folder_callbacks, terminal_callbacks
from qvbench.training.record import CurvesLogger, RunRecord
from qvbench.training.resume import StoppedBySignal

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "QVBENCH_RUN_FOLDER"  # tells the processes of a run's other devices its folder


def run_config(command: str, args: list[str]) -> int:
    machine.set_up_logging()
    machine.keep_freed_memory()
    machine.cache_few_kernels()
    if command == "prepare":
        experiment = Experiment(command, args)
        data = experiment.build().data
        if not experiment.settings.dry_run:
            data.prepare_data()
        print(data.plan() if experiment.settings.dry_run else data.describe())
        return 0
    if command != "fit":  # only training needs the callbacks whose states a checkpoint has
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
    run = Run(Experiment(command, _with_config_of_checkpoint(args)))
    run.execute()
    if command == "fit" and run.folder is not None and run.trainer.is_global_zero:
        _print_summary(run, run.folder)
    return 0


class Run:
    """A config that trains or is tested, in a folder (none with ``trainer.fast_dev_run``) with its
    config, record and curves."""

    def __init__(self, experiment: Experiment) -> None:
        settings = self.settings = experiment.settings
        self.experiment, self.command = experiment, experiment.command
        self.base = Path(settings.trainer.default_root_dir or ".")
        self.group = run_folder.run_group(experiment.name)
        if settings.name is not None:
            self.group = run_folder.checked_name(settings.name)
        settings.ckpt_path = self._find_checkpoint()
        trainer = settings.trainer
        machine.check_hardware(trainer.accelerator, trainer.devices, trainer.precision)
        self.resolved = experiment.resolved()
        self.folder = None if trainer.fast_dev_run else self._choose_folder()
        try:
            self._build()
        except BaseException:
            if self.folder is not None:
                with suppress(OSError):  # it is not empty
                    self.folder.rmdir()
            raise

    def _build(self) -> None:
        if self.folder is not None:
            job_type = "train" if self.command == "fit" else self.command
            trackers.configure(self.settings, self.folder, self.group, job_type)
        built = self.experiment.build(trainer=True)
        self.model, self.data, arguments = built.model, built.data, dict(built.trainer)
        self.model.config_yaml = yaml.safe_dump(self.resolved["model"], sort_keys=False)
        self.model.task_name = self.resolved["task"]
        if self.settings.ckpt_path is not None:
            self.model.init_from = None  # a resumed training has weights of its own
        if self.command == "fit" and self.model.init_from is not None:
            self.model.check_start(Path(self.model.init_from))
        command, step = self.command, f"{self.command}_step"
        if command in ("test", "predict") and not is_overridden(step, self.model):
            raise UserError(f"{command}: not for the task {self.resolved['task']}; it has validate")
        check_network(self.model, self.data)
        given = arguments["callbacks"] or []
        callbacks = arguments["callbacks"] = given if isinstance(given, list) else [given]
        arguments["plugins"] = checkpoints.with_safe_checkpoints(arguments["plugins"])
        callbacks += terminal_callbacks(arguments)
        loggers: list[Logger] = []
        if self.folder is not None:
            seed, args = self.settings.seed_everything, [self.command, *self.experiment.args]
            callbacks += [
                RunRecord(self.folder, self.experiment.name, self.resolved, seed, args),
                *folder_callbacks(self.command, arguments, self.folder),
            ]
            arguments["default_root_dir"] = str(self.folder)
            opened = trackers.open_runs(arguments["logger"], self.resolved)
            arguments["logger"] = loggers = [CurvesLogger(self.folder), *opened]
        try:
            self.trainer = Trainer(**arguments)
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            trackers.close_runs(loggers)
            raise UserError(f"trainer: {error}") from error

    def execute(self) -> None:
        """Train, validate, test or predict; UserError if memory, disk or numbers gave out, or
        Lightning refuses the trainer's settings."""
        method = getattr(self.trainer, self.command)
        options = {name: self.settings[name] for name in self.experiment.method_arguments}
        try:
            method(self.model, datamodule=self.data, **options)
        except StoppedBySignal as end:
            log.info("%s", end)
            raise
        except Exception as error:
            for record in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(record, RunRecord) and record.record.get("status") == "running":
                    # Another callback's on_exception failed, or the trainer's end itself.
                    record.on_exception(self.trainer, self.model, error)
            fault = machine.explain(error, self.model.batch_shapes)
            if "loading state_dict" in str(error):  # of a config that the checkpoint does not hold
                what = f"{self.settings.ckpt_path}: the checkpoint is of another model"
                fault = UserError(f"--ckpt_path {what}: {str(error).splitlines()[1].strip()}")
            if fault is None or fault is error:
                raise
            raise fault from error
        finally:
            trackers.close_runs(self.trainer.loggers)

    def _find_checkpoint(self) -> str | None:
        """The path of the checkpoint that ``--ckpt_path`` names, or that the job had begun."""
        given: str | None = self.settings.ckpt_path
        where = (self.base, self.group, self.settings.seed_everything)
        if given == "last":
            return str(checkpoints.last_checkpoint(*where))
        if given is not None:
            checkpoints.read_checkpoint(
                Path(given), tensors=False
            )  # before hours of preparing data
            return given
        if self.command != "fit":
            raise UserError(f"{self.command} needs a checkpoint: --ckpt_path PATH (or last)")
        # Slurm gives the same command again: it continues what the job had begun.
        job = slurm_job() if was_requeued() else ""
        found = checkpoints.checkpoint_of_job(*where, job) if job else None
        if found is not None and machine.is_first_process():
            log.info("Slurm job %s resumes from %s", job, found)
        return None if found is None else str(found)

    def _choose_folder(self) -> Path:
        """A new folder; that of the checkpoint's run, if one is resumed."""
        checkpoint = self.settings.ckpt_path
        if checkpoint and (known := run_folder.folder_of(Path(checkpoint))):
            if self.command == "fit":
                run_folder.check_writable(known)
            return known
        base = self.base.resolve()
        if not machine.is_first_process():  # writes nothing, but should agree on the place
            return Path(os.environ.get(FOLDER_VARIABLE) or base / "runs" / self.group)
        # Named otherwise than a training, which `--ckpt_path last` would look for in it.
        name = f"seed-{self.settings.seed_everything}" if self.command == "fit" else self.command
        folder = run_folder.create_folder(base, self.group, name)
        os.environ[FOLDER_VARIABLE] = str(folder)
        return folder


def check_network(task: Any, data: Any) -> None:
    """Build the network without memory, and its optimizer, before hours of preparing data: what
    does not go together shows only there. What cannot be built on the meta device is built later.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = task.build_network(8)
        most = getattr(network, "max_length", None)
        for key in ("context", "eval_context"):
            context = getattr(data, key, None)
            if most is not None and context is not None and context > most:
                scheme = type(network.position).__name__
                raise UserError(
                    f"data: {key} of {context} tokens is longer than the {most} positions of "
                    f"{scheme}; lower it, or train with a larger model.position.max_length"
                )
        try:
            task.optimizer(network.parameters())
        except (ValueError, TypeError, IndexError) as error:
            raise UserError(f"model.optimizer: {error}") from error
    except (RuntimeError, TypeError) as error:
        if "overflow" in str(error).lower():
            raise UserError("model: a size is larger than a tensor's can be") from error
        if isinstance(error, TypeError):
            raise


def _with_config_of_checkpoint(args: list[str]) -> list[str]:
    """A checkpoint without a config brings the one that its run left beside it."""
    split = [part for arg in args for part in (arg.split("=", 1) if arg[:2] == "--" else [arg])]
    given = dict(pairwise(split))
    checkpoint = Path(given.get("--ckpt_path", "last"))
    if checkpoint == Path("last") or given.keys() & {"--config", "-c"}:
        return args
    folder = run_folder.folder_of(checkpoint) if checkpoint.is_file() else None
    if folder is not None:
        return ["--config", str(folder / run_folder.CONFIG), *args]
    # What is wrong with it matters more than the missing config.
    checkpoints.read_checkpoint(checkpoint, tensors=False)
    return args


def _print_summary(run: Run, folder: Path) -> None:
    """What a finished training shows: examples, the metric that counts, where its files are."""
    metrics, metric = run.trainer.callback_metrics, run.model.primary_metric
    print()
    for example in run.model.examples(3):
        print("".join(f"{name:<12}{text}\n" for name, text in example.items()))
    if metric.name in metrics:
        print(f"{metric.label} {float(metrics[metric.name]):.2f} {metric.unit}".rstrip())
    print(f"curves      {relpath(folder / run_folder.CURVES)}")
    print(f"record      {relpath(folder / run_folder.RECORD)}")
    for checkpoint in sorted(folder.glob("checkpoints/*.ckpt")):
        print(f"checkpoint  {relpath(checkpoint)}")
