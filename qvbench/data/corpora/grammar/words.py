"""The words of the grammar corpus that are neither nouns nor verbs."""

from __future__ import annotations

# english [comparative] | German [comparative [attributive stem]] | classes of nouns it can modify.
# An English comparative that is left out is formed with "more", a German one with -er.
ADJECTIVES = """
old older | alt älter | HAVBRCTMNOQ
young younger | jung jünger | HA
new newer | neu | VBRCTMOQX
big bigger | groß größer | HAVBCTMNOQX
small smaller | klein | HAVBRCTMNOQFX
good better | gut besser | HFRVBDXZ
beautiful | schön | HAVBRCTMNZ
ugly uglier | hässlich | HAVBCTMO
happy happier | glücklich | H
sad sadder | traurig | HA
tired | müde müder müd | HA
hungry hungrier | hungrig | HA
clever cleverer | klug klüger | HA
brave braver | mutig | HA
poor poorer | arm ärmer | H
rich richer | reich | H
friendly friendlier | freundlich | HA
strong stronger | stark stärker | HA
weak weaker | schwach schwächer | HA
sick sicker | krank kränker | HA
healthy healthier | gesund gesünder | HA
famous | berühmt | HRB
polite | höflich | H
lazy lazier | faul | HA
proud prouder | stolz | H
angry angrier | wütend | HA
nervous | nervös | H
curious | neugierig | HA
honest | ehrlich | H
quiet quieter | ruhig | HAB
wild wilder | wild | A
dangerous | gefährlich | AXZ
fast faster | schnell | AV
slow slower | langsam | AV
expensive | teuer teurer teur | VBRCTMFZ
cheap cheaper | billig | VBRCTMF
heavy heavier | schwer | TM
light lighter | leicht | TC
red | rot | VCTMOQ
green | grün | VCTMOQ
blue | blau | VCTMOQ
black | schwarz | AVCTMO
white | weiß | AVCTMO
yellow | gelb | VCTMO
brown | braun | ACTM
broken | kaputt | VTOE
clean cleaner | sauber | BVCT
dirty dirtier | schmutzig | BVCTA
empty | leer | BK
dark darker | dunkel dunkler dunkl | B
warm warmer | warm wärmer | FDBC
cold colder | kalt kälter | FDB
hot hotter | heiß | FD
fresh fresher | frisch | FD
sweet sweeter | süß | FD
sour | sauer saurer saur | FD
modern | modern | VBM
interesting | interessant | RXBZH
boring | langweilig | RXBZH
important | wichtig | HRXZ
difficult | schwierig | RXZ
simple simpler | einfach | RXTM
strange stranger | seltsam | HARXBT
long longer | lang länger | RNZ
short shorter | kurz kürzer | RZ
high higher | hoch höher hoh | N
wide wider | breit | N
useful | nützlich | XTR
clear clearer | klar | XR
wonderful | wunderbar | XZNFBT
"""

# Colors and states that are not compared.
UNGRADED = frozenset(
    ("red", "green", "blue", "black", "white", "yellow", "brown", "broken", "empty", "wonderful")
)

# English | German | tense group: a any, p present, v past, f future.
TIMES = """
today | heute | a
now | jetzt | p
yesterday | gestern | v
tomorrow | morgen | f
soon | bald | f
then | dann | v
"""

# English phrase | German phrase | group | alignment; each word has its tag, the last is the head.
TIME_PHRASES = """
in:ADP the:DET evening:NOUN | am:ADP Abend:NOUN | a | 0-0 1-0 2-1
in:ADP the:DET morning:NOUN | am:ADP Morgen:NOUN | a | 0-0 1-0 2-1
in:ADP the:DET afternoon:NOUN | am:ADP Nachmittag:NOUN | a | 0-0 1-0 2-1
at:ADP night:NOUN | in:ADP der:DET Nacht:NOUN | a | 0-0 0-1 1-2
on:ADP Monday:PROPN | am:ADP Montag:NOUN | a | 0-0 1-1
on:ADP Friday:PROPN | am:ADP Freitag:NOUN | a | 0-0 1-1
on:ADP Sunday:PROPN | am:ADP Sonntag:NOUN | a | 0-0 1-1
in:ADP summer:NOUN | im:ADP Sommer:NOUN | a | 0-0 1-1
in:ADP winter:NOUN | im:ADP Winter:NOUN | a | 0-0 1-1
every:DET day:NOUN | jeden:DET Tag:NOUN | p | 0-0 1-1
every:DET year:NOUN | jedes:DET Jahr:NOUN | p | 0-0 1-1
last:ADJ week:NOUN | letzte:ADJ Woche:NOUN | v | 0-0 1-1
last:ADJ month:NOUN | letzten:ADJ Monat:NOUN | v | 0-0 1-1
last:ADJ year:NOUN | letztes:ADJ Jahr:NOUN | v | 0-0 1-1
next:ADJ week:NOUN | nächste:ADJ Woche:NOUN | f | 0-0 1-1
next:ADJ month:NOUN | nächsten:ADJ Monat:NOUN | f | 0-0 1-1
next:ADJ year:NOUN | nächstes:ADJ Jahr:NOUN | f | 0-0 1-1
"""

FREQUENCY = {"often": "oft", "always": "immer", "sometimes": "manchmal", "usually": "meistens"}
# These stand where nicht stands, behind the objects.
LATE = {"never": "nie", "already": "schon"}

MANNER = {
    "quickly": "schnell",
    "slowly": "langsam",
    "quietly": "leise",
    "loudly": "laut",
    "carefully": "vorsichtig",
    "patiently": "geduldig",
    "secretly": "heimlich",
    "gladly": "gern",
    "alone": "allein",
    "immediately": "sofort",
}

# Two-way prepositions: English of place, English of direction, German, classes of the noun.
TWO_WAY = (
    ("in", "into", "in", "B"),
    ("on", "onto", "auf", "U"),
    ("under", "under", "unter", "J"),
    ("behind", "behind", "hinter", "BMNVQ"),
    ("in front of", "in front of", "vor", "BMVQ"),
    ("next to", "next to", "neben", "BMVNT"),
    ("at", "to", "an", "W"),
)

# English, German, case, classes of the noun: ways that a movement takes.
PATHS = (
    ("through", "durch", "a", "B"),
    ("around", "um", "a", "BMN"),
    ("out of", "aus", "d", "B"),
)
# The same for what accompanies an action.
CIRCUMSTANCES = (
    ("with", "mit", "d", "H"),
    ("without", "ohne", "a", "H"),
    ("for", "für", "a", "H"),
    ("after", "nach", "d", "Z"),
    ("before", "vor", "d", "Z"),
    ("during", "während", "g", "Z"),
    ("despite", "trotz", "g", "Z"),
    ("because of", "wegen", "g", "ZX"),
    ("instead of", "statt", "g", "H"),
)

CONTRACTIONS = {
    ("in", "dem"): "im",
    ("an", "dem"): "am",
    ("bei", "dem"): "beim",
    ("von", "dem"): "vom",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("in", "das"): "ins",
    ("an", "das"): "ans",
}

# "what ... of" and the like.
WO_COMPOUNDS = {
    "auf": "worauf",
    "an": "woran",
    "von": "wovon",
    "über": "worüber",
    "um": "worum",
    "vor": "wovor",
    "gegen": "wogegen",
    "mit": "womit",
}

# person and number -> English subject and object, German nominative, accusative, dative, reflexive.
PRONOUNS = {
    "I": ("I", "me", "ich", "mich", "mir", "mich", 0),
    "you": ("you", "you", "du", "dich", "dir", "dich", 1),
    "he": ("he", "him", "er", "ihn", "ihm", "sich", 2),
    "she": ("she", "her", "sie", "sie", "ihr", "sich", 2),
    "we": ("we", "us", "wir", "uns", "uns", "uns", 3),
    "they": ("they", "them", "sie", "sie", "ihnen", "sich", 3),
}
POSSESSIVES = {
    "my": "mein",
    "your": "dein",
    "his": "sein",
    "her": "ihr",
    "our": "unser",
    "their": "ihr",
}

NUMERALS = {
    "two": "zwei",
    "three": "drei",
    "four": "vier",
    "five": "fünf",
    "six": "sechs",
    "seven": "sieben",
    "ten": "zehn",
}
QUANTIFIERS = {"many": "viel", "some": "einig", "several": "mehrer", "few": "wenig"}

# english german tenses: s the tense of the main clause, p present only, v past only.
SUBORDINATORS = (
    ("because", "weil", "s"),
    ("although", "obwohl", "s"),
    ("while", "während", "s"),
    ("if", "wenn", "p"),
    ("when", "als", "v"),
    ("before", "bevor", "s"),
    ("until", "bis", "s"),
    ("as soon as", "sobald", "s"),
    ("after", "nachdem", "v"),
)
COORDINATORS = (("and", "und"), ("but", "aber"), ("or", "oder"), ("for", "denn"))

# English words whose article does not follow from the first letter.
AN_EXCEPTIONS = {"honest": "an", "useful": "a", "university": "a"}
