"""Translation: pairs of sentences, an encoder-decoder, token accuracy, BLEU and chrF.

Shape letters: B batch, S source length, T target length with the start token.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qvbench.data.batching import Batch
from qvbench.data.translation import TranslationDataModule
from qvbench.decoding.translator import Translator
from qvbench.errors import UserError
from qvbench.metrics import corpus_scores
from qvbench.models.encoder_decoder import NetworkFactory
from qvbench.tasks.base import Predictions, Task
from qvbench.training.checkpoints import gather_lines


class TranslationTask(Task):
    """Trains, validates and tests an encoder-decoder on pairs of sentences.

    Args:
        network: the encoder-decoder around mechanism and position scheme.
        label_smoothing: probability mass spread evenly over the vocabulary in training.
        beam_size: hypotheses per sentence in ``test`` and ``predict``; 1 is greedy search.
        length_penalty: exponent of the length by which a hypothesis's score is divided, 0 to 10.
        patience: a search ends once ``patience * beam_size`` hypotheses have; infinite for all
            that the beam could find.
        settings: the others of :class:`Task`.

    Attributes:
        bleu_signatures: sacreBLEU's, by the metric's name; empty before a test.
        tested_lines: plain text of a test, ``translations`` and ``references``.
    """

    data_module = TranslationDataModule

    def __init__(
        self,
        network: NetworkFactory,
        label_smoothing: float = 0.1,
        beam_size: int = 5,
        length_penalty: float = 1.0,
        patience: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(network=network, label_smoothing=label_smoothing, **settings)
        if beam_size < 1:
            raise UserError(f"model.beam_size must be at least 1, got {beam_size}")
        if not 0 <= length_penalty <= 10:
            raise UserError(f"model.length_penalty must be from 0 to 10, got {length_penalty}")
        if not patience > 0:
            raise UserError(f"model.patience must be above 0, got {patience}")
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.patience = patience
        self.bleu_signatures: dict[str, str] = {}
        self.tested_lines: dict[str, list[str]] = {}
        self._translations: dict[int, list[int]] = {}

    def forward(self, batch: Batch) -> Predictions:
        """Predictions of every target token, the end token included, from those before it."""
        targets = batch.target[:, 1:]
        hidden = self.network(batch.source, batch.target[:, :-1])
        return Predictions(hidden, targets, targets != self.network.padding_id)

    def token_ids(self, batch: Batch) -> tuple[Tensor, ...]:
        return batch.source, batch.target

    def translator(self) -> Translator:
        settings = self.beam_size, self.length_penalty, self.patience
        return Translator(self.network, self.vocabulary, *settings)

    def translate(self, batch: Batch) -> dict[int, list[int]]:
        """Line numbers of a batch to the token ids of their translations."""
        translations = self.translator().translate_ids(batch.source)
        return dict(zip(batch.index.tolist(), translations, strict=True))

    def examples(self, count: int) -> list[dict[str, str]]:
        """The first validation pairs with their translations, as the corpus writes text; none where
        the store is gone."""
        data, processor = self.data, self.data.processor
        try:  # as they are stored: the downloads need not be there any more
            sources, references = (
                data.lines(data.val_split, side)[:count] for side in ("source", "target")
            )
        except FileNotFoundError:  # nor the store, which a run that has opened it can do without
            return []
        words = self.translator().translate_lines(map(processor.source, sources))
        texts = words if processor.tokenized else [processor.detokenize(line) for line in words]
        return [
            {"source": source, "reference": reference, "translation": text}
            for source, reference, text in zip(sources, references, texts, strict=True)
        ]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._translations.update(self.translate(batch))

    def on_test_epoch_end(self) -> None:
        """Score the whole test set: BLEU and chrF of plain and of tokenized text, in per cent."""
        processor = self.data.processor
        lines = self.data.lines(self.data.test_split, "target")
        translations = gather_lines(self._translations, self.trainer.world_size)
        self._translations = {}
        references = [lines[number] for number in translations]  # all, unless batches are limited
        words = [self.vocabulary.decode(ids) for ids in translations.values()]
        tokens = [processor.target(line) for line in references]
        plain = [processor.detokenize(line) for line in words]
        references = [processor.plain_reference(line) for line in references]
        self.tested_lines = {"translations": plain, "references": references}
        for suffix, scores in (
            ("", corpus_scores(plain, references, "13a")),
            ("_tokenised", corpus_scores(words, tokens, "none")),  # the name in all records so far
        ):
            self.bleu_signatures[f"test/bleu{suffix}"] = scores.bleu_signature
            self.bleu_signatures[f"test/chrf{suffix}"] = scores.chrf_signature
            self.log_whole(f"test/bleu{suffix}", scores.bleu)
            self.log_whole(f"test/chrf{suffix}", scores.chrf)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[int, str]:
        """Line numbers of a batch to their translations in plain text."""
        processor = self.data.processor
        return {
            line: processor.detokenize(self.vocabulary.decode(ids))
            for line, ids in self.translate(batch).items()
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how text is processed: a checkpoint translates without its run's folder."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["qvbench"]["text"] = self.data.processor.state()
