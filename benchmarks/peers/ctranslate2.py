"""CTranslate2 as a peer for translation: our weights through its own TransformerSpec.

Greedy translations are ours. With beams about one in a hundred differs, for its search stops by
another rule than ours.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

if not __package__:  # run by its path: this folder's name for the module would hide the package
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import ctranslate2
import numpy as np
from ctranslate2.converters.utils import fuse_linear
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec

from benchmarks.peers.protocol import (
    SAME_FUNCTION,
    Shape,
    Weights,
    Work,
    length_batches,
    serve,
    sinusoids,
    within_limits,
)

NORM_EPS = 1e-6  # ours
POSITIONS = 1024
MAX_TOKENS = 2048  # of a batch, over all beams: with 4,096 sources' tokens it is a third slower
COMPUTE_TYPES = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}


def specification(weights: Weights, shape: Shape) -> TransformerSpec:
    """The whole model."""
    spec = TransformerSpec.from_config(
        (shape.encoder_layers, shape.decoder_layers), shape.num_heads, pre_norm=True
    )
    names = shape.token_names()
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.layer_norm_epsilon = NORM_EPS
    table = weights["source_embeddings.tokens.weight"]
    spec.encoder.embeddings[0].weight = table
    spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    spec.decoder.projection.bias = weights["output_bias"]
    for side, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        stack.position_encodings.encodings = sinusoids(POSITIONS, shape.d_model)
        _set_norm(stack.layer_norm, weights, f"{side}_norm")
        for i, layer in enumerate(stack.layer):
            _set_layer(layer, weights, f"{side}.{i}")
    return spec


def _set_layer(layer: Any, weights: Weights, name: str) -> None:
    """One layer of either stack."""
    own = layer.self_attention
    _fuse(own.linear[0], weights, [f"{name}.attention.{p}" for p in ("query", "key", "value")])
    own.linear[1].weight = weights[f"{name}.attention.output.weight"]
    _set_norm(own.layer_norm, weights, f"{name}.attention_residual.norm")
    if f"{name}.cross_attention.query.weight" in weights:
        cross = layer.attention
        cross.linear[0].weight = weights[f"{name}.cross_attention.query.weight"]
        _fuse(cross.linear[1], weights, [f"{name}.cross_attention.{p}" for p in ("key", "value")])
        cross.linear[2].weight = weights[f"{name}.cross_attention.output.weight"]
        _set_norm(cross.layer_norm, weights, f"{name}.cross_attention_residual.norm")
    layer.ffn.linear_0.weight = weights[f"{name}.feed_forward.widen.weight"]
    layer.ffn.linear_1.weight = weights[f"{name}.feed_forward.narrow.weight"]
    _set_norm(layer.ffn.layer_norm, weights, f"{name}.feed_forward_residual.norm")


def _fuse(spec: LinearSpec, weights: Weights, names: list[str]) -> None:
    """Several projections of one input as one, as CTranslate2 wants them."""
    parts = []
    for name in names:
        part = LinearSpec()
        part.weight = weights[f"{name}.weight"]
        parts.append(part)
    fuse_linear(spec, parts)


def _set_norm(spec: LayerNormSpec, weights: Weights, name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def save(weights: Weights, shape: Shape, folder: str) -> None:
    """Write the model as CTranslate2 loads it, in float32."""
    spec = specification({k: v.astype(np.float32) for k, v in weights.items()}, shape)
    spec.validate()
    spec.optimize()
    spec.save(folder)


def compute_type(shape: Shape) -> str:
    """The type for the precision, float32 where this processor has no product in it."""
    wanted = COMPUTE_TYPES[shape.precision]
    supported = ctranslate2.get_supported_compute_types(shape.device)
    return wanted if wanted in supported else "float32"


class Translating:
    """One translator a thread: for many sentences better than one translator with all threads."""

    def __init__(self, work: Work) -> None:
        shape = work.shape
        kind, workers = compute_type(shape), shape.thread_count()
        if shape.device == "cuda":
            workers = 1
        with tempfile.TemporaryDirectory() as folder:
            save(work.weights(), shape, folder)
            self._translator = ctranslate2.Translator(
                folder,
                device=shape.device,
                compute_type=kind,
                inter_threads=workers,
                intra_threads=1,
            )
        names = shape.token_names()
        self._shape = shape
        self._ids = {name: i for i, name in enumerate(names)}
        sources = self._source_ids = work.sources()
        self._sources = [[names[i] for i in ids] for ids in sources]
        max_tokens = shape.max_tokens or MAX_TOKENS // shape.beam_size
        self._batches = length_batches(sources, max_tokens)
        self.comparable = SAME_FUNCTION
        self.settings: dict[str, Any] = {
            "compute_type": kind,
            "workers": workers,
            "max_tokens": max_tokens,
        }

    def check(self) -> dict[str, Any]:
        """All translations as ids."""
        lines = [[self._ids[word] for word in line] for line in self._lines()]
        return {"lines": within_limits(lines, self._source_ids, self._shape)}

    def repeat(self) -> int:
        """Translate everything."""
        return len(self._lines())

    def _lines(self) -> list[list[str]]:
        """Translations in the order of the sources; the workers take batches as they get free."""
        lines: list[list[str]] = [[] for _ in self._sources]
        pending = [self._submit([self._sources[i] for i in batch]) for batch in self._batches]
        for batch, results in zip(self._batches, pending, strict=True):
            for index, result in zip(batch, results, strict=True):
                lines[index] = result.result().hypotheses[0]
        return lines

    def _submit(self, sources: list[list[str]]) -> list[Any]:
        found: list[Any] = self._translator.translate_batch(
            sources,
            asynchronous=True,
            beam_size=self._shape.beam_size,
            length_penalty=self._shape.length_penalty,
            max_decoding_length=self._shape.limit(len(sources[0])),
        )
        return found


if __name__ == "__main__":
    serve({"translate": Translating}, ["ctranslate2", "numpy"])
