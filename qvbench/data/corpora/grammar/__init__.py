"""A built-in English-German corpus, generated from a hand-written lexicon and grammar."""

from qvbench.data.corpora.grammar.corpus import Grammar, split_of
from qvbench.data.corpora.grammar.tree import AnnotatedPair, Side

__all__ = ["AnnotatedPair", "Grammar", "Side", "split_of"]
