"""Random noun phrases and prepositional phrases, in both languages at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.lexicon import ACC, DAT, GEN, PLURAL, Adjective, Noun
from qvbench.data.corpora.grammar.tree import (
    Phrase,
    Rng,
    Token,
    compared,
    governed,
    joined,
    word,
)

# Kinds of determiners, repeated as often as they should come up.
SINGULAR = ("the",) * 10 + ("a",) * 6 + ("poss",) * 3 + ("this", "that", "every")
SINGULAR_DEFINITE = ("the",) * 10 + ("poss",) * 4 + ("this", "that")
MANY = ("the",) * 9 + ("",) * 4 + ("poss",) * 3 + ("this", "that", "all") + ("number", "many") * 2
MASS = ("the",) * 4 + ("",) * 4 + ("poss",)


def sharing(classes: str, others: str) -> bool:
    """Whether two sets of semantic classes have one in common."""
    return not set(classes).isdisjoint(others)


@cache
def nouns_of(classes: str) -> tuple[Noun, ...]:
    """Nouns of any of these classes, those first that come first in their own class."""
    rank: dict[str, int] = {}
    ranked = []
    for noun in lex.NOUNS:
        if sharing(noun.classes, classes):
            rank[noun.classes[0]] = rank.get(noun.classes[0], 0) + 1
            ranked.append((rank[noun.classes[0]], noun))
    return tuple(noun for _, noun in sorted(ranked, key=lambda pair: pair[0]))


@cache
def adjectives_for(classes: str) -> tuple[Adjective, ...]:
    """Adjectives that go with a noun of these classes."""
    return tuple(one for one in lex.ADJECTIVES if sharing(one.classes, classes))


def _determiner(kind: str, rng: Rng, case: int, gender: int) -> tuple[str, str, lex.Table]:
    """English form, German form and the paradigm of the adjectives that follow."""
    der, ein = lex.DER_ENDINGS[case][gender], lex.EIN_ENDINGS[case][gender]
    if kind == "the":
        return "the", lex.DEFINITE[case][gender], lex.WEAK
    if kind in ("a", "no"):
        return kind, {"a": "ein", "no": "kein"}[kind] + ein, lex.MIXED
    if kind == "poss":
        english, stem = rng.pick(lex.POSSESSIVES)
        return english, stem + ein, lex.MIXED
    if kind == "number":
        english, german = rng.skewed(lex.NUMERALS)
        return english, german, lex.STRONG
    if kind == "many":
        english, stem = rng.skewed(lex.QUANTIFIERS)
        return english, stem + der, lex.STRONG
    stem = {"this": "dies", "that": "jen", "every": "jed", "all": "all", "which": "welch"}[kind]
    plural = {"this": "these", "that": "those"} if gender == PLURAL else {}
    return plural.get(kind, kind), stem + der, lex.WEAK


class NounPhrases:
    """Draws noun phrases and prepositional phrases.

    Args:
        rng: what is drawn from.
        relative_clause: makes a relative clause on a noun of a gender (3 for plural).
    """

    def __init__(self, rng: Rng, relative_clause: Callable[[Noun, int], Phrase]) -> None:
        self.rng = rng
        self._relative_clause = relative_clause

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
                introduces: an article, a number, or none before a mass noun.
        """
        rng = self.rng
        if not kind and "H" in classes and case != GEN and rng.chance(0.1):
            return self._name(case)
        noun = rng.skewed(nouns_of(classes))
        plural = noun.countable and rng.chance(0.27)
        if kind == "indefinite":
            kinds = ("number", "many", "") if plural else ("a",) if noun.countable else ("",)
            return self.build(noun, plural, case, rng.pick(kinds))
        phrase = self.build(noun, plural, case, kind or self._kind(noun, plural, definite))
        return phrase if depth else self._extended(phrase, noun, plural, case, definite, kind)

    def _extended(
        self, phrase: Phrase, noun: Noun, plural: bool, case: int, definite: bool, kind: str
    ) -> Phrase:
        """The phrase with what may follow: a clause, an owner, another noun, a preposition."""
        roll = self.rng.random()
        if roll < 0.09:
            phrase.append(self._relative_clause(noun, PLURAL if plural else noun.gender))
            phrase.heavy = True
            phrase.article = None  # "in dem Haus , das ...": no contraction before a clause
        elif roll < 0.15 and not kind:
            phrase = self._possessed(noun, plural, case)
        elif roll < 0.2 and noun.countable and not kind:
            second = self.noun_phrase(noun.classes[0], case, definite=definite, depth=1)
            und = word("and", "und", "CCONJ")
            classes = phrase.classes
            return joined(phrase, und, second, agreement=3, gender=PLURAL, classes=classes)
        elif roll < 0.24:
            self._add_modifier(phrase, noun)
        return phrase

    def _kind(self, noun: Noun, plural: bool, definite: bool) -> str:
        """A kind of determiner for this noun."""
        if definite:
            return self.rng.pick(SINGULAR_DEFINITE)
        if not noun.countable:
            return self.rng.pick(MASS)
        return self.rng.pick(MANY if plural else SINGULAR)

    def build(self, noun: Noun, plural: bool, case: int, kind: str) -> Phrase:
        """Determiner, adjectives and noun, agreeing in case, number and gender."""
        gender = PLURAL if plural else noun.gender
        head = word(noun.english[plural], noun.german[case][plural], "NOUN")
        parts: list[Phrase] = []
        endings = lex.STRONG
        if kind:
            form, german_form, endings = _determiner(kind, self.rng, case, gender)
            parts.append(word(form, german_form, "NUM" if kind == "number" else "DET"))
        parts += self._adjectives(noun, endings[case][gender], kind)
        for part in parts:
            if part.english[0].form != "very":
                part.depend_on(head)
        parts.append(head)
        phrase = Phrase(
            [token for part in parts for token in part.english],
            [token for part in parts for token in part.german],
            3 if plural else 2,
            gender,
            noun.classes,
        )
        if kind == "the":
            phrase.article = phrase.german[0]
        return phrase

    def _adjectives(self, noun: Noun, ending: str, kind: str) -> list[Phrase]:
        """No adjective, or one: plain, with "very" before it, or in the superlative."""
        roll = self.rng.random()
        fitting = adjectives_for(noun.classes)
        if roll > 0.42 or not fitting:
            return []
        adjective = self.rng.skewed(fitting)
        if roll < 0.02 and kind == "the" and adjective.graded:
            return [compared(adjective.english_superlative, adjective.superlative + ending)]
        phrase = word(adjective.english, adjective.stem + ending, "ADJ")
        if roll >= 0.05 or not adjective.graded:
            return [phrase]
        very = word("very", "sehr", "ADV")
        very.depend_on(phrase)
        return [very, phrase]

    def _name(self, case: int) -> Phrase:
        noun = self.rng.skewed(lex.NAMES)
        phrase = word(noun.english[0], noun.german[case][0], "PROPN")
        phrase.gender, phrase.classes = noun.gender, "H"
        return phrase

    def _possessed(self, noun: Noun, plural: bool, case: int) -> Phrase:
        """As in "the neighbour 's dog" and "der Hund des Nachbarn", or "Annas Hund"."""
        named = case != GEN and self.rng.chance(0.4)
        phrase = self.build(noun, plural, case, "" if named else "the")
        owner = self._name(GEN) if named else self.noun_phrase("H", GEN, definite=True, depth=1)
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

    def _add_modifier(self, phrase: Phrase, noun: Noun) -> None:
        """A prepositional phrase on the noun: "the man with the hat", "the door of the house"."""
        if "H" in noun.classes:
            with_or_from = (("with", "mit", "CA"), ("from", "aus", "B"))
            english, german, classes = self.rng.pick(with_or_from)
            phrase.append(self.preposition(english, german, DAT, classes, depth=1))
        elif "R" in noun.classes:
            phrase.append(self.preposition("about", "über", ACC, "ZAN", depth=1))
        elif "Q" in noun.classes:
            whole = self.noun_phrase("B", GEN, definite=True, depth=1)
            of = Token("of", "ADP", whole.english_head)
            whole.english.insert(0, of)
            whole.german[0].of = (of, *whole.german[0].of)
            phrase.append(whole)

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
        return governed(english, german, inner)

    def two_way(self, direction: bool, choice: int = len(lex.TWO_WAY)) -> Phrase:
        """A place ("im Garten") or, with ``direction``, a goal ("in den Garten").

        ``choice`` limits the prepositions to the first ones of the table.
        """
        at, to, german, nouns = self.rng.skewed(lex.TWO_WAY[:choice])
        if direction:
            return self.preposition(to, german, ACC, nouns, depth=1)
        return self.preposition(at, german, DAT, nouns, depth=1)

    def drawn_preposition(self, table: lex.Table) -> Phrase:
        """A preposition of one of the tables that give its case and the classes of its noun."""
        english, german, case, classes = self.rng.pick(table)
        return self.preposition(english, german, lex.CASES.index(case), classes, depth=1)
