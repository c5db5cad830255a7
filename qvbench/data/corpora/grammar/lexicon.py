"""The lexicon: the entries of ``lexicon.txt`` with all their forms, computed once when imported.

Case is 0 nominative, 1 accusative, 2 dative, 3 genitive. Gender is 0 masculine, 1 feminine, 2
neuter, and 3 stands for the plural of all three. Agreement of a subject with its verb is 0 first, 1
second, 2 third person singular, 3 plural: English and German verbs need no more than that, since
the German second person plural is not generated.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

NOM, ACC, DAT, GEN = range(4)
MASCULINE, FEMININE, NEUTER, PLURAL = range(4)
CASES, GENDERS = "nadg", "mfn"
Table = tuple[tuple[str, ...], ...]


def _read() -> dict[str, Table]:
    """The entries of each section of the file, cut at the bars."""
    text = Path(__file__).with_name("lexicon.txt").read_text(encoding="utf-8")
    sections = {}
    for section in text.split("\n[")[1:]:
        name, *lines = section.splitlines()
        rows = [line.split("|") for line in lines if line and not line.startswith("#")]
        sections[name.strip("]")] = tuple(tuple(map(str.strip, row)) for row in rows)
    return sections


ENTRIES = _read()


class Noun(NamedTuple):
    """A noun or a name: forms by number, in German ``[case][number]``; the first class rules."""

    english: tuple[str, str]
    german: Table
    gender: int
    classes: str
    countable: bool


class Adjective(NamedTuple):
    """An adjective, its comparative and superlative; ``stem`` and superlative take endings."""

    english: tuple[str, ...]
    german: tuple[str, ...]
    stem: str
    classes: str
    graded: bool


class Verb(NamedTuple):
    """A verb of both languages: forms ``[past][agreement]``, and what it takes.

    ``base``, ``particle``: English infinitive and the words of its particle. ``prefix`` is the
    German separable prefix, ``sein`` the auxiliary of its perfect, ``prepositions`` the English and
    the German one that it governs, ``case`` that of its German object.
    """

    base: str
    particle: tuple[str, ...]
    english: Table
    participle: str
    prefix: str
    infinitive: str
    german: Table
    german_participle: str
    sein: bool
    reflexive: bool
    frame: str
    subjects: str = ""
    objects: str = ""
    prepositions: tuple[str, str] = ("", "")
    case: int = ACC


# Inflection: what is irregular stands in the lexicon


def _english_s(word: str) -> str:
    """A noun in the plural, a verb in the third person."""
    if re.search(r"(s|sh|ch|x|z|^go)$", word):
        return word + "es"
    return re.sub(r"(?<![aeiou])y$", "ie", word) + "s"


def _conjugate(infinitive: str, forms: list[str]) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Present, past and participle from the principal parts, which a weak verb does not need."""
    stem = re.sub(r"(?<=e[lr])n$|en$", "", infinitive)
    if not forms:  # with an e where -t could not be spoken: arbeit-et, öffn-et, but lern-t
        t = "et" if re.search(r"([dt]|ch[mn]|[bdfgkpsz][mn])$", stem) else "t"
        inseparable = re.match(r"(be|ge|er|ver|zer|ent|miss)|.*ieren$", infinitive)
        forms = [stem + t, stem + t + "e", ("" if inseparable else "ge") + stem + t]
    er, past, participle, *irregular = forms
    short = stem[:-2] + "l" if infinitive.endswith("eln") else stem  # lächle
    ich = short + "e" if er.endswith("t") else er  # weiß
    du = er if stem[-1] in "sßzx" else er[:-1] + "st"
    present = (ich, *(irregular or [du]), er, infinitive)
    e, n = ("", "n") if past.endswith("e") else ("e" if past[-1] in "sßzxdt" else "", "en")
    return present, (past, past + e + "st", past, past + n), participle


def _read_noun(entry: str) -> Noun:
    """Decline a noun; masculine ones with a genitive in -n are weak ("den Studenten")."""
    english, german, gender, genitive, plural, classes = entry.split()
    singular, _, irregular = english.partition("/")
    genitive, plural = genitive.replace("=", german), plural.strip("-")
    oblique = genitive if gender == "m" and genitive.endswith("n") else german
    dative = plural if plural[-1:] in "ns" else plural + "n"
    return Noun(
        (singular, irregular or _english_s(singular)),
        ((german, plural), (oblique, plural), (oblique, dative), (genitive, plural)),
        GENDERS.index(gender),
        classes,
        bool(plural),
    )


def _read_adjective(english: str, german: str, classes: str) -> Adjective:
    plain, *degrees = english.split()
    forms = german.split()
    degrees, graded = degrees or [f"more {plain}", f"most {plain}"], degrees != ["-"]
    return Adjective((plain, *degrees), tuple(forms), (forms * 4)[3], classes, graded)


def _read_verb(english: str, german: str, frame: str) -> Verb:
    first, *irregular = english.split()
    base, *particle = first.split("+")
    past = irregular or [re.sub(r"(?<![aeiou])y$", "i", base).removesuffix("e") + "ed"]
    forms = german.split()
    verb, *parts = (form for form in forms if form not in ("sich", "ist"))
    prefix, _, infinitive = verb.rpartition("+")
    present, preterite, participle = _conjugate(infinitive, parts)
    kind, subjects, *objects = frame.split()
    governs = objects[1:] or ("-", "", "d" if kind == "D" else "a")
    return Verb(
        base,
        tuple(particle),
        ((base, base, _english_s(base), base), (past[0],) * 4),
        past[-1],
        prefix,
        infinitive,
        (present, preterite),
        prefix + participle,
        "ist" in forms,
        "sich" in forms,
        kind,
        subjects,
        objects[0] if objects else "",
        (governs[0].strip("-"), governs[1]),
        CASES.index(governs[2]),
    )


PARADIGMS = {
    name: tuple(tuple(cell.strip(".") for cell in row.split()) for row in rows.split("/"))
    for name, rows in ENTRIES["paradigms"]
}
NOUNS = tuple(_read_noun(entry) for (entry,) in ENTRIES["nouns"])
NAMES = tuple(_read_noun(entry) for (entry,) in ENTRIES["names"])
ADJECTIVES = tuple(_read_adjective(*entry) for entry in ENTRIES["adjectives"])
VERBS = tuple(_read_verb(*entry) for entry in ENTRIES["verbs"])
_be, _sein = PARADIGMS["be"], PARADIGMS["sein"]
COPULA = Verb("be", (), _be, "been", "", "sein", _sein, "gewesen", True, False, "K")
# Name -> English and German finite verb by agreement; one form may stand for all four.
TENSES = {
    name: tuple((forms.split() * 4)[:4] for forms in both) for name, *both in ENTRIES["tenses"]
}
# Kind -> English, German stem, its paradigm, the paradigm of the adjectives that follow.
DETERMINERS = {
    kind: [entry[1:] for entry in ENTRIES["determiners"] if entry[0] == kind]
    for kind, *_ in ENTRIES["determiners"]
}
# Subject -> English subject and object, German by case, reflexive, agreement.
PRONOUNS = {entry[0].split()[0]: " ".join(entry).split() for entry in ENTRIES["pronouns"]}
CHOICES: dict[str, list[str]] = {}
for _name, _groups in ENTRIES["choices"]:
    for _group in _groups.split():
        _items, _, _times = _group.strip("-").partition("*")
        CHOICES.setdefault(_name, []).extend(_items.split(",") * int(_times or 1))
CONTRACTIONS = {tuple(entry[:2]): entry[2] for entry in ENTRIES["contractions"]}


# Selection by semantic class


@cache
def nouns_of(classes: str) -> tuple[Noun, ...]:
    """Nouns of any of these classes, those first that come first in their own class."""
    ranked, rank = [], Counter[str]()
    for noun in NOUNS:
        if set(noun.classes) & set(classes):
            ranked.append((rank[noun.classes[0]], noun))
            rank[noun.classes[0]] += 1
    return tuple(noun for _, noun in sorted(ranked, key=itemgetter(0)))


@cache
def adjectives_for(classes: str) -> tuple[Adjective, ...]:
    """Adjectives that go with a noun of these classes."""
    return tuple(one for one in ADJECTIVES if set(one.classes) & set(classes))


@cache
def verbs_of(frame: str, subject: str = "", taking: str = "") -> tuple[Verb, ...]:
    """Verbs of a frame that allow one of these subject and one of these object classes."""
    return tuple(
        verb
        for verb in VERBS
        if verb.frame == frame
        and (not subject or set(subject) & set(verb.subjects))
        and (not taking or set(taking) & set(verb.objects))
    )
