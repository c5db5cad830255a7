"""The data module: any corpus as batches of token ids."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from lightning.pytorch import LightningDataModule

from qvbench.data.batching import EvaluationSampler, Lengths, PairDataset, TrainSampler
from qvbench.data.cache import cache_root
from qvbench.data.corpora import CORPORA, Corpus
from qvbench.data.corpora.corpus import NotFetchedError
from qvbench.data.loader import BatchLoader
from qvbench.data.preprocessing import PreprocessingConfig, write_store
from qvbench.data.store import FORMAT, MANIFEST, Store, StoredSplit
from qvbench.data.text_processing import TextProcessor
from qvbench.data.vocabulary import Vocabulary, frequent_characters
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
    ) -> None:
        super().__init__()
        sizes = {
            "max_tokens": max_tokens,
            "max_length": max_length,
            "eval_max_tokens": eval_max_tokens,
        }
        for name, value in sizes.items():
            if value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if merges < 0:
            raise UserError(f"merges must not be negative, got {merges}")
        frequent_characters({}, merges, max_vocabulary)  # has something to say of impossible ones
        if max_ratio is not None and max_ratio < 1:
            raise UserError(f"max_ratio must be at least 1, got {max_ratio}")
        if num_workers < 0:
            raise UserError(f"num_workers must be at least 0, got {num_workers}")
        if test_split is not None and test_split not in corpus.splits()[2:]:
            known = ", ".join(corpus.splits()[2:])
            raise UserError(f"test_split={test_split} is no test set; known are {known}")
        self.corpus = corpus
        self.max_tokens = max_tokens
        self.preprocessing = PreprocessingConfig(merges, max_length, max_ratio, max_vocabulary)
        self.lowercase = lowercase
        self.num_workers = num_workers
        self.eval_max_tokens = eval_max_tokens
        self.seed = seed
        self.cache_dir = cache_dir
        self.test_split = test_split or corpus.splits()[2]
        self.processor = TextProcessor.of(corpus, lowercase)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines the token ids: text, settings, versions."""
        return hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where the token ids are stored."""
        name = CORPORA.name_of(type(self.corpus))
        return cache_root(self.cache_dir) / f"{name}-{self.fingerprint[:16]}.v{FORMAT}"

    @cached_property
    def _settings(self) -> dict[str, object]:
        return {
            "format": _IDS_VERSION,
            "corpus": self.corpus.fingerprint(),
            # What is not asked for is not named: settings may be added without new stores.
            **{
                name: value
                for name, value in asdict(self.preprocessing).items()
                if value is not None
            },
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
        """Fetch the corpus and store its token ids, unless they are stored already.

        Raises:
            UserError: the text is missing or faulty, or the cache cannot be written.
        """
        if self.is_stored:
            return
        self.corpus.prepare()
        write_store(self.folder, self.corpus, self.processor, self.preprocessing, self._settings)

    def setup(self, stage: str | None = None) -> None:
        """Open the stored token ids, preparing them first where that has not been done."""
        self.prepare_data()
        self._store  # noqa: B018 - opened here, so that a fault shows before training starts

    @cached_property
    def _store(self) -> Store:
        return Store(self.folder)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of both languages."""
        return self._store.vocabulary

    @property
    def manifest(self) -> dict[str, object]:
        """What was stored: settings, and for every split pairs, subwords, unknown, dropped."""
        manifest: dict[str, object] = self._store.manifest
        return manifest

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """How many pairs of every split were dropped, by reason; only training pairs ever are."""
        return {name: entry["dropped"] for name, entry in self._store.manifest["splits"].items()}

    def split(self, name: str) -> StoredSplit:
        """The stored token ids of a split."""
        return self._store.split(name)

    def source_lines(self, split: str) -> list[str]:
        """The source lines of a validation or test set as the corpus has them."""
        return self._store.lines(split, "source")

    def reference_lines(self, split: str) -> list[str]:
        """The target lines of a validation or test set as the corpus has them."""
        return self._store.lines(split, "target")

    def train_dataloader(self) -> BatchLoader:
        split = self.split("train")
        rank, world_size = self._rank()
        sampler = TrainSampler(Lengths.of(split), self.max_tokens, self.seed, rank, world_size)
        logger.info(
            "train: %s batches an epoch, %.1f %% of their tokens are real, the rest is padding",
            f"{len(sampler):,}",
            100 * sampler.padding_efficiency(),
        )
        if sampler.left_out:
            logger.info(
                "train: %d batches an epoch are left out, for %d processes to take equally many",
                sampler.left_out,
                world_size,
            )
        identity = {
            "data_fingerprint": self.fingerprint,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        return BatchLoader(PairDataset(split), sampler, self.num_workers, identity)

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_split)

    def predict_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_split)

    def _evaluation_loader(self, name: str) -> BatchLoader:
        split = self.split(name)
        rank, world_size = self._rank()
        sampler = EvaluationSampler(Lengths.of(split), self.eval_max_tokens, rank, world_size)
        return BatchLoader(PairDataset(split), sampler, self.num_workers)

    def _rank(self) -> tuple[int, int]:
        """Number of this process and of all."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
