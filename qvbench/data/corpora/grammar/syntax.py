"""Phrases and clauses in both languages at once, and the order of their words.

English keeps subject, verb and objects together and asks with *do*. A German clause has fields, of
which the two parts of the verb are the brackets; pronouns and times come before other objects,
negation, manner and place after them::

    Vorfeld  left bracket  Mittelfeld                                right bracket  Nachfeld
    heute    hat           der Mann es seiner Frau nicht             erzählt        , dass ...
             hat           der Mann gestern schnell                  geschlafen                  ?
             weil          der Mann heute in den Garten              gehen will
             um            das Buch                                  zu lesen
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from qvbench.data.corpora.grammar.lexicon import (
    CONTRACTIONS,
    NOM,
    PARADIGMS,
    PRONOUNS,
    TENSES,
    Verb,
)

# Position of the German finite verb: second, first, last, and "zu" with an infinitive.
MAIN, QUESTION, VERB_LAST, INFINITIVE = range(4)
# Modals that English says with "to": infinitive, and whether they are past.
TO_MODALS = {"want": ("want", 0), "wanted": ("want", 1), "had": ("have", 1)}
# English particles that are prepositions of the object: they stay before it and depend on it.
PREPOSITION_PARTICLES = {"for", "at", "to", "with"}
ARTICLES = {"honest": "an", "useful": "a", "university": "a"}  # sound, not spelling


class Side(NamedTuple):
    """One language's half of a pair; the three tuples are of one length.

    ``heads`` holds the index of each token's syntactic head in the same sentence, -1 for the root;
    ``pos`` universal part-of-speech tags.
    """

    tokens: tuple[str, ...]
    pos: tuple[str, ...]
    heads: tuple[int, ...]

    @property
    def text(self) -> str:
        """The tokens joined by single spaces."""
        return " ".join(self.tokens)


class AnnotatedPair(NamedTuple):
    """A sentence, its translation, and which (source index, target index) translate each other.

    The alignment is sorted. Commas that one language does not write and German articles of a
    possessed noun ("the man 's dog", "der Hund des Mannes") have no link; all other tokens do.
    """

    source: Side
    target: Side
    alignment: tuple[tuple[int, int], ...]


@dataclass(eq=False, slots=True)
class Token:
    """A word while its sentence is built; ``of`` are the English ones that a German one renders."""

    form: str
    pos: str
    head: Token | None = None
    of: tuple[Token, ...] = ()
    at: int = -1


Heads = tuple[Token | None, Token | None]


@dataclass(eq=False)
class Phrase:
    """The same constituent in both languages.

    ``heads`` are the English and the German token by which it hangs in the sentence, the last ones
    unless given; ``agreement`` and ``gender`` (as in :mod:`.lexicon`) what a verb or a pronoun must
    agree with, ``classes`` the semantic classes of its noun. ``article`` is a German definite
    article that a preposition can swallow ("im"), ``pronoun`` says that it stands where pronouns
    stand, ``reflexive`` is the pronoun that points back to it, ``heavy`` that it ends in a clause,
    to which a reader would attach whatever came next.
    """

    english: list[Token]
    german: list[Token]
    heads: Heads = (None, None)
    agreement: int = 2
    gender: int = 0
    classes: str = ""
    pronoun: bool = False
    article: Token | None = None
    reflexive: str = "sich"
    heavy: bool = False

    def __post_init__(self) -> None:
        if self.heads == (None, None):
            last = [side[-1] if side else None for side in (self.english, self.german)]
            self.heads = last[0], last[1]

    def attach(self, heads: Heads) -> Phrase:
        """Make the phrase a dependent of these tokens, and return it."""
        for own, head in zip(self.heads, heads, strict=True):
            if own is not None:
                own.head = head
        return self

    def append(self, modifier: Phrase) -> None:
        """Put a modifier behind."""
        modifier.attach(self.heads)
        self.english += modifier.english
        self.german += modifier.german

    def prepend(self, modifier: Phrase) -> None:
        """Put a modifier before."""
        modifier.attach(self.heads)
        self.english[:0] = modifier.english
        self.german[:0] = modifier.german


def word(english: str, german: str, pos: str, **features: Any) -> Phrase:
    """A German word for an English one, or for several, the last of them the others' head."""
    tokens = [Token(form, pos) for form in english.split()]
    for token in tokens[:-1]:
        token.head = tokens[-1]
    return Phrase(tokens, [Token(german, pos, None, tuple(tokens))], **features)


def words(english: str, german: str) -> Phrase:
    """Words in the notation of the lexicon's times: ``form:tag``, ``form:tag:links``."""
    source = [Token(*(item + ":ADV").split(":")[:2]) for item in english.split()]
    target = []
    for item in german.split():
        form, pos, links = (item if ":" in item else item + ":ADV:0").split(":")
        target.append(Token(form, pos, None, tuple(source[int(link)] for link in links)))
    for tokens in (source, target):
        for token in tokens[:-1]:
            token.head = tokens[-1]
    return Phrase(source, target)


def compared(english: str, german: str) -> Phrase:
    """A comparative or superlative, whose "more" or "most" is an adverb."""
    phrase = word(english, german, "ADJ")
    for more in phrase.english[:-1]:
        more.pos = "ADV"
    return phrase


def pronoun(name: str, case: int, classes: str = "H") -> Phrase:
    """A personal pronoun in this case."""
    entry = PRONOUNS[name]
    features = {"agreement": entry.agreement, "reflexive": entry.reflexive, "classes": classes}
    english = entry.english[case != NOM]
    return word(english, entry.german[case], "PRON", pronoun=True, **features)


def conjunction(english: str, german: str) -> Phrase:
    """A subordinating conjunction; in "as soon as" the first word is the head."""
    phrase = word(english, german, "SCONJ")
    first, *others = phrase.english
    for token in others:
        token.head = first
    phrase.heads = first, phrase.german[0]
    return phrase


def sequence(*parts: Phrase, head: Phrase, **features: Any) -> Phrase:
    """Phrases one after the other in both languages, hanging by the heads of one of them."""
    english = [token for part in parts for token in part.english]
    german = [token for part in parts for token in part.german]
    return Phrase(english, german, head.heads, **features)


def joined(first: Phrase, link: Phrase, second: Phrase, **features: Any) -> Phrase:
    """Two phrases with a conjunction between them; the second depends on the first."""
    link.attach(second.heads)
    second.attach(first.heads)
    return sequence(first, link, second, head=first, **features)


def governed(english: str, german: str, inner: Phrase) -> Phrase:
    """A preposition before a phrase that is in its case; "in dem" becomes "im"."""
    preposition = word(english, german, "ADP").attach(inner.heads)
    for token in preposition.english:
        token.head = inner.heads[0]
    article = inner.article
    if article is not None and (german, article.form) in CONTRACTIONS:
        preposition.german[0].form = CONTRACTIONS[german, article.form]
        preposition.german[0].of += article.of
        inner.german = [token for token in inner.german if token is not article]
    return sequence(preposition, inner, head=inner, classes=inner.classes, heavy=inner.heavy)


def finish(phrase: Phrase, mark: str) -> AnnotatedPair:
    """Close a sentence with its final mark, number its tokens and read the annotation off."""
    whole = sequence(phrase, word(mark, mark, "PUNCT").attach(phrase.heads), head=phrase)
    english, german = _numbered(whole.english), _numbered(whole.german)
    for token, following in pairwise(english):
        if token.form == "a":
            vowel = following.form[0] in "aeiouAEIOU"
            token.form = ARTICLES.get(following.form, "an" if vowel else "a")
    alignment = sorted([(token.at, one.at) for one in german for token in one.of if token.at >= 0])
    return AnnotatedPair(_side(english), _side(german), tuple(alignment))


def _numbered(tokens: list[Token]) -> list[Token]:
    """Drop commas at the start, beside another and before the final mark: clauses bring theirs."""
    kept: list[Token] = []
    for token, following in pairwise(tokens):
        idle = following.form in ",.?" or not kept or kept[-1].form == ","
        if token.form != "," or not idle:
            kept.append(token)
    kept.append(tokens[-1])
    for at, token in enumerate(kept):
        token.at = at
    return kept


def _side(tokens: list[Token]) -> Side:
    return Side(
        tuple([token.form for token in tokens]),
        tuple([token.pos for token in tokens]),
        tuple([-1 if token.head is None else token.head.at for token in tokens]),
    )


@dataclass
class Clause:
    """What a clause says: a verb, its subject, and other phrases by their slot.

    The subject may be a phrase without words (coordination, infinitive). Slots are ``recipient``,
    ``object``, ``complement`` (a preposition's phrase or a place), ``predicate``, ``time``,
    ``manner``, ``early`` and ``late`` (adverbs before and behind the German objects; *nicht* is a
    late one) and ``after`` (a dependent clause).
    """

    verb: Verb
    tense: str
    subject: Phrase
    passive: bool = False
    slots: dict[str, Phrase] = field(default_factory=dict)

    @property
    def negated(self) -> bool:
        """Whether it says *not*."""
        return "late" in self.slots and self.slots["late"].english[0].form == "not"

    def take(self, *slots: str) -> list[Phrase]:
        """The phrases of these slots, in this order, as far as there are any."""
        return [self.slots[slot] for slot in slots if slot in self.slots]


@dataclass
class VerbGroup:
    """The verbs of a clause in one language.

    Subjects and the clause itself hang on ``top``, other phrases on ``content``, which is the verb
    or the copula's predicate; they differ only where English says "wants to".
    """

    lexical: Token
    content: Token
    top: Token
    finite: Token
    rest: list[Token]
    particle: list[Token]

    def helpers(self) -> list[Token]:
        """Auxiliaries, modals and "to"."""
        return [token for token in (self.finite, *self.rest) if token is not self.lexical]


def _verb_group(clause: Clause, form: str, side: int, particle: Iterable[str] = ()) -> VerbGroup:
    predicate = clause.slots.get("predicate")
    head = predicate.heads[side] if predicate is not None else None
    lexical = Token(form, "AUX" if clause.verb.frame == "K" else "VERB", head)
    content = head or lexical
    particles = [Token(part, "ADP", content) for part in particle]
    return VerbGroup(lexical, content, content, lexical, [lexical], particles)


def _english_verbs(clause: Clause, mode: int, inverted: bool) -> VerbGroup:
    """Inflect the English verb; ``inverted`` questions and *not* need do-support."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    past = tense == "past"
    form = verb.participle if clause.passive or "perfect" in tense else verb.base
    group = _verb_group(clause, form, 0, verb.particle)
    support = (inverted or clause.negated) and verb.frame != "K"
    if mode == INFINITIVE:
        group.finite = Token("to", "PART", group.content)
    elif tense in TO_MODALS:
        _to_modal(group, tense, agreement, support)
    elif tense in TENSES:
        group.finite = Token(TENSES[tense][0][agreement], "AUX", group.content)
        if clause.passive:
            group.rest.insert(0, Token("be", "AUX", group.content))
    elif clause.passive or support:
        forms = PARADIGMS["be" if clause.passive else "do"][past]
        group.finite = Token(forms[agreement], "AUX", group.content)
    else:
        group.lexical.form = verb.english[past][agreement]
        group.rest = []
    return group


def _to_modal(group: VerbGroup, tense: str, agreement: int, support: bool) -> None:
    """As in "wants to read", "does not want to read"."""
    infinitive, past = TO_MODALS[tense]
    group.top = Token(infinitive if support else TENSES[tense][0][agreement], "VERB")
    group.content.head = group.finite = group.top
    group.rest.insert(0, Token("to", "PART", group.content))
    if support:
        group.finite = Token(PARADIGMS["do"][past][agreement], "AUX", group.top)
        group.rest.insert(0, group.top)


def _german_verbs(clause: Clause, mode: int) -> VerbGroup:
    """Inflect the German verb: ``rest`` is what closes the clause, in German order."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    perfect, past = "perfect" in tense, tense in ("past", "pluperfect")
    group = _verb_group(clause, verb.prefix + verb.infinitive, 1)
    lexical = group.lexical
    if mode == INFINITIVE and verb.prefix:  # "aufzustehen"
        lexical.form = f"{verb.prefix}zu{verb.infinitive}"
        group.rest = []
    elif mode == INFINITIVE:
        group.finite, group.rest = lexical, [Token("zu", "PART", group.content)]
    elif tense in TENSES or clause.passive:
        forms = TENSES[tense][1] if tense in TENSES else PARADIGMS["werden"][past]
        if perfect and verb.sein:
            forms = PARADIGMS["sein"][past]
        group.finite = Token(forms[agreement], "AUX", group.content)
        if perfect or clause.passive:
            lexical.form = verb.german_participle
        if clause.passive and tense in TENSES:
            group.rest.append(Token("werden", "AUX", group.content))
    else:
        lexical.form = verb.german[past][agreement]
        group.rest = []
        if verb.prefix and mode == VERB_LAST:
            lexical.form = verb.prefix + lexical.form
        elif verb.prefix:
            group.particle = [Token(verb.prefix, "ADP", group.content)]
    return group


def _align(english: VerbGroup, german: VerbGroup) -> None:
    """Say which English verbs the German ones render; every English one is rendered."""
    verb = (english.lexical, *english.particle)
    source, target = tuple(english.helpers()), german.helpers()
    german.lexical.of = verb if target else verb + source
    if len(target) == 2:  # "can be read": kann gelesen werden
        target[0].of, target[1].of = source[:1], source[1:]
    elif target:
        target[0].of = source
    for token in german.particle:
        token.of = tuple(english.particle) or (english.lexical,)


def realize(
    clause: Clause, mode: int, front: Phrase | None = None, inverted: bool = False
) -> Phrase:
    """Put a clause into order in both languages.

    Args:
        clause: what it says; a phrase given as ``front`` must not also fill one of its slots.
        mode: position of the German finite verb.
        front: what opens the clause: an adverbial, a question word, a relative pronoun or a
            conjunction. With ``None`` the subject does.
        inverted: whether English puts the auxiliary before the subject.
    """
    english, german = _english_verbs(clause, mode, inverted), _german_verbs(clause, mode)
    _align(english, german)
    slots = clause.slots
    if english.finite.form == "can" and clause.negated and not inverted:  # one word in English
        english.finite.form = "cannot"
        slots["late"].german[0].of = (english.finite,)
        slots["late"] = Phrase([], slots["late"].german)
    opening = [] if front is None else [front]
    if clause.verb.frame == "P" and not clause.verb.preposition[0]:  # "remember": sich erinnern an
        for phrase in (clause.take("complement") or opening)[:1]:
            phrase.german[0].of = (english.lexical, *phrase.german[0].of)
    clause.subject.attach((english.top, german.top))
    others = [phrase for slot, phrase in slots.items() if slot != "predicate"]
    for phrase in others + opening:
        phrase.attach((english.content, german.content))
    objects = clause.take("recipient", "object") + opening
    if objects and english.particle and english.particle[-1].form in PREPOSITION_PARTICLES:
        english.particle[-1].head = objects[0].heads[0]
    return Phrase(
        _english_order(clause, english, opening, inverted),
        _german_order(clause, german, opening, mode),
        (english.top, german.top),
    )


def _english_order(
    clause: Clause, group: VerbGroup, opening: list[Phrase], inverted: bool
) -> list[Token]:
    finite, particle = Phrase([group.finite], []), Phrase(group.particle, [])
    adverbs = clause.take("early", "late")
    if inverted:
        core = [finite, clause.subject, *adverbs]
    elif group.finite.pos == "VERB":  # "often reads", but "is often", "has often read"
        core = [clause.subject, *adverbs, finite]
    else:
        core = [clause.subject, finite, *adverbs]
    objects = clause.take("recipient", "object")
    moved = bool(group.particle) and group.particle[-1].form not in PREPOSITION_PARTICLES
    # "turns it on"
    objects.insert(1 if moved and objects and objects[0].pronoun else 0, particle)
    tail = clause.take("predicate", "manner", "complement", "time", "after")
    parts = [*opening, *core, Phrase(group.rest, []), *objects, *tail]
    return [token for part in parts for token in part.english]


def _german_order(
    clause: Clause, group: VerbGroup, opening: list[Phrase], mode: int
) -> list[Token]:
    """Fill the fields that the top of this file draws; a conjunction counts as a Vorfeld here."""
    subject, objects = clause.subject, clause.take("recipient", "object")
    light = [phrase for phrase in objects if phrase.pronoun]
    if clause.verb.reflexive:
        verb = group.lexical.of[:1]
        light.append(Phrase([], [Token(subject.reflexive, "PRON", group.content, verb)]))
    full = [phrase for phrase in objects if not phrase.pronoun]
    vorfeld, middle = opening, [subject, *light]
    left, right = [group.finite], [*group.rest, *group.particle]
    if mode in (VERB_LAST, INFINITIVE):
        left, right = [], [*group.rest, group.finite]
    elif mode == MAIN and not opening:
        vorfeld, middle = [subject], light
    elif clause.verb.reflexive and not subject.pronoun:  # "heute beeilt sich der Mann"
        middle = [*light, subject]
    middle += clause.take("time", "early") + full
    middle += clause.take("late", "manner", "complement", "predicate")
    fields = [*vorfeld, Phrase([], left), *middle, Phrase([], right), *clause.take("after")]
    tokens = [token for phrase in fields for token in phrase.german]
    if mode in (MAIN, QUESTION):
        return tokens
    return [Token(",", "PUNCT", group.top), *tokens, Token(",", "PUNCT", group.top)]
