"""The data module of recall: sequences that ask for a token here and there, as batches.

A store holds a split as one array, ``<split>.bin``, int32 (N, 2, L): the inputs and targets of N
sequences of L tokens; see :mod:`qvbench.data.store`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from qvbench.data.batching import Lengths, Windows
from qvbench.data.corpora.synthetic import NO_TOKEN, Int64, SyntheticCorpus
from qvbench.data.language import TextVocabulary
from qvbench.data.module import StoredDataModule, check_set
from qvbench.data.store import TOKENIZER, MappedDataset
from qvbench.errors import UserError


class StoredExamples(MappedDataset[Windows]):
    """The sequences of a split, memory-mapped; an item is a batch of chosen ones, up to the last
    token that one of them asks for. What comes after it changes no prediction that counts."""

    def __init__(self, file: Path, length: int) -> None:
        super().__init__(file, length)
        self.tokens = np.memmap(file, np.int32, "r").reshape(-1, 2, length)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def lengths(self) -> Lengths:
        """Tokens of every sequence, up to the last that it asks for."""
        asked = self.tokens[:, 1, ::-1] != NO_TOKEN
        lengths = asked.shape[1] - asked.argmax(1)
        return Lengths(lengths, lengths)

    def __getitem__(self, rows: Int64) -> Windows:
        chosen = self.tokens[rows, :, : self.lengths.target[rows].max()]
        inputs, targets = torch.from_numpy(chosen.astype(np.int64)).unbind(1)
        return Windows(inputs.contiguous(), targets.contiguous(), torch.from_numpy(rows))


class SyntheticDataModule(StoredDataModule):
    """Sequences drawn at random, of whose tokens those count that are asked for.

    Args:
        corpus: what draws them: ``AssociativeRecall``, ``Copying``, ``Induction`` or
            ``Modifiers``.
        max_tokens: of a training batch: sequences, which end at about the same place, times the
            tokens of the longest.
        eval_max_tokens: of a validation batch, like max_tokens.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order of training sequences; what is drawn depends on the corpus's seed.
        cache_dir: folder for stored sequences; default ``$QVBENCH_CACHE``, else
            ``~/.cache/qvbench``.
        val_split: set for validation; ``selection`` is to choose settings on.
    """

    vocabulary_class = TextVocabulary
    eval_context = None

    def __init__(
        self,
        corpus: SyntheticCorpus,
        max_tokens: int = 4096,
        eval_max_tokens: int = 16384,
        num_workers: int = 0,
        seed: int = 0,
        cache_dir: str | None = None,
        val_split: str = "val",
    ) -> None:
        super().__init__(corpus, max_tokens, eval_max_tokens, num_workers, seed, cache_dir)
        check_set("val_split", val_split, corpus.splits()[1:])
        for name, budget in (("max_tokens", max_tokens), ("eval_max_tokens", eval_max_tokens)):
            if budget < corpus.length:
                what = f"a sequence of {corpus.length} tokens"
                raise UserError(f"{name}={budget} is smaller than {what}")
        self.val_split = val_split
        self.context = corpus.length
        self.planned_vocabulary = corpus.vocab_size

    @cached_property
    def settings(self) -> dict[str, object]:
        return {"corpus": self.corpus.fingerprint()}

    def write(self, work: Path) -> dict[str, Any]:
        size = self.corpus.vocab_size
        tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(size)}))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        TextVocabulary(tokenizer).save(work / TOKENIZER)
        splits = {}
        for name in self.corpus.splits():
            examples = asked = 0
            with (work / f"{name}.bin").open("wb") as file:
                for inputs, targets in self.corpus.examples(name):
                    file.write(np.stack((inputs, targets), 1).astype(np.int32).tobytes())
                    examples += len(inputs)
                    asked += int((targets != NO_TOKEN).sum())
            splits[name] = {"examples": examples, "asked": asked}
        return {"splits": splits}

    def steps(self) -> list[str]:
        return [f"draw {self.corpus.train_examples:,} sequences, and some to validate on"]

    def counts(self) -> list[str]:
        """Per split sequences, and how many tokens they ask for."""
        return [
            f"{name}: {split['examples']:,} sequences of {self.corpus.length} tokens, which ask "
            f"for {split['asked']:,}"
            for name, split in self.store.manifest["splits"].items()
        ]

    def bytes_per_token(self, split: str) -> None:
        """None: what is drawn is no text."""

    def split(self, name: str) -> StoredExamples:
        """The sequences of a split."""
        return StoredExamples(self.folder / f"{name}.bin", self.corpus.length)
