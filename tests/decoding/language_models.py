"""Small random language models to search in, and oracles that do not share code with the search.

A model gives every sentence its own table of logits, looked up by the position and the last two
tokens. The token before the last comes from the state's memory, never from the search, so that a
search which reorders or drops the wrong rows gets the logits of another hypothesis.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3


class TableState:
    """Memory of N rows: the sentence of each and its tokens so far. Checks what it is asked."""

    def __init__(self, sentences: int, copies: int) -> None:
        self.copies = copies
        self.sentence = torch.arange(sentences).repeat_interleave(copies)
        self.past = torch.empty(sentences * copies, 0, dtype=torch.int64)
        self.rows_stepped: list[int] = []

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        kept = torch.arange(len(self.sentence) // self.copies) if sentences is None else sentences
        own = self.sentence.view(-1, self.copies)[kept].flatten()
        assert torch.equal(self.sentence[rows], own), "a hypothesis changed its sentence"
        self.sentence, self.past = own, self.past[rows]


class TableModel:
    """logits(sentence, position, token before last, last token), random in ``seed``.

    Args:
        sentences: how many sentences it knows.
        vocab: entries; 0..3 are the special ids.
        seed: of the table.
        end: added to the logit of ``</s>``; negative makes translations longer.
        sharpness: standard deviation of the logits.
    """

    positions = 64

    def __init__(
        self,
        sentences: int,
        vocab: int = 6,
        seed: int = 0,
        end: float = 0.0,
        sharpness: float = 1.5,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (sentences, self.positions, vocab, vocab, vocab)
        self.table = torch.randn(shape, generator=generator) * sharpness
        self.table[..., EOS] += end
        self.vocab = vocab

    def start(self, sentences: list[int] | int, copies: int) -> TableState:
        """A state for these sentences (or the first so many)."""
        chosen = list(range(sentences)) if isinstance(sentences, int) else sentences
        state = TableState(len(chosen), copies)
        state.sentence = torch.tensor(chosen).repeat_interleave(copies)
        return state

    def step(self, tokens: Tensor, state: TableState) -> Tensor:
        assert tokens.shape == state.sentence.shape
        state.past = torch.cat([state.past, tokens[:, None]], dim=1)
        state.rows_stepped.append(len(tokens))
        before = state.past[:, -2] if state.past.shape[1] > 1 else torch.zeros_like(tokens)
        position = min(state.past.shape[1], self.positions) - 1
        return self.table[state.sentence, position, before, tokens]  # indexing copies

    def log_probs(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
        """Of the token after ``<s>`` and ``prefix``, for the oracles, in float64."""
        history = (PAD, BOS, *prefix)
        position = min(len(prefix), self.positions - 1)
        row = self.table[sentence, position, history[-2], history[-1]].double().tolist()
        total = math.log(sum(math.exp(x) for x in row))
        return [x - total for x in row]


def enumerate_all(
    model: TableModel, sentence: int, max_length: int, length_penalty: float
) -> list[tuple[float, list[int]]]:
    """(score, tokens) of every translation there is, best first: exhaustive enumeration."""
    words = [i for i in range(model.vocab) if i not in (PAD, BOS, EOS)]
    found = []
    for length in range(max_length + 1):
        for tokens in itertools.product(words, repeat=length):
            log_p = sum(
                model.log_probs(sentence, tokens[:i])[token] for i, token in enumerate(tokens)
            )
            if length < max_length:
                log_p += model.log_probs(sentence, tokens)[EOS]
            found.append((log_p / min(length + 1, max_length) ** length_penalty, list(tokens)))
    return sorted(found, reverse=True)


def slow_beam_search(
    model: TableModel,
    sentence: int,
    beam_size: int,
    max_length: int,
    length_penalty: float,
    enough: float = math.inf,
) -> list[tuple[float, list[int]]]:
    """Beam search for one sentence, as one would explain it: (score, tokens), best first.

    It goes on to ``max_length``, or until ``enough`` have ended, and ranks what has ended.
    """
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, list[int]]] = []
    for length in range(1, max_length + 1):
        candidates = sorted(
            (
                (log_p + new, (*tokens, token))
                for log_p, tokens in live
                for token, new in enumerate(model.log_probs(sentence, tokens))
                if token not in (PAD, BOS)
            ),
            reverse=True,
        )
        for log_p, tokens in candidates[:beam_size]:
            if tokens[-1] == EOS:
                ended.append((log_p / length**length_penalty, list(tokens[:-1])))
        if len(ended) >= enough and length < max_length:  # at the limit all are closed
            return sorted(ended, reverse=True)[:beam_size]
        live = [each for each in candidates if each[1][-1] != EOS][:beam_size]
    ended += [(log_p / max_length**length_penalty, list(tokens)) for log_p, tokens in live]
    return sorted(ended, reverse=True)[:beam_size]
