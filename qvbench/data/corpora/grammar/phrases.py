"""Random noun phrases and clauses: what is said, in both languages at once.

Whatever is drawn from ``rng`` is drawn in a fixed order, and the text of a seed depends on it.
``depth`` 0 allows relative clauses, genitives and coordination in a noun phrase, 1 does not;
``definite`` allows only determiners that can be negated around and put into the genitive.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.lexicon import CHOICES, ENTRIES, PARADIGMS, Noun, Verb
from qvbench.data.corpora.grammar.syntax import (
    Clause,
    Phrase,
    Token,
    governed,
    pronoun,
    sequence,
    word,
    words,
)

T = TypeVar("T")

PAST_TENSES = ("past", "pluperfect", "could", "had", "wanted")
# Which groups of times go with a tense that is not like the past or the future.
TIME_GROUPS = {"present": "ap", "perfect": "", "pluperfect": ""}
# First words of objects that German puts before manner: "kauft den Apfel sofort", but "kauft sofort
# einen Apfel", which is not generated.
KNOWN = {"the", "this", "that", "these", "those", "me", "you", "him", "her", "us", "them"}
KNOWN |= {english for english, *_ in lex.DETERMINERS["poss"]}
SAME_PERSON = {"mich": ("I", "we"), "uns": ("I", "we"), "dich": ("you",)}


class Draw(Random):
    """Draws phrases and clauses from ``random()`` alone, which no version of Python changes."""

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Any item, all alike."""
        return items[int(self.random() * len(items))]

    def skewed(self, items: Sequence[T]) -> T:
        """Any item, earlier ones more often: words have frequent and rare ones among them."""
        uniform = self.random()
        return items[int(uniform * uniform * len(items))]

    # Noun phrases

    def noun_phrase(
        self, classes: str, case: int, *, definite: bool = False, depth: int = 0, kind: str = ""
    ) -> Phrase:
        """A determiner, adjectives, a noun of one of these classes and what follows it.

        ``kind`` is a determiner to use rather than a random one; ``indefinite`` is what "there is"
        introduces: an article, a number, or none before a mass noun.
        """
        if not kind and "H" in classes and case != lex.GEN and self.chance(0.1):
            return self._name(case)
        noun = self.skewed(lex.nouns_of(classes))
        plural = noun.countable and self.chance(0.27)
        number = "plural" if plural else "singular" if noun.countable else "mass"
        if kind == "indefinite":
            return self._determined(noun, plural, case, self.pick(CHOICES[f"some {number}"]))
        determiner = kind or self.pick(CHOICES["definite" if definite else number])
        phrase = self._determined(noun, plural, case, determiner)
        if depth:
            return phrase
        roll = self.random()
        if roll < 0.09:
            phrase.append(self._relative_clause(noun, phrase.gender))
            phrase.heavy = True
            phrase.article = None  # "in dem Haus , das ...": no contraction before a clause
        elif roll < 0.15 and not kind:
            return self._possessed(noun, plural, case)
        elif roll < 0.2 and noun.countable and not kind:
            second = self.noun_phrase(noun.classes[0], case, definite=definite, depth=1)
            both = {"agreement": 3, "gender": lex.PLURAL, "classes": phrase.classes}
            return phrase.join(word("and", "und", "CCONJ"), second, **both)
        elif roll < 0.24:
            entries = [row[1:] for row in ENTRIES["modifiers"] if row[0] in noun.classes]
            if entries:  # "the man with the hat", "the door of the house"
                entry = self.pick(entries) if len(entries) > 1 else entries[0]
                phrase.append(self.preposition(entry))
        return phrase

    def _determined(self, noun: Noun, plural: bool, case: int, kind: str) -> Phrase:
        """Determiner, adjective and noun, agreeing in case, number and gender."""
        gender = lex.PLURAL if plural else noun.gender
        head = word(noun.english[plural], noun.german[case][plural], "NOUN")
        parts, adjectives = [], "strong"
        if kind:
            entries = lex.DETERMINERS[kind]
            draw = self.pick if kind == "poss" else self.skewed
            english, stem, paradigm, adjectives = draw(entries) if len(entries) > 1 else entries[0]
            german = stem + PARADIGMS[paradigm][case][gender]
            form = english.split()[-1 if plural else 0]
            parts = [word(form, german, "NUM" if kind == "number" else "DET").attach(head.heads)]
        parts += self._adjective(noun.classes, PARADIGMS[adjectives][case][gender], head, kind)
        traits = {"agreement": 3 if plural else 2, "gender": gender, "classes": noun.classes}
        article = parts[0].german[0] if kind == "the" else None
        return sequence(*parts, head, head=head, article=article, **traits)

    def _adjective(self, classes: str, ending: str, head: Phrase, kind: str) -> list[Phrase]:
        """No adjective, or one: plain, with "very" before it, or in the superlative."""
        roll = self.random()
        fitting = lex.adjectives_for(classes)
        if roll > 0.42 or not fitting:
            return []
        adjective = self.skewed(fitting)
        if roll < 0.02 and kind == "the" and adjective.graded:
            phrase = word(adjective.english[2], adjective.german[2] + ending, "ADJ")
            return [phrase.attach(head.heads)]
        phrase = word(adjective.english[0], adjective.stem + ending, "ADJ")
        if roll < 0.05 and adjective.graded:
            phrase.prepend(word("very", "sehr"))
        return [phrase.attach(head.heads)]

    def _name(self, case: int) -> Phrase:
        noun = self.skewed(lex.NAMES)
        german = noun.german[case][0]
        return word(noun.english[0], german, "PROPN", gender=noun.gender, classes="H")

    def _possessed(self, noun: Noun, plural: bool, case: int) -> Phrase:
        """As in "the neighbour 's dog" and "der Hund des Nachbarn", or "Annas Hund"."""
        named = case != lex.GEN and self.chance(0.4)
        phrase = self._determined(noun, plural, case, "" if named else "the")
        owner = (
            self._name(lex.GEN) if named else self.noun_phrase("H", lex.GEN, definite=True, depth=1)
        )
        plural_s = owner.agreement == 3 and owner.english[-1].form.endswith("s")
        mark = Token("'" if plural_s else "'s", "PART", owner.heads[0])
        owner.german[-1].of += (mark,)
        owner.english.append(mark)
        if named:
            return phrase.prepend(owner)
        owner.attach(phrase.heads)
        phrase.english = owner.english + phrase.english[1:]
        phrase.german[0].of = ()  # the article of the possessed noun has no English word
        phrase.german += owner.german
        return phrase

    def preposition(self, entry: Sequence[str], depth: int = 1) -> Phrase:
        """A preposition and a noun phrase, by an entry like those of the lexicon's places."""
        english, german, letter, classes = entry
        case = lex.CASES.index(letter)
        inner = self.noun_phrase(classes, case, definite=case == lex.GEN, depth=depth)
        return governed(english, german, inner)

    def prepositional(self, section: str) -> Phrase:
        """The same by an entry of this section, of places and goals more often an early one."""
        draw = self.skewed if section in ("places", "goals") else self.pick
        return self.preposition(draw(ENTRIES[section]))

    # Relative clauses

    def _relative_clause(self, noun: Noun, gender: int) -> Phrase:
        """A relative clause in which the noun is subject, object, place or owner."""
        roll, first, human = self.random(), noun.classes[0], "H" in noun.classes
        verb = subject = front = None
        gap = ""

        def relative(english: str, case: int) -> Phrase:
            german = PARADIGMS["relative"][case][gender]
            agreement = 3 if gender == lex.PLURAL else 2
            return word(english, german, "PRON", agreement=agreement, classes=noun.classes)

        if 0.42 < roll < 0.74:  # "whom the man sees"
            verb = self._verb_taking("T" if roll < 0.62 else "D", noun)
            gap = "object"
        elif 0.74 < roll < 0.88:  # "for whom the man waits"
            verb = self._verb_taking("P", noun)
            gap = "complement"
        elif roll >= 0.88 and human:  # "whose dog sleeps"
            other = self.skewed(lex.nouns_of("HA"))
            owned = self._determined(other, self.chance(0.3), lex.NOM, "")
            subject = owned.prepend(relative("whose", lex.GEN))
            verb = self.verb("IITTDPLM", other.classes[0])
        if verb is None:
            verb = self.verb("IITTTTDGPPLMK", first if first in "HAVTRCBX" else "")
            verb = verb if first in "HAVTRC" else lex.COPULA
            subject, gap = relative("who" if human else "that", lex.NOM), ""
        elif gap == "complement":
            subject = self.subject("H", depth=1)
        if gap:
            thing = "that" if gap == "object" else "which"
            which = relative("whom" if human else thing, verb.case)
            front = governed(*verb.prepositions, which)
        clause = self.clause(
            verb, subject, tenses=CHOICES["simple"], depth=1, gap=gap, adverbs=False
        )
        return clause.realize("last", front)

    def _verb_taking(self, frame: str, noun: Noun) -> Verb | None:
        """A verb with this noun as its object, if there is any; a place is what one lives in."""
        if frame == "P" and "B" in noun.classes:
            return self.pick(lex.verbs_of("L", "H"))
        verbs = lex.verbs_of(frame, "", noun.classes[0])
        fitting = [verb for verb in verbs if frame != "P" or verb.prepositions[0]]
        return self.skewed(fitting) if fitting else None

    # Clauses

    def subject(self, classes: str, *, definite: bool = False, depth: int = 0) -> Phrase:
        """A pronoun, a name or a noun phrase in the nominative."""
        if "H" in classes and self.chance(0.24):
            return pronoun(self.pick(tuple(lex.PRONOUNS)), lex.NOM)
        return self.noun_phrase(classes, lex.NOM, definite=definite, depth=depth)

    def verb(self, frames: Sequence[str] = CHOICES["frames"], subject: str = "") -> Verb:
        """A verb of one of these frames that such a subject can have."""
        while True:
            frame = self.pick(frames)
            if frame == "K":
                return lex.COPULA
            if fitting := lex.verbs_of(frame, subject):
                return self.skewed(fitting)

    def _tense(self, verb: Verb, subject: Phrase, allowed: Sequence[str]) -> str:
        """A tense that can be told from the English form; things have no plans and duties."""
        tense = self.pick(allowed)
        if "H" not in subject.classes and tense not in CHOICES["simple"]:
            tense = "past" if tense in PAST_TENSES else "present"
        if tense == "past" and verb.english[1][0] == verb.base:  # "put"
            tense = "perfect" if "present" in allowed else "pluperfect"
        return tense

    def clause(
        self,
        verb: Verb,
        subject: Phrase | None = None,
        *,
        tenses: Sequence[str] = CHOICES["tenses"],
        depth: int = 0,
        gap: str = "",
        adverbs: bool = True,
    ) -> Clause:
        """A clause of this verb, with this subject if it is settled, in one of these tenses.

        ``gap`` is a slot to leave empty because its phrase stands at the front; ``adverbs`` says
        whether times, places, manners and negation may be added.
        """
        negative = adverbs and self.chance(0.1)
        if subject is None:
            classes = verb.subjects or self.pick(("H", "H", "ATVRCFBX"))
            subject = self.subject(classes, definite=negative, depth=depth)
        clause = Clause(verb, self._tense(verb, subject, tenses), subject)
        slots, frame = clause.slots, verb.frame
        if negative:
            never = self.pick(("not", "not", "never")) == "never"
            slots["late"] = word("never", "nie") if never else word("not", "nicht", "PART")
            if clause.tense == "must":
                clause.tense = "present"
        if frame == "G":
            slots["recipient"] = self._object(subject, "H", lex.DAT, negative, 1)
        if frame in "TDGS" and gap != "object":
            inner = 1 if frame == "S" else depth
            slots["object"] = self._object(subject, verb.objects, verb.case, negative, inner)
        if frame in "PLMS" and gap != "complement":
            slots["complement"] = self._complement(verb, negative, depth)
        if frame == "K":
            slots["predicate"] = self._predicate(subject.classes, max(depth, 1))
        if adverbs:
            self._add_adverbs(clause, gap, negative)
        return clause

    def _object(
        self, subject: Phrase, classes: str, case: int, definite: bool, depth: int
    ) -> Phrase:
        """A noun phrase, or a pronoun of another person than the subject."""
        if "H" in classes and self.chance(0.25):
            same = SAME_PERSON.get(subject.reflexive, ())
            return pronoun(self.pick([name for name in lex.PRONOUNS if name not in same]), case)
        if case == lex.ACC and not definite and subject.english and self.chance(0.03):
            return self.noun_phrase(classes, case, kind="no", depth=1)
        return self.noun_phrase(classes, case, definite=definite, depth=depth)

    def _complement(self, verb: Verb, definite: bool, depth: int) -> Phrase:
        """What the verb takes with a preposition: an object, a place or a goal."""
        if verb.frame == "P":
            inner = self.noun_phrase(verb.objects, verb.case, definite=definite, depth=depth)
            return governed(*verb.prepositions, inner)
        if verb.frame == "L":
            return self.prepositional("places")
        if verb.frame == "M":
            return self.prepositional("goals" if self.chance(0.65) else "paths")
        if self.chance(0.3):
            return self.preposition(("into", "in", "a", "K"))
        return self.preposition(self.skewed(ENTRIES["goals"][:-1]))

    def _predicate(self, classes: str, depth: int) -> Phrase:
        """An adjective: plain, with "very", or compared."""
        adjective = self.skewed(lex.adjectives_for(classes) or lex.adjectives_for("T"))
        roll = self.random()
        plain = word(adjective.english[0], adjective.german[0], "ADJ")
        if not adjective.graded or roll > 0.4:
            return plain
        if roll < 0.2:
            return plain.prepend(word("very", "sehr"))
        other = self.noun_phrase(classes[:1] or "H", lex.NOM, definite=True, depth=depth)
        if roll < 0.28:
            return plain.prepend(word("as", "so")).append(governed("as", "wie", other))
        more = word(adjective.english[1], adjective.german[1], "ADJ")
        return more.append(governed("than", "als", other))

    def add_time(self, clause: Clause) -> None:
        """Add a time that the tense can have, if there is any."""
        groups = TIME_GROUPS.get(clause.tense, "av" if clause.tense in PAST_TENSES else "af")
        times = [time for time in ENTRIES["times"] if time[2] in groups]
        if times:
            english, german, _ = self.pick(times)
            clause.slots["time"] = words(english, german)

    def _add_adverbs(self, clause: Clause, gap: str, negative: bool) -> None:
        slots, positive = clause.slots, not negative
        if any(phrase.heavy for phrase in slots.values()):
            return
        roll = self.random()
        action = clause.verb.frame not in "KLCAZ"
        if roll < 0.22 and (positive or clause.negated):
            self.add_time(clause)
        elif roll < 0.3 and clause.tense in ("present", "past") and positive:
            slots["early"] = word(*self.pick(ENTRIES["frequency"]))
        elif roll < 0.33 and clause.tense == "perfect" and "object" not in slots and positive:
            slots["late"] = word("already", "schon")
        known = "object" not in slots or slots["object"].english[0].form in KNOWN
        human = "H" in clause.subject.classes
        if action and known and human and positive and self.chance(0.12):
            slots["manner"] = word(*self.pick(ENTRIES["manner"]))
        free = "complement" not in slots and gap != "complement"
        if free and action and positive and self.chance(0.2):  # where, with whom, when or why
            section = "places" if self.chance(0.55) else "circumstances"
            slots["complement"] = self.prepositional(section)
