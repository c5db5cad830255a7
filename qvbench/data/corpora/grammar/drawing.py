"""Random clauses: verbs with fitting subjects, objects, adverbials and relative clauses."""

from __future__ import annotations

from functools import cache

from qvbench.data.corpora.grammar import words
from qvbench.data.corpora.grammar.clauses import Clause
from qvbench.data.corpora.grammar.lexicon import COPULA, VERBS, Verb
from qvbench.data.corpora.grammar.morphology import ACC, DAT, NOM
from qvbench.data.corpora.grammar.phrases import Phrases, adjectives_for, pronoun
from qvbench.data.corpora.grammar.tree import Phrase, Token, word

PRESENT_TENSES = ("present", "future", "perfect", "can", "must", "should", "may", "want")
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
# Verbs of which nobody says "is ...-ed by".
NO_PASSIVE = frozenset({"receive", "know", "need", "lose", "look", "put", "call"})


Tagged = tuple[tuple[str, str], ...]
Time = tuple[Tagged, Tagged, str, tuple[tuple[int, int], ...]]


def _tagged(text: str) -> Tagged:
    pairs = (item.partition(":") for item in text.split())
    return tuple((form, pos or "ADV") for form, _, pos in pairs)


def _read_time(line: str) -> Time:
    english, german, group, *links = (part.strip() for part in line.split("|"))
    pairs = "".join(links).split() or ["0-0"]
    alignment = tuple((int(link[0]), int(link[2])) for link in pairs)
    return _tagged(english), _tagged(german), group, alignment


TIME_LINES = (words.TIME_PHRASES + words.TIMES).splitlines()
TIMES = tuple(_read_time(line) for line in TIME_LINES if line)
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
MANNERS = tuple(words.MANNER.items())
FREQUENCIES = tuple(words.FREQUENCY.items())
# First words of objects that German puts before manner: "kauft den Apfel sofort", but "kauft sofort
# einen Apfel", which is not generated.
KNOWN = frozenset(
    ("the", "this", "that", "these", "those", "me", "you", "him", "her", "us", "them")
) | frozenset(words.POSSESSIVES)
PERSONS = tuple(words.PRONOUNS)
# Things are put in, on, under, behind, in front of and next to something, but not "to" it.
THINGS_GO = 6
# Which groups of times go with which tense.
TIME_GROUPS = {"present": "ap", "past": "av", "perfect": "", "pluperfect": "", "future": "af"}
TIME_GROUPS |= {"could": "av", "had": "av", "wanted": "av"}
TIMES_FOR = {groups: tuple(t for t in TIMES if t[2] in groups) for groups in ("ap", "av", "af")}


@cache
def verbs_of(frame: str, subject: str = "", taking: str = "") -> tuple[Verb, ...]:
    """Verbs of a frame that allow one of these subject and one of these object classes."""
    return tuple(
        verb
        for verb in VERBS
        if verb.frame == frame
        and (not subject or set(subject) & set(verb.subjects))
        and (not taking or set(taking) & set(verb.objects))
    )


def empty(of: Phrase) -> Phrase:
    """A subject that is understood from another one: no words, the same agreement."""
    phrase = Phrase([], [], of.agreement, of.gender, of.classes)
    phrase.reflexive = of.reflexive
    return phrase


class Drawing(Phrases):
    """Draws clauses."""

    def subject(self, classes: str, *, definite: bool = False, depth: int = 0) -> Phrase:
        """A pronoun, a name or a noun phrase in the nominative."""
        if "H" in classes and self.dice.chance(0.24):
            return pronoun(self.dice.pick(PERSONS), NOM)
        return self.noun_phrase(classes, NOM, definite=definite, depth=depth)

    def tense(self, verb: Verb, subject: str, allowed: tuple[str, ...] = TENSES) -> str:
        """A tense that can be told from the English form; things have no plans and duties."""
        tense = self.dice.pick(allowed)
        if "H" not in subject and tense not in PLAIN_TENSES:
            tense = "past" if tense in PAST_TENSES else "present"
        if tense == "past" and not verb.past_is_clear:
            tense = "perfect" if "present" in allowed else "pluperfect"
        return tense

    def verb(self, frames: str = FRAMES, subject: str = "") -> Verb:
        """A verb of one of these frames that such a subject can have."""
        while True:
            frame = self.dice.pick(frames)
            if frame == "K":
                return COPULA
            fitting = verbs_of(frame, subject)
            if fitting:
                return self.dice.skewed(fitting)

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
        negative = adverbs and self.dice.chance(0.1)
        if subject is None:
            allowed = verb.subjects or self.dice.pick(("H", "H", "ATVRCFBX"))
            subject = self.subject(allowed, definite=negative, depth=depth)
        clause = Clause(verb, self.tense(verb, subject.classes, tenses), subject)
        if negative:
            english = self.dice.pick(("not", "not", "never"))
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
            inner = self.noun_phrase(classes, case, definite=definite, depth=depth)
            return self.governed(english, german, inner)
        if frame == "L":
            return self.two_way(False, depth=1)
        if frame == "M":
            return self._goal()
        if self.dice.chance(0.3):
            return self.preposition("into", "in", ACC, "K", depth=1)
        return self.two_way(True, THINGS_GO, depth=1)

    def object(self, clause: Clause, classes: str, case: int, definite: bool, depth: int) -> Phrase:
        """A noun phrase, or a pronoun of another person than the subject."""
        if "H" in classes and self.dice.chance(0.25):
            first = clause.subject.reflexive in ("mich", "uns")
            second = clause.subject.reflexive == "dich"
            keys = [
                k
                for k in words.PRONOUNS
                if not ((first and k in ("I", "we")) or (second and k == "you"))
            ]
            return pronoun(self.dice.pick(keys), case)
        if case == ACC and not definite and clause.subject.english and self.dice.chance(0.03):
            return self.noun_phrase(classes, case, kind="no", depth=1)
        return self.noun_phrase(classes, case, definite=definite, depth=depth)

    def _goal(self) -> Phrase:
        if self.dice.chance(0.65):
            return self.two_way(True, depth=1)
        english, german, case, classes = self.dice.pick(words.PATHS)
        return self.preposition(english, german, "nadg".index(case), classes, depth=1)

    def predicate(self, subject: Phrase, depth: int) -> Phrase:
        """An adjective: plain, with "very", or compared."""
        adjective = self.dice.skewed(adjectives_for(subject.classes) or adjectives_for("T"))
        roll = self.dice.roll()
        plain = word(adjective.english, adjective.german, "ADJ")
        if not adjective.graded or roll > 0.4:
            return plain
        classes = subject.classes[:1] or "H"
        if roll < 0.2:
            return self._modify(plain, word("very", "sehr", "ADV"))
        other = self.noun_phrase(classes, NOM, definite=True, depth=max(depth, 1))
        if roll < 0.28:
            than = self.governed("as", "wie", other)
            phrase = self._modify(plain, word("as", "so", "ADV"))
        else:
            than = self.governed("than", "als", other)
            tokens = [Token(form, "ADJ") for form in adjective.english_comparative]
            if len(tokens) == 2:
                tokens[0].pos, tokens[0].head = "ADV", tokens[1]
            german = Token(adjective.comparative, "ADJ", None, tuple(tokens))
            phrase = Phrase(tokens, [german])
        self._append(phrase, than)
        return phrase

    def _modify(self, phrase: Phrase, modifier: Phrase) -> Phrase:
        modifier.attach(phrase.english[-1], phrase.german[-1])
        phrase.english.insert(0, modifier.english[0])
        phrase.german.insert(0, modifier.german[0])
        return phrase

    def time(self, tense: str) -> Phrase | None:
        """A time that this tense can have."""
        groups = TIME_GROUPS.get(tense, "af")
        if not groups:
            return None
        english, german, _, links = self.dice.pick(TIMES_FOR[groups])
        source = [Token(form, pos) for form, pos in english]
        target = [Token(form, pos) for form, pos in german]
        for tokens in (source, target):
            for token in tokens[:-1]:
                token.head = tokens[-1]
        for one, other in links:
            target[other].of += (source[one],)
        return Phrase(source, target)

    def _add_adverbs(self, clause: Clause, gap: str, negative: bool, depth: int) -> None:
        dice = self.dice
        last = clause.object or clause.complement or clause.predicate
        if last is not None and last.heavy:
            return
        roll = dice.roll()
        simple = clause.tense in ("present", "past")
        action = clause.verb.frame not in "KLCAZ"
        never = clause.late is not None and clause.late.english[0].form == "never"
        if roll < 0.22 and not never:
            clause.time = self.time(clause.tense)
        elif roll < 0.3 and simple and not negative:
            clause.early = word(*dice.pick(FREQUENCIES), "ADV")
        elif roll < 0.33 and clause.tense == "perfect" and clause.object is None and not negative:
            clause.late = word("already", "schon", "ADV")
        known = clause.object is None or clause.object.english[0].form in KNOWN
        human = "H" in clause.subject.classes
        if action and known and human and not negative and dice.chance(0.12):
            clause.manner = word(*dice.pick(MANNERS), "ADV")
        if (
            clause.complement is None
            and action
            and not negative
            and gap != "complement"
            and dice.chance(0.2)
        ):
            clause.complement = self.circumstance()

    def circumstance(self) -> Phrase:
        """Where, with whom, when or why something is done."""
        if self.dice.chance(0.55):
            return self.two_way(False, depth=1)
        english, german, case, classes = self.dice.pick(words.CIRCUMSTANCES)
        return self.preposition(english, german, "nadg".index(case), classes, depth=1)
