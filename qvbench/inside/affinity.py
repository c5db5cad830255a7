"""Whom words attend to: parts of speech, heads and dependents, words of the other language.

A word that attends to itself or to a special token says nothing of syntax: rows are renormalized
over the *other* words that a query may see, and a query that sees none is not counted.

Shape letters: S sentences, H heads, W words, T tags, C candidates, R relations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qvbench.inside.distance import mean_by_offset
from qvbench.inside.shares import Floats, Share, chosen_and_held_out
from qvbench.inside.words import Sentence

FARTHEST = 8
"""The largest fixed offset that an attention head is compared with."""
ALL = "all"


def others(words: int, causal: bool) -> Floats:
    """(W, W), 1 where a query may look at a word that is not itself."""
    return np.tril(np.ones((words, words)), -1) if causal else 1 - np.eye(words)


def renormalize(attention: Floats, causal: bool) -> Floats:
    """Attention (H, W, W) over the other words alone, in which rows sum to one, or to zero."""
    kept = attention * others(attention.shape[-1], causal)
    total = kept.sum(-1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


# Parts of speech


class Affinity(NamedTuple):
    """Attention from tag to tag: of what words of the first give to others, the share that words
    of the second get. Parts of all are (S, H or 1, T, T), wholes (S, 1, T, 1)."""

    tags: tuple[str, ...]
    attention: Share
    chance: Share  # every other word alike: what the sentences' tag counts give
    distance: Share  # a head that knows nothing but the distance

    def excess(self, baseline: Share) -> Share:
        """Attention that is not where a baseline has it, (S/2, H): 0 where tags make no difference,
        at most 1.

        Half the sum over tags of the differences (total variation), each with the sign that it has
        on the one half of the sentences, taken on the other: chance differences cancel, where
        absolute ones would add up.
        """
        chosen, held_out = chosen_and_held_out(len(self.attention.part))
        difference = self.attention.part - baseline.part
        sign = np.sign(difference[chosen].sum(0))
        words = self.attention.whole[held_out].sum((2, 3))
        return Share((difference[held_out] * sign).sum((2, 3)) / 2, words)


def tag_affinity(sentences: Sequence[Sentence], maps: Sequence[Floats], causal: bool) -> Affinity:
    """Affinity of the heads of a layer, from one (H, W, W) map per sentence.

    The head that knows distance alone has in each row the mean attention at that offset, over all
    sentences, renormalized over the words that the query sees.
    """
    tags = tuple(sorted({tag for sentence in sentences for tag in sentence.tags}))
    maps = [renormalize(attention, causal) for attention in maps]
    longest = max(attention.shape[-1] for attention in maps) - 1
    by_offset = np.nan_to_num(mean_by_offset(maps, longest))
    sums: list[list[Floats]] = [[], [], [], []]
    for sentence, attention in zip(sentences, maps, strict=True):
        words = np.arange(attention.shape[-1])
        seen = others(len(words), causal)
        offset = words - words[:, None] + longest
        alone = renormalize(by_offset[:, offset], causal)
        uniform = renormalize(seen[None], causal)
        tag = np.array([[name == other for other in tags] for name in sentence.tags], float)
        for into, matrix in zip(sums, (attention, uniform, alone), strict=False):
            into.append(tag.T @ matrix @ tag)
        sums[3].append((tag.T @ seen.any(1))[None, :, None])
    attended, chance, distance, counted = map(np.stack, sums)
    parts = (Share(part, counted) for part in (attended, chance, distance))
    return Affinity(tags, *parts)


# Dependencies


class Attachment(NamedTuple):
    """How often the word with the most attention is the gold one, (S, 2, C, R) of (S, 2, 1, R).

    The first direction is from a dependent to its head, the second from a head to its dependent (of
    which a head may have several and look at one: the share may be far below 1 at best). Arcs whose
    end the query cannot see do not count. The first candidates are the attention heads, the rest
    :data:`OFFSETS`; words of equal attention share the hit. The last relation is all together.
    """

    relations: tuple[str, ...]
    heads: int
    hits: Share

    def best(self, direction: int, relation: int) -> Best | None:
        """The head and the offset that do best on the one half, on the other half; None where
        either half has no such arc."""
        chosen, held_out = chosen_and_held_out(len(self.hits.part))
        part = self.hits.part[:, direction, :, relation]
        whole = self.hits.whole[:, direction, 0, relation]
        if not (whole[chosen].sum() and whole[held_out].sum()):
            return None
        found = part[chosen].sum(0)
        head, offset = int(found[: self.heads].argmax()), int(found[self.heads :].argmax())
        of_head, of_offset = part[held_out, head], part[held_out, self.heads + offset]
        kept = whole[held_out]
        shares = (Share(p, kept) for p in (of_head, of_offset, of_head - of_offset))
        return Best(head, OFFSETS[offset], int(kept.sum()), *shares)


class Best(NamedTuple):
    """A relation's best head beside its best fixed offset, (S/2,) each."""

    head: int
    offset: int
    arcs: int  # that are reported on
    share: Share
    offset_share: Share
    gain: Share  # of the head over the offset


OFFSETS = tuple(o for o in range(-FARTHEST, FARTHEST + 1) if o)


def attachment(sentences: Sequence[Sentence], maps: Sequence[Floats], causal: bool) -> Attachment:
    """Attachment of heads, of one layer or of several, from one (H, W, W) map per sentence."""
    count = Counter(
        r for s in sentences for r, head in zip(s.relations, s.heads, strict=True) if head
    )
    relations = (*[name for name, _ in count.most_common()], ALL)
    hits, arcs = [], []
    for sentence, attention in zip(sentences, maps, strict=True):
        words = attention.shape[-1]
        shifts = np.stack([np.eye(words, k=offset) for offset in OFFSETS])
        choice = np.concatenate([largest(renormalize(attention, causal)), shifts])
        head = np.array(sentence.heads, int) - 1
        dependent = np.flatnonzero(head >= 0)
        head = head[dependent]
        named = [sentence.relations[word] for word in dependent]
        relation = np.array([[name in (own, ALL) for name in relations] for own in named], float)
        relation = relation.reshape(-1, len(relations))
        seen = others(words, causal)
        ends = ((dependent, head), (head, dependent))
        hits.append([choice[:, i, j] * seen[i, j] @ relation for i, j in ends])
        arcs.append([seen[i, j][None] @ relation for i, j in ends])
    return Attachment(relations, maps[0].shape[0], Share(np.array(hits), np.array(arcs)))


def largest(attention: Floats) -> Floats:
    """1 at the largest weight of each row, shared where several are; 0 in empty rows."""
    most = attention.max(-1, keepdims=True)
    top = ((attention == most) & (most > 0)).astype(float)
    return top / np.maximum(top.sum(-1, keepdims=True), 1)


# Alignment


def alignment_error(maps: Sequence[Floats], links: Sequence[tuple[Floats, Floats]]) -> Share:
    """Alignment error rate of cross-attention (H, Wt, Ws) to gold links, (S, H + 1), the last the
    diagonal's; links are sure ones and possible ones, at least the sure, 1 in (Wt, Ws) each.

    ``1 - (|A & S| + |A & P|) / (|A| + |S|)`` (Och and Ney, "A systematic comparison of various
    statistical alignment models", 2003); A links every target word to the source word of the
    largest weight. The diagonal, which knows lengths alone, links it to that at its place.
    """
    missed, whole = [], []
    for attention, (sure, possible) in zip(maps, links, strict=True):
        target, source = sure.shape
        diagonal = np.zeros((1, target, source))
        place = ((np.arange(target) + 0.5) * source / target).astype(int)
        diagonal[0, np.arange(target), place] = 1
        found = np.concatenate([largest(attention), diagonal])
        size = found.sum((1, 2)) + sure.sum()
        missed.append(size - (found * (sure + possible)).sum((1, 2)))
        whole.append(size)
    return Share(np.array(missed), np.array(whole))
