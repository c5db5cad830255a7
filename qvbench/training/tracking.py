"""The loggers that a config adds to the local record: TensorBoard and Weights & Biases.

The folder of the run is the record; these mirror it. None of them may stop a run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.loggers import Logger, WandbLogger

from qvbench.training.mirror import CLOSE_SECONDS, OPEN_SECONDS, Mirror
from qvbench.training.processes import is_first_process
from qvbench.training.wandb_account import has_wandb_key

log = logging.getLogger(__name__)

HERE = "."
"""A logger whose ``save_dir`` is this writes into the folder of the run."""


def place(settings: Namespace, folder: Path, group: str) -> None:
    """Let the config's loggers write into the folder of the run, under its name.

    Args:
        settings: the parsed config; its loggers are changed in place.
        folder: of the run.
        group: name of the config; W&B groups its seeds by it.
    """
    for spec in _specifications(settings.trainer.logger):
        arguments = spec.init_args
        if arguments.get("save_dir") == HERE:
            arguments.save_dir = str(folder)
            if spec.class_path.endswith("TensorBoardLogger"):
                arguments.name, arguments.version = "", "tensorboard"
        if spec.class_path.endswith("WandbLogger"):
            arguments.name = arguments.name or f"{group}/{folder.name}"
            _go_offline_without_account(arguments)


def mirrored(configured: Any) -> list[Logger]:
    """The loggers that a config adds; true and nothing mean none beside the local record."""
    if isinstance(configured, Logger):
        configured = [configured]
    return [Mirror(logger) for logger in configured] if isinstance(configured, list) else []


def open_runs(loggers: Iterable[Logger], resolved: dict[str, Any]) -> None:
    """Start the loggers and give each the whole resolved config; W&B falls back to offline.

    Args:
        loggers: of the trainer.
        resolved: the config, fragments and defaults filled in.
    """
    if not is_first_process():
        return
    for logger in loggers:
        wandb_logger = _wandb(logger)
        if wandb_logger is not None and isinstance(logger, Mirror):
            logger.later(partial(_open_wandb, wandb_logger))
            logger.wait(OPEN_SECONDS)
        logger.log_hyperparams(resolved)


def say_how_to_sync(loggers: Iterable[Logger]) -> None:
    """Name the command that uploads an offline W&B run; of one that failed it was said then."""
    for logger in loggers:
        if _wandb(logger) is None or not isinstance(logger, Mirror) or logger.failed:
            continue
        run = getattr(logger.logger, "_experiment", None)
        if getattr(run, "offline", False) and logger.sync_command:
            print(f"W&B      offline; to upload: {logger.sync_command}")


def close_runs(loggers: Iterable[Logger]) -> None:
    """End the loggers' runs: the next training of this process would be logged into W&B's."""
    for logger in loggers:
        if isinstance(logger, Mirror):
            logger.close(_finish_wandb if _wandb(logger) else logger.logger.save, CLOSE_SECONDS)


def _finish_wandb() -> None:
    import wandb

    if wandb.run is not None:
        wandb.finish()


def _wandb(logger: Logger) -> WandbLogger | None:
    """The W&B logger that a mirror hands on to."""
    inner = logger.logger if isinstance(logger, Mirror) else logger
    return inner if isinstance(inner, WandbLogger) else None


def _specifications(logger: Any) -> Iterator[Namespace]:
    """The loggers of a config that are given by class."""
    for entry in logger if isinstance(logger, list) else [logger]:
        if isinstance(entry, Namespace) and "class_path" in entry:
            yield entry


def _go_offline_without_account(arguments: Namespace) -> None:
    """W&B would ask for a key on a terminal and wait, and fail elsewhere."""
    if arguments.offline or "WANDB_MODE" in os.environ or has_wandb_key():
        return
    log.warning(
        "W&B: no API key found (WANDB_API_KEY or `wandb login`), so this run is kept offline; "
        "`wandb sync` uploads it later"
    )
    arguments.offline = True
    arguments.log_model = False  # only possible online


def _open_wandb(logger: WandbLogger) -> None:
    """Start the W&B run now, so that a missing network shows before training and not within it.

    A run that cannot be opened with the server is opened offline. Raises what W&B raises if even
    that fails.
    """
    import wandb

    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    os.environ.setdefault("WANDB_FINISH_TIMEOUT", "300")  # else a silent server keeps us for ever
    try:
        _ = logger.experiment
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("W&B: %s; this run is kept offline, `wandb sync` uploads it later", reason)
        wandb.teardown()
        os.environ["WANDB_MODE"] = "offline"
        _ = logger.experiment
