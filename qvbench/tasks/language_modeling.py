"""Language modeling: windows of a text, a decoder-only network, the loss of the next token."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from qvbench.data.batching import Windows
from qvbench.data.corpora.synthetic import NO_TOKEN
from qvbench.data.language import LanguageDataModule
from qvbench.data.module import StoredDataModule
from qvbench.data.text import check_vocabulary
from qvbench.metrics import TokenMeans
from qvbench.models.decoder_only import DecoderOnlyFactory
from qvbench.models.loss import TokenScores
from qvbench.models.pretrained import copy_weights, load_pretrained
from qvbench.positions import Position
from qvbench.runs.record import Metric
from qvbench.tasks.base import Predictions, Task


class LanguageModelingTask(Task):
    """Trains, validates and tests a decoder-only network on text.

    Beside loss, perplexity and accuracy of the next token it logs ``val/bits_per_byte``, which
    does not depend on the tokenizer. Where windows are longer than those of training
    (``data.eval_context``), ``val/loss_at_0`` is the loss up to the context of training, say 128,
    and ``val/loss_at_128`` that from there up to the next doubling of it. The optimizer's weight
    decay is for matrices alone.

    Args:
        network: the decoder-only network around mechanism and position scheme.
        settings: those of :class:`Task`.
    """

    data_module: ClassVar[type[StoredDataModule]] = LanguageDataModule
    primary_metric = Metric("val/loss", "validation loss", "nats", False)
    padding_id = NO_TOKEN

    def __init__(self, network: DecoderOnlyFactory, **settings: Any) -> None:
        super().__init__(network=network, **settings)
        self._by_position: dict[int, TokenMeans] = {}  # by the first position that it counts

    def check_start(self, path: Path) -> None:
        if not path.is_dir():
            super().check_start(path)

    def start_from(self, path: Path) -> None:
        """Take the weights of a checkpoint, or of a folder with GPT-2's or Llama's as Hugging Face
        writes them; UserError if they are of another network or vocabulary."""
        if path.is_dir():
            where = f"model.init_from {path}"
            copy_weights(load_pretrained(path), self.network, where)
            if (tokenizer := path / "tokenizer.json").is_file():
                theirs = type(self.vocabulary).load(tokenizer).fingerprint()
                check_vocabulary(theirs, self.vocabulary.fingerprint(), where)
        else:
            super().start_from(path)

    def forward(self, batch: Windows) -> Predictions:
        """Predictions of every token of a window but the first, from those before it."""
        hidden = self.network(batch.inputs, batch.documents)
        return Predictions(hidden, batch.targets, batch.targets != NO_TOKEN)

    def token_ids(self, batch: Windows) -> tuple[Tensor, ...]:
        return (batch.inputs,)

    def parameters_to_train(self) -> Iterable[Any]:
        """Matrices, and apart from them, without weight decay, what it is not meant for: vectors,
        and what a position scheme learns within attention."""
        schemes = (m for m in self.network.modules() if isinstance(m, Position) and not m.absolute)
        spared = {parameter for scheme in schemes for parameter in scheme.parameters()}
        spared |= {parameter for parameter in self.network.parameters() if parameter.dim() < 2}
        groups = [{"params": [p for p in self.network.parameters() if p not in spared]}]
        rest = [p for p in self.network.parameters() if p in spared]
        return [*groups, {"params": rest, "weight_decay": 0.0}] if rest else groups

    def count_scores(self, predictions: Predictions, scores: TokenScores) -> None:
        super().count_scores(predictions, scores)
        starts = self.position_starts()
        position = predictions.counted.nonzero()[:, 1]
        for start, end in zip(starts, [*starts[1:], math.inf], strict=False):
            means = self._by_position.setdefault(start, TokenMeans().to(self.device))
            within = (position >= start) & (position < end)
            means.update(scores.correct[within], scores.nll[within], scores.smoothed[within])

    def position_starts(self) -> list[int]:
        """Positions of a window from which on losses are logged apart."""
        start, longest = self.data.context, self.data.eval_context or 0
        starts = [start << n for n in range(longest.bit_length()) if start << n < longest]
        return [0, *starts] if starts else []

    def test_step(self, batch: Windows, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log of the test set what a validation logs of its own."""
        for name, value in self.whole_set().items():
            self.log_whole(f"test/{name}", value)

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        data = self.data
        per_token = data.bytes_per_token(
            data.test_split if self.trainer.testing else data.val_split
        )
        if per_token is not None:
            means = {**means, "bits_per_byte": means["loss"] / per_token / math.log(2)}
        for start in list(self._by_position):
            found = self._by_position.pop(start).compute()
            means = {**means, f"loss_at_{start}": float(found["loss"])}
        return means
