"""Token means over a whole set; BLEU against a short implementation of its own definition."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from qvbench.metrics import TokenMeans, corpus_scores

BATCHES = [(1, 1, 0.25), (30, 100, 310.0), (0, 7, 28.0)]  # right, tokens, summed loss


def means(metric: TokenMeans, batches: list[tuple[int, int, float]]) -> dict[str, float]:
    for right, tokens, loss in batches:
        correct = torch.zeros(tokens, dtype=torch.float64)
        correct[:right] = 1
        nll = torch.zeros(tokens, dtype=torch.float64)
        nll[-1] = loss
        metric.update(correct, nll, 2 * nll)
    return {name: value.item() for name, value in metric.compute().items()}


def expected() -> dict[str, float]:
    mean = 338.25 / 108
    perplexity = torch.tensor(mean, dtype=torch.float64).exp().item()
    accuracy = 100 * 31 / 108
    return {
        "accuracy": accuracy,
        "loss": mean,
        "smoothed_loss": 2 * mean,
        "perplexity": perplexity,
    }


def test_means_are_of_all_tokens_and_reset_forgets() -> None:
    """Catches a mean of batch means (43.3 here), an accuracy that is not in per cent, a mean of
    perplexities or one of the smoothed loss, and an epoch whose means are of all epochs so far."""
    metric = TokenMeans()
    assert means(metric, BATCHES) == expected()
    metric.reset()
    assert means(metric, [(1, 2, 0.0)])["accuracy"] == 50


def test_counts_stay_exact_beyond_float32() -> None:
    """Catches float32 sums, where 2**24 + 1 is 2**24: a validation set has more tokens."""
    many = 2**24
    metric = TokenMeans()
    metric.update(torch.ones(many), torch.ones(many, dtype=torch.float64), torch.zeros(many))
    found = means(metric, [(1, 1, 0.5), (1, 1, 0.5), (0, 1, 0.0)])
    assert found["accuracy"] == 100 * (many + 2) / (many + 3)
    assert found["loss"] == (many + 1) / (many + 3)


def test_no_tokens_have_no_mean() -> None:
    """Catches an accuracy of 0 % or 100 % of an empty set."""
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(value.isnan() for value in TokenMeans().compute().values())


def _rank(rank: int, address: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    assert means(TokenMeans(), BATCHES[rank::2]) == expected()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_sum_their_counts(tmp_path: Path) -> None:
    """Catches states that are averaged or kept apart between devices."""
    # Forked, since a new process takes seconds to import torch.
    address = f"{tmp_path}/rendezvous"
    mp.start_processes(_rank, (address,), nprocs=2, start_method="fork")


# BLEU and chrF

HYPOTHESES = ["ein Mann fährt mit Fahrrad .", "zwei Hunde spielen im Schnee .", "Ja ."]
REFERENCES = ["ein Mann fährt ein rotes Fahrrad .", "zwei Hunde spielen im tiefen Schnee .", "ja ."]


def plain_bleu(hypotheses: list[str], references: list[str]) -> float:
    """Papineni et al. 2002 over whitespace tokens, one reference, no smoothing."""
    right, total = [0] * 4, [0] * 4
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        h, r = hypothesis.split(), reference.split()
        for n in range(4):
            grams = [Counter(tuple(x[i : i + n + 1]) for i in range(len(x) - n)) for x in (h, r)]
            right[n] += (grams[0] & grams[1]).total()
            total[n] += grams[0].total()
    precision = math.exp(sum(math.log(a / b) for a, b in zip(right, total, strict=True)) / 4)
    lengths = [sum(len(x.split()) for x in texts) for texts in (hypotheses, references)]
    return 100 * precision * min(1.0, math.exp(1 - lengths[1] / lengths[0]))


def test_tokenized_bleu_is_bleu_of_the_tokens_given() -> None:
    """Catches a hidden tokenization, swapped arguments and a missing brevity penalty."""
    scores = corpus_scores(HYPOTHESES, REFERENCES, "none")
    assert scores.bleu == pytest.approx(plain_bleu(HYPOTHESES, REFERENCES), abs=1e-9)
    assert scores.bleu != pytest.approx(plain_bleu(REFERENCES, HYPOTHESES), abs=1e-3)


def test_the_two_kinds_name_their_tokenizer() -> None:
    """Catches tok:none reported as 13a: the scores differ by more than most experiments."""
    tokenized = corpus_scores(HYPOTHESES, REFERENCES, "none")
    detokenized = corpus_scores(HYPOTHESES, REFERENCES, "13a")
    assert "tok:none" in tokenized.bleu_signature.split("|")
    assert "tok:13a" in detokenized.bleu_signature.split("|")
    assert all("version:" in s.chrf_signature for s in (tokenized, detokenized))


def test_detokenized_bleu_splits_punctuation() -> None:
    """Catches plain text scored without a tokenizer: "Haus." and "Haus" would share no word."""
    hypothesis, reference = ["Das ist ein großes altes Haus."], ["Das ist ein großes altes Haus!"]
    split = [text[0].replace("Haus", "Haus ") for text in (hypothesis, reference)]
    expected = plain_bleu([split[0]], [split[1]])
    assert corpus_scores(hypothesis, reference, "13a").bleu == pytest.approx(expected, abs=1e-9)


def test_identical_text_is_100_and_an_empty_line_is_no_fault() -> None:
    """Catches a translation of an empty line that breaks the evaluation of all others."""
    scores = corpus_scores([*REFERENCES, ""], [*REFERENCES, "nichts"], "none")
    assert scores.bleu < 100
    assert corpus_scores(REFERENCES, REFERENCES, "13a").bleu == pytest.approx(100)
    assert corpus_scores(REFERENCES, REFERENCES, "13a").chrf == pytest.approx(100)


def test_unequal_or_no_lines_are_refused() -> None:
    """Catches a score over the part of the test set that happened to be translated."""
    with pytest.raises(ValueError, match="3 hypotheses but 2 references"):
        corpus_scores(HYPOTHESES, REFERENCES[:2], "none")
    with pytest.raises(ValueError, match="no hypotheses"):
        corpus_scores([], [], "13a")
