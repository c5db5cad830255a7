"""What a search steps on, what it returns, and greedy search.

A search knows no model. It gets a function ``step(tokens, state)`` from the newest token of every
hypothesis to the logits of the next, and a state whose ``select`` says which hypotheses continue.
Shapes: B sentences, K hypotheses a sentence (beams), N = B*K rows with
the hypotheses of a sentence adjacent, V entries of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from qvbench.decoding.likeliest import likeliest


class Hypothesis(NamedTuple):
    """One translation.

    Attributes:
        tokens: vocabulary ids without ``<s>`` and ``</s>``.
        score: log-probability in nats of the tokens and ``</s>``, divided by the length penalty
            where the search has one.
    """

    tokens: list[int]
    score: float


class State(Protocol):
    """What a search asks of the cache behind a step function."""

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        """Let hypothesis n continue old hypothesis ``rows[n]`` (N',).

        ``sentences`` (B',) are the present positions of those that continue, if some do not; their
        hypotheses are what ``rows`` names.
        """


S = TypeVar("S", bound=State)

# (tokens (N,) int64, state) -> logits (N, V); the search overwrites them, so they must be fresh.
Step = Callable[[Tensor, S], Tensor]


@torch.no_grad()
def greedy(
    step: Step[S],
    state: S,
    sentences: int,
    max_lengths: Tensor,
    bos: int,
    eos: int,
    pad: int,
) -> list[Hypothesis]:
    """Take the likeliest token until it is ``</s>``: a beam of one that stops at its first end.

    Args:
        step: see :data:`Step`.
        state: at the start of B = ``sentences`` hypotheses, one per sentence.
        sentences: B.
        max_lengths: (B,) int64 on the device of the logits; most tokens a sentence may get,
            ``</s>`` counted, at least 1. A hypothesis that reaches it is closed as it is.
        bos, eos, pad: special ids; ``bos`` and ``pad`` are never produced.

    Returns:
        B hypotheses in the order of the sentences, with their plain log-probability as score.
    """
    steps = check_max_lengths(max_lengths, sentences)
    device = max_lengths.device
    where = torch.arange(sentences, device=device)  # which sentence each live row is
    words = torch.full((sentences, steps), pad, device=device)
    scores = torch.zeros(sentences, device=device)
    tokens = torch.full((sentences,), bos, device=device)
    banned = torch.tensor([pad, bos], device=device)
    for position in range(steps):
        best, tokens = likeliest(step(tokens, state), banned, 1)
        best, tokens = best[:, 0], tokens[:, 0]
        scores[where] += best.to(scores.dtype)
        ended = tokens == eos
        words[where, position] = tokens.masked_fill(ended, pad)
        going = unfinished(ended | (max_lengths[where] <= position + 1))
        if going is None:
            continue
        if len(going) == 0:
            break
        kept = torch.tensor(going, device=device)
        where, tokens = where[kept], tokens[kept]
        state.select(kept, kept)
    return [Hypothesis(*pair) for pair in zip(to_ids(words, pad), finite(scores), strict=True)]


def check_max_lengths(max_lengths: Tensor, sentences: int) -> int:
    """The longest of ``max_lengths`` (B,), once they are known to be one positive length each.

    Raises:
        ValueError: another shape, or a length below 1.
    """
    if max_lengths.shape != (sentences,):
        raise ValueError(f"max_lengths is {tuple(max_lengths.shape)}, not ({sentences},)")
    lengths: list[int] = max_lengths.tolist()
    if min(lengths, default=1) < 1:
        raise ValueError(f"every max_length must be at least 1, not {min(lengths)}")
    return max(lengths, default=0)


def unfinished(done: Tensor) -> list[int] | None:
    """Positions that are not ``done`` (B,), None if nothing is: a step waits here for the device.

    They come in an order in which most stay where they are, and so need not be copied: the last
    ones fill the gaps.
    """
    flags: list[bool] = done.tolist()
    if not any(flags):
        return None
    left = flags.count(False)
    last = (i for i in range(len(flags) - 1, -1, -1) if not flags[i])
    return [next(last) if flags[i] else i for i in range(left)]


def to_ids(words: Tensor, pad: int) -> list[list[int]]:
    """Rows of (N, T), without the padding after their last word, as lists."""
    lengths = (words != pad).sum(-1).tolist()
    return [row[:length] for row, length in zip(words.tolist(), lengths, strict=True)]


def finite(scores: Tensor) -> list[float]:
    """``scores`` as numbers.

    Raises:
        FloatingPointError: one is NaN. The network has diverged, and its translations mean nothing.
    """
    values: list[float] = scores.tolist()
    if any(map(math.isnan, values)):
        raise FloatingPointError("the network gives NaN for its logits: it cannot be decoded from")
    return values
