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


def participation_ratio(x: Floats) -> Floats:
    """(..., D) to (...); NaN of a zero vector."""
    size = np.abs(x)
    with np.errstate(invalid="ignore"):
        ratio: Floats = size.sum(-1) ** 2 / (size**2).sum(-1)
    return ratio


def entropy(x: Floats) -> Floats:
    """(..., D) to (...), in nats; NaN of a zero vector."""
    size = np.abs(x)
    with np.errstate(invalid="ignore"):
        p = size / size.sum(-1, keepdims=True)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    result: Floats = -(p * logs).sum(-1)
    return result


def diffusion(sentences: Sequence[Projected], seed: int = 0) -> dict[str, Share]:
    """Participation ratios and entropies of a layer's heads, (S, H) each.

    Of ``queries``, ``keys`` and ``values`` the mean over words; of the products the mean over pairs
    of words, each with its attention for a weight: where the head looks. A name is that of what is
    measured, ``, participation`` or ``, entropy``, and ``, rotated`` for the random rotation's.
    Products of queries with values of another width do not exist and are left out.
    """
    rng = np.random.default_rng(seed)
    heads = sentences[0].queries.shape[0]
    rotations = {
        width: np.linalg.qr(rng.normal(size=(heads, width, width)))[0]
        for width in {x.shape[-1] for x in sentences[0][:3]}
    }
    collected: dict[str, tuple[list[Floats], list[Floats]]] = {}
    for sentence in sentences:
        vectors = {
            name: np.repeat(x, heads // x.shape[0], axis=0)  # of the heads that share it
            for name, x in zip(("queries", "keys", "values"), sentence[:3], strict=True)
        }
        rotated = {name: x @ rotations[x.shape[-1]] for name, x in vectors.items()}
        for suffix, spread in (("", vectors), (", rotated", rotated)):
            for name, measure, part, whole in _of_sentence(spread, sentence.attention):
                parts, wholes = collected.setdefault(f"{name}, {measure}{suffix}", ([], []))
                parts.append(part)
                wholes.append(whole)
    return {name: Share(np.stack(p), np.stack(w)) for name, (p, w) in collected.items()}


def _of_sentence(
    vectors: dict[str, Floats], attention: Floats
) -> list[tuple[str, str, Floats, Floats]]:
    """What is measured, how, and each head's part and whole, (H,)."""
    found = []
    queries = vectors["queries"]
    items = [(name, x, np.ones(x.shape[:-1])) for name, x in vectors.items()]
    for name, other in PRODUCTS.items():
        if vectors[other].shape[-1] == queries.shape[-1]:
            product = queries[:, :, None] * vectors[other][:, None]  # (H, Wq, Wk, D)
            items.append((name, product, attention))
    for name, x, weight in items:
        for measure, function in zip(MEASURES, (participation_ratio, entropy), strict=True):
            value = function(x)
            kept = weight * np.isfinite(value)
            over = tuple(range(1, value.ndim))
            found.append((name, measure, (np.nan_to_num(value) * kept).sum(over), kept.sum(over)))
    return found


def contrast(first: Share, second: Share) -> Share:
    """The difference of two means over the same words: of queries over values, above zero where it
    is the query that is spread out more."""
    return Share(first.part - second.part * (first.whole / second.whole), first.whole)
