"""Noun phrases and prepositional phrases, drawn at random and built in both languages at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

from qvbench.data.corpora.grammar.lexicon import ADJECTIVES, NAMES, NOUNS, Adjective, Noun
from qvbench.data.corpora.grammar.morphology import (
    DEFINITE,
    DER_ENDINGS,
    EIN_ENDINGS,
    GEN,
    MIXED,
    NOM,
    PLURAL,
    STRONG,
    WEAK,
    Table,
)
from qvbench.data.corpora.grammar.tree import Dice, Phrase, Token, word
from qvbench.data.corpora.grammar.words import (
    CONTRACTIONS,
    NUMERALS,
    POSSESSIVES,
    PRONOUNS,
    QUANTIFIERS,
    TWO_WAY,
)

# Kinds of determiners, repeated as often as they should come up.
SINGULAR = ("the",) * 10 + ("a",) * 6 + ("poss",) * 3 + ("this", "that", "every")
SINGULAR_DEFINITE = ("the",) * 10 + ("poss",) * 4 + ("this", "that")
MANY = ("the",) * 9 + ("",) * 4 + ("poss",) * 3 + ("this", "that", "all") + ("number", "many") * 2
MASS = ("the",) * 4 + ("",) * 4 + ("poss",)
POSSESSIVE_ITEMS = tuple(POSSESSIVES.items())
NUMERAL_ITEMS = tuple(NUMERALS.items())
QUANTIFIER_ITEMS = tuple(QUANTIFIERS.items())
PRONOUN_ITEMS = tuple(PRONOUNS)


@cache
def nouns_of(classes: str) -> tuple[Noun, ...]:
    """Nouns of any of these classes, those first that come first in their own class."""
    rank: dict[str, int] = {}
    ranked = []
    for noun in NOUNS:
        if set(noun.classes) & set(classes):
            rank[noun.classes[0]] = rank.get(noun.classes[0], 0) + 1
            ranked.append((rank[noun.classes[0]], noun))
    return tuple(noun for _, noun in sorted(ranked, key=lambda pair: pair[0]))


@cache
def adjectives_for(classes: str) -> tuple[Adjective, ...]:
    """Adjectives that go with a noun of these classes."""
    return tuple(one for one in ADJECTIVES if set(one.classes) & set(classes))


def _determiner(kind: str, dice: Dice, case: int, gender: int) -> tuple[str, str, Table]:
    """English form, German form and the paradigm of the adjectives that follow."""
    if kind == "the":
        return "the", DEFINITE[case][gender], WEAK
    if kind == "a":
        return "a", "ein" + EIN_ENDINGS[case][gender], MIXED
    if kind == "no":
        return "no", "kein" + EIN_ENDINGS[case][gender], MIXED
    if kind == "poss":
        english, stem = dice.pick(POSSESSIVE_ITEMS)
        return english, stem + EIN_ENDINGS[case][gender], MIXED
    if kind == "number":
        english, german = dice.skewed(NUMERAL_ITEMS)
        return english, german, STRONG
    if kind == "many":
        english, stem = dice.skewed(QUANTIFIER_ITEMS)
        return english, stem + DER_ENDINGS[case][gender], STRONG
    plural = gender == PLURAL
    stem = {"this": "dies", "that": "jen", "every": "jed", "all": "all", "which": "welch"}[kind]
    english = {"this": "these", "that": "those"}.get(kind, kind) if plural else kind
    return english, stem + DER_ENDINGS[case][gender], WEAK


def pronoun(key: str, case: int) -> Phrase:
    """A personal pronoun in this case."""
    subject, other, *german, reflexive, agreement = PRONOUNS[key]
    phrase = word(subject if case == NOM else other, german[case], "PRON")
    phrase.agreement = agreement
    phrase.reflexive = reflexive
    phrase.pronoun = True
    phrase.classes = "H"
    return phrase


class Phrases(ABC):
    """Draws noun phrases; how relative clauses are made is for the class that knows clauses."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice

    @abstractmethod
    def relative_clause(self, noun: Noun, gender: int) -> Phrase:
        """A relative clause on a noun of this gender (3 for plural)."""

    def noun_phrase(
        self, classes: str, case: int, *, definite: bool = False, depth: int = 0, kind: str = ""
    ) -> Phrase:
        """A determiner, adjectives, a noun and what follows it.

        Args:
            classes: semantic classes of which the noun is one.
            case: of the German side.
            definite: only determiners that can be negated around and put into the genitive.
            depth: 0 allows a relative clause, a genitive and coordination, more does not.
            kind: a determiner to use rather than a random one; ``indefinite`` is what "there is"
                introduces: an article, a number, or nothing before a mass noun.
        """
        dice = self.dice
        if not kind and "H" in classes and case != GEN and dice.chance(0.1):
            return self.name_phrase(case)
        noun = dice.skewed(nouns_of(classes))
        plural = noun.countable and dice.chance(0.27)
        if kind == "indefinite":
            kinds = ("number", "many", "") if plural else ("a",) if noun.countable else ("",)
            return self.build(noun, plural, case, dice.pick(kinds))
        phrase = self.build(noun, plural, case, kind or self.kind(noun, plural, definite))
        if depth == 0:
            roll = dice.roll()
            if roll < 0.09:
                self._add_relative(phrase, noun, PLURAL if plural else noun.gender)
            elif roll < 0.15 and not kind:
                phrase = self._possessed(noun, plural, case)
            elif roll < 0.2 and noun.countable and not kind:
                return self._coordinate(phrase, noun.classes[0], case, definite)
            elif roll < 0.24:
                self._add_modifier(phrase, noun)
        return phrase

    def kind(self, noun: Noun, plural: bool, definite: bool) -> str:
        """A kind of determiner for this noun."""
        if definite:
            return self.dice.pick(SINGULAR_DEFINITE)
        if not noun.countable:
            return self.dice.pick(MASS)
        return self.dice.pick(MANY if plural else SINGULAR)

    def build(self, noun: Noun, plural: bool, case: int, kind: str) -> Phrase:
        """Determiner, adjectives and noun, agreeing in case, number and gender."""
        gender = PLURAL if plural else noun.gender
        english: list[Token] = []
        german: list[Token] = []
        head = Token(noun.english[plural], "NOUN")
        german_head = Token(noun.german[case][plural], "NOUN", None, (head,))
        endings = STRONG
        if kind:
            form, german_form, endings = _determiner(kind, self.dice, case, gender)
            pos = "NUM" if kind == "number" else "DET"
            english.append(Token(form, pos, head))
            german.append(Token(german_form, pos, german_head, (english[0],)))
        self._add_adjectives(english, german, head, german_head, noun, endings[case][gender], kind)
        english.append(head)
        german.append(german_head)
        phrase = Phrase(english, german, 3 if plural else 2, gender, noun.classes)
        if kind == "the":
            phrase.article = german[0]
        return phrase

    def _add_adjectives(
        self,
        english: list[Token],
        german: list[Token],
        head: Token,
        german_head: Token,
        noun: Noun,
        ending: str,
        kind: str,
    ) -> None:
        roll = self.dice.roll()
        fitting = adjectives_for(noun.classes)
        if roll > 0.42 or not fitting:
            return
        adjective = self.dice.skewed(fitting)
        degree: tuple[str, ...] = (adjective.english,)
        stem = adjective.stem
        if roll < 0.02 and kind == "the" and adjective.graded:
            degree, stem = adjective.english_superlative, adjective.superlative
        elif roll < 0.05 and adjective.graded:
            very = Token("very", "ADV")
            english.append(very)
            german.append(Token("sehr", "ADV", None, (very,)))
        tokens = [Token(form, "ADJ") for form in degree]
        tokens[-1].head = head
        if len(tokens) == 2:
            tokens[0].pos, tokens[0].head = "ADV", tokens[1]
        german_token = Token(stem + ending, "ADJ", german_head, tuple(tokens))
        if english and english[-1].form == "very":
            english[-1].head, german[-1].head = tokens[-1], german_token
        english += tokens
        german.append(german_token)

    def name_phrase(self, case: int) -> Phrase:
        """A proper name."""
        noun = self.dice.skewed(NAMES)
        phrase = word(noun.english[0], noun.german[case][0], "PROPN")
        phrase.gender, phrase.classes = noun.gender, "H"
        return phrase

    def _add_relative(self, phrase: Phrase, noun: Noun, gender: int) -> None:
        self._append(phrase, self.relative_clause(noun, gender))
        phrase.heavy = True
        phrase.article = None  # "in dem Haus , das ...": no contraction before a clause

    def _append(self, phrase: Phrase, modifier: Phrase) -> None:
        modifier.depend_on(phrase)
        phrase.english += modifier.english
        phrase.german += modifier.german

    def _possessed(self, noun: Noun, plural: bool, case: int) -> Phrase:
        """As in "the neighbour 's dog" and "der Hund des Nachbarn", or "Annas Hund"."""
        named = case != GEN and self.dice.chance(0.4)
        phrase = self.build(noun, plural, case, "" if named else "the")
        if named:
            owner = self.name_phrase(GEN)
        else:
            owner = self.noun_phrase("H", GEN, definite=True, depth=1)
        plural_s = owner.agreement == 3 and owner.english[-1].form.endswith("s")
        mark = Token("'" if plural_s else "'s", "PART", owner.english_head)
        owner.german[-1].of += (mark,)
        owner.depend_on(phrase)
        if named:
            phrase.german = [*owner.german, *phrase.german]
            phrase.english = [*owner.english, mark, *phrase.english]
        else:  # the article of the possessed noun has no English word
            phrase.german = [*phrase.german, *owner.german]
            phrase.german[0].of = ()
            phrase.english = [*owner.english, mark, *phrase.english[1:]]
        return phrase

    def _coordinate(self, first: Phrase, classes: str, case: int, definite: bool) -> Phrase:
        second = self.noun_phrase(classes, case, definite=definite, depth=1)
        conjunction = word("and", "und", "CCONJ")
        conjunction.depend_on(second)
        second.depend_on(first)
        both = Phrase(
            [*first.english, *conjunction.english, *second.english],
            [*first.german, *conjunction.german, *second.german],
            agreement=3,
            gender=PLURAL,
            classes=first.classes,
        )
        both.english_head, both.german_head = first.english_head, first.german_head
        return both

    def _add_modifier(self, phrase: Phrase, noun: Noun) -> None:
        """A prepositional phrase on the noun: "the man with the hat", "the door of the house"."""
        primary = noun.classes
        if "H" in primary:
            with_or_from = (("with", "mit", "CA"), ("from", "aus", "B"))
            english, german, classes = self.dice.pick(with_or_from)
            self._append(phrase, self.preposition(english, german, 2, classes, depth=1))
        elif "R" in primary:
            self._append(phrase, self.preposition("about", "über", 1, "ZAN", depth=1))
        elif "Q" in primary:
            of = Token("of", "ADP")
            whole = self.noun_phrase("B", GEN, definite=True, depth=1)
            of.head = whole.english_head
            whole.english.insert(0, of)
            whole.german[0].of = (of, *whole.german[0].of)
            self._append(phrase, whole)

    def preposition(
        self,
        english: str,
        german: str,
        case: int,
        classes: str,
        *,
        depth: int = 0,
        definite: bool = False,
    ) -> Phrase:
        """A preposition with a random noun phrase."""
        definite = definite or case == GEN
        inner = self.noun_phrase(classes, case, definite=definite, depth=depth)
        return self.governed(english, german, inner)

    def governed(self, english: str, german: str, inner: Phrase) -> Phrase:
        """A preposition before a phrase that is in its case; "in dem" becomes "im"."""
        prepositions = [Token(form, "ADP", inner.english_head) for form in english.split()]
        token = Token(german, "ADP", inner.german_head, tuple(prepositions))
        article = inner.article
        rest = inner.german
        if article is not None and (german, article.form) in CONTRACTIONS:
            token.form = CONTRACTIONS[german, article.form]
            token.of += article.of
            rest = [one for one in rest if one is not article]
        result = Phrase([*prepositions, *inner.english], [token, *rest], classes=inner.classes)
        result.english_head, result.german_head = inner.english_head, inner.german_head
        result.heavy = inner.heavy
        return result

    def two_way(self, direction: bool, choice: int = len(TWO_WAY), depth: int = 0) -> Phrase:
        """A place ("im Garten") or, with ``direction``, a goal ("in den Garten").

        ``choice`` limits the prepositions to the first ones of the table.
        """
        at, to, german, nouns = self.dice.skewed(TWO_WAY[:choice])
        english = to if direction else at
        return self.preposition(english, german, 1 if direction else 2, nouns, depth=depth)
