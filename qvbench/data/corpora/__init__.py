"""Corpora by name. A new one is a file here and a line below."""

from __future__ import annotations

from qvbench.data.corpora.associative_recall import AssociativeRecall
from qvbench.data.corpora.copying import Copying
from qvbench.data.corpora.corpus import Corpus, MonolingualCorpus, Text
from qvbench.data.corpora.grammar import Grammar
from qvbench.data.corpora.hub import Hub
from qvbench.data.corpora.induction import Induction
from qvbench.data.corpora.modifiers import Modifiers
from qvbench.data.corpora.monolingual import Files, PythonLibrary, Shakespeare
from qvbench.data.corpora.multi30k import Multi30k
from qvbench.data.corpora.synthetic import SyntheticCorpus
from qvbench.data.corpora.wmt17 import Wmt17, Wmt17Raw
from qvbench.registry import Registry

CORPORA: Registry[MonolingualCorpus | SyntheticCorpus] = Registry("corpus")
CORPORA.register("grammar", Grammar)
CORPORA.register("text", Text)
CORPORA.register("multi30k", Multi30k)
CORPORA.register("wmt17", Wmt17)
CORPORA.register("wmt17_raw", Wmt17Raw)
CORPORA.register("files", Files)
CORPORA.register("shakespeare", Shakespeare)
CORPORA.register("python", PythonLibrary)
CORPORA.register("hub", Hub)
CORPORA.register("associative_recall", AssociativeRecall)
CORPORA.register("copying", Copying)
CORPORA.register("induction", Induction)
CORPORA.register("modifiers", Modifiers)

__all__ = [
    "CORPORA",
    "AssociativeRecall",
    "Copying",
    "Corpus",
    "Files",
    "Grammar",
    "Hub",
    "Induction",
    "Modifiers",
    "MonolingualCorpus",
    "Multi30k",
    "PythonLibrary",
    "Shakespeare",
    "SyntheticCorpus",
    "Text",
    "Wmt17",
    "Wmt17Raw",
]
