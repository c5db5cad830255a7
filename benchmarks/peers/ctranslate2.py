"""CTranslate2 as a peer for translation: our weights through its own TransformerSpec.

Greedy translations are ours. With beams about one in a hundred differs, for its search stops by
another rule than ours.
"""

from __future__ import annotations

import tempfile
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.converters.utils import fuse_linear
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec

from benchmarks import protocol
from benchmarks.protocol import Shape, Task, Weights, Work, serve

NORM_EPS = 1e-6  # ours
POSITIONS = 1024
MAX_TOKENS = 2048  # of a batch, over all beams: with 4,096 sources' tokens it is a third slower
COMPUTE_TYPES = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}


def specification(weights: Weights, shape: Shape) -> TransformerSpec:
    """The whole model, in the weights' type."""
    spec = TransformerSpec.from_config(
        (shape.encoder_layers, shape.decoder_layers), shape.num_heads, pre_norm=True
    )
    spec.register_source_vocabulary(protocol.token_names(shape))
    spec.register_target_vocabulary(protocol.token_names(shape))
    spec.config.layer_norm_epsilon = NORM_EPS
    table = weights["source_embeddings.tokens.weight"]
    spec.encoder.embeddings[0].weight = table
    spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    spec.decoder.projection.bias = weights["output_bias"]

    def set_norm(norm: LayerNormSpec, name: str) -> None:
        norm.gamma, norm.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def fuse(linear: LinearSpec, name: str, *projections: str) -> None:
        parts = [LinearSpec() for _ in projections]
        for part, projection in zip(parts, projections, strict=True):
            part.weight = weights[f"{name}.{projection}.weight"]
        fuse_linear(linear, parts)

    for side, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        stack.position_encodings.encodings = protocol.sinusoids(POSITIONS, shape.d_model)
        set_norm(stack.layer_norm, f"{side}_norm")
        for i, layer in enumerate(stack.layer):
            name = f"{side}.{i}"
            own, ffn = layer.self_attention, layer.ffn
            fuse(own.linear[0], f"{name}.attention", "query", "key", "value")
            own.linear[1].weight = weights[f"{name}.attention.output.weight"]
            set_norm(own.layer_norm, f"{name}.attention_residual.norm")
            if side == "decoder":
                cross = layer.attention
                cross.linear[0].weight = weights[f"{name}.cross_attention.query.weight"]
                fuse(cross.linear[1], f"{name}.cross_attention", "key", "value")
                cross.linear[2].weight = weights[f"{name}.cross_attention.output.weight"]
                set_norm(cross.layer_norm, f"{name}.cross_attention_residual.norm")
            ffn.linear_0.weight = weights[f"{name}.feed_forward.widen.weight"]
            ffn.linear_1.weight = weights[f"{name}.feed_forward.narrow.weight"]
            set_norm(ffn.layer_norm, f"{name}.feed_forward_residual.norm")
    return spec


def translate(work: Work) -> Task:
    """One translator per thread: for many sentences better than one translator with all threads."""
    shape, sources = work.shape, work.sources()
    names = protocol.token_names(shape)
    compute_type = COMPUTE_TYPES[shape.precision]
    if compute_type not in ctranslate2.get_supported_compute_types(shape.device):
        compute_type = "float32"
    workers = 1 if shape.device == "cuda" else shape.threads
    spec = specification({k: v.astype(np.float32) for k, v in work.weights().items()}, shape)
    spec.validate()
    spec.optimize()
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder,
            device=shape.device,
            compute_type=compute_type,
            inter_threads=workers,
            intra_threads=1,
        )
    ids = {name: i for i, name in enumerate(names)}
    words = [[names[i] for i in source] for source in sources]
    max_tokens = shape.max_tokens or MAX_TOKENS // shape.beam_size
    batches = protocol.length_batches(sources, max_tokens)

    def submit(batch: list[int]) -> list[Any]:
        pending: list[Any] = translator.translate_batch(
            [words[i] for i in batch],
            asynchronous=True,
            beam_size=shape.beam_size,
            length_penalty=shape.length_penalty,
            max_decoding_length=protocol.limit(shape, len(sources[batch[0]])),
        )
        return pending

    def lines() -> list[list[str]]:
        """Translations in the order of the sources; the workers take batches as they get free."""
        found: list[list[str]] = [[] for _ in sources]
        for batch, results in zip(batches, [submit(batch) for batch in batches], strict=True):
            for index, result in zip(batch, results, strict=True):
                found[index] = result.result().hypotheses[0]
        return found

    def check() -> dict[str, Any]:
        found = [[ids[word] for word in line] for line in lines()]
        return {"lines": protocol.within_limits(found, sources, shape)}

    settings = {"compute_type": compute_type, "workers": workers, "max_tokens": max_tokens}
    return Task(check, lambda: len(lines()), settings)


if __name__ == "__main__":
    serve({"translate": translate}, ["ctranslate2", "numpy"])
