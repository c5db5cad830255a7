"""Data modules: token ids stored once, loaders that resume exactly; and that of translation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning.pytorch import LightningDataModule

from qvbench.data import preprocessing
from qvbench.data.batching import EvaluationSampler, TrainSampler
from qvbench.data.cache import cache_root, locked
from qvbench.data.corpora import CORPORA, Corpus, MonolingualCorpus, SyntheticCorpus
from qvbench.data.corpora.files import NotFetchedError
from qvbench.data.loader import BatchLoader
from qvbench.data.store import (
    FORMAT,
    MANIFEST,
    TOKENIZER,
    Store,
    StoredSplit,
    id_type,
    new_store,
)
from qvbench.data.text import TextProcessor, Vocabulary, frequent_characters
from qvbench.errors import UserError

logger = logging.getLogger(__name__)

# Raised whenever the same text and settings give other ids than before.
_IDS_VERSION = 2


class StoredDataModule(LightningDataModule):
    """A corpus as batches of token ids, stored in the cache under the fingerprint of all that
    determines them.

    A data module says what determines the ids, writes them, and says which rows make batches.

    Raises:
        UserError: a number is out of its range.
    """

    vocabulary_class: ClassVar[type[Vocabulary]] = Vocabulary
    test_split: str | None = None
    val_split: str = "val"

    def __init__(
        self,
        corpus: MonolingualCorpus | SyntheticCorpus,
        max_tokens: int,
        eval_max_tokens: int,
        num_workers: int,
        seed: int,
        cache_dir: str | None,
    ) -> None:
        super().__init__()
        check_least(1, max_tokens=max_tokens, eval_max_tokens=eval_max_tokens)
        check_least(0, num_workers=num_workers)
        self.corpus: Any = corpus
        self.max_tokens = max_tokens
        self.eval_max_tokens = eval_max_tokens
        self.num_workers = num_workers
        self.seed = seed
        self.cache_dir = cache_dir
        self._stored = list(corpus.splits())
        self._loaders: list[BatchLoader] = []

    # What a data module defines

    @property
    def settings(self) -> dict[str, object]:
        """All that determines the token ids, as JSON values: text, settings, versions.

        Raises:
            NotFetchedError: the corpus has to be fetched first.
        """
        raise NotImplementedError

    planned_vocabulary: int | None = None
    """Entries that the vocabulary will have, where the settings say so."""

    def write(self, work: Path) -> dict[str, Any]:
        """Write vocabulary and token ids of the corpus, which is prepared, into a folder. Returns
        what the manifest says of them: ``splits`` by name, and what counts for all."""
        raise NotImplementedError

    def steps(self) -> list[str]:
        """What is done to the text before its ids are stored, for :meth:`plan`."""
        raise NotImplementedError

    def counts(self) -> list[str]:
        """Lines on what is stored, for :meth:`describe`."""
        raise NotImplementedError

    def split(self, name: str) -> Any:
        """The stored token ids of a split."""
        raise NotImplementedError

    # What all have in common

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines the token ids: text, settings, versions."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where the token ids are stored."""
        name = f"{self._corpus_name}-{self.fingerprint[:16]}.v{FORMAT}"
        return cache_root(self.cache_dir) / name

    @property
    def _corpus_name(self) -> str:
        return CORPORA.name_of(type(self.corpus))

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
                with new_store(self.folder) as (work, manifest):
                    manifest |= {"settings": self.settings, **self.write(work)}
        logger.info("%s", self.describe())

    def setup(self, stage: str | None = None) -> None:
        """Open the stored token ids, preparing them first where that has not been done."""
        self.prepare_data()
        self.store  # noqa: B018 - opened here, so that damage shows before training starts

    @cached_property
    def store(self) -> Store:
        """The folder of token ids; see :attr:`Store.manifest` for counts."""
        return Store(self.folder, self.vocabulary_class)

    @property
    def vocabulary(self) -> Any:
        """Of the stored token ids."""
        return self.store.vocabulary

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
        steps += [*self.steps(), f"store the ids of {', '.join(self._stored)} in {folder}"]
        return "\n".join(f"would {step}" for step in steps)

    def describe(self) -> str:
        """What is stored, and where."""
        where = [f"data fingerprint: {self.fingerprint}", f"stored in {self.folder}"]
        return "\n".join([*self.counts(), *where])

    def order(self) -> dict[str, Any]:
        """What determines the order of training batches: a run is resumed with the same alone."""
        return {
            "data_fingerprint": self.fingerprint,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }

    def train_sampler(self, split: Any, rank: int, world_size: int) -> TrainSampler:
        """Which rows make batches, for one process of several: by default rows of like length."""
        return TrainSampler(split.lengths, self.max_tokens, self.seed, rank, world_size)

    def evaluation_sampler(self, split: Any, rank: int, world_size: int) -> EvaluationSampler:
        """The same for a set that is validated or tested on."""
        return EvaluationSampler(split.lengths, self.eval_max_tokens, rank, world_size)

    def train_dataloader(self) -> BatchLoader:
        split = self.split("train")
        sampler = self.train_sampler(split, *self._rank())
        logger.info(
            f"train: {len(sampler):,} batches per epoch for each of {sampler.world_size} "
            f"processes, {sampler.left_out} left out"
        )
        return self._loader(split, sampler, self.order())

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.val_split)

    def test_dataloader(self) -> BatchLoader:
        if self.test_split is None:
            corpus = type(self.corpus).__name__
            raise UserError(f"test: {corpus} has no test set; `qvbench validate` scores its val")
        return self._evaluation_loader(self.test_split)

    predict_dataloader = test_dataloader

    def _evaluation_loader(self, name: str) -> BatchLoader:
        split = self.split(name)
        return self._loader(split, self.evaluation_sampler(split, *self._rank()))

    def _loader(
        self, split: Any, sampler: Any, identity: dict[str, Any] | None = None
    ) -> BatchLoader:
        self._loaders.append(BatchLoader(split, sampler, self.num_workers, identity))
        return self._loaders[-1]

    def teardown(self, stage: str) -> None:
        while self._loaders:
            self._loaders.pop().end_workers()

    def _rank(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def check_least(least: int, **settings: float) -> None:
    """UserError for a setting below the least that makes sense."""
    for name, value in settings.items():
        if value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")


def check_set(name: str, given: str | None, sets: Sequence[str]) -> None:
    """UserError for the name of a split that a corpus does not have."""
    if given is not None and given not in sets:
        raise UserError(f"{name}={given}: no such set; known are {', '.join(sets)}")


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
