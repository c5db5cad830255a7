"""The likeliest next tokens of many hypotheses, without a tensor of all log-probabilities.

Shape letters: N hypotheses, V entries of the vocabulary, W tokens asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

IN_CACHE = 1 << 20
"""Logits that a processor's own cache holds: what goes over them several times takes so many."""


def likeliest(logits: Tensor, banned: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` likeliest tokens of every row, best first.

    Only these are normalised: the softmax's denominator is taken over the whole vocabulary, in
    float32 at least.

    Args:
        logits: (N, V), overwritten.
        banned: ids that may not be produced. Their probability is lost, not shared out.
        count: W, at most V.

    Returns:
        log-probabilities and tokens, (N, W) each.
    """
    rows = len(logits)
    if logits.device.type == "cpu":
        rows = max(1, IN_CACHE // logits.shape[1])
    parts = [_likeliest(_at_least_float32(p), banned, count) for p in logits.split(rows)]
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

    The same as ``logits.topk(count)``, which on a CPU costs as much as the output layer's matrix
    product. A vocabulary is a multiple of eight: seen as eight layers of V / 8 columns, the highest
    lie in the ``count`` columns with the highest maxima: an entry of any other column has at least
    those ``count`` maxima above it.
    """
    layers = 8
    rows, vocab = logits.shape
    if count == 1:
        highest, column = logits.max(-1, keepdim=True)
        return highest, column
    if vocab % layers or vocab // layers < count:
        best, columns = logits.topk(count)
        return best, columns
    fold = logits.view(rows, layers, -1)  # entry v at layer v // (V / 8), column v % (V / 8)
    columns = fold.amax(1).topk(count).indices  # (N, W)
    within = fold.gather(2, columns[:, None].expand(-1, layers, -1)).flatten(1)  # (N, 8 W)
    best, order = within.topk(count)
    layer, place = order // count, order % count
    return best, layer * (vocab // layers) + columns.gather(1, place)


def _at_least_float32(logits: Tensor) -> Tensor:
    """Half precision widened, float64 left alone: a log-softmax in half loses the ranking."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
