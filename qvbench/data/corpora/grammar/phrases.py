"""Random noun phrases and clauses: what is said, in both languages at once.

Whatever is drawn from ``rng`` is drawn in a fixed order, and the text of a seed depends on it.
``depth`` 0 allows relative clauses, genitives and coordination in a noun phrase, more does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.lexicon import (
    ACC,
    CHOICES,
    COPULA,
    DAT,
    ENTRIES,
    GEN,
    NOM,
    PARADIGMS,
    PLURAL,
    Noun,
    Table,
    Verb,
)
from qvbench.data.corpora.grammar.syntax import (
    Clause,
    Phrase,
    Token,
    governed,
    joined,
    pronoun,
    sequence,
    word,
    words,
)

T = TypeVar("T")

PAST_TENSES = ("past", "pluperfect", "could", "had", "wanted")
# First words of objects that German puts before manner: "kauft den Apfel sofort", but "kauft sofort
# einen Apfel", which is not generated.
KNOWN = {"the", "this", "that", "these", "those", "me", "you", "him", "her", "us", "them"} | {
    entry[0] for entry in lex.DETERMINERS["poss"]
}
SAME_PERSON = {"mich": ("I", "we"), "uns": ("I", "we"), "dich": ("you",)}
# Which groups of times go with which tense; with the others, any and the future.
TIME_GROUPS = {"present": "ap", "perfect": "", "pluperfect": ""} | dict.fromkeys(
    ("past", "could", "had", "wanted"), "av"
)


class Rng(Random):
    """Random choices from ``random()`` alone.

    That method gives the same numbers on every platform and Python version; ``choice`` and its kin
    do not promise to.
    """

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
    rng: Rng, classes: str, case: int, *, definite: bool = False, depth: int = 0, kind: str = ""
) -> Phrase:
    """A determiner, adjectives, a noun and what follows it.

    Args:
        rng: what is drawn from.
        classes: semantic classes of which the noun is one.
        case: of the German side.
        definite: only determiners that can be negated around and put into the genitive.
        depth: 0 allows a relative clause, a genitive and coordination, more does not.
        kind: a determiner to use rather than a random one; ``indefinite`` is what "there is"
            introduces: an article, a number, or none before a mass noun.
    """
    if not kind and "H" in classes and case != GEN and rng.chance(0.1):
        return _name(rng, case)
    noun = rng.skewed(lex.nouns_of(classes))
    plural = noun.countable and rng.chance(0.27)
    if kind == "indefinite":
        kinds = ("number", "many", "") if plural else ("a",) if noun.countable else ("",)
        return _determined(rng, noun, plural, case, rng.pick(kinds))
    number = "plural" if plural else "singular" if noun.countable else "mass"
    determiner = kind or rng.pick(CHOICES["definite" if definite else number])
    phrase = _determined(rng, noun, plural, case, determiner)
    if depth:
        return phrase
    roll = rng.random()
    if roll < 0.09:
        phrase.append(_relative_clause(rng, noun, phrase.gender))
        phrase.heavy = True
        phrase.article = None  # "in dem Haus , das ...": no contraction before a clause
    elif roll < 0.15 and not kind:
        return _possessed(rng, noun, plural, case)
    elif roll < 0.2 and noun.countable and not kind:
        second = noun_phrase(rng, noun.classes[0], case, definite=definite, depth=1)
        features = {"agreement": 3, "gender": PLURAL, "classes": phrase.classes}
        return joined(phrase, word("and", "und", "CCONJ"), second, **features)
    elif roll < 0.24:
        _add_modifier(rng, phrase)
    return phrase


def _determined(rng: Rng, noun: Noun, plural: bool, case: int, kind: str) -> Phrase:
    """Determiner, adjective and noun, agreeing in case, number and gender."""
    gender = PLURAL if plural else noun.gender
    head = word(noun.english[plural], noun.german[case][plural], "NOUN")
    parts, paradigm = [], "strong"
    if kind:
        entries = lex.DETERMINERS[kind]
        draw = rng.pick if kind == "poss" else rng.skewed
        english, stem, endings, paradigm = draw(entries) if len(entries) > 1 else entries[0]
        form = stem + PARADIGMS[endings][case][gender]
        tag = "NUM" if kind == "number" else "DET"
        parts.append(word(english.split()[plural and " " in english], form, tag).attach(head.heads))
    parts += _adjective(rng, noun, PARADIGMS[paradigm][case][gender], head, kind)
    features = {"agreement": 3 if plural else 2, "gender": gender, "classes": noun.classes}
    phrase = sequence(*parts, head, head=head, **features)
    if kind == "the":
        phrase.article = phrase.german[0]
    return phrase


def _adjective(rng: Rng, noun: Noun, ending: str, head: Phrase, kind: str) -> list[Phrase]:
    """No adjective, or one: plain, with "very" before it, or in the superlative."""
    roll = rng.random()
    fitting = lex.adjectives_for(noun.classes)
    if roll > 0.42 or not fitting:
        return []
    adjective = rng.skewed(fitting)
    if roll < 0.02 and kind == "the" and adjective.graded:
        highest = word(adjective.english[2], adjective.german[2] + ending, "ADJ")
        return [highest.attach(head.heads)]
    phrase = word(adjective.english[0], adjective.stem + ending, "ADJ")
    if roll < 0.05 and adjective.graded:
        phrase.prepend(word("very", "sehr", "ADV"))
    return [phrase.attach(head.heads)]


def _name(rng: Rng, case: int) -> Phrase:
    noun = rng.skewed(lex.NAMES)
    form = noun.german[case][0]
    return word(noun.english[0], form, "PROPN", gender=noun.gender, classes="H")


def _possessed(rng: Rng, noun: Noun, plural: bool, case: int) -> Phrase:
    """As in "the neighbour 's dog" and "der Hund des Nachbarn", or "Annas Hund"."""
    named = case != GEN and rng.chance(0.4)
    phrase = _determined(rng, noun, plural, case, "" if named else "the")
    owner = _name(rng, GEN) if named else noun_phrase(rng, "H", GEN, definite=True, depth=1)
    plural_s = owner.agreement == 3 and owner.english[-1].form.endswith("s")
    mark = Token("'" if plural_s else "'s", "PART", owner.heads[0])
    owner.german[-1].of += (mark,)
    owner.english.append(mark)
    owner.attach(phrase.heads)
    if named:
        phrase.english = owner.english + phrase.english
        phrase.german = owner.german + phrase.german
    else:  # the article of the possessed noun has no English word
        phrase.english = owner.english + phrase.english[1:]
        phrase.german[0].of = ()
        phrase.german += owner.german
    return phrase


def _add_modifier(rng: Rng, phrase: Phrase) -> None:
    """A prepositional phrase on the noun: "the man with the hat", "the door of the house"."""
    if "H" in phrase.classes:
        english, german, classes = rng.pick((("with", "mit", "CA"), ("from", "aus", "B")))
        phrase.append(preposition(rng, english, german, DAT, classes))
    elif "R" in phrase.classes:
        phrase.append(preposition(rng, "about", "über", ACC, "ZAN"))
    elif "Q" in phrase.classes:
        whole = noun_phrase(rng, "B", GEN, definite=True, depth=1)
        of = Token("of", "ADP", whole.heads[0])
        whole.english.insert(0, of)
        whole.german[0].of = (of, *whole.german[0].of)
        phrase.append(whole)


def preposition(
    rng: Rng, english: str, german: str, case: int, classes: str, depth: int = 1
) -> Phrase:
    """A preposition with a random noun phrase."""
    inner = noun_phrase(rng, classes, case, definite=case == GEN, depth=depth)
    return governed(english, german, inner)


def place(rng: Rng) -> Phrase:
    """As in "im Garten"."""
    english, _, german, classes = rng.skewed(ENTRIES["two_way"])
    return preposition(rng, english, german, DAT, classes)


def _goal(rng: Rng, entries: Table = ENTRIES["two_way"]) -> Phrase:
    """As in "in den Garten"."""
    _, english, german, classes = rng.skewed(entries)
    return preposition(rng, english, german, ACC, classes)


def _drawn_preposition(rng: Rng, entries: Table) -> Phrase:
    english, german, case, classes = rng.pick(entries)
    return preposition(rng, english, german, lex.CASES.index(case), classes)


# Relative clauses


def _relative_clause(rng: Rng, noun: Noun, gender: int) -> Phrase:
    """A relative clause in which the noun is subject, object, place or owner."""
    roll = rng.random()
    first = noun.classes[0]
    found = None
    if 0.42 < roll < 0.88:
        found = _relative_object(rng, noun, gender, roll)
    elif roll >= 0.88 and "H" in noun.classes:  # "whose dog sleeps"
        other = rng.skewed(lex.nouns_of("HA"))
        owned = _determined(rng, other, rng.chance(0.3), NOM, "")
        owned.prepend(_relative(noun, gender, GEN, "whose"))
        found = _plain_clause(rng, draw_verb(rng, "IITTDPLM", other.classes[0]), owned), None
    if found is None:
        verb = draw_verb(rng, "IITTTTDGPPLMK", first if first in "HAVTRCBX" else "")
        subject = _relative(noun, gender, NOM, "who" if "H" in noun.classes else "that")
        found = _plain_clause(rng, verb if first in "HAVTRC" else COPULA, subject), None
    clause, front = found
    return clause.realize("last", front)


def _relative_object(
    rng: Rng, noun: Noun, gender: int, roll: float
) -> tuple[Clause, Phrase | None] | None:
    """As in "whom the man sees", "for whom the man waits", "in which the woman lives"."""
    human = "H" in noun.classes
    frame = "T" if roll < 0.62 else "D" if roll < 0.74 else "P"
    if frame == "P" and "B" in noun.classes:
        verb, governor = rng.pick(lex.verbs_of("L", "H")), ("in", "in", DAT)
    else:
        verbs = lex.verbs_of(frame, "", noun.classes[0])
        verbs = tuple(verb for verb in verbs if frame != "P" or verb.preposition[0])
        if not verbs:
            return None
        verb = rng.skewed(verbs)
        governor = verb.preposition
    if frame != "P":
        front = _relative(noun, gender, ACC if frame == "T" else DAT, "whom" if human else "that")
        return _plain_clause(rng, verb, gap="object"), front
    english, german, case = governor
    front = _relative(noun, gender, case, "whom" if human else "which")
    clause = _plain_clause(rng, verb, draw_subject(rng, "H", depth=1), "complement")
    return clause, governed(english, german, front)


def _relative(noun: Noun, gender: int, case: int, english: str) -> Phrase:
    features = {"agreement": 3 if gender == PLURAL else 2, "classes": noun.classes}
    return word(english, PARADIGMS["relative"][case][gender], "PRON", **features)


def _plain_clause(rng: Rng, verb: Verb, subject: Phrase | None = None, gap: str = "") -> Clause:
    tenses = CHOICES["simple"]
    return draw_clause(rng, verb, subject, tenses=tenses, depth=1, gap=gap, adverbs=False)


# Clauses


def draw_subject(rng: Rng, classes: str, *, definite: bool = False, depth: int = 0) -> Phrase:
    """A pronoun, a name or a noun phrase in the nominative."""
    if "H" in classes and rng.chance(0.24):
        return pronoun(rng.pick(tuple(lex.PRONOUNS)), NOM)
    return noun_phrase(rng, classes, NOM, definite=definite, depth=depth)


def draw_verb(rng: Rng, frames: Sequence[str] = CHOICES["frames"], subject: str = "") -> Verb:
    """A verb of one of these frames that such a subject can have."""
    while True:
        frame = rng.pick(frames)
        if frame == "K":
            return COPULA
        if fitting := lex.verbs_of(frame, subject):
            return rng.skewed(fitting)


def _tense(rng: Rng, verb: Verb, subject: Phrase, allowed: tuple[str, ...]) -> str:
    """A tense that can be told from the English form; things have no plans and duties."""
    tense = rng.pick(allowed)
    if "H" not in subject.classes and tense not in CHOICES["simple"]:
        tense = "past" if tense in PAST_TENSES else "present"
    if tense == "past" and verb.english[1][0] == verb.base:  # "put" might be either
        tense = "perfect" if "present" in allowed else "pluperfect"
    return tense


def draw_clause(
    rng: Rng,
    verb: Verb,
    subject: Phrase | None = None,
    *,
    tenses: tuple[str, ...] = CHOICES["tenses"],
    depth: int = 0,
    gap: str = "",
    adverbs: bool = True,
) -> Clause:
    """A clause of this verb.

    Args:
        rng: what is drawn from.
        verb: its verb.
        subject: the subject, if it is settled.
        tenses: what the tense is drawn from.
        depth: as for noun phrases: 0 allows relative clauses.
        gap: a slot to leave empty because its phrase stands at the front.
        adverbs: whether times, places, manners and negation may be added.
    """
    negative = adverbs and rng.chance(0.1)
    if subject is None:
        classes = verb.subjects or rng.pick(("H", "H", "ATVRCFBX"))
        subject = draw_subject(rng, classes, definite=negative, depth=depth)
    clause = Clause(verb, _tense(rng, verb, subject, tenses), subject)
    slots = clause.slots
    if negative:
        english = rng.pick(("not", "not", "never"))
        never = english == "never"
        slots["late"] = word(english, "nie" if never else "nicht", "ADV" if never else "PART")
        if clause.tense == "must":
            clause.tense = "present"
    frame = verb.frame
    if frame == "G":
        slots["recipient"] = _object(rng, subject, "H", DAT, negative, 1)
    if frame in "TDGS" and gap != "object":
        case, inner = DAT if frame == "D" else ACC, 1 if frame == "S" else depth
        slots["object"] = _object(rng, subject, verb.objects, case, negative, inner)
    if frame in "PLMS" and gap != "complement":
        slots["complement"] = _complement(rng, verb, negative, depth)
    if frame == "K":
        slots["predicate"] = _predicate(rng, subject, depth)
    if adverbs:
        _add_adverbs(rng, clause, gap, negative)
    return clause


def _object(
    rng: Rng, subject: Phrase, classes: str, case: int, definite: bool, depth: int
) -> Phrase:
    """A noun phrase, or a pronoun of another person than the subject."""
    if "H" in classes and rng.chance(0.25):
        same = SAME_PERSON.get(subject.reflexive, ())
        return pronoun(rng.pick([name for name in lex.PRONOUNS if name not in same]), case)
    if case == ACC and not definite and subject.english and rng.chance(0.03):
        return noun_phrase(rng, classes, case, kind="no", depth=1)
    return noun_phrase(rng, classes, case, definite=definite, depth=depth)


def _complement(rng: Rng, verb: Verb, definite: bool, depth: int) -> Phrase:
    """What the verb takes with a preposition: an object, a place or a goal."""
    if verb.frame == "P":
        english, german, case = verb.preposition
        inner = noun_phrase(rng, verb.objects, case, definite=definite, depth=depth)
        return governed(english, german, inner)
    if verb.frame == "L":
        return place(rng)
    if verb.frame == "M":
        return _goal(rng) if rng.chance(0.65) else _drawn_preposition(rng, ENTRIES["paths"])
    if rng.chance(0.3):
        return preposition(rng, "into", "in", ACC, "K")
    # Things are put in, on, under, behind, in front of and next to something, but not "to" it.
    return _goal(rng, ENTRIES["two_way"][:-1])


def _predicate(rng: Rng, subject: Phrase, depth: int) -> Phrase:
    """An adjective: plain, with "very", or compared."""
    adjective = rng.skewed(lex.adjectives_for(subject.classes) or lex.adjectives_for("T"))
    roll = rng.random()
    plain = word(adjective.english[0], adjective.german[0], "ADJ")
    if not adjective.graded or roll > 0.4:
        return plain
    if roll < 0.2:
        plain.prepend(word("very", "sehr", "ADV"))
        return plain
    classes = subject.classes[:1] or "H"
    other = noun_phrase(rng, classes, NOM, definite=True, depth=max(depth, 1))
    if roll < 0.28:
        plain.prepend(word("as", "so", "ADV"))
        plain.append(governed("as", "wie", other))
        return plain
    phrase = word(adjective.english[1], adjective.german[1], "ADJ")
    phrase.append(governed("than", "als", other))
    return phrase


def add_time(rng: Rng, clause: Clause) -> None:
    """Add a time that the tense can have, if there is any."""
    groups = TIME_GROUPS.get(clause.tense, "af")
    fitting = [time[:2] for time in ENTRIES["times"] if time[2] in groups]
    if fitting:
        clause.slots["time"] = words(*rng.pick(fitting))


def _add_adverbs(rng: Rng, clause: Clause, gap: str, negative: bool) -> None:
    slots = clause.slots
    last = clause.take("object", "complement", "predicate")
    if last and last[0].heavy:
        return
    roll = rng.random()
    action = clause.verb.frame not in "KLCAZ"
    positive = not negative
    if roll < 0.22 and (positive or clause.negated):
        add_time(rng, clause)
    elif roll < 0.3 and clause.tense in ("present", "past") and positive:
        slots["early"] = word(*rng.pick(ENTRIES["frequency"]), "ADV")
    elif roll < 0.33 and clause.tense == "perfect" and "object" not in slots and positive:
        slots["late"] = word("already", "schon", "ADV")
    known = "object" not in slots or slots["object"].english[0].form in KNOWN
    human = "H" in clause.subject.classes
    if action and known and human and positive and rng.chance(0.12):
        slots["manner"] = word(*rng.pick(ENTRIES["manner"]), "ADV")
    free = "complement" not in slots and gap != "complement"
    if free and action and positive and rng.chance(0.2):  # where, with whom, when or why
        at = rng.chance(0.55)
        slots["complement"] = (
            place(rng) if at else _drawn_preposition(rng, ENTRIES["circumstances"])
        )
