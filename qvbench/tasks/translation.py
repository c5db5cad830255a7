"""The LightningModule that trains and tests a translation model around any mechanism.

Shape letters: B batch, S source length, T target length with the start token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor

from qvbench.attention import ATTENTION, AttentionFactory
from qvbench.data.batching import Batch
from qvbench.data.module import TranslationDataModule
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary
from qvbench.decoding.translator import Translator
from qvbench.errors import UserError
from qvbench.metrics.accuracy import Perplexity, TokenAccuracy, TokenLoss
from qvbench.models.encoder_decoder import EncoderDecoder, NetworkFactory
from qvbench.models.loss import training_totals, validation_scores
from qvbench.positions import POSITIONS, PositionFactory
from qvbench.runs.metric import Metric
from qvbench.tasks.gradient_step import GradientStep
from qvbench.tasks.scoring import score_translations
from qvbench.tasks.step_log import StepLog
from qvbench.tasks.task_state import check_checkpoint, restore_task_state, task_state
from qvbench.training.schedules import Noam, Schedule
from qvbench.training.sentence_counts import sentence_scores

Scores = TypeVar("Scores")
Scoring = Callable[[Tensor, Tensor, Tensor, Tensor, float], Scores]


class TranslationTask(LightningModule):
    """Trains, validates and tests an encoder-decoder on pairs of sentences.

    A gradient step is the gradient of the summed loss divided by the target tokens of the *whole*
    step, however it is cut into accumulated batches and devices.

    Args:
        attention: mechanism of every attention layer.
        position: position scheme.
        network: the encoder-decoder around them.
        optimizer: built on the network's parameters; its rate is multiplied by the schedule's.
        schedule: learning rate per step; the optimizer's own rate should be 1.
        label_smoothing: probability mass spread evenly over the vocabulary in training.
        beam_size: hypotheses per sentence in ``test`` and ``predict``; 1 is greedy search.
        length_penalty: exponent of the length by which a hypothesis's score is divided.
        patience: a search ends once ``patience * beam_size`` hypotheses have; infinite for all
            that the beam could find.
    """

    data_module: ClassVar[type[TranslationDataModule]] = TranslationDataModule
    primary_metric: ClassVar[Metric] = Metric("val/accuracy", "validation accuracy", "%", True)

    def __init__(
        self,
        attention: AttentionFactory,
        position: PositionFactory,
        network: NetworkFactory,
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        label_smoothing: float = 0.1,
        beam_size: int = 5,
        length_penalty: float = 1.0,
        patience: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing must be in [0, 1), got {label_smoothing}")
        if beam_size < 1:
            raise UserError(f"model.beam_size must be at least 1, got {beam_size}")
        if not patience > 0:
            raise UserError(f"model.patience must be above 0, got {patience}")
        self.attention = attention
        self.position = position
        self.network_factory = network
        self.optimizer = optimizer
        self.schedule = schedule or Noam()
        self.label_smoothing = label_smoothing
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.patience = patience
        self.network: EncoderDecoder | None = None
        self.vocabulary: Vocabulary | None = None
        self.config_yaml = ""  # of this task alone, as the command line resolved it
        self.bleu_signatures: dict[str, str] = {}
        self.tested_lines: dict[str, list[str]] = {}  # plain text: translations, references
        self.target_tokens_seen = 0
        self.step_log = StepLog()
        self.accuracy = TokenAccuracy()
        self.loss = TokenLoss()
        self.smoothed_loss = TokenLoss()
        self.perplexity = Perplexity()
        self.gradient_step = GradientStep()
        self._line: dict[str, float] = {}  # logged, not yet shown
        self._translations: dict[int, list[int]] = {}
        self.resumed: dict[str, Any] = {}  # what the checkpoint of a resumed run holds

    # Building

    def configure_model(self) -> None:
        """Build the network for the vocabulary of the data, once."""
        if self.network is None:
            self.build(self.data.vocabulary)

    def build(self, vocabulary: Vocabulary) -> None:
        """Build the network for a vocabulary."""
        self.vocabulary = vocabulary
        self.network = self.network_factory(
            vocab_size=len(vocabulary),
            padding_id=0,
            attention=self.attention,
            position=self.position,
        )

    def configure_optimizers(self) -> Any:
        """The optimizer with the schedule as a factor on its rate, stepped with it."""
        assert self.network is not None
        optimizer = self.optimizer(self.network.parameters())
        width = self.network.d_model

        def rate(steps_done: int) -> float:
            return self.schedule.learning_rate(steps_done + 1, width)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        by_step = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": by_step}

    @property
    def log_every(self) -> int:
        """Optimizer steps between two log lines: ``trainer.log_every_n_steps``."""
        return int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    @property
    def data(self) -> TranslationDataModule:
        """The data module of the run."""
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, TranslationDataModule)
        return data

    @property
    def mechanism_name(self) -> str:
        """Registry name of the mechanism."""
        assert self.network is not None
        return ATTENTION.name_of(type(self.network.encoder[0].attention))

    @property
    def position_name(self) -> str:
        """Registry name of the position scheme."""
        return POSITIONS.name_of(type(self.position(num_heads=1, d_model=8)))

    # Training

    def score(self, batch: Batch, function: Scoring[Scores]) -> Scores:
        """A scoring of a batch's target tokens, the end token counted, padding not."""
        assert self.network is not None
        hidden = self.network(batch.source, batch.target[:, :-1])
        following = batch.target[:, 1:]
        real = following != self.network.padding_id
        return function(
            hidden[real],
            self.network.output_weight,
            self.network.output_bias,
            following[real],
            self.label_smoothing,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """A batch's share of the step's loss; see :class:`GradientStep`."""
        totals = self.score(batch, training_totals)
        self.step_log.add(batch, totals)
        return self.gradient_step.loss(totals)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradient that of the mean loss over the step's target tokens."""
        self.step_log.end_step(*self.gradient_step.finish(self, optimizer))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: Any = None,
    ) -> None:
        """Clip the normalised gradient.

        Lightning refuses fused optimizers under fp16, for they would get scaled gradients; ours
        are unscaled by now.
        """
        plugin = self.trainer.precision_plugin
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0.0, algorithm)

    def on_train_start(self) -> None:
        """Go on with the random numbers, and the step begun, of the run that is resumed."""
        self.step_log.start()
        restore_task_state(self, self.resumed)
        self.resumed = {}

    def tokens_seen_now(self) -> int:
        """Target tokens trained on so far, over all devices and restarts."""
        return self.target_tokens_seen + self.step_log.pending_target_tokens()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Show the line that was logged, if any."""
        self.log_steps()
        if self._line:
            shown = ("train/loss", "train/accuracy", "train/tokens_per_second")
            self.log_dict({name: self._line[name] for name in shown}, prog_bar=True, logger=False)
            self._line = {}

    def log_steps(self) -> None:
        """Log the steps since the last time, every ``log_every_n_steps`` optimizer steps.

        Asked again at the same step, it has nothing to log.
        """
        step = self.trainer.global_step
        if self.gradient_step.unfinished or step % self.log_every:
            return
        values = self.step_log.values(self)
        if not values:
            return
        self.target_tokens_seen += int(values.pop("new_target_tokens"))
        values["target_tokens"] = float(self.target_tokens_seen)
        for logger in self.loggers:
            logger.log_metrics(values, step)
        self._line = values

    # Validation

    def on_validation_start(self) -> None:
        self.step_log.pause()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Count a batch; what each of its sentences added is for callbacks."""
        scores = self.score(batch, validation_scores)
        totals = scores.totals()
        self.accuracy.update(totals.correct, totals.tokens)
        self.smoothed_loss.update(totals.smoothed, totals.tokens)
        self.loss.update(totals.nll, totals.tokens)
        self.perplexity.update(totals.nll, totals.tokens)
        return sentence_scores(batch, scores.correct, scores.nll)._asdict()

    def on_validation_epoch_end(self) -> None:
        """Log the measures of the whole set, and how many target tokens training had seen.

        Loggers are told directly: Lightning would file them one step too early.
        """
        metrics = {
            "val/accuracy": self.accuracy,
            "val/loss": self.loss,
            "val/smoothed_loss": self.smoothed_loss,
            "val/perplexity": self.perplexity,
        }
        values = {name: float(metric.compute()) for name, metric in metrics.items()}
        for metric in metrics.values():
            metric.reset()
        for name, value in values.items():
            self.log(name, value, prog_bar=name == "val/accuracy", logger=False)
        if not self.trainer.sanity_checking:
            values["target_tokens"] = float(self.tokens_seen_now())
            for logger in self.loggers:
                logger.log_metrics(values, self.trainer.global_step)

    def on_validation_end(self) -> None:
        self.step_log.resume()

    # Translation

    def translate(self, batch: Batch) -> dict[int, list[int]]:
        """Line numbers of a batch to the token ids of their translations."""
        assert self.network is not None
        assert self.vocabulary is not None
        translator = Translator(
            self.network,
            self.vocabulary,
            beam_size=self.beam_size,
            length_penalty=self.length_penalty,
            patience=self.patience,
        )
        translations = translator.translate_ids(batch.source)
        return dict(zip(batch.index.tolist(), translations, strict=True))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._translations.update(self.translate(batch))

    def on_test_epoch_end(self) -> None:
        """Score the whole test set: BLEU and chrF, detokenised and tokenised, with signatures."""
        processor = TextProcessor.of(self.data.corpus, self.data.lowercase)
        references = self.data.reference_lines(self.data.test_split)
        tested = score_translations(self._gathered_translations(), references, processor)
        self.tested_lines, self.bleu_signatures = tested.lines, tested.signatures
        self.log_dict(tested.scores, rank_zero_only=True)

    def _gathered_translations(self) -> list[str]:
        """Translations of all devices, in the order of the test set's lines."""
        assert self.vocabulary is not None
        parts: list[Any] = [self._translations]
        if self.trainer.world_size > 1:
            parts = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, self._translations)
        merged: dict[int, list[int]] = {}
        for part in parts:
            merged.update(part)
        self._translations = {}
        return [self.vocabulary.decode(merged[line]) for line in sorted(merged)]

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[int, str]:
        """Line numbers of a batch to their translations in plain text."""
        assert self.vocabulary is not None
        processor = self.data.processor
        return {
            line: processor.detokenize(self.vocabulary.decode(ids))
            for line, ids in self.translate(batch).items()
        }

    # Checkpoints: plain data only, so that they load with weights_only=True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `translate` needs, and what training needs to go on."""
        checkpoint["qvbench"] = task_state(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or vocabulary; take up the count of tokens."""
        where = f"--ckpt_path {self.trainer.ckpt_path}"
        check_checkpoint(self, checkpoint, where, fit=self.trainer.state.fn == "fit")
        self.resumed = checkpoint["qvbench"]
        self.target_tokens_seen = self.resumed["target_tokens_seen"]
