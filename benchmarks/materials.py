"""What the cases are made from: real text, and a network trained on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.process import ROOT
from qvbench.cli.checkpoint import load_translator_parts
from qvbench.cli.experiment import ExperimentCLI
from qvbench.data.cache import cache_root, make_folder
from qvbench.data.module import TranslationDataModule
from qvbench.errors import UserError
from qvbench.metrics.bleu import corpus_scores
from qvbench.models.encoder_decoder import EncoderDecoder

TRAINING_STEPS = 800
"""Of the network that translates, unless a checkpoint is given: its translations end as they
should, and are right now and then."""

Ids = Sequence[Sequence[int]]


@lru_cache(maxsize=4)
def data_of(config: str) -> TranslationDataModule:
    """The data of a config, prepared."""
    module = ExperimentCLI(["--config", config], run=False).datamodule
    module.setup()
    return module


def batches_of(config: str, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first batches of training, source (B, S) and target (B, T)."""
    loader = data_of(config).train_dataloader()
    batches = [loader.batch_at(0, number) for number in range(count)]
    return [(batch.source.numpy(), batch.target.numpy()) for batch in batches]


@dataclass(frozen=True)
class TestSet:
    """Sentences to translate.

    Attributes:
        network: that is to do it.
        sources: ids, each with its end token.
        bleu: tokenised BLEU of translations.
    """

    __test__ = False  # pytest looks at names

    network: EncoderDecoder
    sources: list[list[int]]
    bleu: Callable[[Ids], float]


@lru_cache(maxsize=2)
def test_set(config: str, checkpoint: str) -> TestSet:
    """The test set of a config's data, with the network of a checkpoint.

    Args:
        config: its data, and what is trained where no checkpoint is given.
        checkpoint: a path, or nothing.
    """
    data = data_of(config)
    path = Path(checkpoint) if checkpoint else trained(config)
    network, vocabulary, processor = load_translator_parts(path)
    lines = [processor.source(line) for line in data.source_lines(data.test_split)]
    sources = [[*ids, vocabulary.eos] for ids in vocabulary.encode_batch(lines)]
    references = [processor.target(line) for line in data.reference_lines(data.test_split)]

    def bleu(translations: Ids) -> float:
        words = [vocabulary.decode(list(ids)) for ids in translations]
        return corpus_scores(words, references, "none").bleu

    return TestSet(network, sources, bleu)


def trained(config: str) -> Path:
    """A checkpoint of a config after some steps; trained now, unless it has been before.

    Raises:
        UserError: the training failed; what it said is on standard error.
    """
    data = data_of(config)
    name = f"bench-{Path(config).stem}-{TRAINING_STEPS}-{data.fingerprint[:16]}"
    folder = make_folder(cache_root() / name)
    found = sorted(folder.glob("runs/*/seed-*/checkpoints/last.ckpt"))
    if found:
        return found[-1]
    command = [sys.executable, "-m", "qvbench", "fit", "--config", config]
    command += ["--trainer.max_steps", str(TRAINING_STEPS)]
    command += ["--trainer.default_root_dir", str(folder)]
    print(f"training a network that can translate, {TRAINING_STEPS} steps", file=sys.stderr)
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
        raise UserError("training the network that translates failed; --checkpoint gives another")
    return sorted(folder.glob("runs/*/seed-*/checkpoints/last.ckpt"))[-1]


class Epoch(NamedTuple):
    """What an epoch of training batches has to hold."""

    pairs: int
    target_tokens: int
    batches: int


def epoch_of(config: str) -> Epoch:
    """Counted in the store itself."""
    data = data_of(config)
    split = data.split("train")
    tokens = int(split.target.lengths.sum()) + len(split)
    return Epoch(len(split), tokens, len(data.train_dataloader()))
