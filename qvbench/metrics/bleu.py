"""Corpus BLEU and chrF by sacreBLEU, each with the signature without which it means nothing.

One model scored 27.5 to 29.0 BLEU under four tokenizations (tensorflow/tensor2tensor, issue 317).
Hence two kinds, never mixed: ``tok:none`` takes tokenized text as the model sees it and is what
OpenNMT-py's recipes and most of the Multi30k literature report; ``tok:13a`` takes plain text, is
sacreBLEU's default and is the one that compares across systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple


class CorpusScores(NamedTuple):
    """BLEU and chrF of a whole test set, 0 to 100, with sacreBLEU's signatures."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def corpus_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenizer: Literal["none", "13a"],
    lowercase: bool = False,
) -> CorpusScores:
    """Scores of translations against one reference each.

    Args:
        hypotheses: translations: plain text, or tokens separated by spaces.
        references: as many references, in the same form.
        tokenizer: ``13a`` (mteval's) for plain text; ``none`` for tokens.
        lowercase: compare without regard to case; the signature says so.

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
    bleu = BLEU(tokenize=tokenizer, lowercase=lowercase, force=tokenizer == "none")
    chrf = CHRF(lowercase=lowercase)
    return CorpusScores(
        bleu=bleu.corpus_score(hypotheses, [references]).score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )
