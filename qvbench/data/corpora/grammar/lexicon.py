"""The lexicon: the entries of ``lexicon.txt`` with all their forms, computed once when imported.

Case is 0 nominative, 1 accusative, 2 dative, 3 genitive. Gender is 0 masculine, 1 feminine, 2
neuter, and 3 stands for the plural of all three. Agreement of a subject with its verb is 0 first, 1
second, 2 third person singular, 3 plural: English and German verbs need no more than that, since
the German second person plural is not generated.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

NOM, ACC, DAT, GEN = range(4)
MASCULINE, FEMININE, NEUTER, PLURAL = range(4)
CASES, GENDERS = "nadg", "mfn"
Table = tuple[tuple[str, ...], ...]


def _read_entries() -> dict[str, Table]:
    """The entries of each section, cut at the bars."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    text = Path(__file__).with_name("lexicon.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            entries = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            entries.append(tuple(cell.strip() for cell in line.split("|")))
    return {name: tuple(rows) for name, rows in sections.items()}


ENTRIES = _read_entries()


# Inflection


def _english_s(word: str) -> str:
    """A noun in the plural, a verb in the third person."""
    if re.search(r"(s|sh|ch|x|z|^go)$", word):
        return word + "es"
    return re.sub(r"(?<![aeiou])y$", "ie", word) + "s"


def _english_past(verb: str) -> str:
    """The regular past; verbs that double a consonant give theirs in the lexicon."""
    return re.sub(r"(?<![aeiou])y$", "i", verb).removesuffix("e") + "ed"


def _decline_noun(nominative: str, gender: int, genitive: str, plural: str) -> Table:
    """Forms by case and number: ``[case][0]`` singular, ``[case][1]`` plural.

    Masculine nouns with a genitive in -n are weak ("den Studenten"); the dative plural adds -n
    unless the plural ends in -n or -s.
    """
    weak = gender == MASCULINE and genitive.endswith("n") and genitive != nominative
    oblique = genitive if weak else nominative
    dative_plural = plural if plural.endswith(("n", "s")) else plural + "n"
    return (nominative, plural), (oblique, plural), (oblique, dative_plural), (genitive, plural)


def _german_stem(infinitive: str) -> str:
    """The infinitive without -en, or without -n after -el and -er."""
    return infinitive[:-1] if infinitive.endswith(("eln", "ern")) else infinitive[:-2]


def _weak_forms(infinitive: str) -> tuple[str, str, str]:
    """Third person present, first person past and participle of a weak verb."""
    stem = _german_stem(infinitive)
    # Where -t and -st could not be spoken: arbeit-et, öffn-et, but wohn-t, lern-t.
    e = "e" if re.search(r"([dt]|ch[mn]|[bdfgkpsz][mn])$", stem) else ""
    augment = "" if re.match(r"(be|ge|er|ver|zer|ent|miss)|.*ieren$", infinitive) else "ge"
    return f"{stem}{e}t", f"{stem}{e}te", f"{augment}{stem}{e}t"


def _german_present(infinitive: str, third: str, second: str = "") -> tuple[str, ...]:
    """The four forms of the present; ``second`` is empty unless irregular ("du lädst")."""
    stem = _german_stem(infinitive)
    first = stem + "e"
    if not third.endswith("t"):  # weiß
        first = third
    elif infinitive.endswith("eln"):  # ich lächle
        first = stem[:-2] + "le"
    hisses = stem.endswith(("s", "ß", "z", "x"))
    return first, second or (third if hisses else third[:-1] + "st"), third, infinitive


def _german_past(first: str) -> tuple[str, ...]:
    """The four forms of the past from the first person singular."""
    if first.endswith("e"):
        return first, first + "st", first, first + "n"
    e = "e" if first.endswith(("s", "ß", "z", "x", "d", "t")) else ""
    return first, f"{first}{e}st", first, first + "en"


# Entries


class Noun(NamedTuple):
    """A noun or a name with its forms; ``classes[0]`` is the class that matters most."""

    english: tuple[str, str]
    german: Table
    gender: int
    classes: str
    countable: bool = True


class Verb(NamedTuple):
    """A verb of both languages: forms by tense and agreement, and what it takes.

    ``base``, ``particle``: English infinitive and the words of its particle. ``prefix`` is the
    German separable prefix, ``sein`` the auxiliary of its perfect, ``preposition`` the English and
    German one that it governs, with its case.
    """

    base: str
    english: Table
    participle: str
    infinitive: str
    german: Table
    german_participle: str
    frame: str
    subjects: str = ""
    objects: str = ""
    particle: tuple[str, ...] = ()
    prefix: str = ""
    sein: bool = False
    reflexive: bool = False
    preposition: tuple[str, str, int] = ("", "", 0)


class Adjective(NamedTuple):
    """An adjective: plain form, comparative and superlative, of which German stems take endings."""

    english: tuple[str, str, str]
    german: tuple[str, str, str]
    stem: str
    classes: str
    graded: bool


class Pronoun(NamedTuple):
    """A personal pronoun: English subject and object form, German forms by case."""

    english: tuple[str, str]
    german: tuple[str, ...]
    reflexive: str
    agreement: int


def _read_noun(entry: str) -> Noun:
    english, german, letter, genitive, plural, classes = entry.split()
    singular, _, irregular = english.partition("/")
    gender = GENDERS.index(letter)
    genitive = german if genitive == "=" else genitive
    forms = _decline_noun(german, gender, genitive, plural.strip("-"))
    return Noun(
        (singular, irregular or _english_s(singular)), forms, gender, classes, plural != "-"
    )


def _read_names(gender: str, names: str) -> list[Noun]:
    forms = [((name,) * 2, ((name,) * 2,) * 3 + ((name + "s",) * 2,)) for name in names.split()]
    return [Noun(*form, GENDERS.index(gender), "H", False) for form in forms]


def _read_verb(english: str, german: str, frame: str) -> Verb:
    (base, *particle), *irregular = (form.split("+") for form in english.split())
    past = irregular[0][0] if irregular else _english_past(base)
    marks = german.split()
    parts = [form for form in marks if form not in ("sich", "ist")]
    prefix, _, infinitive = parts[0].rpartition("+")
    third, first_past, participle, *second = parts[1:] or _weak_forms(infinitive)
    kind, subjects, *governed = frame.split()
    return Verb(
        base,
        ((base, base, _english_s(base), base), (past,) * 4),
        irregular[-1][0] if irregular else past,
        infinitive,
        (_german_present(infinitive, third, *second), _german_past(first_past)),
        prefix + participle,
        kind,
        subjects,
        governed[0] if governed else "",
        tuple(particle),
        prefix,
        sein="ist" in marks,
        reflexive="sich" in marks,
        preposition=_preposition(*governed[1:]) if kind == "P" else ("", "", 0),
    )


def _preposition(english: str, german: str, case: str) -> tuple[str, str, int]:
    return english.strip("-"), german, CASES.index(case)


def _read_adjective(english: str, german: str, classes: str) -> Adjective:
    plain, *degrees = english.split()
    if degrees in ([], ["-"]):
        comparative, superlative = f"more {plain}", f"most {plain}"
    else:
        comparative, superlative = degrees[0], (*degrees, degrees[0][:-1] + "st")[1]
    base, *forms = german.split()
    higher = forms[0] if forms else base + "er"
    stem = higher.removesuffix("er")
    dental = re.search(r"([dtszßx]|sch)$", stem) and not stem.endswith("end")
    highest = forms[2] if len(forms) > 2 else stem + ("est" if dental else "st")
    return Adjective(
        (plain, comparative, superlative),
        (base, higher, highest),
        forms[1] if len(forms) > 1 else base,
        classes,
        degrees != ["-"],
    )


def _read_pronoun(english: str, german: str, agreement: str) -> Pronoun:
    subject, other = english.split()
    *forms, reflexive = german.split()
    return Pronoun((subject, other), tuple(forms), reflexive, int(agreement))


def _read_table(text: str) -> Table:
    return tuple(tuple(cell.strip(".") for cell in row.split()) for row in text.split("/"))


def _four(forms: str) -> tuple[str, ...]:
    """The forms by agreement, of which one may stand for all."""
    return tuple((forms.split() * 4)[:4])


PARADIGMS = {name: _read_table(text) for name, text in ENTRIES["paradigms"]}
NOUNS = tuple(_read_noun(entry) for (entry,) in ENTRIES["nouns"])
NAMES = tuple(noun for row in ENTRIES["names"] for noun in _read_names(*row))
VERBS = tuple(_read_verb(*row) for row in ENTRIES["verbs"])
ADJECTIVES = tuple(_read_adjective(*row) for row in ENTRIES["adjectives"])
PRONOUNS = {row[0].split()[0]: _read_pronoun(*row) for row in ENTRIES["pronouns"]}
COPULA = Verb("be", PARADIGMS["be"], "been", "sein", PARADIGMS["sein"], "gewesen", "K", sein=True)
# Name -> (English forms, German forms).
TENSES = {name: (_four(english), _four(german)) for name, english, german in ENTRIES["tenses"]}
# Kind -> (English, German stem, its paradigm, the paradigm of the adjectives that follow).
DETERMINERS: dict[str, list[tuple[str, ...]]] = {}
for _kind, *_entry in ENTRIES["determiners"]:
    DETERMINERS.setdefault(_kind, []).append(tuple(_entry))
# Name -> what one is drawn of, each as often as it should come up.
CHOICES = {
    name: tuple(
        item.strip("-")
        for item, _, times in (part.partition("*") for part in parts.split())
        for _ in range(int(times or 1))
    )
    for name, parts in ENTRIES["choices"]
}
CONTRACTIONS = {
    (preposition, article): form for preposition, article, form in ENTRIES["contractions"]
}


# Selection by semantic class


def sharing(classes: str, others: str) -> bool:
    """Whether two sets of semantic classes have one in common."""
    return not set(classes).isdisjoint(others)


@cache
def nouns_of(classes: str) -> tuple[Noun, ...]:
    """Nouns of any of these classes, those first that come first in their own class."""
    rank: dict[str, int] = {}
    ranked = []
    for noun in NOUNS:
        if sharing(noun.classes, classes):
            rank[noun.classes[0]] = rank.get(noun.classes[0], 0) + 1
            ranked.append((rank[noun.classes[0]], noun))
    return tuple(noun for _, noun in sorted(ranked, key=lambda pair: pair[0]))


@cache
def adjectives_for(classes: str) -> tuple[Adjective, ...]:
    """Adjectives that go with a noun of these classes."""
    return tuple(one for one in ADJECTIVES if sharing(one.classes, classes))


@cache
def verbs_of(frame: str, subject: str = "", taking: str = "") -> tuple[Verb, ...]:
    """Verbs of a frame that allow one of these subject and one of these object classes."""
    return tuple(
        verb
        for verb in VERBS
        if verb.frame == frame
        and (not subject or sharing(subject, verb.subjects))
        and (not taking or sharing(taking, verb.objects))
    )
