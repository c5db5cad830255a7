"""One subword vocabulary for both languages: byte-pair encoding by Hugging Face ``tokenizers``.

Text is taken as words with single spaces between them. A space becomes the mark U+2581 at the
head of the word that follows, words are split off there, and merges never cross words, so::

    "a man"  ->  "▁a", "▁man"  ->  "a man"

and decoding gives back every text over the known characters exactly. Two details keep that true
for any text. The mark itself is written as ``_`` where it occurs in text. And ``<`` is always a
piece of its own, so that no merge can ever spell ``</s>`` and be taken for the special token.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from qvbench.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

_MARK = "\u2581"
_MULTIPLE = 8  # matrix products with tensor cores want dimensions that are multiples of eight
_MIN_FREQUENCY = 2


class Vocabulary:
    """Text to ids and back. Build it by :meth:`train`, :meth:`load` or :meth:`from_json`.

    Attributes:
        pad: id of the padding, 0.
        unk: id of what is unknown, 1.
        bos: id of ``<s>``, 2.
        eos: id of ``</s>``, 3.
    """

    pad, unk, bos, eos = PAD, UNK, BOS, EOS

    def __init__(self, tokenizer: Tokenizer) -> None:
        # Otherwise "</s>" written in a text would end the sentence. Not kept in the JSON.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, lines: Iterable[str], merges: int, alphabet: set[str]) -> Vocabulary:
        """Learn the merges of byte-pair encoding; the same lines give the same vocabulary.

        The vocabulary has the four special tokens, the alphabet, ``merges`` merges (fewer where
        pairs that occur twice run out), and ``<unused…>`` up to a multiple of eight.

        Args:
            lines: text of both languages, words separated by single spaces.
            merges: number of merges to learn.
            alphabet: the characters of ``lines`` that shall be known.
        """
        tokenizer = _untrained()
        known = {_as_written(character) for character in alphabet} - {" "} | {_MARK}
        trainer = trainers.BpeTrainer(
            vocab_size=len(SPECIALS) + len(known) + merges,
            min_frequency=_MIN_FREQUENCY,
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
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in parallel."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are left out, and words have single spaces between them."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        # A model may well say two marks in a row, which no encoded text has.
        return " ".join(word for word in text.split(" ") if word)

    def token(self, number: int) -> str:
        """How the vocabulary writes the token of an id, for looking inside."""
        token: str | None = self._tokenizer.id_to_token(number)
        if token is None:
            raise IndexError(f"id {number} is not in a vocabulary of {len(self)}")
        return token

    def to_json(self) -> str:
        """The whole vocabulary as the JSON text that ``tokenizers`` reads."""
        return str(self._tokenizer.to_str())

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that :meth:`to_json` wrote."""
        return cls(Tokenizer.from_str(text))

    def save(self, path: Path) -> None:
        """Write the vocabulary as a ``tokenizer.json``."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a ``tokenizer.json``.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such vocabulary") from None
        except Exception as fault:  # tokenizers raises bare Exception for what it cannot parse
            raise UserError(f"{path}: is not a vocabulary ({fault})") from None

    def fingerprint(self) -> str:
        """SHA-256 of what decides about ids: tokens, merges, and how text is split.

        It does not depend on how a version of ``tokenizers`` lays out its JSON.
        """
        content = json.loads(self.to_json())
        model = content["model"]
        merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
        added = sorted((token["id"], token["content"]) for token in content["added_tokens"])
        canonical = json.dumps([sorted(model["vocab"].items()), merges, added])
        return hashlib.sha256(canonical.encode()).hexdigest()


def frequent_characters(
    counts: Mapping[str, int], merges: int, max_size: int | None = None
) -> set[str]:
    """The alphabet of a vocabulary that may not grow beyond a size: its rarest characters go.

    A crawl has thousands of characters, most of them once or twice; the paper's setup lets them
    go by keeping the 36,000 most frequent entries.

    Args:
        counts: how often each character occurs.
        merges: of the vocabulary.
        max_size: most entries of the vocabulary; None keeps every character.

    Raises:
        UserError: the size leaves no room for characters.
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
    """Refuse a vocabulary that is not the one a model was trained with.

    Args:
        expected: the fingerprint that the model was trained with.
        actual: the fingerprint of the vocabulary at hand.
        where: what the model was loaded from, for the message.

    Raises:
        UserError: the two differ: every id would stand for another word.
    """
    if expected != actual:
        raise UserError(
            f"{where}: was trained with another vocabulary (fingerprint {expected[:12]}…, the "
            f"data at hand has {actual[:12]}…); use the corpus, merges and lowercase setting of "
            "its training, or train anew"
        )


def _as_written(character: str) -> str:
    return "_" if character == _MARK else character


def _untrained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS[UNK], fuse_unk=False))
    tokenizer.normalizer = normalizers.Replace(_MARK, "_")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_MARK, prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex("<"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_MARK, prepend_scheme="always", split=True)
    return tokenizer
