"""The lexicon: every line of the word lists with all its forms, computed once when imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qvbench.data.corpora.grammar import nouns, verbs, words
from qvbench.data.corpora.grammar.morphology import (
    FEMININE,
    MASCULINE,
    NEUTER,
    Table,
    decline_noun,
    english_past,
    english_plural,
    english_third_person,
    german_past,
    german_present,
    superlative_stem,
    weak_forms,
)

GENDERS = {"m": MASCULINE, "f": FEMININE, "n": NEUTER}


@dataclass(frozen=True)
class Noun:
    """A noun or a name with its forms; ``classes[0]`` is the class that matters most."""

    english: tuple[str, str]
    german: Table
    gender: int
    classes: str
    countable: bool = True


@dataclass(frozen=True)
class Verb:
    """A verb of both languages: forms by tense and agreement, and what it takes.

    ``base``, ``particle``: English infinitive and the words of its particle. ``prefix`` is the
    German separable prefix. ``past_is_clear`` is false where an English past is spelled like the
    present ("put"), so that the tense of the translation could not be told.
    """

    base: str
    particle: tuple[str, ...]
    english: tuple[tuple[str, ...], tuple[str, ...]]
    participle: str
    infinitive: str
    prefix: str
    german: tuple[tuple[str, ...], tuple[str, ...]]
    german_participle: str
    sein: bool
    reflexive: bool
    frame: str
    subjects: str
    objects: str
    preposition: tuple[str, str, int]
    past_is_clear: bool


@dataclass(frozen=True)
class Adjective:
    """An adjective: plain and comparative; ``stem`` and ``superlative`` take endings."""

    english: str
    english_comparative: tuple[str, ...]
    english_superlative: tuple[str, ...]
    german: str
    stem: str
    comparative: str
    superlative: str
    classes: str
    graded: bool


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line)


def _read_noun(line: str) -> Noun:
    english, german, gender, genitive, plural, classes = line.split()
    singular, _, irregular = english.partition("/")
    forms = decline_noun(
        german, GENDERS[gender], german if genitive == "=" else genitive, plural.strip("-")
    )
    many = irregular or english_plural(singular)
    return Noun((singular, many), forms, GENDERS[gender], classes, plural != "-")


def _read_name(name: str, gender: str) -> Noun:
    forms = ((name, name), (name, name), (name, name), (name + "s", name + "s"))
    return Noun((name, name), forms, GENDERS[gender], "H", False)


def _read_verb(line: str) -> Verb:
    english, german, frame = (part.split() for part in line.split("|"))
    base, *particle = english[0].split("+")
    past = english[1] if len(english) > 1 else english_past(base)
    participle = english[2] if len(english) > 2 else past
    second = next((item[3:] for item in german if item.startswith("du:")), None)
    parts = [item for item in german if item not in ("ist", "sich") and not item.startswith("du:")]
    prefix, _, infinitive = parts[0].rpartition("+")
    third, first_past, german_participle = parts[1:] or weak_forms(infinitive)
    preposition = ("", "", 0)
    if frame[0] == "P":
        preposition = (frame[3].strip("-"), frame[4], "nadg".index(frame[5]))
    return Verb(
        base=base,
        particle=tuple(particle),
        english=((base, base, english_third_person(base), base), (past,) * 4),
        participle=participle,
        infinitive=infinitive,
        prefix=prefix,
        german=(german_present(infinitive, third, second), german_past(first_past)),
        german_participle=prefix + german_participle,
        sein="ist" in german,
        reflexive="sich" in german,
        frame=frame[0],
        subjects=frame[1],
        objects=frame[2] if len(frame) > 2 else "",
        preposition=preposition,
        past_is_clear=past != base,
    )


def _read_adjective(line: str) -> Adjective:
    english, german, classes = (part.split() for part in line.split("|"))
    plain = german[0]
    comparative = german[1] if len(german) > 1 else plain + "er"
    graded = len(english) > 1
    superlative = {"better": "best"}.get(english[-1], english[-1][:-1] + "st")
    return Adjective(
        english=english[0],
        english_comparative=(english[1],) if graded else ("more", english[0]),
        english_superlative=(superlative,) if graded else ("most", english[0]),
        german=plain,
        stem=german[2] if len(german) > 2 else plain,
        comparative=comparative,
        superlative=superlative_stem(plain, comparative),
        classes=classes[0],
        graded=english[0] not in words.UNGRADED,
    )


NOUNS = tuple(_read_noun(line) for line in _lines(nouns.NOUNS))
NAMES = tuple(_read_name(name, gender) for gender, names in nouns.NAMES.items() for name in names)
VERBS = tuple(_read_verb(line) for line in _lines(verbs.VERBS))
ADJECTIVES = tuple(_read_adjective(line) for line in _lines(words.ADJECTIVES))

COPULA = Verb(
    base="be",
    particle=(),
    english=verbs.BE,
    participle="been",
    infinitive="sein",
    prefix="",
    german=verbs.SEIN,
    german_participle="gewesen",
    sein=True,
    reflexive=False,
    frame="K",
    subjects="",
    objects="",
    preposition=("", "", 0),
    past_is_clear=True,
)


def counts() -> dict[str, int]:
    """Lexical entries by part of speech: what the corpus is built from."""
    adverbs = (words.FREQUENCY, words.LATE, words.MANNER, list(_lines(words.TIMES)))
    return {
        "noun": len(NOUNS),
        "name": len(NAMES),
        "verb": len({(verb.base, verb.prefix, verb.infinitive) for verb in VERBS}),
        "modal": len(verbs.MODALS),
        "adjective": len(ADJECTIVES),
        "adverb": sum(len(group) for group in adverbs),
        "preposition": len(words.TWO_WAY) + len(words.PATHS) + len(words.CIRCUMSTANCES),
        "conjunction": len(words.SUBORDINATORS) + len(words.COORDINATORS),
        "pronoun": len(words.PRONOUNS),
        "determiner": len(words.POSSESSIVES) + len(words.NUMERALS) + len(words.QUANTIFIERS),
    }
