"""What a search steps on, the likeliest next tokens, and greedy search.

A search knows no model. It gets a function ``step(tokens, state)`` from the newest token of every
hypothesis to the logits of the next, and a state whose ``select`` says which hypotheses continue.
Shapes: B sentences, K hypotheses per sentence (beams), N = B*K rows with the hypotheses of a
sentence adjacent, V entries of the vocabulary, W tokens asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from qvbench.attention.interface import HasModules, precomputed


class Hypothesis(NamedTuple):
    """Vocabulary ids without ``<s>`` and ``</s>``, and the log-probability in nats of the tokens
    and ``</s>``, divided by the length penalty where the search has one."""

    tokens: list[int]
    score: float


class State(Protocol):
    """What a search asks of the cache behind a step function."""

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> None:
        """Hypothesis n continues old one ``rows[n]`` (N',), of ``sentences`` (B',) or of all."""


S = TypeVar("S", bound=State)


class Network(HasModules, Protocol):
    """Of ids (B, S), padded with ``vocabulary.pad``, a state; of newest tokens (N,) and the state,
    which advances, logits (N, V) of the next."""

    @property
    def max_length(self) -> int | None:
        """Tokens for which it has positions; None where any number is fine."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def start(self, source: Tensor) -> Any: ...

    def step(self, tokens: Tensor, state: Any) -> Tensor: ...


# (tokens (N,) int64, state) -> logits (N, V); the search overwrites them, so they must be fresh.
Step = Callable[[Tensor, S], Tensor]


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Dropout off and no autograd; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.inference_mode(), precomputed(network):
            yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def greedy(
    step: Step[S], state: S, sentences: int, max_lengths: Tensor, bos: int, eos: int, pad: int
) -> list[Hypothesis]:
    """Take the likeliest token until it is ``</s>``, with its plain log-probability as score: a
    beam of one, with arguments as of :func:`~qvbench.decoding.beam.beam_search`."""
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
    """The longest of ``max_lengths`` (B,); ValueError unless they are one positive length each."""
    if max_lengths.shape != (sentences,):
        raise ValueError(f"max_lengths is {tuple(max_lengths.shape)}, not ({sentences},)")
    lengths: list[int] = max_lengths.tolist()
    if min(lengths, default=1) < 1:
        raise ValueError(f"every max_length must be at least 1, not {min(lengths)}")
    return max(lengths, default=0)


def unfinished(done: Tensor) -> list[int] | None:
    """Positions that are not ``done`` (B,), None if nothing is: a step waits here for the device.
    The last ones fill the gaps, so that most stay where they are, and need not be copied."""
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
    """``scores`` as numbers; FloatingPointError if one is NaN: the network has diverged."""
    values: list[float] = scores.tolist()
    if any(map(math.isnan, values)):
        raise FloatingPointError("the network gives NaN for its logits: it cannot be decoded from")
    return values


IN_CACHE = 1 << 20  # logits that a processor's own cache holds: taken at once


def likeliest(logits: Tensor, banned: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The W = ``count`` likeliest tokens of every row of logits (N, V), which are overwritten:
    log-probabilities and tokens, (N, W) each, best first.

    Only these are normalized: the softmax's denominator is taken over the whole vocabulary, in
    float32 at least. ``banned`` ids are not produced; their probability is lost, not shared out.
    """
    rows = len(logits)
    if logits.device.type == "cpu":
        rows = max(1, IN_CACHE // logits.shape[1])
    # A log-softmax in 16 bits would lose the ranking.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    parts = [_likeliest(part.to(dtype), banned, count) for part in logits.split(rows)]
    best, tokens = zip(*parts, strict=True)
    return torch.cat(best), torch.cat(tokens)


def _likeliest(logits: Tensor, banned: Tensor, count: int) -> tuple[Tensor, Tensor]:
    lost = logits.index_select(1, banned).logsumexp(-1, keepdim=True)
    logits.index_fill_(1, banned, -torch.inf)
    best, tokens = _top(logits, count)
    highest = best[:, :1]  # subtracted before the exponential, as in any log-sum-exp
    rest = logits.sub_(highest).exp_().sum(-1, keepdim=True).log() + highest
    return best - torch.logaddexp(rest, lost), tokens


def _top(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of each row of (N, V), best first, and their columns.

    The same as ``logits.topk(count)``, which on a CPU costs as much as the output layer. Seen as
    eight layers of V / 8 columns, the highest lie in the ``count`` columns with the highest maxima:
    an entry of any other column has at least those maxima above it.
    """
    layers = 8
    rows, vocab = logits.shape
    if count == 1 or vocab % layers or vocab // layers < count:
        best, columns = logits.max(-1, keepdim=True) if count == 1 else logits.topk(count)
        return best, columns
    fold = logits.view(rows, layers, -1)  # entry v at layer v // (V / 8), column v % (V / 8)
    columns = fold.amax(1).topk(count).indices  # (N, W)
    within = fold.gather(2, columns[:, None].expand(-1, layers, -1)).flatten(1)  # (N, 8 W)
    best, order = within.topk(count)
    layer, place = order // count, order % count
    return best, layer * (vocab // layers) + columns.gather(1, place)
