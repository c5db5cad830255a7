"""Between a corpus's lines and the words that the vocabulary splits.

Tokenized corpora pass as they are. Raw ones are normalized and tokenized as Moses does it (by
sacremoses), without its ``&apos;``-style escapes. Both can be lower-cased. Detokenizing turns words
into text that a reader, or a BLEU score on plain text, expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from qvbench.data.corpora.corpus import Corpus


class TextProcessor:
    """Prepares the lines of a corpus for the vocabulary, and restores what a model writes.

    Args:
        source_language: two-letter code of the source side.
        target_language: two-letter code of the target side.
        tokenized: the lines are whitespace-separated tokens already.
        lowercase: lower-case everything.
    """

    def __init__(
        self, source_language: str, target_language: str, tokenized: bool, lowercase: bool = False
    ) -> None:
        self.source_language = source_language
        self.target_language = target_language
        self.tokenized = tokenized
        self.lowercase = lowercase

    @classmethod
    def of(cls, corpus: Corpus, lowercase: bool = False) -> TextProcessor:
        """The processor that fits a corpus."""
        return cls(corpus.source_language, corpus.target_language, corpus.tokenized, lowercase)

    def state(self) -> dict[str, Any]:
        """The settings as a checkpoint keeps them, for :meth:`from_state`."""
        return {
            "source_language": self.source_language,
            "target_language": self.target_language,
            "tokenised": self.tokenized,  # the key of all checkpoints so far
            "lowercase": self.lowercase,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TextProcessor:
        """The processor whose :meth:`state` was kept."""
        settings = {name: value for name, value in state.items() if name != "tokenised"}
        return cls(**settings, tokenized=state["tokenised"])

    def source(self, line: str) -> str:
        """A source line as words with single spaces between them."""
        return self._words(line, None if self.tokenized else self._source_moses)

    def target(self, line: str) -> str:
        """A target line as words with single spaces between them; also for references, where
        tokenized output is scored."""
        return self._words(line, None if self.tokenized else self._target_moses)

    def words_of_pairs(self, pairs: Iterable[tuple[str, str]]) -> str:
        """Words of source and target lines in turn, one line each (no words hold a line end)."""
        return "".join(
            f"{self.source(source)}\n{self.target(target)}\n" for source, target in pairs
        )

    def detokenize(self, words: str) -> str:
        """Plain text of tokenized target words, ``&apos;``-style escapes resolved."""
        return str(self._detokenizer.detokenize(words.split()))

    def plain_reference(self, line: str) -> str:
        """A reference line of the corpus as plain text, to score detokenized output against."""
        line = self.detokenize(line) if self.tokenized else line
        return line.lower() if self.lowercase else line

    def versions(self) -> dict[str, str]:
        """Versions of the packages on which the words depend."""
        if self.tokenized:
            return {}
        from importlib.metadata import version

        return {"sacremoses": version("sacremoses")}

    def _words(self, line: str, moses: _Moses | None) -> str:
        words = line if moses is None else moses(line)
        words = words.lower() if self.lowercase else words
        return " ".join(words.split())

    @cached_property
    def _source_moses(self) -> _Moses:
        return _Moses(self.source_language)

    @cached_property
    def _target_moses(self) -> _Moses:
        return _Moses(self.target_language)

    @cached_property
    def _detokenizer(self) -> Any:
        from sacremoses import MosesDetokenizer

        return MosesDetokenizer(lang=self.target_language)


class _Moses:
    """Punctuation normalizer and tokenizer of one language."""

    def __init__(self, language: str) -> None:
        # Imported here: it takes a third of a second, and tokenized corpora never need it.
        from sacremoses import MosesPunctNormalizer, MosesTokenizer

        self._normalizer = MosesPunctNormalizer(lang=language)
        self._tokenizer = MosesTokenizer(lang=language)

    def __call__(self, line: str) -> str:
        normal = self._normalizer.normalize(line)
        return str(self._tokenizer.tokenize(normal, return_str=True, escape=False))
