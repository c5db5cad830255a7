"""The data module of translation: pairs of sentences, as padded batches of subword ids."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from qvbench.data import preprocessing
from qvbench.data.corpora import Corpus
from qvbench.data.module import StoredDataModule, check_least, check_set
from qvbench.data.store import TOKENIZER, StoredSplit, id_type
from qvbench.data.text import TextProcessor, frequent_characters

# Raised whenever the same text and settings give other ids than before.
_IDS_VERSION = 2


class TranslationDataModule(StoredDataModule):
    """A corpus of sentence pairs as padded batches of subword ids.

    Args:
        corpus: where the pairs come from, for example ``Grammar``, ``Multi30k`` or ``Text``.
        max_tokens: budget of a training batch: pairs times the longer side, padding included.
        merges: merges of the byte-pair encoding that both languages share.
        max_length: training pairs with more subwords than this on a side are dropped.
        max_ratio: training pairs are dropped whose longer side has more than this times the
            subwords of the shorter; None drops none for that.
        max_vocabulary: most entries of the vocabulary; where characters are too many, the rarest
            become unknown. None keeps all characters.
        lowercase: lower-case both sides.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        eval_max_tokens: budget of a validation or test batch, like max_tokens.
        seed: of the order of training batches.
        cache_dir: folder for stored token ids; default ``$QVBENCH_CACHE``, else
            ``~/.cache/qvbench``.
        test_split: test set for ``test`` and ``predict``; default the corpus's first.
        val_split: set for validation; default ``val``. ``selection``, where a corpus has it, is to
            choose settings on, so that neither ``val`` nor a test set has been seen by the choice.
    """

    def __init__(
        self,
        corpus: Corpus,
        max_tokens: int = 4096,
        merges: int = 8000,
        max_length: int = 95,
        lowercase: bool = False,
        num_workers: int = 0,
        eval_max_tokens: int = 4096,
        seed: int = 0,
        cache_dir: str | None = None,
        test_split: str | None = None,
        max_ratio: float | None = None,
        max_vocabulary: int | None = None,
        val_split: str | None = None,
    ) -> None:
        super().__init__(corpus, max_tokens, eval_max_tokens, num_workers, seed, cache_dir)
        check_least(1, max_length=max_length, max_ratio=1 if max_ratio is None else max_ratio)
        check_least(0, merges=merges)
        frequent_characters({}, merges, max_vocabulary)  # raises where no character fits
        check_set("test_split", test_split, corpus.splits()[2:])
        check_set("val_split", val_split, corpus.splits()[1:])
        self.preprocessing = preprocessing.PreprocessingConfig(
            merges, max_length, max_ratio, max_vocabulary
        )
        self.lowercase = lowercase
        self.test_split = test_split or corpus.splits()[2]
        self.val_split = val_split or "val"
        self.processor = TextProcessor(
            corpus.source_language, corpus.target_language, corpus.tokenized, lowercase
        )

    @cached_property
    def settings(self) -> dict[str, object]:
        settings = asdict(self.preprocessing).items()
        return {
            "format": _IDS_VERSION,
            "corpus": self.corpus.fingerprint(),
            # What is not asked for is not named: settings may be added without new stores.
            **{name: value for name, value in settings if value is not None},
            "lowercase": self.lowercase,
            "versions": {"tokenizers": version("tokenizers"), **self.processor.versions()},
        }

    def write(self, work: Path) -> dict[str, Any]:
        config = self.preprocessing
        preprocessing.read_lines(work, self.corpus, self.processor)
        vocabulary, words = preprocessing.learn_vocabulary(work, config)
        vocabulary.save(work / TOKENIZER)
        splits = {
            name: preprocessing.encode_split(work, name, vocabulary, config)
            for name in self.corpus.splits()
        }
        return {"vocabulary": len(vocabulary), "words": words, "splits": splits}

    def split(self, name: str) -> StoredSplit:
        """The stored pairs of a split."""
        return StoredSplit(self.folder, name, id_type(len(self.vocabulary)))

    def lines(self, split: str, side: Literal["source", "target"]) -> list[str]:
        """The lines of a validation or test set as the corpus has them."""
        text = (self.folder / f"{split}.{side}.txt").read_bytes().decode("utf-8")
        return text.removesuffix("\n").split("\n")

    def steps(self) -> list[str]:
        steps = ["normalize and tokenize its lines"] if not self.corpus.tokenized else []
        steps += ["lower-case its lines"] if self.lowercase else []
        settings = [f"{name}={value}" for name, value in asdict(self.preprocessing).items()]
        filters = f"learn one vocabulary and drop training pairs by {', '.join(settings)}"
        return [*steps, filters]

    def counts(self) -> list[str]:
        """Per split pairs, subwords, what was dropped and why; and the vocabulary."""
        lines = []
        for name, split in self.store.manifest["splits"].items():
            source, target, pairs = split["source"], split["target"], split["pairs"]
            dropped = ", ".join(f"{count:,} {reason}" for reason, count in split["dropped"].items())
            lines.append(
                f"{name}: {pairs:,} pairs of {source['subwords'] / pairs:.1f} source and "
                f"{target['subwords'] / pairs:.1f} target subwords, "
                f"{source['unknown'] + target['unknown']:,} unknown; dropped: {dropped or 'none'}"
            )
        words = self.store.manifest["words"]
        return [
            *lines,
            f"vocabulary: {len(self.vocabulary):,} entries, learned from words that occur "
            f"{words['learned_from_count']:,} times at least, of {words['different']:,} words",
        ]
