"""Relative clauses: the pronoun agrees with its noun, its case is that of its role."""

from __future__ import annotations

from qvbench.data.corpora.grammar.clauses import VERB_LAST, Clause, realize
from qvbench.data.corpora.grammar.drawing import PLAIN_TENSES, Drawing, verbs_of
from qvbench.data.corpora.grammar.lexicon import COPULA, Noun, Verb
from qvbench.data.corpora.grammar.morphology import ACC, DAT, GEN, NOM, PLURAL, RELATIVE
from qvbench.data.corpora.grammar.phrases import nouns_of
from qvbench.data.corpora.grammar.tree import Phrase, Token, word


def english_relative(classes: str, case: int, after_preposition: bool = False) -> str:
    """who, whom, that or which."""
    if "H" in classes:
        return "who" if case == NOM else "whom"
    return "which" if after_preposition else "that"


class Relatives(Drawing):
    """Draws relative clauses."""

    def relative_clause(self, noun: Noun, gender: int) -> Phrase:
        """A relative clause in which the noun is subject, object, place or owner."""
        roll = self.dice.roll()
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
        clause = self._inner(self.dice.skewed(verbs), gap="object")
        return realize(clause, VERB_LAST, self._relative_pronoun(classes, case, gender))

    def _relative_preposition(self, classes: str, gender: int) -> Phrase | None:
        """As in "for whom the man waits", "in which the woman lives"."""
        if "B" in classes:
            verb = self.dice.pick(verbs_of("L", "H"))
            english, german, case = "in", "in", DAT
        else:
            verbs = tuple(v for v in verbs_of("P", "", classes[0]) if v.preposition[0])
            if not verbs:
                return None
            verb = self.dice.skewed(verbs)
            english, german, case = verb.preposition
        clause = self._inner(verb, self.subject("H", depth=1), gap="complement")
        inner = word(english_relative(classes, case, True), RELATIVE[case][gender], "PRON")
        return realize(clause, VERB_LAST, self.governed(english, german, inner))

    def _relative_owner(self, classes: str, gender: int) -> Phrase | None:
        """As in "whose dog sleeps": the owned noun is the subject."""
        if "H" not in classes:
            return None
        noun = self.dice.skewed(nouns_of("HA"))
        owned = self.build(noun, self.dice.chance(0.3), NOM, "")
        whose = word("whose", RELATIVE[GEN][gender], "PRON")
        whose.attach(owned.english[-1], owned.german[-1])
        owned.english.insert(0, whose.english[0])
        owned.german.insert(0, whose.german[0])
        return realize(self._inner(self.verb("IITTDPLM", noun.classes[0]), owned), VERB_LAST)
