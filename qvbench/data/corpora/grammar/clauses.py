"""Random clauses: verbs with fitting subjects, objects, adverbials and relative clauses."""

from __future__ import annotations

from functools import cache

from qvbench.data.corpora.grammar import lexicon as lex
from qvbench.data.corpora.grammar.lexicon import (
    ACC,
    COPULA,
    DAT,
    GEN,
    NOM,
    PLURAL,
    RELATIVE,
    Noun,
    Verb,
)
from qvbench.data.corpora.grammar.phrases import NounPhrases, adjectives_for, nouns_of, sharing
from qvbench.data.corpora.grammar.tree import Phrase, Rng, Token, compared, governed, pronoun, word
from qvbench.data.corpora.grammar.word_order import VERB_LAST, Clause, realize

PAST_TENSES = ("past", "pluperfect", "could", "had", "wanted")
# Tenses, repeated as often as they should come up.
TENSES = (
    ("present",) * 32
    + ("past",) * 24
    + ("perfect",) * 12
    + ("future",) * 8
    + ("can",) * 5
    + ("must",) * 4
    + ("should", "want") * 3
    + ("could", "had", "wanted", "pluperfect") * 2
    + ("may",)
)
PLAIN_TENSES = ("present",) * 4 + ("past",) * 3 + ("perfect",) * 2 + ("future",)
FRAMES = "I" * 5 + "T" * 11 + "D" * 3 + "G" * 3 + "P" * 4 + "L" * 3 + "M" * 3 + "S" * 2 + "K" * 5
FRAME_SLOTS = {
    "T": ("object",),
    "D": ("object",),
    "G": ("recipient", "object"),
    "P": ("complement",),
    "L": ("complement",),
    "M": ("complement",),
    "S": ("object", "complement"),
    "K": ("predicate",),
} | dict.fromkeys("ICAZ", ())
# First words of objects that German puts before manner: "kauft den Apfel sofort", but "kauft sofort
# einen Apfel", which is not generated.
KNOWN = {"the", "this", "that", "these", "those", "me", "you", "him", "her", "us", "them"} | {
    english for english, _ in lex.POSSESSIVES
}
# Things are put in, on, under, behind, in front of and next to something, but not "to" it.
THINGS_GO = 6
# Which groups of times go with which tense.
TIME_GROUPS = {"present": "ap", "past": "av", "perfect": "", "pluperfect": "", "future": "af"}
TIME_GROUPS |= {"could": "av", "had": "av", "wanted": "av"}
TIMES_FOR = {
    groups: tuple(time for time in lex.TIMES if time.group in groups)
    for groups in ("ap", "av", "af")
}


@cache
def verbs_of(frame: str, subject: str = "", taking: str = "") -> tuple[Verb, ...]:
    """Verbs of a frame that allow one of these subject and one of these object classes."""
    return tuple(
        verb
        for verb in lex.VERBS
        if verb.frame == frame
        and (not subject or sharing(subject, verb.subjects))
        and (not taking or sharing(taking, verb.objects))
    )


def english_relative(classes: str, case: int, after_preposition: bool = False) -> str:
    """who, whom, that or which."""
    if "H" in classes:
        return "who" if case == NOM else "whom"
    return "which" if after_preposition else "that"


def empty(of: Phrase) -> Phrase:
    """A subject that is understood from another one: no words, the same agreement."""
    phrase = Phrase([], [], of.agreement, of.gender, of.classes)
    phrase.reflexive = of.reflexive
    return phrase


class Clauses:
    """Draws clauses."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.nouns = NounPhrases(rng, self.relative_clause)

    def subject(self, classes: str, *, definite: bool = False, depth: int = 0) -> Phrase:
        """A pronoun, a name or a noun phrase in the nominative."""
        if "H" in classes and self.rng.chance(0.24):
            return pronoun(self.rng.pick(lex.PRONOUNS), NOM)
        return self.nouns.noun_phrase(classes, NOM, definite=definite, depth=depth)

    def tense(self, verb: Verb, subject: str, allowed: tuple[str, ...] = TENSES) -> str:
        """A tense that can be told from the English form; things have no plans and duties."""
        tense = self.rng.pick(allowed)
        if "H" not in subject and tense not in PLAIN_TENSES:
            tense = "past" if tense in PAST_TENSES else "present"
        if tense == "past" and not verb.past_is_clear:
            tense = "perfect" if "present" in allowed else "pluperfect"
        return tense

    def verb(self, frames: str = FRAMES, subject: str = "") -> Verb:
        """A verb of one of these frames that such a subject can have."""
        while True:
            frame = self.rng.pick(frames)
            if frame == "K":
                return COPULA
            fitting = verbs_of(frame, subject)
            if fitting:
                return self.rng.skewed(fitting)

    def clause(
        self,
        verb: Verb,
        subject: Phrase | None = None,
        *,
        tenses: tuple[str, ...] = TENSES,
        depth: int = 0,
        gap: str = "",
        adverbs: bool = True,
    ) -> Clause:
        """A clause of this verb.

        Args:
            subject: the subject, if it is settled.
            tenses: what the tense is drawn from.
            depth: as for noun phrases: 0 allows relative clauses.
            gap: a slot to leave empty because its phrase stands at the front.
            adverbs: whether times, places, manners and negation may be added.
        """
        negative = adverbs and self.rng.chance(0.1)
        if subject is None:
            allowed = verb.subjects or self.rng.pick(("H", "H", "ATVRCFBX"))
            subject = self.subject(allowed, definite=negative, depth=depth)
        clause = Clause(verb, self.tense(verb, subject.classes, tenses), subject)
        if negative:
            english = self.rng.pick(("not", "not", "never"))
            clause.late = word(english, {"not": "nicht", "never": "nie"}[english], "PART")
            if english == "never":
                clause.late.english[0].pos = clause.late.german[0].pos = "ADV"
            if clause.tense == "must":
                clause.tense = "present"
        self._fill(clause, gap, negative, depth)
        if adverbs:
            self._add_adverbs(clause, gap, negative, depth)
        return clause

    def _fill(self, clause: Clause, gap: str, negative: bool, depth: int) -> None:
        """Fill the slots that the verb's frame has, but for the gap."""
        verb = clause.verb
        slots = FRAME_SLOTS[verb.frame]
        if "recipient" in slots and gap != "recipient":
            clause.recipient = self.object(clause, "H", DAT, negative, 1)
        if "object" in slots and gap != "object":
            case = DAT if verb.frame == "D" else ACC
            inner = 1 if verb.frame == "S" else depth
            clause.object = self.object(clause, verb.objects, case, negative, inner)
        if "complement" in slots and gap != "complement":
            clause.complement = self.complement(clause, negative, depth)
        if "predicate" in slots:
            clause.predicate = self.predicate(clause.subject, depth)

    def complement(self, clause: Clause, definite: bool, depth: int) -> Phrase:
        """What the verb takes with a preposition: an object, a place or a goal."""
        frame = clause.verb.frame
        if frame == "P":
            english, german, case = clause.verb.preposition
            classes = clause.verb.objects
            inner = self.nouns.noun_phrase(classes, case, definite=definite, depth=depth)
            return governed(english, german, inner)
        if frame == "L":
            return self.nouns.two_way(False)
        if frame == "M":
            return self._goal()
        if self.rng.chance(0.3):
            return self.nouns.preposition("into", "in", ACC, "K", depth=1)
        return self.nouns.two_way(True, THINGS_GO)

    def object(self, clause: Clause, classes: str, case: int, definite: bool, depth: int) -> Phrase:
        """A noun phrase, or a pronoun of another person than the subject."""
        if "H" in classes and self.rng.chance(0.25):
            person = {"mich": ("I", "we"), "uns": ("I", "we"), "dich": ("you",)}
            same = person.get(clause.subject.reflexive, ())
            others = [entry for entry in lex.PRONOUNS if entry.subject not in same]
            return pronoun(self.rng.pick(others), case)
        if case == ACC and not definite and clause.subject.english and self.rng.chance(0.03):
            return self.nouns.noun_phrase(classes, case, kind="no", depth=1)
        return self.nouns.noun_phrase(classes, case, definite=definite, depth=depth)

    def _goal(self) -> Phrase:
        if self.rng.chance(0.65):
            return self.nouns.two_way(True)
        return self.nouns.drawn_preposition(lex.PATHS)

    def predicate(self, subject: Phrase, depth: int) -> Phrase:
        """An adjective: plain, with "very", or compared."""
        adjective = self.rng.skewed(adjectives_for(subject.classes) or adjectives_for("T"))
        roll = self.rng.random()
        plain = word(adjective.english, adjective.german, "ADJ")
        if not adjective.graded or roll > 0.4:
            return plain
        classes = subject.classes[:1] or "H"
        if roll < 0.2:
            plain.prepend(word("very", "sehr", "ADV"))
            return plain
        other = self.nouns.noun_phrase(classes, NOM, definite=True, depth=max(depth, 1))
        if roll < 0.28:
            plain.prepend(word("as", "so", "ADV"))
            plain.append(governed("as", "wie", other))
            return plain
        phrase = compared(adjective.english_comparative, adjective.comparative)
        phrase.append(governed("than", "als", other))
        return phrase

    def time(self, tense: str) -> Phrase | None:
        """A time that this tense can have."""
        groups = TIME_GROUPS.get(tense, "af")
        if not groups:
            return None
        time = self.rng.pick(TIMES_FOR[groups])
        source = [Token(form, tag) for form, tag in time.english]
        target = [Token(form, tag) for form, tag in time.german]
        for tokens in (source, target):
            for token in tokens[:-1]:
                token.head = tokens[-1]
        for one, other in time.alignment:
            target[other].of += (source[one],)
        return Phrase(source, target)

    def _add_adverbs(self, clause: Clause, gap: str, negative: bool, depth: int) -> None:
        rng = self.rng
        last = clause.object or clause.complement or clause.predicate
        if last is not None and last.heavy:
            return
        roll = rng.random()
        simple = clause.tense in ("present", "past")
        action = clause.verb.frame not in "KLCAZ"
        never = negative and not clause.negated
        if roll < 0.22 and not never:
            clause.time = self.time(clause.tense)
        elif roll < 0.3 and simple and not negative:
            clause.early = word(*rng.pick(lex.FREQUENCY), "ADV")
        elif roll < 0.33 and clause.tense == "perfect" and clause.object is None and not negative:
            clause.late = word("already", "schon", "ADV")
        known = clause.object is None or clause.object.english[0].form in KNOWN
        human = "H" in clause.subject.classes
        if action and known and human and not negative and rng.chance(0.12):
            clause.manner = word(*rng.pick(lex.MANNER), "ADV")
        if (
            clause.complement is None
            and action
            and not negative
            and gap != "complement"
            and rng.chance(0.2)
        ):
            clause.complement = self.circumstance()

    def circumstance(self) -> Phrase:
        """Where, with whom, when or why something is done."""
        if self.rng.chance(0.55):
            return self.nouns.two_way(False)
        return self.nouns.drawn_preposition(lex.CIRCUMSTANCES)

    def relative_clause(self, noun: Noun, gender: int) -> Phrase:
        """A relative clause in which the noun is subject, object, place or owner."""
        roll = self.rng.random()
        classes = noun.classes
        clause: Phrase | None = None
        if 0.42 < roll < 0.62:
            clause = self._relative_object("T", ACC, classes, gender)
        elif 0.62 < roll < 0.74:
            clause = self._relative_object("D", DAT, classes, gender)
        elif 0.74 < roll < 0.88:
            clause = self._relative_preposition(classes, gender)
        elif roll >= 0.88:
            clause = self._relative_owner(classes, gender)
        if clause is None:
            clause = self._relative_subject(classes, gender)
        opening = Token(",", "PUNCT", clause.german_head)
        closing = Token(",", "PUNCT", clause.german_head)
        clause.german = [opening, *clause.german, closing]
        return clause

    def _relative_pronoun(self, classes: str, case: int, gender: int) -> Phrase:
        english = english_relative(classes, case)
        phrase = word(english, RELATIVE[case][gender], "PRON")
        phrase.agreement = 3 if gender == PLURAL else 2
        phrase.classes = classes
        return phrase

    def _inner(self, verb: Verb, subject: Phrase | None = None, gap: str = "") -> Clause:
        return self.clause(verb, subject, tenses=PLAIN_TENSES, depth=1, gap=gap, adverbs=False)

    def _relative_subject(self, classes: str, gender: int) -> Phrase:
        subject = self._relative_pronoun(classes, NOM, gender)
        verb = self.verb("IITTTTDGPPLMK", classes[0] if classes[0] in "HAVTRCBX" else "")
        if classes[0] not in "HAVTRC":
            verb = COPULA
        return realize(self._inner(verb, subject), VERB_LAST)

    def _relative_object(self, frame: str, case: int, classes: str, gender: int) -> Phrase | None:
        verbs = verbs_of(frame, "", classes[0])
        if not verbs:
            return None
        clause = self._inner(self.rng.skewed(verbs), gap="object")
        return realize(clause, VERB_LAST, self._relative_pronoun(classes, case, gender))

    def _relative_preposition(self, classes: str, gender: int) -> Phrase | None:
        """As in "for whom the man waits", "in which the woman lives"."""
        if "B" in classes:
            verb = self.rng.pick(verbs_of("L", "H"))
            english, german, case = "in", "in", DAT
        else:
            verbs = tuple(v for v in verbs_of("P", "", classes[0]) if v.preposition[0])
            if not verbs:
                return None
            verb = self.rng.skewed(verbs)
            english, german, case = verb.preposition
        clause = self._inner(verb, self.subject("H", depth=1), gap="complement")
        inner = word(english_relative(classes, case, True), RELATIVE[case][gender], "PRON")
        return realize(clause, VERB_LAST, governed(english, german, inner))

    def _relative_owner(self, classes: str, gender: int) -> Phrase | None:
        """As in "whose dog sleeps": the owned noun is the subject."""
        if "H" not in classes:
            return None
        noun = self.rng.skewed(nouns_of("HA"))
        owned = self.nouns.build(noun, self.rng.chance(0.3), NOM, "")
        owned.prepend(word("whose", RELATIVE[GEN][gender], "PRON"))
        return realize(self._inner(self.verb("IITTDPLM", noun.classes[0]), owned), VERB_LAST)
