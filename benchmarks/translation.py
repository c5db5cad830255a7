"""Work on a translation corpus: what its programs start from, and the suite's own programs."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer

from benchmarks import checks
from benchmarks.checks import Judge
from benchmarks.protocol import ROOT, Ids, Shape, Task, Work, each_time, real_tokens
from benchmarks.protocol import Batch as Pair
from qvbench.cli.experiment import Experiment, load_translator_parts
from qvbench.cli.profile import build
from qvbench.data.cache import cache_root
from qvbench.data.text import Vocabulary
from qvbench.data.translation import TranslationDataModule
from qvbench.decoding.translator import Translator
from qvbench.errors import UserError
from qvbench.metrics import corpus_scores
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.facts import Network, Size, count, counter, hidden_states, stacks
from qvbench.models.loss import validation_scores
from qvbench.profile.measure import batch_of
from qvbench.tasks.translation import TranslationTask
from qvbench.training.guards import StepGuard
from qvbench.training.schedules import Constant

TRAINING_STEPS = 800
"""Of the network that translates, unless a checkpoint is given: enough for translations that end
where they should and are right now and then."""
FIRST_STEP = 17
"""Exit status of a training that ended with its first step."""


@lru_cache(maxsize=4)
def data_of(config: str) -> TranslationDataModule:
    module = Experiment("prepare", ["--config", config]).build().data
    module.setup()
    return module


def sizes_of(network: Network) -> dict[str, Any]:
    """Sizes, dropouts and special ids, as ``shape.json`` names them."""
    layers = stacks(network)
    layer = layers[0][0]
    sizes = {
        "d_model": network.d_model,
        "num_heads": layer.attention.num_heads,
        "d_ff": layer.feed_forward.widen.out_features,
        "vocabulary": network.output_weight.shape[0],
        "dropout": layer.attention_residual.dropout,
        "attention_dropout": layer.attention.dropout,
        "ffn_dropout": layer.feed_forward.dropout,
    }
    if isinstance(network, DecoderOnly):
        sizes["bias"] = layer.feed_forward.widen.bias is not None
        sizes |= {"layers": len(layers[0]), "positions": network.max_length, "pad": -1}
        return sizes
    ids = {name: getattr(Vocabulary, name) for name in ("pad", "bos", "eos", "unk")}
    return {**sizes, "encoder_layers": len(layers[0]), "decoder_layers": len(layers[1]), **ids}


# Training as `qvbench fit` does it: Lightning's loop around the suite's task


def write_train(work: Work, shape: Shape, tolerance: float) -> Judge:
    data = data_of(shape.config)
    task = build(shape.config, shape.overrides, len(data.vocabulary)).task
    loader = data.train_dataloader()
    batches = [loader.batch_at(0, number) for number in range(shape.batches)]
    pairs = [(batch.source, batch.target) for batch in batches]
    return checks.loss(write_task(work, task, pairs, shape), tolerance)


def write_task(work: Work, task: TranslationTask, batches: Sequence[Pair], shape: Shape) -> float:
    """Write a task's network and batches; returns the loss that its check should give."""
    assert task.network is not None
    betas = task.optimizer(task.network.parameters()).defaults["betas"]
    more = {**sizes_of(task.network), "betas": betas, "label_smoothing": task.label_smoothing}
    work.write(SimpleNamespace(**{**vars(shape), **more}), task.network.state_dict(), batches)
    return reference_loss(task.network, batches[0], task.label_smoothing)


@torch.no_grad()
def reference_loss(network: Network, batch: Pair, smoothing: float) -> float:
    """Of a batch, by its definition: no dropout, all logits at once, mean over tokens, float64."""
    exact = copy.deepcopy(network).double().eval()
    source, target = batch
    logits = exact.project(hidden_states(exact, source, target[:, :-1])).flatten(0, 1)
    labels, padding = target[:, 1:].flatten(), exact.padding_id
    return float(F.cross_entropy(logits, labels, ignore_index=padding, label_smoothing=smoothing))


@dataclass
class Feed:
    """A loader of one epoch that hands all its batches out for each repeat: the Trainer asks for a
    batch once it is done with the one before, so a repeat ends when it asks for more."""

    batches: Sequence[Any]
    repeats: Iterable[Any]

    def __len__(self) -> int:
        return 1 << 60

    def __iter__(self) -> Iterator[Any]:
        for _ in self.repeats:
            yield from self.batches


def train(work: Work) -> Task:
    """A Trainer that is fed when a repeat is asked for."""
    shape = work.shape
    task = build(shape.config, shape.overrides, shape.vocabulary).task
    task.schedule = Constant(shape.learning_rate)
    assert task.network is not None
    task.network.load_state_dict(work.weights())
    pairs = work.batches()
    batches = [batch_of(task.network, *pair) for pair in pairs]
    tokens = real_tokens(pairs, shape.pad)
    sizes = [Size(len(s), s.shape[1], t.shape[1] - 1) for s, t in pairs]  # padding is computed too
    flops = sum(count(task.network, size)["train"].total for size in sizes)
    settings = {"precision": shape.precision, "flops_per_item": flops / tokens}
    torch.manual_seed(1)

    def run(repeats: Iterable[Any]) -> None:
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            precision=settings["precision"],
            max_epochs=1,
            callbacks=[StepGuard()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(task, train_dataloaders=Feed(batches, repeats))

    @torch.no_grad()
    def check() -> dict[str, Any]:
        task.eval()
        scores = task.score(task(batches[0]), validation_scores)
        task.train()
        return {"loss": float(scores.smoothed.mean())}

    return Task(check, run, tokens, settings)


# Translation as `qvbench translate` does it, from and to ids


class IdLines:
    """A vocabulary whose words are ids: for a translator that takes and gives lines of text."""

    pad, bos, eos = Vocabulary.pad, Vocabulary.bos, Vocabulary.eos

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


def translate_ids(translator: Any, sources: Ids) -> list[list[int]]:
    lines = translator.translate_lines([IdLines().decode(ids[:-1]) for ids in sources])
    return IdLines().encode_batch(lines)


def trained(config: str) -> Path:
    """A checkpoint of a config after some steps, kept in the cache."""
    name = f"bench-{Path(config).stem}-{TRAINING_STEPS}-{data_of(config).fingerprint[:16]}"
    folder = cache_root() / name
    folder.mkdir(parents=True, exist_ok=True)
    complete = folder / "complete"
    if not complete.exists():
        command = [sys.executable, "-m", "qvbench", "fit", "--config", config]
        command += ["--trainer.max_steps", str(TRAINING_STEPS)]
        command += ["--trainer.default_root_dir", str(folder)]
        print(f"training a network that can translate, {TRAINING_STEPS} steps", file=sys.stderr)
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
            raise UserError("training a network to translate with failed; give a --checkpoint")
        complete.touch()
    return max(folder.glob("runs/*/seed-*/checkpoints/last.ckpt"))


def write_translate(work: Work, shape: Shape, tolerance: float) -> Judge:
    """Trained weights and the test set; the reference is a float64 search."""
    data = data_of(shape.config)
    path = Path(shape.checkpoint or trained(shape.config))
    network, vocabulary, processor = load_translator_parts(path)
    lines = [processor.source(line) for line in data.lines(data.test_split, "source")]
    sources = [[*ids, vocabulary.eos] for ids in vocabulary.encode_batch(lines)]
    references = [processor.target(line) for line in data.lines(data.test_split, "target")]
    shape = SimpleNamespace(**{**vars(shape), **sizes_of(network)})
    work.write(shape, network.state_dict(), sources=sources)

    def bleu(translations: Ids) -> float:
        words = [vocabulary.decode(list(ids)) for ids in translations]
        return corpus_scores(words, references, "none").bleu

    exact, beams = copy.deepcopy(network).double(), shape.beam_size
    # Small batches, so that other sentences share one than in any program.
    reference = Translator(exact, IdLines(), beam_size=beams, max_tokens=256)
    return checks.translations(translate_ids(reference, sources), bleu, tolerance)


def translate(work: Work) -> Task:
    shape, sources = work.shape, work.sources()
    network = build(shape.config, shape.overrides, shape.vocabulary).task.network
    network.load_state_dict(work.weights())
    translator = Translator(network, IdLines(), beam_size=shape.beam_size)
    with counter() as counted:
        translate_ids(translator, sources)
    flops = counted.get_total_flops() / len(sources)
    settings = {"max_tokens": translator.max_tokens, "flops_per_item": flops}
    lines = partial(translate_ids, translator, sources)
    return Task(lambda: {"lines": lines()}, each_time(lines), len(sources), settings)


# From a command of `qvbench` to what its user waits for


class EndWithFirstStep(Callback):
    """Ends the whole process once the first batch is done: nobody waits for what comes after."""

    def on_train_batch_end(self, *args: Any, **more: Any) -> None:
        os._exit(FIRST_STEP)


def write_start(work: Work, shape: Shape, tolerance: float) -> Judge:
    """The command alone; its data is prepared here, and it should exit as expected."""
    args, status = ["--help"], 0
    if hasattr(shape, "config"):
        data_of(shape.config)
        callback = f"{EndWithFirstStep.__module__}.{EndWithFirstStep.__name__}"
        args = ["fit", "--config", shape.config, f"--trainer.callbacks+={callback}"]
        args += ["--trainer.default_root_dir", str(work.folder)]
        status = FIRST_STEP
    work.write(SimpleNamespace(**vars(shape), args=args))
    return checks.values([[status]], tolerance)


def start(work: Work) -> Task:
    """A command, from its start to its end."""
    command = [sys.executable, "-m", "qvbench", *work.shape.args]

    def run() -> int:
        # Standard output is for answers to requests.
        return subprocess.run(command, stdout=sys.stderr, check=False).returncode

    return Task(lambda: {"values": [[run()]]}, each_time(run), 1, {})


WORK = {"train": write_train, "translate": write_translate, "start": write_start}
