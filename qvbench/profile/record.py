"""One object a config: the profile as ``--format json`` prints it."""

from __future__ import annotations

from typing import Any

import torch

from qvbench.models.flops import Flops, Size, count
from qvbench.profile.measure import Measured, Model, measure, precision_of
from qvbench.training.run_record import count_parameters


def profile(model: Model, size: Size, repeats: int, device: torch.device) -> dict[str, Any]:
    """Count a config's model, then time it.

    Args:
        model: from the config.
        size: of the batch that is counted and timed.
        repeats: training steps to time; with 0, ``measured`` is null.
        device: to time on.
    """
    flops = count(model.network, size)
    layers = len(model.network.decoder)
    number = layers * precision_of(model.precision).bytes
    cache = model.network.cache_per_token
    own, cross = cache["self"], cache["cross"]
    return {
        "config": model.config,
        "mechanism": model.task.mechanism_name,
        "position": model.task.position_name,
        "parameters": count_parameters(model.network),
        "flops_per_target_token": _per_target_token(flops, "total", size),
        "attention_flops_per_target_token": _per_target_token(flops, "attention", size),
        "cache_per_token": {
            "self": own,
            "cross": cross,
            "bytes": number * (own + cross),
            "self_bytes": number * own,
            "cross_bytes": number * cross,
        },
        "decoder_layers": layers,
        "precision": model.precision,
        "size": size._asdict(),
        "vocabulary": {
            "size": model.network.output_weight.shape[0],
            "source": model.vocabulary_source,
        },
        "measured": _measured(model, size, repeats, device),
    }


def _measured(
    model: Model, size: Size, repeats: int, device: torch.device
) -> dict[str, Any] | None:
    if not repeats:
        return None
    measured: Measured = measure(model, size, repeats, device)
    return measured._asdict()


def _per_target_token(flops: dict[str, Flops], part: str, size: Size) -> dict[str, float]:
    """FLOPs of a part of the model by phase."""
    return {name: size.per_target_token(getattr(phase, part)) for name, phase in flops.items()}
