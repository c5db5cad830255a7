"""Beam search for a batch of sentences at once, exact or stopped early.

Shapes as in :mod:`qvbench.decoding.search`; T is the longest translation allowed.

A hypothesis that ends after t tokens (``</s>`` counted) scores ``log p / t**length_penalty``.
Nothing that continues a live one, of log-probability s <= 0, can score above
``s / max_length**length_penalty``. A sentence is done once that bound on its best live hypothesis
does not exceed the worst of the finished ones asked for: nothing is missed.

Most toolkits stop sooner, at the K-th end: "first come, first served" in Kasai et al. 2022
(arXiv:2204.05424), a *patience* of 1. An infinite patience waits for the bound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qvbench.decoding.search import (
    Hypothesis,
    S,
    Step,
    check_max_lengths,
    finite,
    likeliest,
    to_ids,
    unfinished,
)


@torch.no_grad()
def beam_search(
    step: Step[S],
    state: S,
    sentences: int,
    beam_size: int,
    max_lengths: Tensor,
    length_penalty: float,
    bos: int,
    eos: int,
    pad: int,
    n_best: int | None = None,
    patience: float = math.inf,
) -> list[list[Hypothesis]]:
    """The best hypotheses of every sentence, best first.

    Args:
        state: at the start of N = ``sentences * beam_size`` hypotheses.
        max_lengths: (B,) int64 on the device of the logits; most tokens a sentence may get,
            ``</s>`` counted, at least 1. Hypotheses that reach it are closed as they are.
        length_penalty: exponent of the length that divides log-probabilities, 0 to 10.
        bos, eos, pad: special ids; ``bos`` and ``pad`` are never produced.
        n_best: hypotheses asked for per sentence, from 1 to K; K unless given. Fewer stop earlier,
            and there are fewer only where fewer can be formed.
        patience: above 0; a sentence is done once ``patience * K`` of its hypotheses have ended,
            but not with fewer than are asked for.

    Raises:
        FloatingPointError: the logits hold NaN.
    """
    n_best = beam_size if n_best is None else n_best
    # To a higher power a length overflows, and scores would be no numbers.
    if not (1 <= n_best <= beam_size and 0 <= length_penalty <= 10 and patience > 0):
        raise ValueError(f"out of range: {n_best=} of {beam_size=}, {length_penalty=}, {patience=}")
    check_max_lengths(max_lengths, sentences)
    if sentences == 0:
        return []
    enough = max(float(n_best), patience * beam_size)
    beams = _Beams(beam_size, n_best, max_lengths, length_penalty, enough, eos, pad)
    tokens = torch.full((sentences * beam_size,), bos, device=max_lengths.device)
    banned = torch.tensor([pad, bos], device=max_lengths.device)
    while True:
        done = beams.advance(*_candidates(step(tokens, state), beams.scores, banned))
        going, kept = unfinished(done), None
        if going is not None:
            beams.store(done)
            if len(going) == 0:
                return beams.results
            kept = torch.tensor(going, device=max_lengths.device)
            beams.keep(kept)
        first = torch.arange(len(done), device=done.device) if kept is None else kept
        state.select((first[:, None] * beam_size + beams.parents).flatten(), kept)
        tokens = beams.tokens.flatten()


def _candidates(logits: Tensor, scores: Tensor, banned: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2K likeliest one-token continuations of every sentence's K hypotheses, best first:
    log-probabilities, parents in 0..K-1 and tokens, each (B, 2K). At most K of them end, so that K
    are always left. ``scores`` (B, K) are -inf for a hypothesis that does not exist."""
    sentences, beam_size = scores.shape
    width = min(2 * beam_size, logits.shape[-1])
    best, tokens = likeliest(logits, banned, width)
    totals = (best + scores.view(-1, 1)).view(sentences, -1)
    # Stable, so that of equals the same one wins whatever else is in the batch.
    totals, order = totals.sort(dim=-1, descending=True, stable=True)
    order = order[:, : 2 * beam_size]
    return totals[:, : 2 * beam_size], order // width, tokens.view(sentences, -1).gather(1, order)


class _Beams:
    """The live and the finished hypotheses of every sentence that is not done yet.

    ``scores`` (B, K) are the live ones' log-probabilities, ``tokens`` their newest tokens,
    ``parents`` which hypothesis of the step before each one continues.
    """

    def __init__(
        self,
        beam_size: int,
        n_best: int,
        max_lengths: Tensor,
        length_penalty: float,
        enough: float,
        eos: int,
        pad: int,
    ) -> None:
        sentences, device = len(max_lengths), max_lengths.device
        closing: list[int] = max_lengths.tolist()
        self._closing_steps = set(closing)  # on the host: most steps close nothing
        self._max_lengths = max_lengths
        self._length_penalty = length_penalty
        self._enough = enough  # ended hypotheses with which a sentence is done
        self._eos, self._pad = eos, pad
        self._step = 0
        # Before the first step a sentence has one hypothesis; the copies beside it do not exist.
        self.scores = torch.full((sentences, beam_size), -torch.inf, device=device)
        self.scores[:, 0] = 0
        self.tokens = torch.full((sentences, beam_size), pad, device=device)
        self.parents = torch.zeros_like(self.tokens)
        self._words = torch.full((sentences, beam_size, max(closing)), pad, device=device)
        self._ended_scores = torch.full((sentences, n_best), -torch.inf, device=device)
        self._ended_words = torch.full((sentences, n_best, max(closing)), pad, device=device)
        self._ends = torch.zeros(sentences, dtype=torch.int64, device=device)
        self._where = torch.arange(sentences, device=device)  # among the results
        self.results: list[list[Hypothesis]] = [[]] * sentences

    def advance(self, scores: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """Take the step's candidates, (B, 2K) each and best first; which sentences are done (B,).
        Only an end among the best K finishes: one that K better continuations outrank would not
        have been in the beam. The best K that do not end go on."""
        self._step += 1
        ends = tokens == self._eos  # (B, 2K)
        in_beam = slice(None, self.scores.shape[1])
        self._finish(
            scores[:, in_beam].masked_fill(~ends[:, in_beam], -torch.inf),
            _take(self._words, parents[:, in_beam]),
        )
        self._ends = self._ends + (ends & (scores > -torch.inf))[:, in_beam].sum(1)
        # Stable, so that those that do not end come first and stay in order: the best K of them.
        live = ends.to(torch.int8).argsort(dim=-1, stable=True)[:, in_beam]
        live = live.gather(1, _order_of_places(parents.gather(1, live)))
        self.scores, self.parents = scores.gather(1, live), parents.gather(1, live)
        self.tokens = tokens.gather(1, live)
        self._words = _take(self._words, self.parents)
        self._words[:, :, self._step - 1] = self.tokens
        at_limit = self._max_lengths <= self._step
        if self._step in self._closing_steps:
            self._finish(self.scores.masked_fill(~at_limit[:, None], -torch.inf), self._words)
        attainable = self.scores.amax(1) / self._max_lengths**self._length_penalty
        bound = self._ended_scores[:, -1] >= attainable
        return at_limit | bound | (self._ends >= self._enough)

    def _finish(self, scores: Tensor, words: Tensor) -> None:
        """Hypotheses (B, K), -inf for what has not ended, and their words (B, K, T) compete for a
        place among the ended. Of equals, the one that ended first stays."""
        n_best = self._ended_scores.shape[1]
        ended = torch.cat([self._ended_scores, scores / self._step**self._length_penalty], 1)
        ended, order = ended.sort(dim=-1, descending=True, stable=True)
        self._ended_scores = ended[:, :n_best]
        self._ended_words = _take(torch.cat([self._ended_words, words], 1), order[:, :n_best])

    def store(self, done: Tensor) -> None:
        """Add the finished hypotheses of the sentences that are ``done`` (B,) to the results."""
        n_best = self._ended_scores.shape[1]
        ids = iter(to_ids(self._ended_words[done].flatten(0, 1), self._pad))
        scores = iter(finite(self._ended_scores[done].float().flatten()))
        for sentence in self._where[done].tolist():
            found = [Hypothesis(next(ids), next(scores)) for _ in range(n_best)]
            self.results[sentence] = [each for each in found if each.score > -torch.inf]

    def keep(self, sentences: Tensor) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[sentences])


def _order_of_places(parents: Tensor) -> Tensor:
    """An order of hypotheses with these parents (B, K) in which most stand where the parent did.

    The first child of a hypothesis takes its place, so that its cache need not be copied; others
    take places that are free. For parents 2 2 0 3 the places are 2 1 0 3.
    """
    # A hypothesis has an elder sibling if one before it (lower triangle) has the same parent.
    has_elder = (parents[:, :, None] == parents[:, None, :]).tril(-1).any(-1)
    taken = torch.zeros_like(parents).scatter_(1, parents, 1)
    free = taken.argsort(dim=-1, stable=True)  # sorted by 0 and 1: the free places come first
    # The n-th younger sibling takes the n-th free place; there are as many of both.
    place = free.gather(1, (has_elder.cumsum(1) - 1).clamp_min(0)).where(has_elder, parents)
    return place.argsort(dim=-1)  # the inverse: which hypothesis stands at each place


def _take(words: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, R) of words (B, K, T): (B, R, T)."""
    return words.gather(1, rows[:, :, None].expand(-1, -1, words.shape[-1]))
