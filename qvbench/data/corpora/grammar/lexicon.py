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

NOM, ACC, DAT, GEN = range(4)
MASCULINE, FEMININE, NEUTER, PLURAL = range(4)
CASES, GENDERS = "nadg", "mfn"
# By frame: English and German preposition and case of what a verb takes, if its entry does not say.
GOVERNED = {"D": ("-", "", "d"), "L": ("in", "in", "d")}
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


# What the entries say


class Noun:
    """A noun or a name: forms by number, in German ``[case][number]``; the first class rules.

    Masculine ones with a genitive in -n are weak ("den Studenten").
    """

    def __init__(self, entry: str) -> None:
        english, german, gender, genitive, plural, self.classes = entry.split()
        singular, _, irregular = english.partition("/")
        genitive, plural = genitive.replace("=", german), plural.strip("-")
        oblique = genitive if gender == "m" and genitive.endswith("n") else german
        dative = plural if plural[-1:] in "ns" else plural + "n"
        self.english = singular, irregular or _english_s(singular)
        self.german = (german, plural), (oblique, plural), (oblique, dative), (genitive, plural)
        self.gender = GENDERS.index(gender)
        self.countable = bool(plural)


class Adjective:
    """An adjective, its comparative and superlative; ``stem`` and superlative take endings."""

    def __init__(self, english: str, german: str, classes: str) -> None:
        plain, *degrees = english.split()
        self.english = plain, *(degrees or (f"more {plain}", f"most {plain}"))
        self.german = tuple(german.split())
        self.stem = (self.german * 4)[3]
        self.classes = classes
        self.graded = degrees != ["-"]


class Verb:
    """A verb of both languages: forms ``[past][agreement]``, and what it takes.

    ``base``, ``particle``: English infinitive and the words of its particle. ``prefix`` is the
    German separable prefix, ``sein`` the auxiliary of its perfect, ``prepositions`` the English and
    the German one that it governs, ``case`` that of its German object.
    """

    def __init__(self, english: str, german: str, frame: str) -> None:
        first, *irregular = english.split()
        base, *self.particle = first.split("+")
        past = irregular or [re.sub(r"(?<![aeiou])y$", "i", base).removesuffix("e") + "ed"]
        self.base, self.participle = base, past[-1]
        self.english: Table = ((base, base, _english_s(base), base), (past[0],) * 4)
        forms = german.split()
        self.sein, self.reflexive = "ist" in forms, "sich" in forms
        verb, *parts = (form for form in forms if form not in ("sich", "ist"))
        self.prefix, _, self.infinitive = verb.rpartition("+")
        present, preterite, participle = _conjugate(self.infinitive, parts)
        self.german: Table = present, preterite
        self.german_participle = self.prefix + participle
        self.frame, *takes = frame.split()
        self.subjects, self.objects = (*takes, "", "")[:2]
        preposition, governed, case = takes[2:] or GOVERNED.get(self.frame, ("-", "", "a"))
        self.prepositions = preposition.strip("-"), governed
        self.case = CASES.index(case)


PARADIGMS = {
    name: tuple(tuple(cell.strip(".") for cell in row.split()) for row in rows.split("/"))
    for name, rows in ENTRIES["paradigms"]
}
NOUNS = tuple(Noun(entry) for (entry,) in ENTRIES["nouns"])
NAMES = tuple(Noun(entry) for (entry,) in ENTRIES["names"])
ADJECTIVES = tuple(Adjective(*entry) for entry in ENTRIES["adjectives"])
VERBS = tuple(Verb(*entry) for entry in ENTRIES["verbs"])
COPULA = Verb("be was been", "sein ist", "K")
COPULA.english, COPULA.german = PARADIGMS["be"], PARADIGMS["sein"]
COPULA.german_participle = "gewesen"
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
