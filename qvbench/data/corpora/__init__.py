"""Corpora by name. A new one is a file here and a line below."""

from __future__ import annotations

from qvbench.data.corpora.corpus import Corpus, MonolingualCorpus, Text
from qvbench.data.corpora.grammar import Grammar
from qvbench.data.corpora.monolingual import Files, PythonLibrary, Shakespeare
from qvbench.data.corpora.multi30k import Multi30k
from qvbench.data.corpora.wmt17 import Wmt17, Wmt17Raw
from qvbench.registry import Registry

CORPORA: Registry[MonolingualCorpus] = Registry("corpus")
CORPORA.register("grammar", Grammar)
CORPORA.register("text", Text)
CORPORA.register("multi30k", Multi30k)
CORPORA.register("wmt17", Wmt17)
CORPORA.register("wmt17_raw", Wmt17Raw)
CORPORA.register("files", Files)
CORPORA.register("shakespeare", Shakespeare)
CORPORA.register("python", PythonLibrary)

__all__ = [
    "CORPORA",
    "Corpus",
    "Files",
    "Grammar",
    "MonolingualCorpus",
    "Multi30k",
    "PythonLibrary",
    "Shakespeare",
    "Text",
    "Wmt17",
    "Wmt17Raw",
]
