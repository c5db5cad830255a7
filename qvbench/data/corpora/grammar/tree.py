"""Annotated sentence pairs, and the tokens and phrases that they are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeVar

from qvbench.data.corpora.grammar.morphology import indefinite_article
from qvbench.data.corpora.grammar.words import AN_EXCEPTIONS

T = TypeVar("T")


class Side(NamedTuple):
    """One language's half of a pair; the three tuples are of one length.

    ``heads`` holds the index of each token's syntactic head in the same sentence, -1 for the root;
    ``pos`` universal part-of-speech tags.
    """

    tokens: tuple[str, ...]
    pos: tuple[str, ...]
    heads: tuple[int, ...]

    @property
    def text(self) -> str:
        """The tokens joined by single spaces."""
        return " ".join(self.tokens)


class AnnotatedPair(NamedTuple):
    """A sentence, its translation, and which (source index, target index) translate each other.

    The alignment is sorted. Commas that one language does not write and German articles of a
    possessed noun ("the man 's dog", "der Hund des Mannes") have no link; all other tokens do.
    """

    source: Side
    target: Side
    alignment: tuple[tuple[int, int], ...]


class Token:
    """A word while its sentence is built; ``of`` are the English ones that a German one renders."""

    __slots__ = ("at", "form", "head", "of", "pos")

    def __init__(
        self, form: str, pos: str, head: Token | None = None, of: tuple[Token, ...] = ()
    ) -> None:
        self.form = form
        self.pos = pos
        self.head = head
        self.of = of
        self.at = -1


class Phrase:
    """The same constituent in both languages.

    ``english_head`` and ``german_head`` are the tokens by which it hangs in the sentence,
    ``agreement`` and ``gender`` (as in :mod:`.morphology`) what a verb or a pronoun must agree
    with, ``classes`` the semantic classes of its noun. ``article`` is a German definite article
    that a preposition can swallow ("im"), ``pronoun`` says that it stands where pronouns stand,
    ``reflexive`` is the pronoun that points back to it, ``heavy`` that it ends in a clause, to
    which a reader would attach whatever came next.
    """

    __slots__ = (
        "agreement",
        "article",
        "classes",
        "english",
        "english_head",
        "gender",
        "german",
        "german_head",
        "heavy",
        "pronoun",
        "reflexive",
    )

    def __init__(
        self,
        english: list[Token],
        german: list[Token],
        agreement: int = 2,
        gender: int = 0,
        classes: str = "",
        pronoun: bool = False,
    ) -> None:
        self.english = english
        self.german = german
        self.english_head = english[-1] if english else None
        self.german_head = german[-1] if german else None
        self.agreement = agreement
        self.gender = gender
        self.classes = classes
        self.pronoun = pronoun
        self.article: Token | None = None
        self.reflexive = "sich"
        self.heavy = False

    def depend_on(self, other: Phrase) -> None:
        """Make the phrase a dependent of another one's heads."""
        if self.english_head is not None:
            self.english_head.head = other.english_head
        if self.german_head is not None:
            self.german_head.head = other.german_head

    def attach(self, english: Token, german: Token) -> None:
        """Make the phrase a dependent of these two tokens."""
        if self.english_head is not None:
            self.english_head.head = english
        if self.german_head is not None:
            self.german_head.head = german


def word(english: str, german: str, pos: str, german_pos: str = "") -> Phrase:
    """A phrase of one token on either side."""
    token = Token(english, pos)
    return Phrase([token], [Token(german, german_pos or pos, None, (token,))])


class Dice:
    """Random choices from ``random.Random.random`` alone.

    That method gives the same numbers on every platform and Python version; ``choice`` and its kin
    do not promise to.
    """

    def __init__(self, seed: str) -> None:
        self.roll: Callable[[], float] = Random(seed).random

    def chance(self, probability: float) -> bool:
        return self.roll() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Any item, all alike."""
        return items[int(self.roll() * len(items))]

    def skewed(self, items: Sequence[T]) -> T:
        """Any item, earlier ones more often: words have frequent and rare ones among them."""
        roll = self.roll()
        return items[int(roll * roll * len(items))]


def _without_idle_commas(tokens: list[Token]) -> list[Token]:
    """Drop commas next to a comma or before the final mark: clauses bring their own, and nest."""
    kept: list[Token] = []
    for token, following in pairwise(tokens):
        if token.form != "," or not (following.form in ",.?" or kept[-1].form == ","):
            kept.append(token)
    kept.append(tokens[-1])
    return kept


def _side(tokens: list[Token]) -> Side:
    for at, token in enumerate(tokens):
        token.at = at
    return Side(
        tuple([token.form for token in tokens]),
        tuple([token.pos for token in tokens]),
        tuple([-1 if token.head is None else token.head.at for token in tokens]),
    )


def finish(phrase: Phrase, mark: str) -> AnnotatedPair:
    """Close a sentence with its final mark, number its tokens and read the annotation off."""
    stop = Token(mark, "PUNCT", phrase.english_head)
    german_stop = Token(mark, "PUNCT", phrase.german_head, (stop,))
    english = _without_idle_commas([*phrase.english, stop])
    german = _without_idle_commas([*phrase.german, german_stop])
    for token, following in pairwise(english):
        if token.form == "a":
            token.form = indefinite_article(following.form, AN_EXCEPTIONS)
    source, target = _side(english), _side(german)
    alignment = sorted([(token.at, one.at) for one in german for token in one.of if token.at >= 0])
    return AnnotatedPair(source, target, tuple(alignment))
