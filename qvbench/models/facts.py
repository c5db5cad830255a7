"""What records and profiles say of a network: parameters, FLOPs, attention kernels."""

from __future__ import annotations

from typing import Any

from torch import nn

from qvbench.attention import Attention
from qvbench.attention.triton.backend import FUSED, REFERENCE, SDPA
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.flops import flops_per_target_token


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Parameters of a network, and those of its attention layers; shared ones count once."""
    attention = {
        id(parameter): parameter.numel()
        for module in network.modules()
        if isinstance(module, Attention)
        for parameter in module.parameters()
    }
    total = sum(parameter.numel() for parameter in network.parameters())
    return {"total": total, "attention": sum(attention.values())}


def flops(network: Any) -> dict[str, dict[str, float]]:
    """FLOPs by phase, at sentences of 32 tokens, under their key of the record.

    Empty for another network than these are counted of, and for a mechanism that does not run on
    shapes alone, which one of a user's own need not.
    """
    if not isinstance(network, EncoderDecoder):
        return {}
    try:
        return {"flops_per_target_token": flops_per_target_token(network)}
    except (NotImplementedError, RuntimeError):
        return {}


def attention_backend(network: nn.Module) -> dict[str, str] | None:
    """Which kernel computed attention, and why; none before the first batch.

    Cross-attention has no coefficient and is always PyTorch's kernel's: where self-attention has
    one, its kernel is the answer, and one layer that fell back speaks for all.
    """
    used = {module.backend for module in network.modules() if isinstance(module, Attention)}
    for name in (REFERENCE, FUSED, SDPA):
        for backend in used:
            if backend is not None and backend.name == name:
                return backend._asdict()
    return None
