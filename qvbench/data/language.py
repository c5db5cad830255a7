"""The data module of language modeling: any text as windows of token ids.

A store holds a split as one array of ids, ``<split>.bin``, and the tokenizer; with a document mask
also where documents begin, ``<split>.documents.bin`` (int64). See :mod:`qvbench.data.store`.

Shape letters: B windows, L tokens of a window, the context.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from qvbench.data.batching import EvaluationWindows, TrainWindows, Windows
from qvbench.data.cache import expanded, track
from qvbench.data.corpora import MonolingualCorpus
from qvbench.data.corpora.files import file_sha256
from qvbench.data.corpora.synthetic import NO_TOKEN, Int64
from qvbench.data.module import StoredDataModule, check_least, check_set
from qvbench.data.store import TOKENIZER, MappedDataset, id_type
from qvbench.data.text import Vocabulary
from qvbench.errors import UserError

DOCUMENTS = ".documents.bin"
_IDS_VERSION = 1  # raised whenever the same text and settings give other ids than before
_PIECE = 1 << 18  # characters that are encoded as one text
_PIECES_AT_ONCE = 16
_COUNTED = 65_535  # tokens of a window, whose counts runs and results keep in 16 bits
_SPLITS = ("train", "val", "selection")  # what else a corpus has are test sets


class TextVocabulary(Vocabulary):
    """A tokenizer of text as it stands, spaces and line ends included."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @classmethod
    def of_characters(cls, pieces: Iterable[str]) -> TextVocabulary:
        """An id for each character that occurs, in the order of their code points."""
        alphabet = sorted(set().union(*map(set, pieces)))
        tokenizer = Tokenizer(models.BPE({sign: n for n, sign in enumerate(alphabet)}, []))
        tokenizer.decoder = decoders.Fuse()
        return cls(tokenizer)

    @classmethod
    def of_merges(cls, pieces: Iterable[str] = (), vocab_size: int = 256) -> TextVocabulary:
        """Byte-pair encoding of bytes, GPT-2's: the 256 bytes and what is merged most often, within
        words and the spaces before them. It has no special token."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(pieces, trainer)
        return cls(tokenizer)

    def __len__(self) -> int:
        # Ids of a given one may have gaps; an empty text has no characters.
        return 1 + max(self._tokenizer.get_vocab().values(), default=-1)

    def decode(self, ids: Any) -> str:
        """The text of ids as it stood."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def token(self, text: str) -> int | None:
        """The id of a special token, or of a text that is one token; None for any other text."""
        known = self._tokenizer.token_to_id(text)
        ids = self.encode(text) if known is None else [known]
        return ids[0] if len(ids) == 1 else None

    def left_out(self, text: str) -> str:
        """The characters of a text that its ids leave out, as those of characters do if unknown."""
        kept = self.decode(self.encode(text))
        return "".join(c for c in dict.fromkeys(text) if c not in kept and not self.encode(c))


class StoredText(MappedDataset[Windows]):
    """The ids of a split, memory-mapped; an item is the windows that begin at chosen places.

    Args:
        file: of the ids.
        ids: their type.
        context: tokens of a window.
        documents: file of the places at which documents begin; None for no mask between them.
    """

    def __init__(
        self, file: Path, ids: np.dtype[Any], context: int, documents: Path | None = None
    ) -> None:
        super().__init__(file, ids, context, documents)
        self.ids = np.memmap(file, ids, "r")
        self.context = context
        self.begins = None if documents is None else np.memmap(documents, np.int64, "r")

    def __len__(self) -> int:
        """Tokens of the text."""
        return len(self.ids)

    def __getitem__(self, first: Int64) -> Windows:
        places = first[:, None] + np.arange(self.context + 1)
        found = self.ids[np.minimum(places, len(self.ids) - 1)].astype(np.int64)
        tokens = torch.from_numpy(np.where(places < len(self.ids), found, NO_TOKEN))
        index = torch.from_numpy(first // self.context)
        documents = None
        if self.begins is not None:
            number = np.searchsorted(self.begins, places[:, :-1], side="right")
            documents = torch.from_numpy(number)
        # What is read after the end of a text is hidden from what is before it.
        return Windows(tokens[:, :-1].clamp(min=0), tokens[:, 1:].contiguous(), index, documents)


class LanguageDataModule(StoredDataModule):
    """A text as windows of token ids, of which each predicts the next.

    Training windows are a function of seed and epoch; validation windows cover all of ``val``.

    Args:
        corpus: where the text comes from, for example ``Shakespeare``, ``Files`` or
            ``PythonLibrary``; of a corpus of pairs, such as ``Grammar``, the source side. Its first
            test set, if it has one, is what ``test`` scores.
        tokenizer: ``characters``, ``bytes``, ``bpe`` (byte-pair encoding of bytes, learned from
            ``train``), or the path of a ``tokenizer.json``.
        val_split: set for validation; default ``val``. ``selection``, where a corpus has it, is to
            choose settings on, so that ``val`` has not been seen by the choice.
        vocab_size: entries that ``bpe`` learns.
        context: tokens of a window.
        eval_context: of a window that is validated or tested on; None for the same.
        max_tokens: of a training batch: windows times context.
        eval_max_tokens: of a validation batch, like max_tokens.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order of training windows.
        cache_dir: folder for stored token ids; default ``$QVBENCH_CACHE``, else
            ``~/.cache/qvbench``.
        document_mask: let tokens attend to their own document alone, of those that share a window:
            files, rows of a data set, sentences of a corpus of pairs. Documents are then encoded
            one by one. Absolute positions still count from the window's start.
    """

    vocabulary_class = TextVocabulary

    def __init__(
        self,
        corpus: MonolingualCorpus,
        tokenizer: str = "characters",
        vocab_size: int = 8192,
        context: int = 256,
        max_tokens: int = 8192,
        eval_max_tokens: int = 8192,
        num_workers: int = 0,
        seed: int = 0,
        cache_dir: str | None = None,
        val_split: str | None = None,
        eval_context: int | None = None,
        document_mask: bool = False,
    ) -> None:
        super().__init__(corpus, max_tokens, eval_max_tokens, num_workers, seed, cache_dir)
        named, longest = "context", context
        if eval_context is not None:
            named, longest = "eval_context", eval_context
        check_least(1, **{"context": context, named: longest})
        if longest > _COUNTED:
            raise UserError(
                f"{named}={longest}: a window of validation has {_COUNTED:,} tokens at most; give "
                "that or less as eval_context"
            )
        self._stored = [name for name in _SPLITS if name in corpus.splits()]
        check_set("val_split", val_split, self._stored[1:])
        self.val_split = val_split or "val"
        tests = [name for name in corpus.splits() if name not in _SPLITS][:1]
        self.test_split = tests[0] if tests else None
        self._stored += tests
        check_least(256, vocab_size=vocab_size)  # the bytes
        for name, budget, window, size in (
            ("max_tokens", max_tokens, "context", context),
            ("eval_max_tokens", eval_max_tokens, named, longest),
        ):
            if budget < size:
                raise UserError(f"{name}={budget} is smaller than a window of {window}={size}")
        known = ("characters", "bytes", "bpe")
        self._given = None if tokenizer in known else expanded(tokenizer)
        if self._given and not self._given.is_file():
            raise UserError(
                f"tokenizer={tokenizer}: no such file; give the path of a tokenizer.json, or one "
                f"of {', '.join(known)}"
            )
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.planned_vocabulary = {"bpe": vocab_size, "bytes": 256}.get(tokenizer)
        self.context = context
        self.eval_context = eval_context
        self.document_mask = document_mask

    @cached_property
    def settings(self) -> dict[str, object]:
        """All that determines the token ids, as JSON values."""
        return {
            "language_format": _IDS_VERSION,
            "corpus": self.corpus.fingerprint(),
            "tokenizer": file_sha256(self._given) if self._given else self.tokenizer,
            **({"vocab_size": self.vocab_size} if self.tokenizer == "bpe" else {}),
            **({"test": self.test_split} if self.test_split else {}),
            **({"documents": "apart"} if self.document_mask else {}),
            "versions": {"tokenizers": version("tokenizers")},
        }

    def write(self, work: Path) -> dict[str, Any]:
        vocabulary = self._make_vocabulary()
        vocabulary.save(work / TOKENIZER)
        splits: dict[str, Any] = {}
        for name in self._stored:
            file = work / f"{name}.bin"
            splits[name], begins = encode_split(file, self._pieces(name), vocabulary)
            if self.document_mask:
                with file.with_suffix(DOCUMENTS).open("wb") as opened:
                    begins.tofile(opened)
        return {"vocabulary": len(vocabulary), "splits": splits}

    def _make_vocabulary(self) -> Vocabulary:
        if self._given:
            return TextVocabulary.load(self._given)
        if self.tokenizer == "characters":
            texts = (self._pieces(name) for name in self._stored)
            return TextVocabulary.of_characters(piece for text in texts for piece, _ in text)
        if self.tokenizer == "bpe":
            train = (piece for piece, _ in self._pieces("train"))
            return TextVocabulary.of_merges(train, self.vocab_size)
        return TextVocabulary.of_merges()

    def _pieces(self, split: str) -> Iterator[tuple[str, bool]]:
        """Of the split's text, and whether each is the first of what is encoded by itself."""
        documents = track(self.corpus.text(split), f"reading {split}")
        for text in ([one] for one in documents) if self.document_mask else [documents]:
            yield from ((piece, number == 0) for number, piece in enumerate(pieces(text)))

    def steps(self) -> list[str]:
        vocabulary = f" of {self.vocab_size:,} entries" if self.tokenizer == "bpe" else ""
        return [f"encode its text with the tokenizer {self.tokenizer}{vocabulary}"]

    def counts(self) -> list[str]:
        """Per split tokens and bytes; and the vocabulary."""
        lines = []
        for name, split in self.store.manifest["splits"].items():
            size = f"of {split['bytes']:,} bytes" if split["bytes"] else "that do not give it back"
            lines.append(f"{name}: {split['tokens']:,} tokens {size}")
        return [*lines, f"vocabulary: {len(self.vocabulary):,} entries ({self.tokenizer})"]

    def split(self, name: str) -> StoredText:
        """The windows of a split."""
        ids = id_type(len(self.vocabulary))
        context = self.context if name == "train" else self.eval_context or self.context
        file = self.folder / f"{name}.bin"
        documents = file.with_suffix(DOCUMENTS) if self.document_mask else None
        return StoredText(file, ids, context, documents)

    def order(self) -> dict[str, Any]:
        return {**super().order(), "context": self.context}

    def train_sampler(self, split: StoredText, rank: int, world_size: int) -> TrainWindows:
        return TrainWindows(len(split), self.context, self.max_tokens, self.seed, rank, world_size)

    def evaluation_sampler(
        self, split: StoredText, rank: int, world_size: int
    ) -> EvaluationWindows:
        return EvaluationWindows(len(split), split.context, self.eval_max_tokens, rank, world_size)

    def bytes_per_token(self, split: str) -> float | None:
        """Of the split's text in UTF-8; None where its tokens do not give back the text."""
        found = self.store.manifest["splits"][split]
        return found["bytes"] / found["tokens"] if found["bytes"] else None


def pieces(text: Iterable[str]) -> Iterator[str]:
    """A text in pieces that a tokenizer takes well, short ones together, cut at line ends."""
    left = ""
    for part in text:
        left += part
        start = 0
        while len(left) - start > _PIECE:
            end = left.rfind("\n", start, start + _PIECE) + 1 or start + _PIECE
            yield left[start:end]
            start = end
        left = left[start:]
    if left:
        yield left


def encode_split(
    file: Path, text: Iterator[tuple[str, bool]], vocabulary: Vocabulary
) -> tuple[dict[str, int | None], array[int]]:
    """Write the ids of a split, whose pieces come with whether they are the first of a document.

    Returns:
        ``tokens``, and ``bytes`` of the text in UTF-8: None where the ids do not give back the text
        (lower-cased, or with characters that are unknown), so that a loss per byte means nothing.
        And the places of the first tokens of documents, int64.

    Raises:
        UserError: there are fewer than two tokens, of which one could predict the other.
    """
    tokens = size = 0
    lossless, begins = True, array("q")
    ids = id_type(len(vocabulary))
    with file.open("wb") as opened:
        while some := list(islice(text, _PIECES_AT_ONCE)):
            encoded = vocabulary.encode_batch([piece for piece, _ in some])
            for (piece, first), found in zip(some, encoded, strict=True):
                if first:
                    begins.append(tokens)
                opened.write(np.asarray(found, dtype=ids).tobytes())
                tokens += len(found)
                size += len(piece.encode())
                lossless = lossless and vocabulary.decode(found) == piece
    if tokens < 2:
        raise UserError(f"{file.stem}: a text of {tokens} tokens; give it more text")
    return {"tokens": tokens, "bytes": size if lossless else None}, begins
