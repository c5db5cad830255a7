"""Phrases and clauses in both languages at once, and the order of their words.

English keeps subject, verb and objects together and asks with *do*. A German clause has fields
around the two parts of its verb. In the Mittelfeld pronouns and times come before other objects,
negation, manner and place behind them::

    Vorfeld   left bracket   Mittelfeld                     right bracket    Nachfeld
    ----------------------------------------------------------------------------------
    heute     hilft          der Mann ihr nicht
    der Mann  hat            ihr heute gern im Garten       geholfen         , weil ...
              steht          der Mann immer                 auf              ?
              weil           der Mann heute seiner Frau     helfen will
              um             ihr am Abend                   zu helfen
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.lexicon import PARADIGMS, TENSES

# Where the verb of a German clause goes: a main clause has it second, or first if nothing opens it.
Order = Literal["main", "last", "infinitive"]
# Modals that English says with "to": infinitive, and whether they are past.
TO_MODALS = {"want": ("want", False), "wanted": ("want", True), "had": ("have", True)}
# English particles that are prepositions of the object: they stay before it and depend on it.
PREPOSITIONS = {"for", "at", "to", "with"}
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


@dataclass(eq=False, slots=True)
class Phrase:
    """The same constituent in both languages.

    ``heads`` are the English and the German token by which it hangs in the sentence, where it has
    any; ``agreement`` and ``gender`` (as in :mod:`.lexicon`) what a verb or a pronoun must
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

    def attach(self, heads: Heads) -> Phrase:
        """Make the phrase a dependent of these tokens, and return it."""
        for token, head in zip(self.heads, heads, strict=True):
            if token is not None:
                token.head = head
        return self

    def append(self, modifier: Phrase) -> Phrase:
        """Put a modifier behind, and return the phrase."""
        modifier.attach(self.heads)
        self.english += modifier.english
        self.german += modifier.german
        return self

    def prepend(self, modifier: Phrase) -> Phrase:
        """Put a modifier before, and return the phrase."""
        modifier.attach(self.heads)
        self.english = modifier.english + self.english
        self.german = modifier.german + self.german
        return self

    def join(self, link: Phrase, second: Phrase, **traits: Any) -> Phrase:
        """The phrase, a conjunction and a second phrase, which depends on this one."""
        parts = self, link.attach(second.heads), second.attach(self.heads)
        return sequence(*parts, head=self, **traits)


def word(english: str, german: str, pos: str = "ADV", *, head: int = -1, **traits: Any) -> Phrase:
    """A German word for one English word or more, one of them the head: "in front of"."""
    source = [Token(form, pos) for form in english.split()]
    target = Token(german, pos, None, tuple(source))
    for token in source:
        if token is not source[head]:
            token.head = source[head]
            token.pos = "ADV" if pos == "ADJ" else pos  # "more beautiful"
    return Phrase(source, [target], (source[head], target), **traits)


def words(english: str, german: str) -> Phrase:
    """Words in the notation of the lexicon's times: ``form:tag``, ``form:tag:links``."""
    source = [Token(form, pos) for form, pos in (item.split(":") for item in english.split())]
    target = []
    for form, pos, links in (item.split(":") for item in german.split()):
        target.append(Token(form, pos, None, tuple(source[int(link)] for link in links)))
    for tokens in (source, target):
        for token in tokens[:-1]:
            token.head = tokens[-1]
    return Phrase(source, target, (source[-1], target[-1]))


def pronoun(name: str, case: int, classes: str = "H") -> Phrase:
    """A personal pronoun in this case."""
    subject, other, *german, reflexive, agreement = lex.PRONOUNS[name]
    phrase = word(subject if case == lex.NOM else other, german[case], "PRON", classes=classes)
    phrase.agreement, phrase.reflexive, phrase.pronoun = int(agreement), reflexive, True
    return phrase


def sequence(*parts: Phrase, head: Phrase, **traits: Any) -> Phrase:
    """Phrases one after the other in both languages, hanging by the heads of one of them."""
    english = [token for part in parts for token in part.english]
    german = [token for part in parts for token in part.german]
    return Phrase(english, german, head.heads, **traits)


def governed(english: str, german: str, inner: Phrase) -> Phrase:
    """A preposition, where a language has one, before a phrase in its case; "in dem" is "im"."""
    source = [Token(form, "ADP", inner.heads[0]) for form in english.split()]
    target = [Token(german, "ADP", inner.heads[1])] if german else []
    first = (target or inner.german)[0]
    first.of = (*source, *first.of)
    article = inner.article
    if article is not None and (german, article.form) in lex.CONTRACTIONS:
        first.form = lex.CONTRACTIONS[german, article.form]
        first.of += article.of
        inner.german = [token for token in inner.german if token is not article]
    preposition = Phrase(source, target)
    return sequence(preposition, inner, head=inner, classes=inner.classes, heavy=inner.heavy)


def finish(phrase: Phrase, mark: str) -> AnnotatedPair:
    """Close a sentence with its final mark and read the annotation off its tokens."""
    phrase.append(word(mark, mark, "PUNCT"))
    for token, following in pairwise(phrase.english):
        if token.form == "a":
            vowel = following.form[0] in "aeiouAEIOU"
            token.form = ARTICLES.get(following.form, "an" if vowel else "a")
    source, target = _side(phrase.english), _side(phrase.german)
    links = [(one.at, two.at) for two in phrase.german for one in two.of if two.at >= 0 <= one.at]
    return AnnotatedPair(source, target, tuple(sorted(links)))


def _side(tokens: list[Token]) -> Side:
    """Number the tokens, but for commas at the start, next to another and before the final mark."""
    kept: list[Token] = []
    for token, following in pairwise([*tokens, tokens[-1]]):
        if token.form != "," or (kept and kept[-1].form != "," and following.form not in ",.?"):
            token.at = len(kept)
            kept.append(token)
    return Side(*zip(*[(t.form, t.pos, t.head.at if t.head else -1) for t in kept], strict=True))


@dataclass
class Clause:
    """What a clause says: a verb, its subject, and other phrases by their slot.

    The subject may be a phrase without words (coordination, infinitive). Slots are ``recipient``,
    ``object``, ``complement`` (a preposition's phrase or a place), ``predicate``, ``time``,
    ``manner``, ``early`` and ``late`` (adverbs before and behind the German objects; *nicht* is a
    late one) and ``after`` (a dependent clause).
    """

    verb: lex.Verb
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

    def realize(self, order: Order, front: Phrase | None = None, inverted: bool = False) -> Phrase:
        """Put the clause into words.

        ``front`` opens it: an adverbial, a question word, a relative pronoun or a conjunction.
        ``inverted`` says that English has the auxiliary before the subject, and that German, unless
        something opens the clause, begins with the verb.
        """
        slots = self.slots
        if front is not None:
            slots["front"] = front
        english = _english_verbs(self, order, inverted)
        german = _german_verbs(self, order, english)
        if english.chain[0].form == "can" and self.negated and not inverted:  # one word in English
            english.chain[0].form = "cannot"
            slots["late"].english = []
            slots["late"].german[0].of = (english.chain[0],)
        if self.verb.frame == "P" and not self.verb.prepositions[0]:  # "remember": sich erinnern an
            preposition = self.take("complement", "front")[0].german[0]
            preposition.of = (english.lexical, *preposition.of)
        top = english.top, german.top
        self.subject.attach(top)
        for slot, phrase in slots.items():
            if slot != "predicate":
                phrase.attach((english.content, german.content))
        if english.particle and english.particle[-1].form in PREPOSITIONS:
            for phrase in self.take("recipient", "object", "front")[:1]:
                english.particle[-1].head = phrase.heads[0]
        words = _english_order(self, english, inverted)
        return Phrase(words, _german_order(self, german, order, inverted), top)


class Verbs:
    """The verbs of a clause in one language, ``chain``, of which the first is finite.

    Subjects and the clause itself hang on ``top``, other phrases on ``content``, which is the
    lexical verb or the predicate of a copula; they differ only where English says "wants to".
    """

    def __init__(self, clause: Clause, side: int, form: str, of: tuple[Token, ...] = ()) -> None:
        predicate = clause.slots.get("predicate")
        head = predicate.heads[side] if predicate is not None else None
        self.lexical = Token(form, "AUX" if clause.verb.frame == "K" else "VERB", head, of)
        self.content = self.top = head or self.lexical
        self.chain = [self.lexical]
        self.particle: list[Token] = []

    def token(self, form: str, pos: str = "AUX", of: tuple[Token, ...] = ()) -> Token:
        return Token(form, pos, self.content, of)


def _english_verbs(clause: Clause, order: Order, inverted: bool) -> Verbs:
    """Inflect the English verb; ``inverted`` questions and *not* need do-support."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    participle, past = clause.passive or "perfect" in tense, tense == "past"
    verbs = Verbs(clause, 0, verb.participle if participle else verb.base)
    verbs.particle = [verbs.token(form, "ADP") for form in verb.particle]
    support = (inverted or clause.negated) and verb.frame != "K"
    if order == "infinitive":
        verbs.chain.insert(0, verbs.token("to", "PART"))
    elif tense in TO_MODALS:  # "wants to read", "does not want to read"
        infinitive, past = TO_MODALS[tense]
        modal = Token(infinitive if support else TENSES[tense][0][agreement], "VERB")
        verbs.chain = [modal, verbs.token("to", "PART"), verbs.lexical]
        verbs.top = verbs.content.head = modal
        if support:
            verbs.chain.insert(0, Token(PARADIGMS["do"][past][agreement], "AUX", modal))
    elif tense in TENSES:
        verbs.chain.insert(0, verbs.token(TENSES[tense][0][agreement]))
        if clause.passive:
            verbs.chain.insert(1, verbs.token("be"))
    elif clause.passive or support:
        forms = PARADIGMS["be" if clause.passive else "do"][past]
        verbs.chain.insert(0, verbs.token(forms[agreement]))
    else:
        verbs.lexical.form = verb.english[past][agreement]
    return verbs


def _german_verbs(clause: Clause, order: Order, english: Verbs) -> Verbs:
    """Inflect the German verb and align it; every English verb is rendered."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    of = (english.lexical, *english.particle)
    helpers = tuple([token for token in english.chain if token is not english.lexical])
    verbs = Verbs(clause, 1, verb.prefix + verb.infinitive, of)
    lexical, past = verbs.lexical, tense in ("past", "pluperfect")
    if order == "infinitive" and verb.prefix:  # "aufzustehen"
        lexical.form, lexical.of = f"{verb.prefix}zu{verb.infinitive}", of + helpers
    elif order == "infinitive":
        verbs.chain.append(verbs.token("zu", "PART", helpers))
    elif tense in TENSES or clause.passive:
        forms = TENSES[tense][1] if tense in TENSES else PARADIGMS["werden"][past]
        if "perfect" in tense and verb.sein:
            forms = PARADIGMS["sein"][past]
        if "perfect" in tense or clause.passive:
            lexical.form = verb.german_participle
        verbs.chain.insert(0, verbs.token(forms[agreement], of=helpers))
        if clause.passive and tense in TENSES:  # "can be read": kann gelesen werden
            verbs.chain[0].of = helpers[:1]
            verbs.chain.append(verbs.token("werden", of=helpers[1:]))
    else:
        lexical.form, lexical.of = verb.german[past][agreement], of + helpers
        if verb.prefix and order == "last":
            lexical.form = verb.prefix + lexical.form
        elif verb.prefix:
            verbs.chain.append(verbs.token(verb.prefix, "ADP", of[1:] or of))
    return verbs


def _english_order(clause: Clause, verbs: Verbs, inverted: bool) -> list[Token]:
    def take(*slots: str) -> list[Token]:
        return [t for slot in slots if slot in clause.slots for t in clause.slots[slot].english]

    subject, adverbs, particle = clause.subject.english, take("early", "late"), verbs.particle
    finite, rest = verbs.chain[:1], verbs.chain[1:]
    if inverted:
        start = finite + subject + adverbs
    elif finite[0].pos == "VERB":  # "often reads", but "is often", "has often read"
        start = subject + adverbs + finite
    else:
        start = subject + finite + adverbs
    objects = particle + take("recipient", "object")
    moved = bool(particle) and particle[-1].form not in PREPOSITIONS
    if moved and any(phrase.pronoun for phrase in clause.take("object")):  # "turns it on"
        objects = take("object") + particle
    tail = take("predicate", "manner", "complement", "time", "after")
    return take("front") + start + rest + objects + tail


def _german_order(clause: Clause, verbs: Verbs, order: Order, inverted: bool) -> list[Token]:
    """Fill the fields that the top of this file draws."""

    def take(*slots: str) -> list[Token]:
        return [t for slot in slots if slot in clause.slots for t in clause.slots[slot].german]

    light = [slot for slot, phrase in clause.slots.items() if phrase.pronoun]
    full = [slot for slot in ("recipient", "object") if slot not in light]
    subject, reflexive, pronouns = clause.subject, clause.verb.reflexive, take(*light)
    if reflexive:
        pronouns.append(verbs.token(subject.reflexive, "PRON", verbs.lexical.of[:1]))
    vorfeld, start = take("front"), subject.german + pronouns
    if order == "main" and not vorfeld and not inverted:
        vorfeld, start = subject.german, pronouns
    elif order == "main" and reflexive and not subject.pronoun:  # "heute beeilt sich der Mann"
        start = pronouns + subject.german
    rest = take("time", "early", *full, "late", "manner", "complement", "predicate")
    finite, closing, nachfeld = verbs.chain[:1], verbs.chain[1:], take("after")
    if order == "main":
        return vorfeld + finite + start + rest + closing + nachfeld
    comma, another = (Token(",", "PUNCT", verbs.top) for _ in range(2))
    return [comma, *vorfeld, *start, *rest, *closing, *finite, *nachfeld, another]
