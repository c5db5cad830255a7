"""What every task has in common: gradient step, logging, validation, checkpoints.

Shape letters: B rows of a batch, T target positions, N counted target tokens, d model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor

from qvbench.attention import ATTENTION, AttentionFactory
from qvbench.data.text import check_vocabulary
from qvbench.errors import UserError
from qvbench.metrics import TokenMeans
from qvbench.models.loss import TokenScores, training_totals, validation_scores
from qvbench.positions import POSITIONS, PositionFactory
from qvbench.runs.record import Metric
from qvbench.tasks.steps import GradientStep, StepLog, loss_scale
from qvbench.training.checkpoints import check_same_model, gather, read_checkpoint, resumable
from qvbench.training.schedules import Noam, Schedule

Scores = TypeVar("Scores")
Scoring = Callable[[Tensor, Tensor, Tensor, Tensor, float], Scores]


class Predictions(NamedTuple):
    """What a network says of a batch."""

    hidden: Tensor  # (B, T, d), from which the output layer predicts the target tokens
    targets: Tensor  # (B, T) int64, their ids
    counted: Tensor  # (B, T) bool, those that are trained on and scored; padding is not


class Task(LightningModule):
    """Trains and validates a network that predicts tokens, around any mechanism.

    A gradient step is the gradient of the summed loss divided by the target tokens of the *whole*
    step, however it is cut into accumulated batches and devices.

    A task defines ``data_module``, :meth:`forward`, :meth:`token_ids`, and, where it has more to
    measure than tokens, :meth:`measures`, ``test_step`` and ``predict_step``. Its data module has a
    ``vocabulary`` (``len``, ``to_json``, ``from_json``, ``fingerprint``) and gives batches whose
    ``index`` (B,) is the line of each row in its split. Its network has ``d_model``,
    ``padding_id``, ``output_weight`` (V, d), ``output_bias`` (V,), one ``attention`` and
    ``position`` by which it is named, and ``cache_per_token``, elements per layer by the kind of
    attention.

    Args:
        attention: mechanism of every attention layer.
        position: position scheme.
        network: what is built around them, once the vocabulary is known.
        optimizer: built on the network's parameters; its rate is multiplied by the schedule's.
        schedule: learning rate per step; the optimizer's own rate should be 1.
        label_smoothing: probability mass spread evenly over the vocabulary in training.
        init_from: a checkpoint with whose weights a training starts, such as one that
            ``qvbench convert`` wrote. Of a language model also a folder with published ones.

    Attributes:
        task_name: as a config names the task; a checkpoint keeps it.
        network: None until it is built.
        vocabulary: of the data; None until the network is built.
        config_yaml: the ``model`` section of the resolved config.
        resumed: what the checkpoint of a resumed run holds; empty once training has started.
    """

    data_module: ClassVar[type[LightningDataModule]]
    primary_metric: ClassVar[Metric] = Metric("val/accuracy", "validation accuracy", "%", True)
    padding_id: ClassVar[int] = 0  # in the ids that the network reads

    def __init__(
        self,
        attention: AttentionFactory,
        position: PositionFactory,
        network: Callable[..., Any],
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        label_smoothing: float = 0.0,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing must be in [0, 1), got {label_smoothing}")
        self.attention = attention
        self.position = position
        self.network_factory = network
        self.optimizer = optimizer
        self.schedule = schedule or Noam()
        self.label_smoothing = label_smoothing
        self.init_from = init_from
        self.network: Any = None
        self.vocabulary: Any = None
        self.task_name = ""
        self.config_yaml = ""
        self.resumed: dict[str, Any] = {}
        self.target_tokens_seen = 0
        self.gradient_step = GradientStep()
        self.step_log = StepLog()
        self.token_means = TokenMeans()
        self.batch_shapes: list[tuple[int, ...]] = []  # of the token ids being trained on
        self._line: dict[str, float] = {}  # logged, not yet shown

    # What a task defines

    def forward(self, batch: Any) -> Predictions:
        raise NotImplementedError

    def token_ids(self, batch: Any) -> tuple[Tensor, ...]:
        """The tensors of token ids that the network reads, padding included."""
        raise NotImplementedError

    # Building

    def configure_model(self) -> None:
        if self.network is None:
            self.build(self.data.vocabulary)
            if self.init_from is not None and self.trainer.state.fn == "fit":
                self.start_from(Path(self.init_from))

    def check_start(self, path: Path) -> None:
        """UserError for what :meth:`start_from` would refuse, if that shows without the data."""
        stored = read_checkpoint(path, tensors=False)["qvbench"]
        check_same_model(stored["config"], self.config_yaml, f"model.init_from {path}", fit=False)

    def start_from(self, path: Path) -> None:
        """Take the weights of a checkpoint of the same network and vocabulary; UserError if not."""
        checkpoint = read_checkpoint(path)
        self._check_fits(checkpoint["qvbench"], f"model.init_from {path}", fit=False)
        self.load_state_dict(checkpoint["state_dict"])

    def _check_fits(self, stored: dict[str, Any], where: str, fit: bool) -> None:
        """Refuse a checkpoint of another network or vocabulary, or to resume another training."""
        check_same_model(stored["config"], self.config_yaml, where, fit)
        expected = type(self.vocabulary).from_json(stored["vocabulary"]).fingerprint()
        check_vocabulary(expected, self.vocabulary.fingerprint(), where)

    def build(self, vocabulary: Any) -> None:
        self.vocabulary = vocabulary
        self.network = self.build_network(len(vocabulary))

    def build_network(self, vocab_size: int) -> Any:
        """A network with initial weights for a vocabulary of ``vocab_size`` entries."""
        parts = {"attention": self.attention, "position": self.position}
        return self.network_factory(vocab_size=vocab_size, padding_id=self.padding_id, **parts)

    def configure_optimizers(self) -> Any:
        """The optimizer with the schedule as a factor on its rate, stepped with it."""
        optimizer = self.optimizer(self.parameters_to_train())
        width = self.network.d_model

        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda done: self.schedule.learning_rate(done + 1, width)
        )
        by_step = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": by_step}

    def parameters_to_train(self) -> Iterable[Any]:
        """The network's parameters, or groups of them, as an optimizer takes them."""
        return iter(self.network.parameters())

    @property
    def data(self) -> Any:
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, self.data_module)
        return data

    @property
    def log_every(self) -> int:
        """Optimizer steps between two log lines."""
        return int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    @property
    def mechanism_name(self) -> str:
        return ATTENTION.name_of(type(self.network.attention))

    @property
    def position_name(self) -> str:
        return POSITIONS.name_of(type(self.network.position))

    @property
    def labels(self) -> dict[str, str]:
        """Display names of the mechanism and of the position scheme."""
        network = self.network
        return {"mechanism": network.attention.label, "position": network.position.label}

    def examples(self, count: int) -> list[dict[str, str]]:
        """What the network makes of the first validation rows, as named texts; none by default."""
        return []

    # Training

    def score(self, predictions: Predictions, function: Scoring[Scores]) -> Scores:
        """A loss function of :mod:`qvbench.models.loss`, of the target tokens that count."""
        hidden, targets, counted = predictions
        weight, bias = self.network.output_weight, self.network.output_bias
        return function(hidden[counted], weight, bias, targets[counted], self.label_smoothing)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """A batch's share of the step's loss; see :class:`GradientStep`."""
        self.batch_shapes = [tuple(ids.shape) for ids in self.token_ids(batch)]
        totals = self.score(self(batch), training_totals)
        self.step_log.add(totals, self.token_ids(batch), self.network.padding_id)
        return self.gradient_step.loss(totals)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradient that of the mean loss over the step's target tokens."""
        tokens, gradients = self.gradient_step.finish(self, optimizer)
        self.step_log.end_step(tokens, gradients, optimizer.param_groups[0]["lr"])

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: Any = None,
    ) -> None:
        """Clip the normalized gradient.

        Lightning refuses fused optimizers under fp16, for they would get scaled gradients; these
        are unscaled by now.
        """
        plugin = self.trainer.precision_plugin
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0.0, algorithm)

    def tokens_seen_now(self) -> int:
        """Target tokens trained on so far, over all devices and restarts."""
        return self.target_tokens_seen + self.step_log.pending_target_tokens()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batch_shapes = []
        self.log_steps()
        if self._line:
            shown = ("train/loss", "train/accuracy", "train/tokens_per_second")
            self.log_dict({name: self._line[name] for name in shown}, prog_bar=True, logger=False)
            self._line = {}

    def log_steps(self) -> None:
        """Log the steps since the last line where one is due; asked again, there are none."""
        step = self.trainer.global_step
        if self.gradient_step.unfinished or step % self.log_every:
            return
        tokens = self.step_log.pending_target_tokens()
        values = self.step_log.line(partial(self.trainer.strategy.reduce, reduce_op="sum"))
        if not values:
            return
        self.target_tokens_seen += tokens
        values |= loss_scale(self.trainer)
        values["target_tokens"] = float(self.target_tokens_seen)
        for logger in self.loggers:
            logger.log_metrics(values, step)
        self._line = values

    # Validation

    def on_validation_start(self) -> None:
        self.step_log.pause()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Count a batch.

        Returns:
            For each row (B,): its ``line``, ``correct`` tokens and ``tokens`` that count.
        """
        predictions = self(batch)
        scores = self.score(predictions, validation_scores)
        self.count_scores(predictions, scores)
        counted = predictions.counted
        correct = torch.zeros(counted.shape, dtype=scores.correct.dtype, device=counted.device)
        correct[counted] = scores.correct
        return {"line": batch.index, "correct": correct.sum(1), "tokens": counted.sum(1)}

    def count_scores(self, predictions: Predictions, scores: TokenScores) -> None:
        """Add the target tokens of a batch that count to what :meth:`measures` is given."""
        self.token_means.update(scores.correct, scores.nll, scores.smoothed)

    def on_validation_epoch_end(self) -> None:
        """Log the measures of the whole set; ``validate`` prints them instead.

        Loggers are called directly: Lightning would file them one step too early.
        """
        values = {f"val/{name}": value for name, value in self.whole_set().items()}
        for name, value in values.items():
            self.log_whole(name, value, prog_bar=name == self.primary_metric.name, logger=False)
        if self.trainer.state.fn == "validate":
            if self.trainer.is_global_zero:
                for name, value in values.items():
                    print(f"{name:<20}{value:.6g}{' %' if name == 'val/accuracy' else ''}")
        elif not self.trainer.sanity_checking or self.trainer.num_sanity_val_steps == math.inf:
            # A sanity check of the whole set is what the weights are worth before the first step.
            values["target_tokens"] = float(self.tokens_seen_now())
            for logger in self.loggers:
                logger.log_metrics(values, self.trainer.global_step)

    def whole_set(self) -> dict[str, float]:
        """The measures of all that was counted since the last call."""
        means = {name: float(value) for name, value in self.token_means.compute().items()}
        self.token_means.reset()
        return self.measures(means)

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """What a validation or a test logs, from the means over its tokens."""
        return means

    def log_whole(self, name: str, value: float, **options: Any) -> None:
        """Log a number that is of all devices already: the largest of equal ones is itself."""
        self.log(name, value, sync_dist=True, reduce_fx="max", **options)

    def on_validation_end(self) -> None:
        self.step_log.resume()

    # Checkpoints: plain data only, so that they load with weights_only=True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what translates without the run's folder, and what resumes training exactly."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        own = {"cpu": torch.get_rng_state(), "cuda": cuda}
        first, *others = gather(own, self.trainer.world_size)  # each draws its own dropout
        checkpoint["qvbench"] = {
            "task": self.task_name,
            "config": self.config_yaml,
            "vocabulary": self.vocabulary.to_json(),
            "target_tokens_seen": self.tokens_seen_now(),
            "unfinished_step": self.gradient_step.unfinished and not self.trainer.should_stop,
            "step_logs": gather(self.step_log.state(), self.trainer.world_size),
            "random_state": first,
            "random_states_of_others": others,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what :meth:`on_save_checkpoint` added; refuse what does not belong together."""
        stored = checkpoint["qvbench"]
        where = f"--ckpt_path {self.trainer.ckpt_path}"
        fit = self.trainer.state.fn == "fit"
        self._check_fits(stored, where, fit)
        if fit and not resumable(checkpoint):
            raise UserError(
                f"{where}: holds weights alone, or was written within an optimizer step: training "
                "cannot be resumed from it; take last.ckpt"
            )
        self.resumed = stored
        self.target_tokens_seen = stored["target_tokens_seen"]

    def on_train_start(self) -> None:
        """Continue with the random numbers and the log of a resumed run."""
        self.step_log.start()
        self.gradient_step = GradientStep()
        stored, self.resumed = self.resumed, {}
        if not stored:
            return
        own = [stored["random_state"], *stored.get("random_states_of_others", [])][self.global_rank]
        torch.set_rng_state(own["cpu"].cpu())
        if own["cuda"] and len(own["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in own["cuda"]])
        if "step_logs" in stored:
            self.step_log.restore(stored["step_logs"][self.global_rank], self.device)
        # Those that the next line of the log adds. A run resumed at its end has no next line.
        self.target_tokens_seen -= self.step_log.pending_target_tokens()
