"""The grammar corpus: agreement, case and word order of its sentences.

What the generator takes from its own tables is checked here against tables of the test's own.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from qvbench.data.corpora.grammar import AnnotatedPair, Grammar, Side
from qvbench.data.corpora.grammar.lexicon import VERBS

# The nouns that stand behind the same definite articles, or before the same relative pronouns.
NOUNS_OF_ARTICLES = {
    "der den dem": "Mann Vater Hund Tisch",
    "des": "Mannes Kindes Vaters",
    "die der": "Männer Frau Kinder Mutter Katze Bücher Stadt",
    "den": "Männern Kindern Müttern Büchern Häusern",
    "die der den": "Frauen",
    "das dem": "Kind Pferd Buch Haus Wasser",
    "der": "Student Bär",
    "den dem des die der": "Studenten",
    "des die der den": "Autos",
}
NOUNS_OF_RELATIVES = {
    "der den dem dessen": "Mann Sohn Freund Arzt Bruder",
    "die der deren": "Frau Mutter Schwester Tante",
    "das dem dessen": "Kind",
    "die denen deren": "Männer Männern Kinder",
    "der den dem": "Hund Tisch",
    "die der": "Katze",
    "das dem": "Buch Haus",
}
ARTICLES, RELATIVES = (
    {noun: forms.split() for forms, nouns in table.items() for noun in nouns.split()}
    for table in (NOUNS_OF_ARTICLES, NOUNS_OF_RELATIVES)
)
RELATIVE_FORMS = ("der", "die", "das", "den", "dem", "denen", "dessen", "deren")
# How the determiner after a preposition of one case may end, and contractions by their article.
CASES = {
    **dict.fromkeys(("mit", "aus", "von", "nach"), ("em", "er", "en")),
    **dict.fromkeys(("für", "durch", "ohne"), ("en", "e", "as", "ein", "es", "er", "hr")),
    **dict.fromkeys(("wegen", "trotz"), ("es", "er")),
}
MASCULINE = ("Mann", "Lehrer", "Vater", "Freund", "Bruder", "Arzt", "Sohn", "Onkel", "Gast", "Hund")
# Forms of verbs with an object in the accusative and in the dative.
ACCUSATIVE_VERBS = (
    *("sehe", "siehst", "sieht", "sehen", "sah", "sahst", "sahen", "gesehen", "liebe", "liebst"),
    *("liebt", "lieben", "liebte", "geliebt", "besucht", "besuchen", "besuchte", "kenne", "kennen"),
    *("suche", "suchst", "sucht", "suchen", "suchte", "lädt"),
    *("einladen", "eingeladen", "holen", "abholen", "wecken", "weckte", "störe", "stören", "ruft"),
)
DATIVE_VERBS = (
    *("helfe", "hilfst", "hilft", "helfen", "half", "halfen", "geholfen", "danke", "dankst"),
    *("dankt", "danken", "dankte", "dankten", "gedankt", "folge", "folgst", "folgt", "folgen"),
    *("folgte", "folgten", "gefolgt", "vertraue", "vertraut", "vertrauen", "vertraute"),
)


@pytest.fixture(scope="module")
def pairs() -> list[AnnotatedPair]:
    return list(Grammar(train_pairs=6000, seed=5).annotated("train"))


@pytest.fixture(scope="module")
def german(pairs: list[AnnotatedPair]) -> list[Side]:
    return [pair.target for pair in pairs]


def children(side: Side, head: int) -> list[int]:
    return [index for index, one in enumerate(side.heads) if one == head]


@pytest.mark.slow
def test_articles_agree_with_their_nouns(german: list[Side]) -> None:
    """Catches wrong gender, number or case between an article and its noun, adjectives between."""
    seen = set()
    for side in german:
        for index, form in enumerate(side.tokens):
            head = side.heads[index]
            if form in ("der", "die", "das", "den", "dem", "des") and side.pos[index] == "DET":
                allowed = ARTICLES.get(side.tokens[head])
                assert allowed is None or form in allowed, side.text
                seen.add(side.tokens[head])
    assert len(seen & set(ARTICLES)) >= 25


@pytest.mark.parametrize(
    ("verbs", "ending"), [(ACCUSATIVE_VERBS, "en"), (DATIVE_VERBS, "em")], ids=["den", "dem"]
)
def test_objects_stand_in_the_verbs_case(
    german: list[Side], verbs: tuple[str, ...], ending: str
) -> None:
    """Catches "ich sehe der Mann": an object in the nominative, or in the other object case."""
    checked = 0
    for side in german:
        for verb in [i for i, form in enumerate(side.tokens) if form in verbs]:
            if not {side.tokens[i] for i in children(side, verb)} & {"ich", "du", "er", "wir"}:
                continue  # then the noun is the object
            for noun in children(side, verb):
                inner = children(side, noun)
                if side.tokens[noun] in MASCULINE and side.pos[inner[0] if inner else 0] == "DET":
                    assert side.tokens[inner[0]].endswith(ending), side.text
                    checked += 1
    assert checked > 5


def test_subjects_stand_in_the_nominative(german: list[Side]) -> None:
    """Catches "den Mann schläft": an opening subject that is declined as an object."""
    checked = 0
    for side in german:
        noun = side.heads[0]
        if side.pos[0] != "DET" or side.tokens[noun] not in MASCULINE or side.tokens[-1] != ".":
            continue
        if side.heads[noun] == side.heads.index(-1):
            assert not side.tokens[0].endswith(("en", "em", "es")), side.text
            checked += 1
    assert checked > 100


def test_relative_pronouns_agree_over_distance(pairs: list[AnnotatedPair]) -> None:
    """Catches a relative pronoun with the gender of the nearest noun, not of its own."""
    checked = 0
    for pair in pairs:
        side = pair.target
        for source, target in pair.alignment:
            if pair.source.tokens[source] not in ("who", "whom", "whose", "that", "which"):
                continue
            if side.pos[target] != "PRON" or side.tokens[target] not in RELATIVE_FORMS:
                continue
            verb = side.heads[target]
            if side.tokens[target] in ("dessen", "deren"):
                verb = side.heads[verb]
            allowed = RELATIVES.get(side.tokens[side.heads[verb]])
            if allowed is not None:
                assert side.tokens[target] in allowed, side.text
                checked += 1
    assert checked > 100


def test_prepositions_govern_their_case(german: list[Side]) -> None:
    """Catches a phrase built in another case than its preposition takes."""
    checked = 0
    for side in german:
        for index, form in enumerate(side.tokens[:-1]):
            if form in CASES and side.pos[index] == "ADP" and side.pos[index + 1] == "DET":
                assert side.tokens[index + 1].endswith(CASES[form]), side.text
                checked += 1
            if form in ("in", "an", "von") and side.tokens[index + 1] == "dem":
                noun = side.heads[index]
                relative = any(side.heads[i] == noun and i > noun for i in range(len(side.heads)))
                assert relative or side.pos[index + 1] == "PRON", side.text  # else im, am, vom
    assert checked > 200


def finite_verb(side: Side, root: int) -> int:
    verbs = [i for i in children(side, root) if side.pos[i] == "AUX"]
    return min(verbs + ([root] if side.pos[root] == "VERB" else []))


def test_main_clauses_have_the_verb_second(german: list[Side]) -> None:
    """Catches English order after a fronted time, place or clause."""
    fronted = 0
    for side in german:
        if side.tokens[-1] != ".":
            continue
        root = side.heads.index(-1)
        finite = finite_verb(side, root)
        before = [i for i in children(side, root) if i < finite and side.pos[i] != "PUNCT"]
        assert len(before) == 1, side.text
        fronted += side.pos[before[0]] in ("ADV", "VERB")
    assert fronted > 100


def test_yes_no_questions_have_the_verb_first(pairs: list[AnnotatedPair]) -> None:
    """Catches a question that is ordered like a statement."""
    auxiliaries = "do does did has have had is are was were will can could must should may am"
    asked = [
        pair.target
        for pair in pairs
        if pair.source.tokens[-1] == "?" and pair.source.tokens[0] in auxiliaries.split()
    ]
    assert len(asked) > 200
    for side in asked:
        assert finite_verb(side, side.heads.index(-1)) == 0, side.text


def test_subordinate_clauses_have_the_verb_last(german: list[Side]) -> None:
    """Catches verb second, or the participle behind the auxiliary, in a subordinate clause."""
    marks = ("weil", "obwohl", "dass", "ob", "wenn", "als", "bevor", "nachdem", "sobald", "bis")
    checked = 0
    for side in german:
        for index, form in enumerate(side.tokens):
            if side.pos[index] != "SCONJ" or form not in marks:
                continue
            verb = side.heads[index]
            auxiliaries = [i for i in children(side, verb) if side.pos[i] == "AUX"]
            last = max([verb, *auxiliaries])
            assert side.tokens[last + 1] in (",", ".", "?"), side.text
            if auxiliaries:
                assert last in auxiliaries, side.text
            checked += 1
    assert checked > 400


def test_separable_prefixes_close_their_clause(german: list[Side]) -> None:
    """Catches "steht auf heute", as English would have it."""
    prefixes = {verb.prefix for verb in VERBS if verb.prefix}
    found = set()
    for side in german:
        for index, form in enumerate(side.tokens):
            if side.pos[index] == "ADP" and side.pos[side.heads[index]] == "VERB":
                assert form in prefixes, side.text
                assert side.tokens[index + 1] in (",", ".", "?", "und", "oder"), side.text
                found.add(form)
    assert len(found) >= 8


def test_english_agrees(pairs: list[AnnotatedPair]) -> None:
    """Catches "she sleep", "they sleeps", "a apple"."""
    plain = {"sleep", "see", "buy", "have", "want", "laugh", "work", "know", "are", "were", "am"}
    third = {"sleeps", "sees", "buys", "has", "wants", "laughs", "works", "knows", "is", "was"}
    for pair in pairs:
        tokens = pair.source.tokens
        if tokens[0] in ("he", "she") and tokens[-1] == ".":
            assert tokens[1] not in plain, pair.source.text
        if tokens[0] in ("they", "we", "you") and tokens[-1] == ".":
            assert tokens[1] not in third, pair.source.text
        for article, following in pairwise(tokens):
            if article in ("a", "an"):
                vowel = following[0] in "aeio" or following in ("ugly", "umbrella", "uncle")
                assert (article == "an") == (vowel or following == "honest"), pair.source.text
    words = {token for pair in pairs for token in pair.source.tokens}
    assert plain | third <= words | {"am"}
