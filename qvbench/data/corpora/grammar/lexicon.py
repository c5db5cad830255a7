"""The lexicon: the entries of ``lexicon.txt`` with all their forms, computed once when imported.

Case is 0 nominative, 1 accusative, 2 dative, 3 genitive. Gender is 0 masculine, 1 feminine, 2
neuter, and 3 stands for the plural of all three. Agreement of a subject with its verb is 0 first, 1
second, 2 third person singular, 3 plural: English and German verbs need no more than that, since
the German second person plural is not generated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NOM, ACC, DAT, GEN = range(4)
MASCULINE, FEMININE, NEUTER, PLURAL = range(4)
GENDERS = {"m": MASCULINE, "f": FEMININE, "n": NEUTER}
CASES = "nadg"
Table = tuple[tuple[str, ...], ...]


def _read_sections() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    text = Path(__file__).with_name("lexicon.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            entries = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            entries.append(line)
    return sections


_SECTIONS = _read_sections()


def _rows(section: str) -> Table:
    """Entries of a section, cut at the bars."""
    return tuple(tuple(cell.strip() for cell in line.split("|")) for line in _SECTIONS[section])


def _pairs(section: str) -> tuple[tuple[str, str], ...]:
    """Entries of a section with one bar."""
    return tuple((first, second) for first, second in _rows(section))


# Inflection


def _table(text: str) -> Table:
    """Rows are cases, columns are genders and the plural; a dot is the empty ending."""
    return tuple(tuple(cell.strip(".") for cell in row.split()) for row in text.split("/"))


DEFINITE = _table("der die das die / den die das die / dem der dem den / des der des der")
RELATIVE = _table(
    "der die das die / den die das die / dem der dem denen / dessen deren dessen deren"
)
# Endings of dieser, jener, jeder, welcher, alle; of ein, kein, mein; of adjectives.
DER_ENDINGS = _table("er e es e / en e es e / em er em en / es er es er")
EIN_ENDINGS = _table(". e . e / en e . e / em er em en / es er es er")
WEAK = _table("e e e en / en e e en / en en en en / en en en en")
MIXED = _table("er e es en / en e es en / en en en en / en en en en")
STRONG = _table("er e es e / en e es e / em er em en / en er en er")

# Auxiliaries and linking verbs: (agreement 1sg, 2sg, 3sg, plural) in present and past.
SEIN = _table("bin bist ist sind / war warst war waren")
HABEN = _table("habe hast hat haben / hatte hattest hatte hatten")
WERDEN = _table("werde wirst wird werden / wurde wurdest wurde wurden")
BE = _table("am are is are / was were was were")
HAVE = _table("have have has have / had had had had")
DO = _table("do do does do / did did did did")

_SUPERLATIVES = {"groß": "größt", "gut": "best", "hoch": "höchst", "dunkel": "dunkelst"}
_ARTICLES = {"honest": "an", "useful": "a", "university": "a"}


def indefinite_article(word: str) -> str:
    """``a`` or ``an`` before ``word``."""
    return _ARTICLES.get(word, "an" if word[0] in "aeiouAEIOU" else "a")


def _decline_noun(nominative: str, gender: int, genitive: str, plural: str) -> Table:
    """Forms by case and number: ``[case][0]`` singular, ``[case][1]`` plural.

    Masculine nouns with a genitive in -n are weak ("den Studenten"); the dative plural adds -n
    unless the plural ends in -n or -s.
    """
    weak = gender == MASCULINE and genitive.endswith("n") and genitive != nominative
    oblique = genitive if weak else nominative
    dative_plural = plural if plural.endswith(("n", "s")) else plural + "n"
    return (nominative, plural), (oblique, plural), (oblique, dative_plural), (genitive, plural)


def _english_plural(noun: str) -> str:
    if re.search(r"(s|sh|ch|x|z)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def _english_past(verb: str) -> str:
    """The regular past; verbs that double a consonant give theirs in the lexicon."""
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if re.search(r"[^aeiou]y$", verb) else verb + "ed"


def _german_stem(infinitive: str) -> str:
    """The infinitive without -en, or without -n after -el and -er."""
    return infinitive[:-1] if infinitive.endswith(("eln", "ern")) else infinitive[:-2]


def _hisses(stem: str) -> bool:
    return stem.endswith(("s", "ß", "z", "x"))


def _weak_forms(infinitive: str) -> tuple[str, str, str]:
    """Third person present, first person past and participle of a weak verb."""
    stem = _german_stem(infinitive)
    # Where -t and -st could not be spoken: arbeit-et, öffn-et, but wohn-t, lern-t.
    e = "e" if re.search(r"([dt]|ch[mn]|[bdfgkpsz][mn])$", stem) else ""
    inseparable = re.match(r"(be|ge|er|ver|zer|ent|miss)", infinitive)
    augment = "" if inseparable or infinitive.endswith("ieren") else "ge"
    return f"{stem}{e}t", f"{stem}{e}te", f"{augment}{stem}{e}t"


def _german_present(infinitive: str, third: str, second: str | None) -> tuple[str, ...]:
    """The four forms of the present from the infinitive and the third person."""
    stem = _german_stem(infinitive)
    if not third.endswith("t"):  # weiß
        first = third
    elif infinitive.endswith("eln"):  # ich lächle
        first = stem[:-2] + "le"
    else:
        first = stem + "e"
    return first, second or (third if _hisses(stem) else third[:-1] + "st"), third, infinitive


def _german_past(first: str) -> tuple[str, ...]:
    """The four forms of the past from the first person singular."""
    if first.endswith("e"):
        return first, first + "st", first, first + "n"
    e = "e" if _hisses(first) or first.endswith(("d", "t")) else ""
    return first, f"{first}{e}st", first, first + "en"


def _superlative_stem(stem: str, comparative: str) -> str:
    """The stem of "der älteste": the comparative's umlaut, -est after a dental or a hiss."""
    if stem in _SUPERLATIVES:
        return _SUPERLATIVES[stem]
    base = comparative[:-2] if comparative.endswith("er") else stem
    if base.endswith("r") and stem.endswith("er"):  # teurer, saurer
        base = stem
    dental = re.search(r"([dtszßx]|sch)$", base) and not base.endswith("end")
    return base + ("est" if dental else "st")


# Entries


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
    english: Table
    participle: str
    infinitive: str
    prefix: str
    german: Table
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


def _read_noun(line: str) -> Noun:
    english, german, gender, genitive, plural, classes = line.split()
    singular, _, irregular = english.partition("/")
    genitive = german if genitive == "=" else genitive
    forms = _decline_noun(german, GENDERS[gender], genitive, plural.strip("-"))
    many = irregular or _english_plural(singular)
    return Noun((singular, many), forms, GENDERS[gender], classes, plural != "-")


def _read_name(name: str, gender: str) -> Noun:
    forms = ((name, name),) * 3 + ((name + "s", name + "s"),)
    return Noun((name, name), forms, GENDERS[gender], "H", False)


def _read_verb(english: list[str], german: list[str], frame: list[str]) -> Verb:
    base, *particle = english[0].split("+")
    past = english[1] if len(english) > 1 else _english_past(base)
    third = base + "es" if base.endswith("o") else _english_plural(base)
    second = next((item[3:] for item in german if item.startswith("du:")), None)
    parts = [item for item in german if item not in ("ist", "sich") and not item.startswith("du:")]
    prefix, _, infinitive = parts[0].rpartition("+")
    german_third, first_past, german_participle = parts[1:] or _weak_forms(infinitive)
    governed = frame[0] == "P"
    return Verb(
        base=base,
        particle=tuple(particle),
        english=((base, base, third, base), (past,) * 4),
        participle=english[2] if len(english) > 2 else past,
        infinitive=infinitive,
        prefix=prefix,
        german=(_german_present(infinitive, german_third, second), _german_past(first_past)),
        german_participle=prefix + german_participle,
        sein="ist" in german,
        reflexive="sich" in german,
        frame=frame[0],
        subjects=frame[1],
        objects=frame[2] if len(frame) > 2 else "",
        preposition=(frame[3].strip("-"), frame[4], CASES.index(frame[5]))
        if governed
        else ("", "", 0),
        past_is_clear=past != base,
    )


def _read_adjective(english: list[str], german: list[str], classes: list[str]) -> Adjective:
    plain = german[0]
    comparative = german[1] if len(german) > 1 else plain + "er"
    regular = len(english) > 1
    superlative = {"better": "best"}.get(english[-1], english[-1][:-1] + "st")
    return Adjective(
        english=english[0],
        english_comparative=(english[1],) if regular else ("more", english[0]),
        english_superlative=(superlative,) if regular else ("most", english[0]),
        german=plain,
        stem=german[2] if len(german) > 2 else plain,
        comparative=comparative,
        superlative=_superlative_stem(plain, comparative),
        classes=classes[0],
        graded=english[0] not in _SECTIONS["ungraded"],
    )


NOUNS = tuple(map(_read_noun, _SECTIONS["nouns"]))
NAMES = tuple(
    _read_name(name, gender) for gender, names in _rows("names") for name in names.split()
)
VERBS = tuple(_read_verb(*map(str.split, row)) for row in _rows("verbs"))
ADJECTIVES = tuple(_read_adjective(*map(str.split, row)) for row in _rows("adjectives"))
COPULA = Verb(
    base="be",
    particle=(),
    english=BE,
    participle="been",
    infinitive="sein",
    prefix="",
    german=SEIN,
    german_participle="gewesen",
    sein=True,
    reflexive=False,
    frame="K",
    subjects="",
    objects="",
    preposition=("", "", 0),
    past_is_clear=True,
)
# English modal -> German forms.
MODALS = {english: tuple(german.split()) for english, german in _pairs("modals")}

# Words of other kinds

FREQUENCY, MANNER = _pairs("frequency"), _pairs("manner")
TWO_WAY, PATHS, CIRCUMSTANCES = _rows("two_way"), _rows("paths"), _rows("circumstances")
CONTRACTIONS = {
    (preposition, article): form for preposition, article, form in _rows("contractions")
}
WO_COMPOUNDS = dict(_pairs("wo_compounds"))
POSSESSIVES, NUMERALS, QUANTIFIERS = map(_pairs, ("possessives", "numerals", "quantifiers"))
SUBORDINATORS, COORDINATORS = _rows("subordinators"), _pairs("coordinators")


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun: English subject and object form, German forms by case."""

    subject: str
    object: str
    german: tuple[str, ...]
    reflexive: str
    agreement: int


def _read_pronoun(english: list[str], german: list[str], agreement: list[str]) -> Pronoun:
    return Pronoun(english[0], english[1], tuple(german[:3]), german[3], int(agreement[0]))


PRONOUNS = tuple(_read_pronoun(*map(str.split, row)) for row in _rows("pronouns"))


@dataclass(frozen=True)
class Time:
    """When something happens: (form, tag) of both languages, tense group, alignment."""

    english: tuple[tuple[str, str], ...]
    german: tuple[tuple[str, str], ...]
    group: str
    alignment: tuple[tuple[int, int], ...]


def _read_time(english: str, german: str, group: str, alignment: str) -> Time:
    def tagged(text: str) -> tuple[tuple[str, str], ...]:
        parts = (item.partition(":") for item in text.split())
        return tuple((form, tag or "ADV") for form, _, tag in parts)

    links = tuple((int(link[0]), int(link[2])) for link in alignment.split())
    return Time(tagged(english), tagged(german), group, links)


TIMES = tuple(_read_time(*row) for row in _rows("times"))
