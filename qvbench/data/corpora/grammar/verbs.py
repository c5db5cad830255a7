"""The verbs of the grammar corpus.

One verb a line, three parts between bars:

* English: ``base [past [participle]]``, regular forms left out; ``get+up`` carries a particle.
* German: ``infinitive [present 3sg, past 1sg, participle] [ist]``; weak verbs need the infinitive
  alone. ``auf+stehen`` has a separable prefix, ``sich`` a reflexive, ``ist`` the auxiliary sein.
  ``du:lädst`` gives a second person that the rules would get wrong.
* Frame, subject classes, object classes (letters of :mod:`.nouns`), prepositions if any.

Frames: I nothing, T accusative, D dative, G dative and accusative, P preposition (English, German
and case given), L place (dative), M direction (accusative), S object and direction, C clause with
*that*, A clause with *whether*, Z infinitive with *to*.
"""

from __future__ import annotations

VERBS = """
sleep slept | schlafen schläft schlief geschlafen | I HA
laugh | lachen | I H
work | arbeiten | I H
cry | weinen | I H
dance | tanzen | I H
sing sang sung | singen singt sang gesungen | I H
swim swam swum | schwimmen schwimmt schwamm geschwommen ist | I HA
get+up got | auf+stehen steht stand gestanden ist | I H
wake+up woke woken | auf+wachen ist | I HA
fall+asleep fell fallen | ein+schlafen schläft schlief geschlafen ist | I HA
arrive | an+kommen kommt kam gekommen ist | I HV
come+back came come | zurück+kommen kommt kam gekommen ist | I H
depart | ab+fahren fährt fuhr gefahren ist | I V
die | sterben stirbt starb gestorben ist | I HA
smile | lächeln | I H
disappear | verschwinden verschwindet verschwand verschwunden ist | I HATCR
travel travelled | reisen ist | I H
burn | brennen brennt brannte gebrannt | I B
whistle | pfeifen pfeift pfiff gepfiffen | I H
hurry | sich beeilen | I H
rest | sich aus+ruhen | I HA
lie+down lay lain | sich hin+legen | I HA
get+dressed got | sich an+ziehen zieht zog gezogen | I H
see saw seen | sehen sieht sah gesehen | T HA HATRVBCMN
hear heard | hören | T HA HAV
buy bought | kaufen | T H TFDCRVMA
read read | lesen liest las gelesen | T H R
find found | finden findet fand gefunden | T HA TCRA
write wrote written | schreiben schreibt schrieb geschrieben | T H R
love | lieben | T H HA
eat ate eaten | essen isst aß gegessen | T H F
drink drank drunk | trinken trinkt trank getrunken | T H D
know knew known | kennen kennt kannte gekannt | T H HBXR
look+for | suchen | T HA TCRHA
sell sold | verkaufen | T H TFDCRVMAB
lose lost | verlieren verliert verlor verloren | T H TCR
open | öffnen | T H O
close | schließen schließt schloss geschlossen | T H O
turn+on | ein+schalten | T H E
turn+off | aus+schalten | T H E
invite | ein+laden lädt lud geladen du:lädst | T H H
pick+up | ab+holen | T H H
call | an+rufen ruft rief gerufen | T H H
throw+away threw thrown | weg+werfen wirft warf geworfen | T H TCRF
put+on put | an+ziehen zieht zog gezogen | T H C
take+off took taken | aus+ziehen zieht zog gezogen | T H C
bring+along brought | mit+bringen bringt brachte gebracht | T H TFDR
look+at | an+sehen sieht sah gesehen | T HA HATRVN
prepare | vor+bereiten bereitet bereitete bereitet | T H ZRX
clean+up | auf+räumen | T H B
watch | beobachten | T HA HA
visit | besuchen | T H HB
understand understood | verstehen versteht verstand verstanden | T H HX
forget forgot forgotten | vergessen vergisst vergaß vergessen | T H XTRCH
explain | erklären | T H X
solve | lösen | T H X
build built | bauen | T H BV
repair | reparieren | T H VE
clean | putzen | T H OMB
wash | waschen wäscht wusch gewaschen | T H CVF
paint | malen | T H HANB
carry | tragen trägt trug getragen | T H TMA
steal stole stolen | stehlen stiehlt stahl gestohlen | T HA TFCV
catch caught | fangen fängt fing gefangen | T HA A
bite bit bitten | beißen beißt biss gebissen | T A HA
greet | grüßen | T H H
kiss | küssen | T H H
hate | hassen | T H HDX
meet met | treffen trifft traf getroffen | T H H
hide hid hidden | verstecken | T HA TCR
cook | kochen | T H F
draw drew drawn | zeichnen | T H HANT
praise | loben | T H H
wake woke woken | wecken | T HA H
need | brauchen | T H TCRVHX
use | benutzen | T H TEV
break broke broken | zerbrechen zerbricht zerbrach zerbrochen | T H T
admire | bewundern | T H HABN
collect | sammeln | T H TCR
feed fed | füttern | T H A
discover | entdecken | T HA XBNTA
choose chose chosen | wählen | T H TCRFX
receive | bekommen bekommt bekam bekommen | T H TRX
translate | übersetzen übersetzt übersetzte übersetzt | T H R
destroy | zerstören | T H BVTM
bake | backen backt backte gebacken | T H F
disturb | stören | T HA HA
chase | jagen | T A A
help | helfen hilft half geholfen | D H H
thank | danken | D H H
follow | folgen ist | D HA HA
trust | vertrauen | D H H
belong+to | gehören | D TCRVB H
listen+to | zu+hören | D H H
agree+with | zu+stimmen | D H H
forgive forgave forgiven | verzeihen verzeiht verzieh verziehen | D H H
reply+to | antworten | D H H
resemble | ähneln | D HA HA
obey | gehorchen | D HA H
congratulate | gratulieren | D H H
give gave given | geben gibt gab gegeben | G H TRCFA
show showed shown | zeigen | G H TRCBX
send sent | schicken | G H TRC
bring brought | bringen bringt brachte gebracht | G H TRCFD
offer | an+bieten bietet bot geboten | G H TFDRX
lend lent | leihen leiht lieh geliehen | G H TRCV
tell told | erzählen | G H Y
promise | versprechen verspricht versprach versprochen | G H TCRV
wait | warten | P H HVZ for auf a
think thought | denken denkt dachte gedacht | P H HXZ of an a
dream | träumen | P HA HZB of von d
talk | sprechen spricht sprach gesprochen | P H HXZR about über a
laugh | lachen | P H HX at über a
fight fought | kämpfen | P H HA against gegen a
ask | bitten bittet bat gebeten | P H TFD for um a
depend | ab+hängen hängt hing gehangen | P X X on von d
take+part took taken | teil+nehmen nimmt nahm genommen | P H Z in an d
remember | sich erinnern | P H HXZB - an a
look+forward | sich freuen | P H Z to auf a
complain | sich beschweren | P H HXZ about über a
fear | sich fürchten | P HA HAZ - vor d
fall+in+love fell fallen | sich verlieben | P H H with in a
worry | sich sorgen | P H HA about um a
play | spielen | P HA HA with mit d
lie lay lain | liegen liegt lag gelegen | L HATRC
sit sat | sitzen sitzt saß gesessen | L HA
stand stood | stehen steht stand gestanden | L HGV
live | wohnen | L H
stay | bleiben bleibt blieb geblieben ist | L HA
go went gone | gehen geht ging gegangen ist | M H
run ran run | laufen läuft lief gelaufen ist | M HA
jump | springen springt sprang gesprungen ist | M HA
drive drove driven | fahren fährt fuhr gefahren ist | M H
climb | klettern ist | M HA
come came come | kommen kommt kam gekommen ist | M HA
fall fell fallen | fallen fällt fiel gefallen ist | M HATC
fly flew flown | fliegen fliegt flog geflogen ist | M L
lay laid | legen | S H TRC
put put | stellen | S H G
throw threw thrown | werfen wirft warf geworfen | S H TRCF
know knew known | wissen weiß wusste gewusst du:weißt | C H
say said | sagen | C H
believe | glauben | C H
hope | hoffen | C H
think thought | denken denkt dachte gedacht | C H
see saw seen | sehen sieht sah gesehen | C H
hear heard | hören | C H
forget forgot forgotten | vergessen vergisst vergaß vergessen | C H
claim | behaupten | C H
notice | bemerken | C H
suspect | vermuten | C H
ask | fragen | A H
know knew known | wissen weiß wusste gewusst du:weißt | A H
wonder | sich fragen | A H
try | versuchen | Z H
forget forgot forgotten | vergessen vergisst vergaß vergessen | Z H
begin began begun | beginnen beginnt begann begonnen | Z H
decide | beschließen beschließt beschloss beschlossen | Z H
hope | hoffen | Z H
promise | versprechen verspricht versprach versprochen | Z H
plan planned | planen | Z H
refuse | sich weigern | Z H
"""

# Auxiliaries and linking verbs: (agreement 1sg, 2sg, 3sg, plural) in present and past.
Forms = tuple[tuple[str, ...], tuple[str, ...]]
SEIN: Forms = (("bin", "bist", "ist", "sind"), ("war", "warst", "war", "waren"))
HABEN: Forms = (("habe", "hast", "hat", "haben"), ("hatte", "hattest", "hatte", "hatten"))
WERDEN: Forms = (("werde", "wirst", "wird", "werden"), ("wurde", "wurdest", "wurde", "wurden"))
BE: Forms = (("am", "are", "is", "are"), ("was", "were", "was", "were"))
HAVE: Forms = (("have", "have", "has", "have"), ("had", "had", "had", "had"))
DO: Forms = (("do", "do", "does", "do"), ("did", "did", "did", "did"))

# English modal -> German forms. "should" is sollte, not soll.
MODALS = {
    "can": ("kann", "kannst", "kann", "können"),
    "could": ("konnte", "konntest", "konnte", "konnten"),
    "must": ("muss", "musst", "muss", "müssen"),
    "should": ("sollte", "solltest", "sollte", "sollten"),
    "may": ("darf", "darfst", "darf", "dürfen"),
    "want": ("will", "willst", "will", "wollen"),
    "wanted": ("wollte", "wolltest", "wollte", "wollten"),
    "had": ("musste", "musstest", "musste", "mussten"),
}
