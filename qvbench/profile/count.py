"""What a config's model is made of: parameters, FLOPs and cache, as ``--format json`` prints it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from qvbench.models.facts import Size, count_parameters
from qvbench.models.facts import count as count_flops


class Model(NamedTuple):
    """A config's model.

    Attributes:
        config: its name.
        task: what trains the network, which it has.
        network: with initial weights.
        precision: ``trainer.precision``, ``32-true`` where the config leaves it out.
        vocabulary_source: where the size of the vocabulary is from.
    """

    config: str
    task: Any
    network: Any
    precision: str
    vocabulary_source: str


class Precision(NamedTuple):
    """What Lightning's name for a precision stands for.

    Attributes:
        weights: type of the parameters.
        compute: type of matrix products, and so of what decoding keeps.
    """

    weights: torch.dtype
    compute: torch.dtype

    @property
    def bytes(self) -> int:
        """Bytes of a number that decoding keeps."""
        return self.compute.itemsize


def precision_of(name: str) -> Precision:
    """The types behind a value of ``trainer.precision``: ``32-true``, ``bf16-mixed``, ``16``..."""
    kind, _, how = name.partition("-")
    number = {"64": torch.float64, "32": torch.float32, "16": torch.float16}.get(
        kind, torch.bfloat16
    )
    return Precision(number if how == "true" or kind == "64" else torch.float32, number)


def count(model: Model, size: Size) -> dict[str, Any]:
    """Parameters, FLOPs and cache of a config's model.

    Args:
        model: from the config.
        size: of the batch that is counted.
    """
    flops = count_flops(model.network, size)
    layers = len(model.network.decoder)
    cache = model.network.cache_per_token
    own, cross = cache["self"], cache["cross"]
    element = layers * precision_of(model.precision).bytes
    return {
        "config": model.config,
        "mechanism": model.task.mechanism_name,
        "position": model.task.position_name,
        "parameters": count_parameters(model.network),
        "flops_per_target_token": {
            phase: size.per_target_token(n.total) for phase, n in flops.items()
        },
        "attention_flops_per_target_token": {
            phase: size.per_target_token(n.attention) for phase, n in flops.items()
        },
        "cache_per_token": {
            "self": own,
            "cross": cross,
            "bytes": element * (own + cross),
            "self_bytes": element * own,
            "cross_bytes": element * cross,
        },
        "decoder_layers": layers,
        "precision": model.precision,
        "size": size._asdict(),
        "vocabulary": {
            "size": model.network.output_weight.shape[0],
            "source": model.vocabulary_source,
        },
    }
