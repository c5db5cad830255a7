"""Random sentences: statements, questions, passives, and clauses joined to clauses."""

from __future__ import annotations

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.clauses import PAST_TENSES, Clauses, empty, verbs_of
from qvbench.data.corpora.grammar.lexicon import ACC, BE, DAT, NEUTER, NOM, Verb
from qvbench.data.corpora.grammar.tree import (
    AnnotatedPair,
    Phrase,
    Rng,
    Token,
    finish,
    governed,
    joined,
    pronoun,
    word,
)
from qvbench.data.corpora.grammar.word_order import (
    INFINITIVE,
    MAIN,
    QUESTION,
    VERB_LAST,
    Clause,
    realize,
)

# Tenses of a clause beside one in the present or in the past.
BESIDE_PRESENT = ("present",) * 5 + ("perfect", "can", "must", "want")
BESIDE_PAST = ("past",) * 6 + ("could", "had", "wanted", "pluperfect")
THAT_PRESENT = ("present",) * 4 + ("past",) * 2 + ("perfect", "future", "can")
THAT_PAST = ("past",) * 3 + ("pluperfect", "could")
# Verbs of which nobody says "is ...-ed by".
NO_PASSIVE = frozenset({"receive", "know", "need", "lose", "look", "put", "call"})
PERSON = {entry.subject: entry for entry in lex.PRONOUNS}


class Sentences:
    """Draws whole sentences."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.clauses = Clauses(rng)
        self.nouns = self.clauses.nouns

    def sentence(self) -> AnnotatedPair:
        """A random sentence of a random kind."""
        phrase, mark = self.rng.pick(KINDS)(self)
        return finish(phrase, mark)

    def statement(self) -> tuple[Phrase, str]:
        """A main clause, often opened by a time or a place."""
        return self._main(self.clauses.clause(self.clauses.verb())), "."

    def _main(self, clause: Clause) -> Phrase:
        front = None
        movable = clause.verb.frame in "IT" and not clause.passive
        if clause.time is not None and self.rng.chance(0.5):
            front, clause.time = clause.time, None
        elif clause.complement is not None and movable and self.rng.chance(0.35):
            front, clause.complement = clause.complement, None
        return realize(clause, MAIN, front)

    def passive(self) -> tuple[Phrase, str]:
        """As in "the book is read by the man": wird ... gelesen."""
        verbs = [v for v in verbs_of("T") if v.base not in NO_PASSIVE and not v.particle]
        verb = self.rng.skewed(verbs)
        tense = self.rng.pick(("present", "past", "past", "can", "must", "future"))
        subject = self.nouns.noun_phrase(verb.objects, NOM)
        clause = Clause(verb, tense, subject, passive=True)
        if self.rng.chance(0.5):
            clause.complement = self.nouns.preposition("by", "von", DAT, verb.subjects)
        agent = clause.complement
        if self.rng.chance(0.3) and (agent is None or not agent.heavy):
            clause.time = self.clauses.time(tense)
        return self._main(clause), "."

    def there_is(self) -> tuple[Phrase, str]:
        """As in "there is a dog in the garden": es gibt einen Hund im Garten."""
        past, kind = self.rng.chance(0.4), self.rng.pick(("indefinite", "indefinite", "no"))
        thing = self.nouns.noun_phrase("HATRCVF", ACC, kind=kind, depth=1)
        place = self.nouns.two_way(False)
        be = Token(BE[past][thing.agreement], "VERB")
        gibt = Token("gab" if past else "gibt", "VERB", None, (be,))
        there = Token("there", "PRON", be)
        es = Token("es", "PRON", gibt, (there,))
        for phrase in (thing, place):
            phrase.attach(be, gibt)
        asked = self.rng.chance(0.2)
        english, german = ([be, there], [gibt, es]) if asked else ([there, be], [es, gibt])
        sentence = Phrase(
            [*english, *thing.english, *place.english],
            [*german, *thing.german, *place.german],
            heads=Phrase([be], [gibt]),
        )
        return sentence, "?" if asked else "."

    def yes_no_question(self) -> tuple[Phrase, str]:
        """The verb first."""
        verb = self.clauses.verb()
        clause = self.clauses.clause(verb)
        if clause.late is not None and clause.late.english[0].form == "not":
            clause.late = None
        return realize(clause, QUESTION, None, inverted=True), "?"

    def adverb_question(self) -> tuple[Phrase, str]:
        """where, where to, when, why, how."""
        verb, front, gap = self._asked_adverb()
        clause = self.clauses.clause(verb, gap=gap, adverbs=False)
        return realize(clause, MAIN, front, inverted=True), "?"

    def _asked_adverb(self) -> tuple[Verb, Phrase, str]:
        english, german, frames, gap = self.rng.pick(
            (
                ("where", "wo", "L", "complement"),
                ("where", "wo", "L", "complement"),
                ("where", "wohin", "MS", "complement"),
                ("when", "wann", "ITTDGP", ""),
                ("why", "warum", "ITTDGPLK", ""),
                ("how", "wie", "ITT", ""),
            )
        )
        return self.clauses.verb(frames), word(english, german, "ADV"), gap

    def subject_question(self) -> tuple[Phrase, str]:
        """who, or which man: no do-support, the verb second."""
        verb = self.clauses.verb("IITTTDGPLM", "H")
        if self.rng.chance(0.6):
            subject = word("who", "wer", "PRON")
            subject.classes = "H"
        else:
            subject = self.nouns.noun_phrase(verb.subjects, NOM, kind="which", depth=1)
        return realize(self.clauses.clause(verb, subject), MAIN), "?"

    def object_question(self) -> tuple[Phrase, str]:
        """what, whom or which book as an object of any case, and prepositions with it."""
        frame = self.rng.pick("TTTDP")
        verb = self.rng.skewed(verbs_of(frame))
        if frame == "P" and not verb.preposition[0]:
            verb = verbs_of("P")[0]
        things = "X" in verb.objects or "Z" in verb.objects
        if frame == "P" and things and self.rng.chance(0.4):
            return self._wo_question(verb), "?"
        gap = "complement" if frame == "P" else "object"
        clause = self.clauses.clause(verb, gap=gap, adverbs=False)
        case = {"T": ACC, "D": DAT}.get(frame, verb.preposition[2])
        asked = self._asked(verb.objects, case, things=frame == "T")
        if frame == "P":
            asked = governed(verb.preposition[0], verb.preposition[1], asked)
        return realize(clause, MAIN, asked, inverted=True), "?"

    def _wo_question(self, verb: Verb) -> Phrase:
        """As in "what do you wait for": worauf wartest du."""
        english, german, _ = verb.preposition
        what, preposition = Token("what", "PRON"), Token(english, "ADP")
        compound = Token(lex.WO_COMPOUNDS[german], "ADV", None, (what, preposition))
        clause = self.clauses.clause(verb, gap="complement", adverbs=False)
        clause.complement = Phrase([preposition], [])
        phrase = realize(clause, MAIN, Phrase([what], [compound]), inverted=True)
        preposition.head = what
        return phrase

    def _asked(self, classes: str, case: int, things: bool) -> Phrase:
        roll = self.rng.random()
        if roll < 0.35:
            return self.nouns.noun_phrase(classes, case, kind="which", depth=1)
        if things and set(classes) - set("HA") and (roll < 0.65 or "H" not in classes):
            return word("what", "was", "PRON")
        if "H" not in classes:
            return self.nouns.noun_phrase(classes, case, kind="which", depth=1)
        return word("whom", ("wer", "wen", "wem", "wessen")[case], "PRON")

    def that_clause(self) -> tuple[Phrase, str]:
        """As in "the man knows that ...": the finite verb last."""
        clause, tenses = self._reporting("C")
        verb, adverbs = self.clauses.verb(), self.rng.chance(0.5)
        inner = self.clauses.clause(verb, tenses=tenses, adverbs=adverbs)
        clause.after = self._subordinate(inner, word("that", "dass", "SCONJ"))
        return self._main(clause), "."

    def whether_clause(self) -> tuple[Phrase, str]:
        """As in "the man asks whether ..." and "... where ...": no inversion in English."""
        clause, tenses = self._reporting("A")
        if self.rng.chance(0.5):
            inner = self.clauses.clause(self.clauses.verb(), tenses=tenses)
            front = word("whether", "ob", "SCONJ")
        else:
            asked, front, gap = self._asked_adverb()
            inner = self.clauses.clause(asked, gap=gap, adverbs=False, tenses=tenses)
        clause.after = self._subordinate(inner, front)
        return self._main(clause), "."

    def _reporting(self, frame: str) -> tuple[Clause, tuple[str, ...]]:
        """A clause that takes a clause, and the tenses that the inner one can have."""
        clause = self.clauses.clause(self.rng.skewed(verbs_of(frame)))
        return clause, THAT_PAST if clause.tense in PAST_TENSES else THAT_PRESENT

    def _subordinate(self, clause: Clause, front: Phrase | None, mode: int = VERB_LAST) -> Phrase:
        phrase = realize(clause, mode, front)
        phrase.german = [
            Token(",", "PUNCT", phrase.german_head),
            *phrase.german,
            Token(",", "PUNCT", phrase.german_head),
        ]
        return phrase

    def infinitive(self) -> tuple[Phrase, str]:
        """As in "tries to read the book": versucht , das Buch zu lesen."""
        clause = self.clauses.clause(self.rng.skewed(verbs_of("Z")), depth=1)
        clause.after = self._infinitive(clause.subject, None)
        return self._main(clause), "."

    def purpose(self) -> tuple[Phrase, str]:
        """As in "in order to read": um ... zu lesen."""
        subject = self.clauses.subject("H", definite=True, depth=1)
        clause = self.clauses.clause(self.clauses.verb("IMMSTT", "H"), subject, depth=1)
        um = self._conjunction("in order", "um")
        um.english[0].pos, um.english[1].pos = "ADP", "NOUN"
        clause.after = self._infinitive(clause.subject, um)
        return self._main(clause), "."

    def _infinitive(self, subject: Phrase, front: Phrase | None) -> Phrase:
        inner = self.clauses.clause(
            self.clauses.verb("ITTTTDGPMS", "H"),
            empty(subject),
            tenses=("present",),
            depth=1,
            adverbs=False,
        )
        return self._subordinate(inner, front, INFINITIVE)

    def adverbial_clause(self) -> tuple[Phrase, str]:
        """weil, obwohl, wenn, als, ... after the main clause or before it."""
        main = self.clauses.clause(self.clauses.verb(), depth=1)
        past = main.tense in PAST_TENSES
        if main.tense == "perfect":
            main.tense = "present"
        english, german, _ = self.rng.pick(SUBORDINATORS[past])
        tenses: tuple[str, ...] = BESIDE_PAST if past else BESIDE_PRESENT
        if english == "after":
            tenses = ("pluperfect",)
        back = self._back_reference(main.subject) if self.rng.chance(0.5) else None
        verb = self.clauses.verb(subject=back.classes[:1] if back is not None else "")
        adverbs = self.rng.chance(0.5)
        inner = self.clauses.clause(verb, back, tenses=tenses, depth=1, adverbs=adverbs)
        conjunction = self._conjunction(english, german)
        if back is not None or self.rng.chance(0.5):
            main.after = self._subordinate(inner, conjunction)
            return self._main(main), "."
        front = realize(inner, VERB_LAST, conjunction)
        comma = Token(",", "PUNCT", front.english_head)
        front.english = [*front.english, comma]
        front.german = [*front.german, Token(",", "PUNCT", front.german_head, (comma,))]
        return realize(main, MAIN, front), "."

    def _conjunction(self, english: str, german: str) -> Phrase:
        first, *others = tokens = [Token(form, "SCONJ") for form in english.split()]
        for token in others:
            token.head = first
        phrase = Phrase(tokens, [Token(german, "SCONJ", None, tuple(tokens))])
        phrase.english_head = first
        return phrase

    def _back_reference(self, subject: Phrase) -> Phrase | None:
        """A pronoun for this subject: "it" becomes er, sie or es by the German gender."""
        if subject.pronoun or ("H" in subject.classes and subject.gender == NEUTER):
            return None
        if subject.agreement == 3:
            key = "they"
        elif "H" in subject.classes:
            key = ("he", "she")[subject.gender]
        else:
            it = word("it", ("er", "sie", "es")[subject.gender], "PRON")
            it.pronoun, it.classes, it.gender = True, subject.classes, subject.gender
            return it
        phrase = pronoun(PERSON[key], NOM)
        phrase.classes = subject.classes
        return phrase

    def coordination(self) -> tuple[Phrase, str]:
        """Two main clauses: und, aber, oder, denn count for no place."""
        first = realize(self.clauses.clause(self.clauses.verb(), depth=1), MAIN)
        second = self._main(self.clauses.clause(self.clauses.verb(), depth=1))
        english, german = self.rng.pick(lex.COORDINATORS)
        return self._join(first, second, english, german, english in ("but", "for")), "."

    def shared_subject(self) -> tuple[Phrase, str]:
        """As in "the man reads the book and drinks the coffee"."""
        tense = self.rng.pick((("present",), ("past",)))
        verb = self.clauses.verb("ITTTDGPM", "H")
        first = self.clauses.clause(
            verb, self.clauses.subject("H", definite=True, depth=1), tenses=tense, depth=1
        )
        other = self.clauses.verb("ITTTDGPM", "H")
        second = self.clauses.clause(other, empty(first.subject), tenses=tense, depth=1)
        return self._join(realize(first, MAIN), realize(second, MAIN), "and", "und", False), "."

    def _join(
        self, first: Phrase, second: Phrase, english: str, german: str, comma: bool
    ) -> Phrase:
        conjunction = word(english, german, "CCONJ")
        if comma:
            mark = Token(",", "PUNCT", second.english_head)
            conjunction.english.insert(0, mark)
            conjunction.german.insert(0, Token(",", "PUNCT", second.german_head, (mark,)))
        return joined(first, conjunction, second)


SUBORDINATORS = tuple(
    tuple(entry for entry in lex.SUBORDINATORS if entry[2] != skipped) for skipped in "vp"
)
# Kinds of sentences, and how often each should come up.
_WEIGHTS = {
    Sentences.statement: 30,
    Sentences.passive: 5,
    Sentences.there_is: 3,
    Sentences.yes_no_question: 8,
    Sentences.adverb_question: 5,
    Sentences.subject_question: 4,
    Sentences.object_question: 5,
    Sentences.that_clause: 6,
    Sentences.whether_clause: 4,
    Sentences.infinitive: 4,
    Sentences.purpose: 3,
    Sentences.adverbial_clause: 13,
    Sentences.coordination: 6,
    Sentences.shared_subject: 4,
}
KINDS = tuple(kind for kind, weight in _WEIGHTS.items() for _ in range(weight))
