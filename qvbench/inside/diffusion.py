"""Over how many features a match is spread: participation ratios and entropies.

Of a vector ``x`` of D features, ``p_f = |x_f| / sum_g |x_g|``; of a product ``q * k`` of features,
``p_f`` is a feature's share in the logit, signs aside. Then

    participation ratio   1 / sum_f p_f ** 2      from 1, a single feature, to D, all alike
    entropy               -sum_f p_f log p_f      from 0 to log D, in nats

Independent Gaussian features give a participation ratio of about ``2 D / pi = 0.64 D``, and
products of two such vectors ``4 D / pi ** 2 = 0.41 D``. **Features are no given of the function**:
one matrix on the queries and its inverse on the keys, or any rotation of a head, change the model's
numbers in no place but these. So every number stands beside that of the same vectors under a random
rotation of each head, which keeps all logits; only what differs from it says something of features.

Shape letters: S sentences, H heads, W words or tokens, D features of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qvbench.inside.shares import Floats, Share

PRODUCTS = {"queries * keys": "keys", "queries * values": "values"}
MEASURES = ("participation", "entropy")


class Projected(NamedTuple):
    """One sentence in one layer; queries and keys as scored, after a scheme's rotation."""

    queries: Floats  # (H, Wq, D)
    keys: Floats  # (H or fewer, Wk, D)
    values: Floats  # (H or fewer, Wk, D or other)
    attention: Floats  # (H, Wq, Wk)


def spread(x: Floats) -> tuple[Floats, Floats]:
    """Participation ratio and entropy (nats) of vectors (..., D), (...) each; NaN of a zero one."""
    with np.errstate(invalid="ignore"):
        p = np.abs(x) / np.abs(x).sum(-1, keepdims=True)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return 1 / (p**2).sum(-1), -(p * logs).sum(-1)


def diffusion(sentences: Sequence[Projected]) -> dict[str, Share]:
    """Participation ratios and entropies of a layer's heads, (S, H) each.

    Of ``queries``, ``keys`` and ``values`` the mean over words; of the products the mean over pairs
    of words, each with its attention for a weight: where the head looks. A name is that of what is
    measured, ``, participation`` or ``, entropy``, and ``, rotated`` for the random rotation's.
    Products of queries with values of another width do not exist and are left out.
    """
    rng = np.random.default_rng(0)
    heads = sentences[0].queries.shape[0]
    widths = {x.shape[-1] for x in sentences[0][:3]}
    turns = {width: np.linalg.qr(rng.normal(size=(heads, width, width)))[0] for width in widths}
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for sentence in sentences:
        plain = {
            name: np.repeat(x, heads // x.shape[0], axis=0)  # of the heads that share it
            for name, x in zip(("queries", "keys", "values"), sentence[:3], strict=True)
        }
        rotated = {name: x @ turns[x.shape[-1]] for name, x in plain.items()}
        for suffix, vectors in (("", plain), (", rotated", rotated)):
            queries, weights = vectors["queries"], dict.fromkeys(vectors, np.ones(1))
            for product, other in PRODUCTS.items():
                if vectors[other].shape[-1] == queries.shape[-1]:  # (H, Wq, Wk, D)
                    vectors[product] = queries[:, :, None] * vectors[other][:, None]
                    weights[product] = sentence.attention
            for name, x in vectors.items():
                for measure, value in zip(MEASURES, spread(x), strict=True):
                    kept, over = weights[name] * np.isfinite(value), tuple(range(1, value.ndim))
                    sums = (np.nan_to_num(value) * kept).sum(over), kept.sum(over)
                    found.setdefault(f"{name}, {measure}{suffix}", []).append(sums)
    return {name: Share(*map(np.stack, zip(*of, strict=True))) for name, of in found.items()}


def contrast(first: Share, second: Share) -> Share:
    """The difference of two means over the same words: of queries over values, above zero where it
    is the query that is spread out more."""
    return Share(first.part - second.part * (first.whole / second.whole), first.whole)
