"""Word order: where the words of English and German go, given what a clause says.

English keeps subject, verb and objects together and asks with *do*. German has the finite verb in
second place of a main clause, first in a yes/no question and last in a subordinate clause;
participles, infinitives and separable prefixes close the clause; pronouns and times come before
other objects, negation, manner and place after them.
"""

from __future__ import annotations

from dataclasses import dataclass

from qvbench.data.corpora.grammar.lexicon import (
    BE,
    DO,
    HABEN,
    HAVE,
    MODALS,
    SEIN,
    WERDEN,
    Verb,
)
from qvbench.data.corpora.grammar.tree import Phrase, Token

MAIN, QUESTION, VERB_LAST, INFINITIVE = range(4)

# Modals that English says with "to": form after a plain subject, third person, infinitive, past.
TO_MODALS = {
    "want": (("want", "want", "wants", "want"), "want", 0),
    "wanted": (("wanted",) * 4, "want", 1),
    "had": (("had",) * 4, "have", 1),
}
# English particles that are prepositions of the object: they stay before it and depend on it.
PREPOSITION_PARTICLES = {"for", "at", "to", "with"}


@dataclass
class Clause:
    """What a clause says. ``subject`` may be a phrase without words (coordination, infinitive).

    ``early`` and ``late`` are adverbs before and behind the German objects ("late" also holds
    *nicht*); ``complement`` is a preposition's phrase or a place; ``after`` a dependent clause.
    """

    verb: Verb
    tense: str
    subject: Phrase
    early: Phrase | None = None
    late: Phrase | None = None
    time: Phrase | None = None
    recipient: Phrase | None = None
    object: Phrase | None = None
    manner: Phrase | None = None
    complement: Phrase | None = None
    predicate: Phrase | None = None
    after: Phrase | None = None
    passive: bool = False

    @property
    def negated(self) -> bool:
        """Whether it says *not*."""
        return self.late is not None and self.late.english[0].form == "not"

    def objects(self) -> list[Phrase]:
        """The recipient and the object, as far as there are any."""
        return [part for part in (self.recipient, self.object) if part is not None]

    def phrases(self) -> list[Phrase]:
        """What depends on the content verb; subject and predicate do not."""
        adverbials = (self.early, self.late, self.time, self.manner, self.complement, self.after)
        return [*self.objects(), *(part for part in adverbials if part is not None)]


@dataclass
class Group:
    """The verbs of a clause in one language: the finite one, the others in order, and two heads.

    Subjects and the clause itself hang on ``top``, objects on ``content``; they differ only where
    English says "wants to".
    """

    finite: Token
    rest: list[Token]
    top: Token
    content: Token
    lexical: Token
    particle: list[Token]

    def verbs(self) -> list[Token]:
        """The finite verb and the others, without the particle."""
        return [self.finite, *(token for token in self.rest if token is not self.finite)]


def _group(clause: Clause, form: str, predicate: Token | None) -> Group:
    """A group of the verb alone; the predicate, if there is one, is the head of the copula."""
    lexical = Token(form, "AUX" if clause.verb.frame == "K" else "VERB", predicate)
    content = predicate or lexical
    return Group(lexical, [lexical], content, content, lexical, [])


def english_group(clause: Clause, mode: int, inverted: bool) -> Group:
    """Inflect the English verb; ``inverted`` questions and *not* need do-support."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    form = verb.participle if tense in ("perfect", "pluperfect") or clause.passive else verb.base
    group = _group(clause, form, clause.predicate.english_head if clause.predicate else None)
    lexical, content = group.lexical, group.content
    support = (inverted or clause.negated) and verb.frame != "K"
    if mode == INFINITIVE:
        group.finite = Token("to", "PART", content)
    elif tense in TO_MODALS:
        _to_modal(group, tense, agreement, support)
    elif tense in MODALS or tense == "future":
        group.finite = Token("will" if tense == "future" else tense, "AUX", content)
    elif tense in ("perfect", "pluperfect"):
        group.finite = Token(HAVE[tense == "pluperfect"][agreement], "AUX", content)
    elif clause.passive:
        group.finite = Token(BE[tense == "past"][agreement], "AUX", content)
    elif support:
        group.finite = Token(DO[tense == "past"][agreement], "AUX", content)
    else:
        lexical.form = verb.english[tense == "past"][agreement]
        group.rest = []
    if clause.passive and group.finite.form not in BE[0] + BE[1]:
        group.rest.insert(-1, Token("be", "AUX", content))
    group.particle = [Token(form, "ADP", content) for form in verb.particle]
    return group


def _to_modal(group: Group, tense: str, agreement: int, support: bool) -> None:
    forms, infinitive, past = TO_MODALS[tense]
    group.top = Token(infinitive if support else forms[agreement], "VERB")
    group.content.head = group.top
    to = Token("to", "PART", group.content)
    if support:
        group.finite = Token(DO[past][agreement], "AUX", group.top)
        group.rest = [group.top, to, *group.rest]
    else:
        group.finite = group.top
        group.rest = [to, *group.rest]


def german_group(clause: Clause, mode: int) -> Group:
    """Inflect the German verb: ``rest`` is what closes the clause, in German order."""
    verb, tense, agreement = clause.verb, clause.tense, clause.subject.agreement
    group = _group(clause, "", clause.predicate.german_head if clause.predicate else None)
    lexical, content = group.lexical, group.content
    if mode == INFINITIVE:
        _zu_infinitive(group, verb)
    elif tense in MODALS or tense == "future":
        forms = WERDEN[0] if tense == "future" else MODALS[tense]
        group.finite = Token(forms[agreement], "AUX", content)
        lexical.form = verb.german_participle if clause.passive else verb.prefix + verb.infinitive
        if clause.passive:
            group.rest.append(Token("werden", "AUX", content))
    elif tense in ("perfect", "pluperfect"):
        auxiliary = SEIN if verb.sein else HABEN
        group.finite = Token(auxiliary[tense == "pluperfect"][agreement], "AUX", content)
        lexical.form = verb.german_participle
    elif clause.passive:
        group.finite = Token(WERDEN[tense == "past"][agreement], "AUX", content)
        lexical.form = verb.german_participle
    else:
        lexical.form = verb.german[tense == "past"][agreement]
        group.rest = []
        if verb.prefix and mode == VERB_LAST:
            lexical.form = verb.prefix + lexical.form
        elif verb.prefix:
            group.particle = [Token(verb.prefix, "ADP", content)]
    return group


def _zu_infinitive(group: Group, verb: Verb) -> None:
    """As in "zu lesen", but "aufzustehen"; there is no finite verb, so ``zu`` stands for it."""
    lexical = group.rest[-1]
    if verb.prefix:
        lexical.form = f"{verb.prefix}zu{verb.infinitive}"
        group.finite = lexical
    else:
        lexical.form = verb.infinitive
        group.finite = Token("zu", "PART", group.content)


def _align(english: Group, german: Group) -> None:
    """Say which English verbs the German ones render; every English one is rendered."""
    verbs = english.verbs()
    others = tuple(token for token in verbs if token is not english.lexical)
    if german.finite is german.lexical:
        german.lexical.of = (english.lexical, *others, *english.particle)
    else:
        extra = [token for token in german.rest if token is not german.lexical]
        passive = tuple(token for token in others if token.form == "be") if extra else ()
        german.finite.of = tuple(token for token in others if token not in passive)
        german.lexical.of = (english.lexical, *english.particle)
        for token in extra:
            token.of = passive
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
    english = english_group(clause, mode, inverted)
    german = german_group(clause, mode)
    _align(english, german)
    if english.finite.form == "can" and clause.negated and not inverted:
        _write_cannot(clause, english.finite)
    if clause.verb.frame == "P" and not clause.verb.preposition[0]:  # "remember": sich erinnern an
        governed = clause.complement or front
        if governed is not None:
            governed.german[0].of = (english.lexical, *governed.german[0].of)
    clause.subject.attach(english.top, german.top)
    for phrase in clause.phrases():
        phrase.attach(english.content, german.content)
    if front is not None:
        front.attach(english.content, german.content)
    result = Phrase(
        _english_order(clause, english, front, inverted), _german_order(clause, german, front, mode)
    )
    result.english_head, result.german_head = english.top, german.top
    _attach_particle(clause, english, front)
    return result


def _write_cannot(clause: Clause, finite: Token) -> None:
    """Write "can not" as one word."""
    assert clause.late is not None
    finite.form = "cannot"
    clause.late.german[0].of = (finite,)
    clause.late = Phrase([], clause.late.german)


def _attach_particle(clause: Clause, english: Group, front: Phrase | None) -> None:
    """A particle that is a preposition depends on its object, as other prepositions do."""
    objects = clause.recipient or clause.object or front
    if objects is None or objects.english_head is None or not english.particle:
        return
    if english.particle[-1].form in PREPOSITION_PARTICLES:
        english.particle[-1].head = objects.english_head


def _english_order(
    clause: Clause, group: Group, front: Phrase | None, inverted: bool
) -> list[Token]:
    out = list(front.english) if front is not None else []
    adverbs = [t for part in (clause.early, clause.late) if part is not None for t in part.english]
    subject = clause.subject.english
    before = group.finite.pos == "VERB"  # "often reads", but "is often", "has often read"
    if inverted:
        out += [group.finite, *subject, *adverbs]
    elif before:
        out += [*subject, *adverbs, group.finite]
    else:
        out += [*subject, group.finite, *adverbs]
    out += group.rest
    objects = clause.objects()
    moved = bool(group.particle) and group.particle[-1].form not in PREPOSITION_PARTICLES
    if moved and objects and objects[0].pronoun:  # "turns it on"
        out += [*objects[0].english, *group.particle]
        objects = objects[1:]
    else:
        out += group.particle
    tail = (*objects, clause.predicate, clause.manner, clause.complement, clause.time, clause.after)
    for part in tail:
        if part is not None:
            out += part.english
    return out


def _german_order(clause: Clause, group: Group, front: Phrase | None, mode: int) -> list[Token]:
    objects = clause.objects()
    light = [token for part in objects if part.pronoun for token in part.german]
    light += _reflexive(clause, group)
    middle = [
        clause.time,
        clause.early,
        *(part for part in objects if not part.pronoun),
        clause.late,
        clause.manner,
        clause.complement,
        clause.predicate,
    ]
    field = [token for part in middle if part is not None for token in part.german]
    subject = clause.subject.german
    closing = [*group.rest, *group.particle]
    after = clause.after.german if clause.after is not None else []
    opening = front.german if front is not None else []
    finite = [group.finite]
    if mode == VERB_LAST:
        return [*opening, *subject, *light, *field, *closing, *finite, *after]
    if mode == INFINITIVE:
        zu = finite if group.finite.form == "zu" else []
        return [*opening, *light, *field, *zu, *closing, *after]
    if mode == MAIN and front is None:
        return [*subject, *finite, *light, *field, *closing, *after]
    if clause.verb.reflexive and not clause.subject.pronoun:  # "heute beeilt sich der Mann"
        return [*opening, *finite, *light, *subject, *field, *closing, *after]
    return [*opening, *finite, *subject, *light, *field, *closing, *after]


def _reflexive(clause: Clause, group: Group) -> list[Token]:
    if not clause.verb.reflexive:
        return []
    return [Token(clause.subject.reflexive, "PRON", group.content, group.lexical.of[:1])]
