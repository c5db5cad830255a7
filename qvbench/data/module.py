"""What data modules have in common: token ids stored once, loaders that resume exactly."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import LightningDataModule

from qvbench.data.batching import EvaluationSampler, TrainSampler
from qvbench.data.cache import cache_root, locked
from qvbench.data.corpora import CORPORA, MonolingualCorpus, SyntheticCorpus
from qvbench.data.corpora.files import NotFetchedError
from qvbench.data.loader import BatchLoader
from qvbench.data.store import FORMAT, MANIFEST, Store, new_store
from qvbench.data.text import Vocabulary
from qvbench.errors import UserError

logger = logging.getLogger(__name__)


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
