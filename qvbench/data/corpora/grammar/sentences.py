"""Random sentences: statements, questions, passives, and clauses joined to clauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.phrases import PAST_TENSES, Draw
from qvbench.data.corpora.grammar.syntax import (
    AnnotatedPair,
    Clause,
    Phrase,
    Token,
    finish,
    governed,
    pronoun,
    sequence,
    word,
)

# Verbs of which nobody says "is ...-ed by".
NO_PASSIVE = frozenset({"receive", "know", "need", "lose", "look", "put", "call"})


def sentence(draw: Draw) -> AnnotatedPair:
    """A random sentence of a random kind."""
    phrase, mark = draw.pick(KINDS)(draw)
    return finish(phrase, mark)


def _main(draw: Draw, clause: Clause) -> tuple[Phrase, str]:
    """A main clause, often opened by a time or a place."""
    front = None
    movable = clause.verb.frame in "IT" and not clause.passive
    if "time" in clause.slots and draw.chance(0.5):
        front = clause.slots.pop("time")
    elif "complement" in clause.slots and movable and draw.chance(0.35):
        front = clause.slots.pop("complement")
    return clause.realize("main", front), "."


def _passive(draw: Draw) -> tuple[Phrase, str]:
    """As in "the book is read by the man": wird ... gelesen."""
    verbs = [v for v in lex.verbs_of("T") if v.base not in NO_PASSIVE and not v.particle]
    verb = draw.skewed(verbs)
    tense = draw.pick(lex.CHOICES["passive"])
    clause = Clause(verb, tense, draw.noun_phrase(verb.objects, lex.NOM), passive=True)
    if draw.chance(0.5):
        clause.slots["complement"] = draw.preposition(("by", "von", "d", verb.subjects), depth=0)
    if draw.chance(0.3) and not any(phrase.heavy for phrase in clause.slots.values()):
        draw.add_time(clause)
    return _main(draw, clause)


def _there_is(draw: Draw) -> tuple[Phrase, str]:
    """As in "there is a dog in the garden": es gibt einen Hund im Garten."""
    past, kind = draw.chance(0.4), draw.pick(("indefinite", "indefinite", "no"))
    thing = draw.noun_phrase("HATRCVF", lex.ACC, kind=kind, depth=1)
    where = draw.prepositional("places")
    verb = word(lex.PARADIGMS["be"][past][thing.agreement], "gab" if past else "gibt", "VERB")
    there = word("there", "es", "PRON")
    asked = draw.chance(0.2)
    for phrase in (there, thing, where):
        phrase.attach(verb.heads)
    opening = [verb, there] if asked else [there, verb]
    return sequence(*opening, thing, where, head=verb), "?" if asked else "."


def _yes_no_question(draw: Draw) -> tuple[Phrase, str]:
    clause = draw.clause(draw.verb())
    if clause.negated:
        del clause.slots["late"]
    return clause.realize("main", inverted=True), "?"


def _adverb_question(draw: Draw) -> tuple[Phrase, str]:
    verb, front, gap = _asked_adverb(draw)
    clause = draw.clause(verb, gap=gap, adverbs=False)
    return clause.realize("main", front, inverted=True), "?"


def _asked_adverb(draw: Draw) -> tuple[lex.Verb, Phrase, str]:
    english, german, frames, gap = draw.pick(lex.ENTRIES["questions"])
    return draw.verb(frames), word(english, german), gap


def _subject_question(draw: Draw) -> tuple[Phrase, str]:
    """who, or which man: no do-support, the verb second."""
    verb = draw.verb("IITTTDGPLM", "H")
    if draw.chance(0.6):
        subject = word("who", "wer", "PRON", classes="H")
    else:
        subject = draw.noun_phrase(verb.subjects, lex.NOM, kind="which", depth=1)
    return draw.clause(verb, subject).realize("main"), "?"


def _object_question(draw: Draw) -> tuple[Phrase, str]:
    """what, whom or which book as an object of any case, and prepositions with it."""
    frame = draw.pick("TTTDP")
    verb = draw.skewed(lex.verbs_of(frame))
    if frame == "P" and not verb.prepositions[0]:
        verb = lex.verbs_of("P")[0]
    if frame == "P" and set("XZ") & set(verb.objects) and draw.chance(0.4):
        return _wo_question(draw, verb), "?"
    clause = draw.clause(verb, gap="complement" if frame == "P" else "object", adverbs=False)
    asked = _asked(draw, verb.objects, verb.case, things=frame == "T")
    return clause.realize("main", governed(*verb.prepositions, asked), inverted=True), "?"


def _wo_question(draw: Draw, verb: lex.Verb) -> Phrase:
    """As in "what do you wait for": worauf wartest du."""
    english, german = verb.prepositions
    what, stranded = Token("what", "PRON"), Token(english, "ADP")
    compound = Token(lex.CONTRACTIONS[german, "was"], "ADV", None, (what, stranded))
    clause = draw.clause(verb, gap="complement", adverbs=False)
    clause.slots["complement"] = Phrase([stranded], [])
    phrase = clause.realize("main", Phrase([what], [compound], (what, compound)), inverted=True)
    stranded.head = what
    return phrase


def _asked(draw: Draw, classes: str, case: int, things: bool) -> Phrase:
    roll = draw.random()
    human = "H" in classes
    if roll >= 0.35 and things and set(classes) - set("HA") and (roll < 0.65 or not human):
        return word("what", "was", "PRON")
    if roll >= 0.35 and human:
        return word("whom", ("wer", "wen", "wem")[case], "PRON")
    return draw.noun_phrase(classes, case, kind="which", depth=1)


def _reported(draw: Draw, frame: str) -> tuple[Phrase, str]:
    """As in "the man knows that ...", "the man asks whether ...", or "where": no inversion."""
    clause = draw.clause(draw.skewed(lex.verbs_of(frame)))
    tenses = lex.CHOICES["that past" if clause.tense in PAST_TENSES else "that present"]
    gap = ""
    if frame == "C":
        verb, front = draw.verb(), word("that", "dass", "SCONJ")
        adverbs = draw.chance(0.5)
    elif adverbs := draw.chance(0.5):
        verb, front = draw.verb(), word("whether", "ob", "SCONJ")
    else:
        verb, front, gap = _asked_adverb(draw)
    inner = draw.clause(verb, tenses=tenses, gap=gap, adverbs=adverbs)
    clause.slots["after"] = inner.realize("last", front)
    return _main(draw, clause)


def _infinitive(draw: Draw, purpose: bool) -> tuple[Phrase, str]:
    """As in "tries to read": versucht , zu lesen, or "in order to read": um ... zu lesen."""
    um = None
    if purpose:
        subject = draw.subject("H", definite=True, depth=1)
        clause = draw.clause(draw.verb("IMMSTT", "H"), subject, depth=1)
        um = word("in order", "um", "SCONJ", head=0)
        um.english[0].pos, um.english[1].pos = "ADP", "NOUN"
    else:
        clause = draw.clause(draw.skewed(lex.verbs_of("Z")), depth=1)
    verb, subject = draw.verb("ITTTTDGPMS", "H"), _understood(clause.subject)
    inner = draw.clause(verb, subject, tenses=["present"], depth=1, adverbs=False)
    clause.slots["after"] = inner.realize("infinitive", um)
    return _main(draw, clause)


def _understood(subject: Phrase) -> Phrase:
    """The same subject without words, with which a verb or a reflexive agrees nevertheless."""
    return replace(subject, english=[], german=[], heads=(None, None))


def _adverbial_clause(draw: Draw) -> tuple[Phrase, str]:
    """weil, obwohl, wenn, als, ... after the main clause or before it."""
    main = draw.clause(draw.verb(), depth=1)
    past = main.tense in PAST_TENSES
    if main.tense == "perfect":
        main.tense = "present"
    unfit = "p" if past else "v"
    entries = [entry for entry in lex.ENTRIES["subordinators"] if entry[2] != unfit]
    english, german, _ = draw.pick(entries)
    tenses = lex.CHOICES["beside past" if past else "beside present"]
    if english == "after":
        tenses = ["pluperfect"]
    back = _back_reference(main.subject) if draw.chance(0.5) else None
    verb = draw.verb(subject=back.classes[:1] if back is not None else "")
    adverbs = draw.chance(0.5)
    inner = draw.clause(verb, back, tenses=tenses, depth=1, adverbs=adverbs)
    clause = inner.realize("last", word(english, german, "SCONJ", head=0))
    if back is not None or draw.chance(0.5):
        main.slots["after"] = clause
        return _main(draw, main)
    comma = Token(",", "PUNCT", clause.heads[0])
    clause.english.append(comma)
    clause.german[-1].of = (comma,)
    return main.realize("main", clause), "."


def _back_reference(subject: Phrase) -> Phrase | None:
    """A pronoun for this subject: "it" becomes er, sie or es by the German gender."""
    if subject.pronoun or ("H" in subject.classes and subject.gender == lex.NEUTER):
        return None
    if subject.agreement == 3 or "H" in subject.classes:
        name = "they" if subject.agreement == 3 else ("he", "she")[subject.gender]
        return pronoun(name, lex.NOM, subject.classes)
    form = ("er", "sie", "es")[subject.gender]
    return word("it", form, "PRON", pronoun=True, classes=subject.classes, gender=subject.gender)


def _coordination(draw: Draw) -> tuple[Phrase, str]:
    """Two main clauses: und, aber, oder, denn count for no place."""
    first = draw.clause(draw.verb(), depth=1).realize("main")
    second, mark = _main(draw, draw.clause(draw.verb(), depth=1))
    english, german = draw.pick(lex.ENTRIES["coordinators"])
    link = word(english, german, "CCONJ")
    if english in ("but", "for"):
        comma = word(",", ",", "PUNCT").attach(second.heads)
        link = sequence(comma, link, head=link)
    return first.join(link, second), mark


def _shared_subject(draw: Draw) -> tuple[Phrase, str]:
    """As in "the man reads the book and drinks the coffee"."""
    tenses = (draw.pick(("present", "past")),)
    verb = draw.verb("ITTTDGPM", "H")
    subject = draw.subject("H", definite=True, depth=1)
    first = draw.clause(verb, subject, tenses=tenses, depth=1)
    verb = draw.verb("ITTTDGPM", "H")
    second = draw.clause(verb, _understood(subject), tenses=tenses, depth=1)
    und = word("and", "und", "CCONJ")
    return first.realize("main").join(und, second.realize("main")), "."


# How often each kind of sentence should come up.
_OFTEN: dict[Callable[[Draw], tuple[Phrase, str]], int] = {
    lambda draw: _main(draw, draw.clause(draw.verb())): 30,
    _passive: 5,
    _there_is: 3,
    _yes_no_question: 8,
    _adverb_question: 5,
    _subject_question: 4,
    _object_question: 5,
    lambda draw: _reported(draw, "C"): 6,
    lambda draw: _reported(draw, "A"): 4,
    lambda draw: _infinitive(draw, purpose=False): 4,
    lambda draw: _infinitive(draw, purpose=True): 3,
    _adverbial_clause: 13,
    _coordination: 6,
    _shared_subject: 4,
}
KINDS = [kind for kind, times in _OFTEN.items() for _ in range(times)]
