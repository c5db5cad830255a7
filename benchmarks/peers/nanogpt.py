"""A GPT and its training in plain PyTorch, as nanoGPT has them: what a user would write by hand."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import protocol
from benchmarks.peers.torch_transformer import fused, load, training
from benchmarks.protocol import Shape, Task, Weights, Work

PRECISION = "32-true"  # on a CPU
NAMES = (
    (r"^embeddings\.tokens\.", "transformer.wte."),
    (r"^embeddings\.position\.table$", "transformer.wpe.weight"),
    (r"^final_norm\.", "transformer.ln_f."),
    (r"^layers\.", "transformer.h."),
    (r"\.attention_residual\.norm\.", ".ln_1."),
    (r"\.feed_forward_residual\.norm\.", ".ln_2."),
    (r"\.attention\.query\.", ".attn.c_attn."),
    (r"\.attention\.output\.", ".attn.c_proj."),
    (r"\.feed_forward\.widen\.", ".mlp.c_fc."),
    (r"\.feed_forward\.narrow\.", ".mlp.c_proj."),
)
"""Of ours, those of GPT-2's, which nanoGPT took over."""


def converted(weights: Weights) -> dict[str, Tensor]:
    """Our state dict under its names."""
    return protocol.renamed(fused(weights), NAMES)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, linear = shape.d_model, partial(nn.Linear, bias=shape.bias)
        self.heads = shape.num_heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=shape.bias) for _ in range(2))
        self.attn = nn.ModuleDict(
            {"c_attn": linear(width, 3 * width), "c_proj": linear(width, width)}
        )
        self.mlp = nn.ModuleDict(
            {"c_fc": linear(width, shape.d_ff), "c_proj": linear(shape.d_ff, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = self.attn["c_attn"](self.ln_1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](y.transpose(1, 2).flatten(2))
        z: Tensor = x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))
        return z


class GPT(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(shape.vocabulary, shape.d_model),
                "wpe": nn.Embedding(shape.positions, shape.d_model),
                "h": nn.ModuleList(Block(shape) for _ in range(shape.layers)),
                "ln_f": nn.LayerNorm(shape.d_model, bias=shape.bias),
            }
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, L) to logits (B, L, V)."""
        parts = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for block in parts["h"]:  # type: ignore[attr-defined]
            x = block(x)
        return F.linear(parts["ln_f"](x), parts["wte"].weight)


def mean_loss(model: nn.Module, shape: Shape, source: Tensor, target: Tensor) -> Tensor:
    logits = model(target[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())


def text(work: Work) -> Task:
    """AdamW with PyTorch's defaults but rate and betas: nanoGPT fuses it on a GPU alone, as it uses
    autocast there alone, whatever precision is asked for."""
    shape = work.shape
    model = GPT(shape)
    load(model, converted(work.weights()))
    rate = {"lr": shape.learning_rate, "betas": shape.betas, "weight_decay": 0.1}
    optimizer = torch.optim.AdamW(model.parameters(), **rate)
    return training(work, model, mean_loss, optimizer, PRECISION)
