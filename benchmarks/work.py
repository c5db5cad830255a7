"""The folder that the programs of a case start from, and what their checks should give."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import alone, checks, materials
from benchmarks.checks import Verdict
from benchmarks.ids import IdLines, ids_of, line_of
from qvbench.cli.profile_model import build
from qvbench.data.vocabulary import Vocabulary
from qvbench.decoding.translator import Translator
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.tasks.translation import TranslationTask

RATE_TOLERANCE = 0.02
REFERENCE_TOKENS = 256
"""Of a batch of the reference's: other sentences together than in any program."""

Values = dict[str, Any]
Judge = Callable[[Mapping[str, Any], Mapping[str, Any]], Verdict]
Arrays = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Expectation:
    """What the checks of a work folder's programs should give.

    Attributes:
        judge: of a check before the repeats.
        judge_last: of one after them, where it must have changed.
    """

    judge: Judge
    judge_last: Judge | None = None


def export(kind: str, folder: Path, values: Values, tolerance: float) -> Expectation:
    """Fill a folder for programs of a kind.

    Args:
        kind: of :data:`benchmarks.case.KINDS`.
        folder: new.
        values: of ``shape.json``; those of the network are added.
        tolerance: of the check.
    """
    folder.mkdir(parents=True)
    return EXPORTERS[kind](folder, values, tolerance)


def export_training(folder: Path, values: Values, tolerance: float) -> Expectation:
    """Initial weights and the first batches of training."""
    config = values["config"]
    vocabulary = len(materials.data_of(config).vocabulary)
    task = build(config, values["overrides"], vocabulary).task
    batches = materials.batches_of(config, values["batches"])
    expected = write_training(folder, task, batches, values)
    return Expectation(
        lambda answer, ready: checks.loss(answer, ready, expected, tolerance), checks.learned
    )


def write_training(folder: Path, task: TranslationTask, batches: Arrays, values: Values) -> float:
    """Write a task's network and batches; gives the loss that its check should give."""
    network = task.network
    assert network is not None
    defaults = task.optimizer(network.parameters()).defaults
    smoothing = {"label_smoothing": task.label_smoothing, "betas": defaults["betas"]}
    write_shape(folder, {**values, **shape_of(network), **smoothing})
    write_weights(folder, network)
    arrays: dict[str, Any] = {}
    for number, (source, target) in enumerate(batches):
        arrays |= {f"source_{number}": source, f"target_{number}": target}
    np.savez(folder / "batches.npz", **arrays)
    return reference_loss(network, batches[0], task.label_smoothing)


def export_translation(folder: Path, values: Values, tolerance: float) -> Expectation:
    """Trained weights, the test set, and its translations in float64."""
    test = materials.test_set(values["config"], values.get("checkpoint", ""))
    network = test.network
    write_shape(folder, {**values, **shape_of(network), "checkpoint": ""})
    write_weights(folder, network)
    (folder / "sources.json").write_text(json.dumps(test.sources), encoding="utf-8")
    translator = Translator(
        copy.deepcopy(network).double(),
        IdLines(),
        beam_size=values["beam_size"],
        max_tokens=REFERENCE_TOKENS,
    )
    found = translator.translate_lines([line_of(ids[:-1]) for ids in test.sources])
    expected = [ids_of(line) for line in found]
    return Expectation(
        lambda answer, ready: checks.lines(answer, ready, expected, test.bleu, tolerance)
    )


def export_attention(folder: Path, values: Values, tolerance: float) -> Expectation:
    """A layer's weights; its inputs are made from a seed."""
    write_shape(folder, values)
    write_weights(folder, alone.layer_of(values))
    return _values(alone.expected(values), tolerance)


def export_step(folder: Path, values: Values, tolerance: float) -> Expectation:
    """A layer's weights; what is remembered is made from a seed."""
    write_shape(folder, values)
    write_weights(folder, alone.layer_of(values))
    return _values(alone.expected_step(values), tolerance)


def export_loading(folder: Path, values: Values, tolerance: float) -> Expectation:
    """Nothing but the config's name; the data is prepared here."""
    write_shape(folder, values)
    return _values([[number] for number in materials.epoch_of(values["config"])], tolerance)


def export_start(folder: Path, values: Values, tolerance: float) -> Expectation:
    """Nothing but what to start; its data is prepared here."""
    write_shape(folder, values)
    if "config" in values:
        materials.data_of(values["config"])
    return _values([0.0], tolerance)


def export_rates(folder: Path, values: Values, tolerance: float) -> Expectation:
    """Nothing but sizes."""
    write_shape(folder, values)
    return _values([0.0], RATE_TOLERANCE)


EXPORTERS: dict[str, Callable[[Path, Values, float], Expectation]] = {
    "train": export_training,
    "translate": export_translation,
    "attention": export_attention,
    "step": export_step,
    "loader": export_loading,
    "start": export_start,
    "rates": export_rates,
}


def _values(expected: Sequence[Any], tolerance: float) -> Expectation:
    return Expectation(lambda answer, ready: checks.values(answer, ready, expected, tolerance))


def shape_of(network: EncoderDecoder) -> Values:
    """Sizes and dropouts, in the protocol's names."""
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


def write_shape(folder: Path, values: Values) -> None:
    """``shape.json``; a network's sizes are zero where there is none."""
    text = json.dumps({**NO_NETWORK, **values}, indent=1)
    (folder / "shape.json").write_text(text, encoding="utf-8")


def write_weights(folder: Path, module: nn.Module) -> None:
    """``weights.npz``, under our names."""
    arrays: dict[str, Any] = {
        name: tensor.cpu().numpy() for name, tensor in module.state_dict().items()
    }
    np.savez(folder / "weights.npz", **arrays)


@torch.no_grad()
def reference_loss(
    network: EncoderDecoder, batch: tuple[np.ndarray, np.ndarray], smoothing: float
) -> float:
    """Label-smoothed loss of a batch without dropout, mean over its target tokens, in float64.

    By the definition, from all logits at once, and not by the way that training takes.
    """
    exact = copy.deepcopy(network).double().eval()
    source, target = (torch.from_numpy(side) for side in batch)
    logits = exact.project(exact(source, target[:, :-1]))
    loss = F.cross_entropy(
        logits.flatten(0, 1),
        target[:, 1:].flatten(),
        ignore_index=exact.padding_id,
        label_smoothing=smoothing,
    )
    return float(loss)
