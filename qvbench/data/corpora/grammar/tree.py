"""Annotated pairs, and the tokens and phrases of both languages that they are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeVar

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.lexicon import NOM

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
    ``agreement`` and ``gender`` (as in :mod:`.lexicon`) what a verb or a pronoun must agree
    with, ``classes`` the semantic classes of its noun. ``article`` is a German definite article
    that a preposition can swallow ("im"), ``pronoun`` says that it stands where pronouns stand,
    ``reflexive`` is the pronoun that points back to it, ``heavy`` that it ends in a clause, to
    which a reader would attach whatever came next.
    """

    def __init__(
        self,
        english: list[Token],
        german: list[Token],
        agreement: int = 2,
        gender: int = 0,
        classes: str = "",
        heads: Phrase | None = None,
    ) -> None:
        self.english = english
        self.german = german
        self.english_head = english[-1] if english else None
        self.german_head = german[-1] if german else None
        if heads is not None:  # it hangs by those of another phrase, which it contains
            self.english_head, self.german_head = heads.english_head, heads.german_head
        self.agreement = agreement
        self.gender = gender
        self.classes = classes
        self.pronoun = False
        self.article: Token | None = None
        self.reflexive = "sich"
        self.heavy = False

    def attach(self, english: Token | None, german: Token | None) -> None:
        """Make the phrase a dependent of these two tokens."""
        if self.english_head is not None:
            self.english_head.head = english
        if self.german_head is not None:
            self.german_head.head = german

    def depend_on(self, other: Phrase) -> None:
        """Make the phrase a dependent of another one's heads."""
        self.attach(other.english_head, other.german_head)

    def append(self, modifier: Phrase) -> None:
        """Put a modifier behind."""
        modifier.depend_on(self)
        self.english += modifier.english
        self.german += modifier.german

    def prepend(self, modifier: Phrase) -> None:
        """Put a modifier of one word before, dependent on the last words."""
        modifier.attach(self.english[-1], self.german[-1])
        self.english.insert(0, modifier.english[0])
        self.german.insert(0, modifier.german[0])


def word(english: str, german: str, pos: str) -> Phrase:
    """A phrase of one token on either side."""
    token = Token(english, pos)
    return Phrase([token], [Token(german, pos, None, (token,))])


def pronoun(entry: lex.Pronoun, case: int) -> Phrase:
    """A personal pronoun in this case."""
    phrase = word(entry.subject if case == NOM else entry.object, entry.german[case], "PRON")
    phrase.agreement, phrase.reflexive = entry.agreement, entry.reflexive
    phrase.pronoun, phrase.classes = True, "H"
    return phrase


def joined(first: Phrase, conjunction: Phrase, second: Phrase, **settings: int | str) -> Phrase:
    """Two phrases with a conjunction between them; the second depends on the first."""
    conjunction.depend_on(second)
    second.depend_on(first)
    return Phrase(
        [*first.english, *conjunction.english, *second.english],
        [*first.german, *conjunction.german, *second.german],
        heads=first,
        **settings,  # type: ignore[arg-type]
    )


def finish(phrase: Phrase, mark: str) -> AnnotatedPair:
    """Close a sentence with its final mark, number its tokens and read the annotation off."""
    stop = Token(mark, "PUNCT", phrase.english_head)
    german_stop = Token(mark, "PUNCT", phrase.german_head, (stop,))
    english = _without_idle_commas([*phrase.english, stop])
    german = _without_idle_commas([*phrase.german, german_stop])
    for token, following in pairwise(english):
        if token.form == "a":
            token.form = lex.indefinite_article(following.form)
    source, target = _side(english), _side(german)
    alignment = sorted([(token.at, one.at) for one in german for token in one.of if token.at >= 0])
    return AnnotatedPair(source, target, tuple(alignment))


def _without_idle_commas(tokens: list[Token]) -> list[Token]:
    """Drop commas next to a comma or before the final mark: clauses bring their own, and nest."""
    kept: list[Token] = []
    for token, following in pairwise(tokens):
        if token.form != "," or not (following.form in ",.?" or kept[-1].form == ","):
            kept.append(token)
    return [*kept, tokens[-1]]


def _side(tokens: list[Token]) -> Side:
    for at, token in enumerate(tokens):
        token.at = at
    return Side(
        tuple([token.form for token in tokens]),
        tuple([token.pos for token in tokens]),
        tuple([-1 if token.head is None else token.head.at for token in tokens]),
    )


class Rng:
    """Random choices from ``random.Random.random`` alone.

    That method gives the same numbers on every platform and Python version; ``choice`` and its kin
    do not promise to.
    """

    def __init__(self, seed: str) -> None:
        self.random: Callable[[], float] = Random(seed).random

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Any item, all alike."""
        return items[int(self.random() * len(items))]

    def skewed(self, items: Sequence[T]) -> T:
        """Any item, earlier ones more often: words have frequent and rare ones among them."""
        uniform = self.random()
        return items[int(uniform * uniform * len(items))]


def compared(english: tuple[str, ...], german: str) -> Phrase:
    """A comparative or superlative: one English word, or "more" or "most" before it."""
    tokens = [Token(form, "ADJ") for form in english]
    if len(tokens) == 2:
        tokens[0].pos, tokens[0].head = "ADV", tokens[1]
    return Phrase(tokens, [Token(german, "ADJ", None, tuple(tokens))])


def governed(english: str, german: str, inner: Phrase) -> Phrase:
    """A preposition before a phrase that is in its case; "in dem" becomes "im"."""
    prepositions = [Token(form, "ADP", inner.english_head) for form in english.split()]
    token = Token(german, "ADP", inner.german_head, tuple(prepositions))
    article = inner.article
    rest = inner.german
    if article is not None and (german, article.form) in lex.CONTRACTIONS:
        token.form = lex.CONTRACTIONS[german, article.form]
        token.of += article.of
        rest = [one for one in rest if one is not article]
    phrase = Phrase(
        [*prepositions, *inner.english], [token, *rest], classes=inner.classes, heads=inner
    )
    phrase.heavy = inner.heavy
    return phrase
