"""What programs start from: real batches, weights and sentences, written into a folder of work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.measure import ROOT
from qvbench.cli.experiment import Experiment, load_translator_parts
from qvbench.data.cache import cache_root, make_folder
from qvbench.data.module import TranslationDataModule
from qvbench.data.vocabulary import Vocabulary
from qvbench.errors import UserError
from qvbench.metrics.bleu import corpus_scores
from qvbench.models.encoder_decoder import EncoderDecoder

TRAINING_STEPS = 800
"""Of the network that translates, unless a checkpoint is given: enough for translations that end
where they should and are right now and then."""

Values = dict[str, Any]
Ids = Sequence[Sequence[int]]
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TestSet:
    """Sentences to translate.

    Attributes:
        network: trained, to translate with.
        sources: ids, each ending with the end token.
        bleu: tokenized BLEU of translations.
    """

    __test__ = False  # pytest looks at names

    network: EncoderDecoder
    sources: list[list[int]]
    bleu: Callable[[Ids], float]


class IdLines:
    """A vocabulary whose words are ids: for a translator that takes and gives lines of text."""

    pad, bos, eos = Vocabulary.pad, Vocabulary.bos, Vocabulary.eos

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``5 7`` to ``[5, 7]``."""
        return [[int(word) for word in text.split()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """``[5, 7]`` to ``5 7``."""
        return " ".join(map(str, ids))


def translate_ids(translator: Any, sources: Ids) -> list[list[int]]:
    """Translations of sentences by a translator over :class:`IdLines`."""
    lines = translator.translate_lines([IdLines().decode(ids[:-1]) for ids in sources])
    return IdLines().encode_batch(lines)


@lru_cache(maxsize=4)
def data_of(config: str, *args: str) -> TranslationDataModule:
    """The data of a config with more arguments, prepared."""
    module = Experiment("prepare", ["--config", config, *args]).data_module()
    module.setup()
    return module


def first_batches(config: str, count: int) -> list[Pair]:
    """The first batches of training, source (B, S) and target (B, T)."""
    loader = data_of(config).train_dataloader()
    batches = [loader.batch_at(0, number) for number in range(count)]
    return [(batch.source.numpy(), batch.target.numpy()) for batch in batches]


@lru_cache(maxsize=2)
def test_set(config: str, checkpoint: str) -> TestSet:
    """The test set of a config's data, with the network of a checkpoint, or a trained one."""
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
    """A checkpoint of a config after some steps, kept in the cache.

    Raises:
        UserError: the training failed; its messages are on standard error.
    """
    name = f"bench-{Path(config).stem}-{TRAINING_STEPS}-{data_of(config).fingerprint[:16]}"
    folder = make_folder(cache_root() / name)
    checkpoints = "runs/*/seed-*/checkpoints/last.ckpt"
    if found := sorted(folder.glob(checkpoints)):
        return found[-1]
    command = [sys.executable, "-m", "qvbench", "fit", "--config", config]
    command += ["--trainer.max_steps", str(TRAINING_STEPS)]
    command += ["--trainer.default_root_dir", str(folder)]
    print(f"training a network that can translate, {TRAINING_STEPS} steps", file=sys.stderr)
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
        raise UserError("training the network that translates failed; --checkpoint gives another")
    return sorted(folder.glob(checkpoints))[-1]


def shape_of(network: EncoderDecoder) -> Values:
    """Sizes and dropouts, under the protocol's names."""
    layer: Any = network.encoder[0]
    return {
        "encoder_layers": len(network.encoder),
        "decoder_layers": len(network.decoder),
        "d_model": network.d_model,
        "num_heads": layer.attention.num_heads,
        "d_ff": layer.feed_forward.widen.out_features,
        "vocabulary": network.output_weight.shape[0],
        "dropout": network.source_embeddings.dropout.p,
        "attention_dropout": layer.attention.dropout,
        "ffn_dropout": layer.feed_forward.dropout.p,
        **{name: getattr(Vocabulary, name) for name in ("pad", "bos", "eos", "unk")},
    }


NO_NETWORK = dict.fromkeys(
    ("encoder_layers", "decoder_layers", "d_model", "num_heads", "d_ff", "vocabulary"), 0
)


def write(
    folder: Path,
    values: Values,
    module: nn.Module | None = None,
    batches: Sequence[Pair] = (),
    sources: Ids = (),
) -> None:
    """The files of a folder of work; :mod:`benchmarks.peers.protocol` describes them."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = json.dumps({**NO_NETWORK, **values}, indent=1)
    (folder / "shape.json").write_text(shape, encoding="utf-8")
    (folder / "sources.json").write_text(json.dumps(sources), encoding="utf-8")
    weights = module.state_dict() if module is not None else {}
    arrays: Values = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
    np.savez(folder / "weights.npz", **arrays)
    arrays = {}
    for number, (source, target) in enumerate(batches):
        arrays |= {f"source_{number}": source, f"target_{number}": target}
    np.savez(folder / "batches.npz", **arrays)
