"""The loggers that a config adds to the local record: TensorBoard and Weights & Biases.

The folder of the run is the record; these get copies. None of them may stop a run or delay it.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger

from qvbench.runs.folder import RECORD
from qvbench.runs.record import first_line, has_wandb_key, read_json, sweep_labels
from qvbench.training.machine import is_first_process

log = logging.getLogger(__name__)

CLOSE_SECONDS = 330.0
"""How long the end of a run waits for a tracker to take the rest; W&B itself gives up after 300."""
OFFLINE = "W&B: %s; this run is kept offline, `wandb sync` uploads it later"
LABELS = ("mechanism", "position", "corpus", "seed", "variant", "suite")
COSTS = ("parameters", "flops_per_target_token", "cache_per_token")
"""What W&B gets of a run's record as config (and tags, but for the seed) and as summary."""


class AsyncLogger(Logger):
    """Makes another logger's calls in a thread of its own, which a call that hangs holds up alone.

    W&B's calls can raise, or never return when its own process is gone. The first exception is
    reported in one line, and ends the calls.

    Attributes:
        failed: whether it was given up.
        started: when training began by the monotonic clock, as if it had not been interrupted;
            from then on, ``seconds`` are logged beside the metrics.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.failed = False
        self.started: float | None = None
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    name = property(lambda self: self.logger.name)
    version = property(lambda self: self.logger.version)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        if self.started is not None:
            values["seconds"] = round(time.monotonic() - self.started, 2)
        self.call(self.logger.log_metrics, values, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.call(self.logger.log_hyperparams, params)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        self.call(self.logger.after_save_checkpoint, checkpoint_callback)

    def save(self) -> None:
        self.call(self.logger.save)

    def finalize(self, status: str) -> None:
        self.call(self.logger.finalize, status)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        self._calls.put(partial(function, *args))

    def close(self) -> None:
        """End the other logger's run and the thread; name what uploads a run kept offline."""
        if isinstance(self.logger, WandbLogger):
            import wandb

            self.call(wandb.finish)
        self._calls.put(None)
        end = time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and not self.failed:
            self._thread.join(0.1)
            if time.monotonic() > end:
                self._give_up(f"no answer within {CLOSE_SECONDS:g} seconds")
        run = getattr(self.logger, "_experiment", None)
        if getattr(run, "offline", False) is True and not self.failed:
            print(f"W&B      offline{self._later()}")

    def _later(self) -> str:
        folder = getattr(getattr(self.logger, "_experiment", None), "dir", None)
        return f"; to upload: wandb sync {Path(folder).parent}" if isinstance(folder, str) else ""

    def _give_up(self, reason: str) -> None:
        self.failed = True
        what = "%s: %s; the run continues without it, its own folder has everything%s"
        log.warning(what, type(self.logger).__name__, reason, self._later())

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                if not self.failed:
                    call()
            except Exception as error:  # whatever a tracker raises: the run is worth more
                if not self.failed:
                    self._give_up(first_line(error))


def configure(settings: Namespace, folder: Path, group: str, job_type: str) -> None:
    """Let the loggers of a parsed config write into the folder of the run, under its name.

    A ``save_dir`` of "." is that folder. ``group``, the name of the config, and ``job_type`` are
    what W&B tells runs apart by.
    """
    given = settings.trainer.logger
    for spec in given if isinstance(given, list) else [given]:
        if not isinstance(spec, Namespace) or "class_path" not in spec:
            continue
        arguments = spec.init_args
        if arguments.get("save_dir") == ".":
            arguments.save_dir = str(folder)
            if spec.class_path.endswith("TensorBoardLogger"):
                arguments.name, arguments.version = "", "tensorboard"
        if spec.class_path.endswith("WandbLogger"):
            arguments.name = arguments.name or f"{group}/{folder.name}"
            arguments.group = arguments.get("group") or group
            arguments.job_type = arguments.get("job_type") or job_type
            known = read_json(folder / RECORD).get("wandb_id") if job_type == "train" else None
            own = known or secrets.token_hex(4)  # a resumed run goes on in the W&B run it had
            arguments.version = arguments.version or arguments.get("id") or own
            if not (arguments.offline or "WANDB_MODE" in os.environ or has_wandb_key()):
                # W&B would ask for a key on a terminal and wait, and fail elsewhere.
                arguments.offline, arguments.log_model = True, False
                log.warning(OFFLINE, "no API key found (WANDB_API_KEY or `wandb login`)")


def open_runs(configured: Any, resolved: dict[str, Any]) -> list[Logger]:
    """The loggers that a config adds (not true and None), each with the whole resolved config."""
    given = configured if isinstance(configured, list) else [configured]
    loggers = [AsyncLogger(logger) for logger in given if isinstance(logger, Logger)]
    for logger in loggers if is_first_process() else []:
        if isinstance(logger.logger, WandbLogger):
            logger.call(_open_wandb, logger.logger)
        logger.log_hyperparams(resolved)
    return list(loggers)


def describe(loggers: Iterable[Logger], record: Mapping[str, Any]) -> dict[str, str]:
    """Label W&B's run by the record when training starts; gives its ``wandb_id`` for the record."""
    found = {}
    for logger in loggers if is_first_process() else []:
        if isinstance(logger, AsyncLogger) and isinstance(logger.logger, WandbLogger):
            logger.call(_label_wandb, logger.logger, {**record, **sweep_labels()})
            found["wandb_id"] = str(logger.version)
    return found


def close_runs(loggers: Iterable[Logger]) -> None:
    """End the loggers' runs: the next training of this process would be logged into W&B's."""
    for logger in loggers:
        if isinstance(logger, AsyncLogger):
            logger.close()


def _open_wandb(logger: WandbLogger) -> None:
    """Start the W&B run; one that cannot be opened with the server is opened offline."""
    import wandb

    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    os.environ.setdefault("WANDB_FINISH_TIMEOUT", "300")  # else a silent server keeps us for ever
    try:
        _ = logger.experiment
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        log.warning(OFFLINE, first_line(error))
        wandb.teardown()
        os.environ["WANDB_MODE"] = "offline"
        _ = logger.experiment


def _label_wandb(logger: WandbLogger, record: Mapping[str, Any]) -> None:
    """Flat config, tags and summary, by which W&B groups, filters and compares runs."""
    labels = {key: record[key] for key in LABELS if key in record}
    run = logger.experiment
    size = record["parameters"]["total"]
    run.config.update({**labels, "size": size}, allow_val_change=True)
    tags = {str(value) for key, value in labels.items() if key != "seed"}
    run.tags = (*(run.tags or ()), *sorted(tags - set(run.tags or ())))
    costs = {f"{key}/{part}": v for key in COSTS for part, v in record.get(key, {}).items()}
    run.summary.update(costs)
