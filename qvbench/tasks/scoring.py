"""What a test set's translations score, in plain text and tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qvbench.data.text_processing import TextProcessor
from qvbench.metrics.bleu import detokenised_scores, tokenised_scores


class Tested(NamedTuple):
    """A test's outcome.

    Attributes:
        scores: ``test/bleu``, ``test/chrf`` of plain text, and both with ``_tokenised``; per cent.
        signatures: sacreBLEU's, of each score.
        lines: plain text, ``translations`` and ``references``.
    """

    scores: dict[str, float]
    signatures: dict[str, str]
    lines: dict[str, list[str]]


def score_translations(
    words: Sequence[str], references: Sequence[str], processor: TextProcessor
) -> Tested:
    """BLEU and chrF of a whole test set.

    Args:
        words: translations, tokenised.
        references: lines as the corpus has them.
        processor: of the corpus, in the case that is scored.
    """
    lines = {
        "translations": [processor.detokenize(line) for line in words],
        "references": [processor.plain_reference(line) for line in references],
    }
    plain = detokenised_scores(lines["translations"], lines["references"])
    tokenised = tokenised_scores(words, [processor.target(line) for line in references])
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    for suffix, each in (("", plain), ("_tokenised", tokenised)):
        scores |= {f"test/bleu{suffix}": each.bleu, f"test/chrf{suffix}": each.chrf}
        signatures |= {
            f"test/bleu{suffix}": each.bleu_signature,
            f"test/chrf{suffix}": each.chrf_signature,
        }
    return Tested(scores, signatures, lines)
