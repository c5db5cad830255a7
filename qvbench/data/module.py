"""The data module: any corpus as batches of token ids."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningDataModule

from qvbench.data.batching import EvaluationSampler, TrainSampler
from qvbench.data.cache import cache_root, locked
from qvbench.data.corpora import CORPORA, Corpus
from qvbench.data.corpora.files import NotFetchedError
from qvbench.data.loader import BatchLoader
from qvbench.data.preprocessing import PreprocessingConfig, write_store
from qvbench.data.store import FORMAT, MANIFEST, Store, StoredSplit
from qvbench.data.text import TextProcessor, Vocabulary, frequent_characters
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

# Raised whenever the same text and settings give other ids than before.
_IDS_VERSION = 2


class TranslationDataModule(LightningDataModule):
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
        super().__init__()
        for name, value, least in (
            ("max_tokens", max_tokens, 1),
            ("merges", merges, 0),
            ("max_length", max_length, 1),
            ("num_workers", num_workers, 0),
            ("eval_max_tokens", eval_max_tokens, 1),
            ("max_ratio", 1 if max_ratio is None else max_ratio, 1),
        ):
            if value < least:
                raise UserError(f"{name} must be at least {least}, got {value}")
        frequent_characters({}, merges, max_vocabulary)  # raises where no character fits
        for name, given, sets in (
            ("test_split", test_split, corpus.splits()[2:]),
            ("val_split", val_split, corpus.splits()[1:]),
        ):
            if given is not None and given not in sets:
                raise UserError(f"{name}={given}: no such set; known are {', '.join(sets)}")
        self.corpus = corpus
        self.max_tokens = max_tokens
        self.preprocessing = PreprocessingConfig(merges, max_length, max_ratio, max_vocabulary)
        self.lowercase = lowercase
        self.num_workers = num_workers
        self.eval_max_tokens = eval_max_tokens
        self.seed = seed
        self.cache_dir = cache_dir
        self.test_split = test_split or corpus.splits()[2]
        self.val_split = val_split or "val"
        self.processor = TextProcessor(
            corpus.source_language, corpus.target_language, corpus.tokenized, lowercase
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines the token ids: text, settings, versions."""
        return hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where the token ids are stored."""
        name = f"{self._corpus_name}-{self.fingerprint[:16]}.v{FORMAT}"
        return cache_root(self.cache_dir) / name

    @property
    def _corpus_name(self) -> str:
        return CORPORA.name_of(type(self.corpus))

    @cached_property
    def _settings(self) -> dict[str, object]:
        settings = asdict(self.preprocessing).items()
        return {
            "format": _IDS_VERSION,
            "corpus": self.corpus.fingerprint(),
            # What is not asked for is not named: settings may be added without new stores.
            **{name: value for name, value in settings if value is not None},
            "lowercase": self.lowercase,
            "versions": {"tokenizers": version("tokenizers"), **self.processor.versions()},
        }

    @property
    def is_stored(self) -> bool:
        """Whether the token ids of these settings are stored, so that nothing needs preparing."""
        try:
            return (self.folder / MANIFEST).is_file()
        except NotFetchedError:
            return False

    def prepare_data(self) -> None:
        """Fetch the corpus and store its token ids, unless they are stored: one process at a time.

        Raises:
            UserError: the text is missing or damaged, or the cache cannot be written.
        """
        if self.is_stored:
            return
        lock = cache_root(self.cache_dir) / f".{self._corpus_name}.lock"
        with locked(lock, f"preparing {self._corpus_name}"):
            self.corpus.prepare()
            if not (self.folder / MANIFEST).is_file():
                write_store(
                    self.folder, self.corpus, self.processor, self.preprocessing, self._settings
                )
        logger.info("%s", self.describe())

    def setup(self, stage: str | None = None) -> None:
        """Open the stored token ids, preparing them first where that has not been done."""
        self.prepare_data()
        self.store  # noqa: B018 - opened here, so that damage shows before training starts

    @cached_property
    def store(self) -> Store:
        """The stored token ids; see :attr:`Store.manifest` for counts."""
        return Store(self.folder)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of both languages."""
        return self.store.vocabulary

    def split(self, name: str) -> StoredSplit:
        """The stored token ids of a split."""
        return self.store.split(name)

    def lines(self, split: str, side: Literal["source", "target"]) -> list[str]:
        """The lines of a validation or test set as the corpus has them."""
        return self.store.lines(split, side)

    def plan(self) -> str:
        """What preparing would do, one line per step. Nothing is fetched, written or learned."""
        try:
            if self.is_stored:
                return f"nothing to do: stored in {self.folder}"
            steps = [f"read {self._corpus_name}"]
            folder = str(self.folder)
        except NotFetchedError:
            steps = [f"fetch {self._corpus_name} into {cache_root() / 'downloads'}"]
            folder = "the cache, under a name that depends on what arrives"
        steps += ["normalize and tokenize its lines"] if not self.corpus.tokenized else []
        steps += ["lower-case its lines"] if self.lowercase else []
        settings = [f"{name}={value}" for name, value in asdict(self.preprocessing).items()]
        steps.append(f"learn one vocabulary and drop training pairs by {', '.join(settings)}")
        steps.append(f"store the ids of {', '.join(self.corpus.splits())} in {folder}")
        return "\n".join(f"would {step}" for step in steps)

    def describe(self) -> str:
        """What is stored: per split pairs, subwords, what was dropped and why; and where."""
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
        return "\n".join(
            [
                *lines,
                f"vocabulary: {len(self.vocabulary):,} entries, learned from words that occur "
                f"{words['learned_from_count']:,} times at least, of {words['different']:,} words",
                f"data fingerprint: {self.fingerprint}",
                f"stored in {self.folder}",
            ]
        )

    def train_dataloader(self) -> BatchLoader:
        split = self.split("train")
        rank, world_size = self._rank()
        sampler = TrainSampler(split.lengths, self.max_tokens, self.seed, rank, world_size)
        logger.info(
            "train: %s batches per epoch for each of %d processes, %d left out",
            f"{len(sampler):,}",
            world_size,
            sampler.left_out,
        )
        identity = {
            "data_fingerprint": self.fingerprint,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        return BatchLoader(split, sampler, self.num_workers, identity)

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.val_split)

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_split)

    def predict_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_split)

    def _evaluation_loader(self, name: str) -> BatchLoader:
        split = self.split(name)
        rank, world_size = self._rank()
        sampler = EvaluationSampler(split.lengths, self.eval_max_tokens, rank, world_size)
        return BatchLoader(split, sampler, self.num_workers)

    def _rank(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
