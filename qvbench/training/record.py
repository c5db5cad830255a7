"""What a run leaves of itself: ``run.json``, ``config.yaml`` and ``curves.csv``."""

from __future__ import annotations

import logging
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from qvbench.data.corpora import CORPORA
from qvbench.models.facts import attention_backend, count_parameters, recorded_flops
from qvbench.runs.curves import CurvesFile
from qvbench.runs.folder import CONFIG, CURVES, RECORD, REFERENCES, TRANSLATIONS, write_text
from qvbench.runs.identity import identity
from qvbench.runs.record import git_revision, now, read_json, sweep_labels, versions, write_record
from qvbench.runs.slurm import slurm_job
from qvbench.training import trackers
from qvbench.training.machine import describe_hardware, explain

log = logging.getLogger(__name__)

_ENDS = (KeyboardInterrupt, SystemExit)  # by hand, or by a signal that had a checkpoint written


class CurvesLogger(Logger):
    """Appends every metric to the curves of a run as it comes.

    Attributes:
        started: as of :class:`AsyncLogger`.
    """

    name = version = ""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = CurvesFile(folder / CURVES)
        self._folder = folder
        self.started: float | None = None

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row per metric; ``epoch`` and ``target_tokens`` are columns, not rows."""
        values = dict(metrics)
        epoch, tokens = values.pop("epoch", None), values.pop("target_tokens", None)
        place: list[object] = ["", "", "" if tokens is None else int(tokens), ""]
        if self.started is not None:
            place[0] = "" if step is None else step
            place[1] = "" if epoch is None else int(epoch)
            place[3] = f"{time.monotonic() - self.started:.2f}"
        self.file.append(place, values)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds the resolved config."""


class RunRecord(Callback):
    """Keeps the record of a run in its folder, so that a crashed run leaves one too.

    The record is written when training starts, after every validation and when the run ends;
    ``test`` adds its scores to the record of the run whose checkpoint it tests. A resumed run's
    files stay as they are until everything has accepted the checkpoint. ``folder`` exists,
    ``resolved`` is the whole config, ``args`` are those of the command ``qvbench``.
    """

    def __init__(
        self, folder: Path, config_name: str, resolved: Any, seed: int, args: Sequence[str]
    ) -> None:
        self.folder = folder
        self.config_name = config_name
        self.resolved = resolved
        self.seed = seed
        self.command = shlex.join(["qvbench", *args])
        self.record: dict[str, Any] = {}
        self._started = 0.0  # by the monotonic clock, as if the run had not been interrupted

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the resolved config before anything can fail; never over that of the training."""
        if trainer.is_global_zero and not (self.folder / CONFIG).exists():
            self._write_config()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None:
            self._begin(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.record:  # resumed
            self._begin(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, pl_module, status="running")

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not self.record:  # resumed at its end, where no training starts
            self._begin(trainer, pl_module)
        # In one write: a record that says "finished" is not looked at again.
        self._save(trainer, pl_module, "finished", tokens=pl_module.tokens_seen_now())

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Keep how the run ended: the message to the user, or the kind of the internal error."""
        if trainer.state.fn != "fit" or not self.record:
            return
        status = "interrupted" if isinstance(exception, _ENDS) else "failed"
        fault = explain(exception, pl_module.batch_shapes)
        if status == "failed":
            message = str(fault) if fault else type(exception).__name__
            self.record["fault"] = {"message": message, **getattr(fault, "facts", {})}
        self._save(trainer, pl_module, status=getattr(fault, "status", status))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the scores, and which checkpoint they are of."""
        if not is_of_whole_set(trainer):
            return
        if "wall_seconds" in (stored := read_json(self.folder / RECORD)):
            self.record = stored  # a run that still trains has gone on
        self.record["metrics"].update(_numbers(trainer, "test/"))
        self.record["bleu_signatures"] = dict(getattr(pl_module, "bleu_signatures", {}))
        self.record["tested_checkpoint"] = Path(str(trainer.ckpt_path)).name
        self.write(trainer)

    def write(self, trainer: Trainer) -> None:
        """Write the record as it is; the first process does."""
        if trainer.is_global_zero:
            write_record(self.folder, self.record)

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Write that a run trains, anew or again."""
        if trainer.is_global_zero:
            self._write_config()
        self._open(trainer, module)
        # A resumed run may go on for longer, which is another experiment.
        self.record |= {"identity": identity(self.resolved), "command": self.command}
        for of_the_part_before in ("fault", "ended"):
            self.record.pop(of_the_part_before, None)
        if job := slurm_job():
            self.record["slurm_job"] = job
        self.record |= trackers.describe(trainer.loggers, self.record)
        self._save(trainer, module, status="running")
        for logger in trainer.loggers:
            if isinstance(logger, CurvesLogger | trackers.AsyncLogger):
                logger.started = self._started
        what = "{mechanism}, {position}: {parameters[total]:,} parameters, "
        what += "{parameters[attention]:,} of them in attention; this run is %s"
        log.info(what.format_map(self.record), self.folder)

    def _write_config(self) -> None:
        text = yaml.safe_dump(self.resolved, sort_keys=False, allow_unicode=True)
        write_text(self.folder / CONFIG, text)

    def _open(self, trainer: Trainer, module: LightningModule) -> None:
        """Read the record of the run if it has one (a restart, a test), else begin it."""
        stored = read_json(self.folder / RECORD)
        self.record = stored if "wall_seconds" in stored else self._new(trainer, module)
        self._started = time.monotonic() - self.record["wall_seconds"]

    def _new(self, trainer: Trainer, module: Any) -> dict[str, Any]:
        data: Any = getattr(trainer, "datamodule", None)
        hardware = describe_hardware()
        hardware |= {"accelerator": trainer.accelerator.name(), "devices": trainer.world_size}
        return {
            "id": f"{self.folder.parent.name}/{self.folder.name}",
            "identity": identity(self.resolved),
            "config": self.config_name,
            "command": self.command,
            "mechanism": module.mechanism_name,
            "position": module.position_name,
            "label": module.labels,
            "corpus": CORPORA.name_of(type(getattr(data, "corpus", data))),
            "seed": self.seed,
            "git": git_revision(),
            "versions": versions(),
            "hardware": hardware | {"precision": str(trainer.precision)},
            **{name: hardware[name] for name in ("cpu", "cores", "threads")},
            "data_fingerprint": data.fingerprint,
            "parameters": count_parameters(module.network),
            "cache_per_token": module.network.cache_per_token,
            **recorded_flops(module.network),
            "steps": 0,
            "target_tokens": 0,
            "started": now(),
            "wall_seconds": 0.0,
            "primary_metric": module.primary_metric._asdict(),
            "metrics": {},
            "bleu_signatures": {},
            "status": "running",
            **{name: value for name, value in sweep_labels().items() if name == "variant"},
        }

    def _save(self, trainer: Trainer, module: Any, status: str, tokens: int | None = None) -> None:
        """Write how far the run is; ``tokens`` seen, where those since the last log count too."""
        if trainer.global_step > self.record["steps"]:
            self._drop_test(trainer)
        self.record["metrics"].update(_numbers(trainer, "train/", "val/"))
        self.record |= {
            "steps": trainer.global_step,
            "target_tokens": int(module.target_tokens_seen if tokens is None else tokens),
            "wall_seconds": round(time.monotonic() - self._started, 2),
            "attention_backend": attention_backend(module.network),
            "status": status,
        }
        if status != "running":
            self.record["ended"] = now()
        self.write(trainer)

    def _drop_test(self, trainer: Trainer) -> None:
        """Drop what a test said of the weights that have been trained further."""
        metrics = self.record["metrics"].items()
        self.record["metrics"] = {n: v for n, v in metrics if not n.startswith("test/")}
        self.record["bleu_signatures"] = {}
        self.record.pop("tested_checkpoint", None)
        for name in (TRANSLATIONS, REFERENCES) if trainer.is_global_zero else ():
            (self.folder / name).unlink(missing_ok=True)


def is_of_whole_set(trainer: Trainer) -> bool:
    """Whether a test reads all of its set, not a few batches (``limit_test_batches``) to try it."""
    return type(trainer.limit_test_batches) is float and trainer.limit_test_batches == 1.0


def _numbers(trainer: Trainer, *prefixes: str) -> dict[str, float | None]:
    """The latest metrics of these kinds; JSON has no infinity, so what is not finite is null."""
    found = trainer.callback_metrics.items()
    values = {name: float(value) for name, value in found if name.startswith(prefixes)}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
