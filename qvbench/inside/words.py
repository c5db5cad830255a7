"""From a network's pieces of words to words.

Attention *to* a word is the sum over its pieces, attention *from* a word the mean over its pieces
(Clark et al. 2019, arXiv:1906.04341, section 4.1): so a word's attention to all words sums to one,
as a piece's does. ``<s>`` and ``</s>``, where a model has them, are words of their own;
:func:`within` drops them and scales what is left of each row to sum to one.

Shape letters: H heads, T pieces, Tq of them queries, Tk keys, W words, Wq, Wk, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qvbench.data.text import Vocabulary
from qvbench.errors import UserError


@dataclass(frozen=True)
class Sentence:
    """Words, and what a treebank says of them; of plain text there are words alone.

    Attributes:
        tags: part of speech of each word.
        heads: of each word the number of its head from 1 on, 0 for the root, as in CoNLL-U.
        relations: of each word to its head.
        text: as it is written; the words with single spaces between them if not given.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    relations: tuple[str, ...] = ()
    text: str = ""

    def located(self) -> tuple[str, list[tuple[int, int]]]:
        """The text and of each word its first character there and one past its last. A text in
        which the words do not stand one after the other is put aside for the words."""
        for text in (self.text, " ".join(self.words)):
            spans, end = [], 0
            for word in self.words:
                start = text.find(word, end)
                if start < 0:
                    break
                end = start + len(word)
                spans.append((start, end))
            else:
                break
        return text, spans


@dataclass(frozen=True, eq=False)
class Pieces:
    """What a network reads of a sentence.

    Attributes:
        ids: of its pieces, special ones included.
        words: what is shown of each word, special ones included.
        shares: (T, W) float64, how much of a piece belongs to a word; each row sums to one.
        own: which of ``words`` are the sentence's.
    """

    ids: list[int]
    words: tuple[str, ...]
    shares: Tensor
    own: slice


def pieces(
    sentence: Sentence,
    vocabulary: Vocabulary,
    before: Sequence[tuple[str, int]] = (),
    after: Sequence[tuple[str, int]] = (),
) -> Pieces:
    """A sentence in a vocabulary's pieces.

    A piece belongs to the word whose characters it holds (to several by the number of characters),
    a piece of space alone to the word that follows.

    Args:
        before: special tokens in front, each with its id.
        after: special tokens behind.

    Raises:
        UserError: there is no word, or a character that the vocabulary does not know.
    """
    if not sentence.words:
        raise UserError("a sentence without words; give it some")
    text, spans = sentence.located()
    unknown = [c for c in sorted(set(text)) if not c.isspace() and not known(c, vocabulary)]
    if unknown:
        names = ", ".join(f"{character!r}" for character in unknown)
        raise UserError(f"the model does not know {names}; write it otherwise")
    start, end = torch.tensor(vocabulary.spans(text), dtype=torch.float64).T[:, :, None]
    word_start, word_end = torch.tensor(spans, dtype=torch.float64).T
    common = (torch.minimum(end, word_end) - torch.maximum(start, word_start)).clamp(min=0)
    following = (word_start < start).sum(1).clamp(max=len(spans) - 1)
    blank = common.sum(1) == 0
    common[blank, following[blank]] = 1
    own = common / common.sum(1, keepdim=True)
    shares = torch.block_diag(
        torch.eye(len(before), dtype=own.dtype), own, torch.eye(len(after), dtype=own.dtype)
    )
    words = (*(name for name, _ in before), *sentence.words, *(name for name, _ in after))
    ids = [
        *(token for _, token in before),
        *vocabulary.encode(text),
        *(token for _, token in after),
    ]
    return Pieces(ids, words, shares, slice(len(before), len(before) + len(spans)))


def known(character: str, vocabulary: Vocabulary) -> bool:
    """Whether it is more to a vocabulary than an unknown one."""
    return bool(vocabulary.decode(vocabulary.encode(character)).strip())


def word_map(probabilities: Tensor, queries: Pieces, keys: Pieces) -> Tensor:
    """Probabilities (..., Tq, Tk) of pieces to those of words (..., Wq, Wk), float64."""
    rows, columns = queries.shares, keys.shares
    return (rows / rows.sum(0)).mT @ (probabilities.to(columns) @ columns)


def word_vectors(vectors: Tensor, of: Pieces) -> Tensor:
    """Vectors (..., T, D) of pieces to means over each word's (..., W, D), float64."""
    return (of.shares / of.shares.sum(0)).mT @ vectors.to(of.shares)


def within(words: Tensor, queries: Pieces, keys: Pieces) -> Tensor:
    """A word map (..., Wq, Wk) without special tokens, each row scaled to sum to one; a row that
    looked at special tokens alone is zero."""
    left = words[..., queries.own, keys.own]
    return left / left.sum(-1, keepdim=True).clamp(min=torch.finfo(left.dtype).tiny)
