"""English and German inflection: how a lexicon line becomes word forms.

Case is 0 nominative, 1 accusative, 2 dative, 3 genitive. Gender is 0 masculine, 1 feminine, 2
neuter, and 3 stands for the plural of all three. Agreement of a subject with its verb is 0 first, 1
second, 2 third person singular, 3 plural: English and German verbs need no more than that, since
the German second person plural is not generated.
"""

from __future__ import annotations

import re

NOM, ACC, DAT, GEN = range(4)
MASCULINE, FEMININE, NEUTER, PLURAL = range(4)
Table = tuple[tuple[str, ...], ...]


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


def decline_noun(nominative: str, gender: int, genitive: str, plural: str) -> Table:
    """Forms by case and number: ``[case][0]`` singular, ``[case][1]`` plural.

    Masculine nouns with a genitive in -n are weak ("den Studenten"); the dative plural adds -n
    unless the plural ends in -n or -s.
    """
    weak = gender == MASCULINE and genitive.endswith("n") and genitive != nominative
    oblique = genitive if weak else nominative
    dative_plural = plural if plural.endswith(("n", "s")) else plural + "n"
    return (
        (nominative, plural),
        (oblique, plural),
        (oblique, dative_plural),
        (genitive, plural),
    )


def english_plural(noun: str) -> str:
    """The regular plural."""
    if re.search(r"(s|sh|ch|x|z)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def english_third_person(verb: str) -> str:
    """The third person singular of the present."""
    return verb + "es" if verb.endswith("o") else english_plural(verb)


def english_past(verb: str) -> str:
    """The regular past; verbs that double a consonant give theirs in the lexicon."""
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return verb + "ed"


def german_stem(infinitive: str) -> str:
    """The infinitive without -en, or without -n after -el and -er."""
    return infinitive[:-1] if infinitive.endswith(("eln", "ern")) else infinitive[:-2]


def _linking_e(stem: str) -> str:
    """``e`` where -t and -st could not be spoken: arbeit-et, öffn-et, but wohn-t, lern-t."""
    return "e" if re.search(r"([dt]|ch[mn]|[bdfgkpsz][mn])$", stem) else ""


def _hisses(stem: str) -> bool:
    return stem.endswith(("s", "ß", "z", "x"))


def weak_forms(infinitive: str) -> tuple[str, str, str]:
    """Third person present, first person past and participle of a weak verb."""
    stem = german_stem(infinitive)
    e = _linking_e(stem)
    inseparable = re.match(r"(be|ge|er|ver|zer|ent|miss)", infinitive)
    augment = "" if inseparable or infinitive.endswith("ieren") else "ge"
    return f"{stem}{e}t", f"{stem}{e}te", f"{augment}{stem}{e}t"


def german_present(infinitive: str, third: str, second: str | None) -> tuple[str, ...]:
    """The four forms of the present from the infinitive and the third person."""
    stem = german_stem(infinitive)
    if not third.endswith("t"):  # weiß
        first = third
    elif infinitive.endswith("eln"):  # ich lächle
        first = stem[:-2] + "le"
    else:
        first = stem + "e"
    if second is None:
        second = third if _hisses(stem) else third[:-1] + "st"
    return first, second, third, infinitive


def german_past(first: str) -> tuple[str, ...]:
    """The four forms of the past from the first person singular."""
    if first.endswith("e"):
        return first, first + "st", first, first + "n"
    e = "e" if _hisses(first) or first.endswith(("d", "t")) else ""
    return first, f"{first}{e}st", first, first + "en"


def superlative_stem(stem: str, comparative: str) -> str:
    """The stem of "der älteste": the comparative's umlaut, -est after a dental or a hiss."""
    irregular = {"groß": "größt", "gut": "best", "hoch": "höchst", "dunkel": "dunkelst"}
    if stem in irregular:
        return irregular[stem]
    base = comparative[:-2] if comparative.endswith("er") else stem
    if base.endswith("r") and stem.endswith("er"):  # teurer, saurer
        base = stem
    dental = re.search(r"([dtszßx]|sch)$", base) and not base.endswith("end")
    return base + ("est" if dental else "st")


def indefinite_article(word: str, exceptions: dict[str, str]) -> str:
    """``a`` or ``an`` before ``word``."""
    return exceptions.get(word, "an" if word[0] in "aeiouAEIOU" else "a")
