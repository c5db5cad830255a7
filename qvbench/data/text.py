"""Text to token ids and back: words as Moses splits them, then byte-pair encoding.

A line becomes words with single spaces between them: tokenized corpora pass as they are, raw ones
are normalized and tokenized by ``sacremoses`` without its ``&apos;``-style escapes. The vocabulary,
one for both languages, is learned by Hugging Face ``tokenizers``. A space becomes the mark U+2581
at the head of the word that follows, and merges never cross words::

    "a man"  ->  "▁a", "▁man"  ->  "a man"

Decoding gives back every text over the known characters. Two details keep that true for any text:
the mark itself is written as ``_`` where it occurs, and ``<`` is always a piece of its own, so that
no merge can spell ``</s>`` and be taken for the special token.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from qvbench.errors import UserError

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

_MARK = "\u2581"
_MULTIPLE = 8  # matrix products with tensor cores want dimensions that are multiples of eight


@dataclass(frozen=True)
class TextProcessor:
    """Prepares the lines of a corpus for the vocabulary, and restores what a model writes.

    Languages are two-letter codes; ``tokenized`` lines are whitespace-separated tokens already.
    """

    source_language: str
    target_language: str
    tokenized: bool
    lowercase: bool = False

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
        settings = dict(state)
        return cls(tokenized=settings.pop("tokenised"), **settings)

    def source(self, line: str) -> str:
        """A source line as words with single spaces between them."""
        return self._words(line, self.source_language)

    def target(self, line: str) -> str:
        """A target line, or a reference for scoring tokens, as words with single spaces."""
        return self._words(line, self.target_language)

    def words_of_pairs(self, pairs: Iterable[tuple[str, str]]) -> str:
        """Words of source and target lines in turn, one line each (no words hold a line end)."""
        return "".join(f"{self.source(one)}\n{self.target(other)}\n" for one, other in pairs)

    def detokenize(self, words: str) -> str:
        """Plain text of tokenized target words, ``&apos;``-style escapes resolved."""
        return str(_detokenizer(self.target_language).detokenize(words.split()))

    def plain_reference(self, line: str) -> str:
        """A reference line of the corpus as plain text, to score detokenized output against."""
        line = self.detokenize(line) if self.tokenized else line
        return line.lower() if self.lowercase else line

    def versions(self) -> dict[str, str]:
        """Versions of the packages on which the words depend."""
        return {} if self.tokenized else {"sacremoses": version("sacremoses")}

    def _words(self, line: str, language: str) -> str:
        words = line if self.tokenized else _tokenizer(language)(line)
        return " ".join((words.lower() if self.lowercase else words).split())


# Sacremoses is imported where it is used: that takes a third of a second, and tokenized corpora
# never need it. Not kept in a processor, so that one can be sent to another process.


@cache
def _tokenizer(language: str) -> Callable[[str], str]:
    """Punctuation normalizer and tokenizer of one language."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)
    return lambda line: str(
        tokenizer.tokenize(normalizer.normalize(line), return_str=True, escape=False)
    )


@cache
def _detokenizer(language: str) -> Any:
    from sacremoses import MosesDetokenizer

    return MosesDetokenizer(lang=language)


class Vocabulary:
    """Text to ids and back. Build it by :meth:`train`, :meth:`load` or :meth:`from_json`."""

    pad, unk, bos, eos = range(4)  # the ids of SPECIALS

    def __init__(self, tokenizer: Tokenizer) -> None:
        # Otherwise "</s>" written in a text would end the sentence. Not kept in the JSON.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, lines: Iterable[str], merges: int, alphabet: set[str]) -> Vocabulary:
        """Learn byte-pair merges from lines of words; the same lines give the same vocabulary.

        It has the four special tokens, the alphabet of characters to know, ``merges`` merges (fewer
        where pairs that occur twice run out), and ``<unused…>`` up to a multiple of eight.
        """
        tokenizer = _untrained()
        known = {"_" if character == _MARK else character for character in alphabet}
        known = known - {" "} | {_MARK}
        trainer = trainers.BpeTrainer(
            vocab_size=len(SPECIALS) + len(known) + merges,
            min_frequency=2,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(known),
            limit_alphabet=len(known),  # a character that is not among them is unknown
            show_progress=sys.stderr.isatty(),
        )
        tokenizer.train_from_iterator(lines, trainer)
        missing = -tokenizer.get_vocab_size() % _MULTIPLE
        tokenizer.add_special_tokens([f"<unused{number}>" for number in range(missing)])
        return cls(tokenizer)

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without ``<s>`` and ``</s>``."""
        return list(_encoded(self._tokenizer.encode, text).ids)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each id of :meth:`encode` the first character of the text that it stands for, and one
        past the last."""
        spans: list[tuple[int, int]]
        spans = _encoded(self._tokenizer.encode, text).offsets
        return spans

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in parallel."""
        encoded = _encoded(self._tokenizer.encode_batch_fast, list(texts))
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are left out, and words have single spaces between them."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        # A model may well write two marks in a row, which no encoded text has.
        return " ".join(word for word in text.split(" ") if word)

    def to_json(self) -> str:
        """The whole vocabulary as the JSON text that ``tokenizers`` reads."""
        return str(self._tokenizer.to_str())

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that :meth:`to_json` wrote."""
        return cls(Tokenizer.from_str(text))

    def save(self, path: Path) -> None:
        """Write a ``tokenizer.json``."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a ``tokenizer.json``; :class:`UserError` where it cannot be read."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception for what it cannot parse
            raise UserError(f"{path}: is not a vocabulary ({error})") from None

    def fingerprint(self) -> str:
        """SHA-256 of tokens and merges, however a version of ``tokenizers`` lays out its JSON."""
        content = json.loads(self.to_json())
        model = content["model"]
        # Without merges, or with a list of tokens and scores, where the tokenizer is a given one.
        merges = [m if isinstance(m, list) else m.split(" ") for m in model.get("merges", [])]
        vocab = model["vocab"]
        entries = sorted(vocab.items()) if isinstance(vocab, dict) else vocab
        added = sorted((token["id"], token["content"]) for token in content["added_tokens"])
        canonical = json.dumps([entries, merges, added])
        return hashlib.sha256(canonical.encode()).hexdigest()


def frequent_characters(
    counts: Mapping[str, int], merges: int, max_size: int | None = None
) -> set[str]:
    """The alphabet of a vocabulary of ``max_size`` entries at most: the rarest characters go.

    A crawl has thousands of characters, most of them once or twice; the paper's setup drops them
    by keeping the 36,000 most frequent entries.

    Raises:
        UserError: the size leaves no room for characters beside the merges.
    """
    if max_size is None:
        return set(counts)
    room = max_size // _MULTIPLE * _MULTIPLE - len(SPECIALS) - len(_MARK) - merges
    if room < 1:
        raise UserError(
            f"max_vocabulary={max_size:,} leaves no room for characters beside {merges:,} merges; "
            "raise it or lower merges"
        )
    by_count = sorted(set(counts) - {" "}, key=lambda character: (-counts[character], character))
    return set(by_count[:room])


def check_vocabulary(expected: str, actual: str, where: str) -> None:
    """Raise :class:`UserError` where a checkpoint's ids would stand for other words."""
    if expected != actual:
        raise UserError(
            f"{where}: was trained with another vocabulary (fingerprint {expected[:12]}…, the "
            f"data has {actual[:12]}…); use the corpus and vocabulary of its training"
        )


def _encoded(encode: Callable[..., Any], text: str | list[str]) -> Any:
    """What a method of a tokenizer makes of text; UserError for words that it has no id for, if it
    has none for what is unknown either."""
    try:
        return encode(text, add_special_tokens=False)
    except Exception as error:
        if type(error) is not Exception:  # tokenizers raises the bare class
            raise
        raise UserError(
            f"the tokenizer cannot encode the text ({error}); keep to the words of its vocabulary, "
            "or give a tokenizer that has a token for all others"
        ) from None


def _untrained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS[Vocabulary.unk], fuse_unk=False))
    tokenizer.normalizer = normalizers.Replace(_MARK, "_")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_MARK, prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex("<"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_MARK, prepend_scheme="always", split=True)
    return tokenizer
