"""Measures of a model: token accuracy and losses of a whole set, BLEU and chrF with signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class TokenMeans(Metric):
    """Accuracy, loss, smoothed loss and perplexity per target token, over all batches and devices.

    A mean of batch means would weigh a token by the size of its batch. Sums are kept as float64 on
    the device, whole numbers exactly: an update never waits, and the order of the batches leaves
    no trace. All means are NaN while no token has been counted.
    """

    full_state_update = False
    sums: Tensor  # (3,): correct, negative log-likelihood, smoothed loss
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, correct: Tensor, nll: Tensor, smoothed: Tensor) -> None:
        """Add target tokens (N,): whether the arg-max is right, and both losses in nats."""
        self.sums += torch.stack([each.sum().double() for each in (correct, nll, smoothed)])
        self.tokens += len(correct)

    def compute(self) -> dict[str, Tensor]:
        """The means, float64; ``accuracy`` in per cent.

        Accuracy is the paper's (OpenNMT-py, ``onmt/utils/loss.py``): the share of target tokens,
        the end token included and padding not, that are the arg-max under teacher forcing.
        """
        correct, nll, smoothed = self.sums.unbind()
        loss = nll / self.tokens
        return {
            "accuracy": 100 * correct / self.tokens,
            "loss": loss,
            "smoothed_loss": smoothed / self.tokens,
            "perplexity": loss.exp(),
        }


class CorpusScores(NamedTuple):
    """BLEU and chrF of a whole test set, 0 to 100, with sacreBLEU's signatures."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], tokenizer: Literal["none", "13a"]
) -> CorpusScores:
    """Scores of translations against one reference each, by sacreBLEU.

    One model scored 27.5 to 29.0 BLEU under four tokenizations (tensorflow/tensor2tensor, issue
    317). Hence two kinds, never mixed: ``none`` takes tokens as the model sees them and is what
    OpenNMT-py's recipes and most of the Multi30k literature report; ``13a`` (mteval's) takes plain
    text and is the one that compares across systems.

    Raises:
        ValueError: no hypotheses, or another number of references.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses but {len(references)} references")
    if not hypotheses:
        raise ValueError("no hypotheses to score")
    # force: sacreBLEU warns of periods that stand alone; in tokenized text they all do.
    bleu = BLEU(tokenize=tokenizer, force=tokenizer == "none")
    chrf = CHRF()
    return CorpusScores(
        bleu=bleu.corpus_score(hypotheses, [references]).score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )
