"""``torch.nn.Transformer`` as a peer: the module from PyTorch, the rest as its tutorial has it.

It can train only. PyTorch has no search and no cache for decoding; one written here would be ours.
The training loop is what users of plain PyTorch write themselves; ``marian`` trains with it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import protocol
from benchmarks.protocol import Shape, Task, Weights, Work, each_time
from qvbench.positions.absolute import Sinusoidal

NORM_EPS = 1e-6  # ours
POSITIONS = 1024
NAMES = (
    (r"^source_embeddings\.tokens\.", "embedding."),
    (r"^(encoder|decoder)_norm\.", r"transformer.\1.norm."),
    (r"^(encoder|decoder)\.(\d+)\.", r"transformer.\1.layers.\2."),
    (r"\.cross_attention\.", ".multihead_attn."),
    (r"\.attention\.", ".self_attn."),
    (r"\.query\.weight$", ".in_proj_weight"),
    (r"\.output\.", ".out_proj."),
    (r"\.feed_forward\.widen\.", ".linear1."),
    (r"\.feed_forward\.narrow\.", ".linear2."),
    (r"\.attention_residual\.norm\.", ".norm1."),
    (r"\.cross_attention_residual\.norm\.", ".norm2."),
    (r"(\.encoder\..*)\.feed_forward_residual\.norm\.", r"\1.norm2."),
    (r"\.feed_forward_residual\.norm\.", ".norm3."),
)


def sinusoids(width: int) -> Tensor:
    """Our table of positions, (L, d)."""
    return Sinusoidal(1, width).embed(torch.zeros(1, POSITIONS, width))[0]


class Translation(nn.Module):
    """Embeddings with positions, ``nn.Transformer``, and an output layer tied to the embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.pad = shape.pad
        self.scale = math.sqrt(shape.d_model)
        self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
        self.positions: Tensor
        self.register_buffer("positions", sinusoids(shape.d_model), persistent=False)
        self.dropout = nn.Dropout(shape.dropout)
        self.transformer = nn.Transformer(
            shape.d_model,
            shape.num_heads,
            shape.encoder_layers,
            shape.decoder_layers,
            shape.d_ff,
            shape.dropout,
            layer_norm_eps=NORM_EPS,
            batch_first=True,
            norm_first=True,
        )
        self.output_bias = nn.Parameter(torch.zeros(shape.vocabulary))
        # nn.Transformer has one probability for all places; give these two their own.
        for layer in (*self.transformer.encoder.layers, *self.transformer.decoder.layers):
            layer.dropout.p = shape.ffn_dropout
        for module in self.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = shape.attention_dropout

    def embed(self, ids: Tensor) -> Any:
        return self.dropout(self.embedding(ids) * self.scale + self.positions[: ids.shape[1]])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source (B, S) and target without its last (B, T) to logits (B, T, V)."""
        hidden_source = source == self.pad
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=torch.bool)
        hidden = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=causal,
            src_key_padding_mask=hidden_source,
            memory_key_padding_mask=hidden_source,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight, self.output_bias)


def converted(weights: Weights) -> dict[str, Tensor]:
    """Our state dict under its names; embeddings are tied."""
    own = {n: tensor for n, tensor in weights.items() if not n.startswith("target_embeddings.")}
    return protocol.renamed(fused(own), NAMES)


def fused(weights: Weights) -> dict[str, Tensor]:
    """Queries, keys and values of each layer as one matrix, under the queries' name."""
    whole = {name: tensor for name, tensor in weights.items() if ".query." in name}
    for name in whole:
        parts = [name.replace("query", part) for part in ("query", "key", "value")]
        whole[name] = torch.cat([weights[part] for part in parts])
    others = {n: t for n, t in weights.items() if ".key." not in n and ".value." not in n}
    return others | whole


def load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights, each in its place, with zero for the biases that ours has not."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    if left := model.load_state_dict(weights, strict=False).unexpected_keys:
        raise ValueError(f"{type(model).__name__} has no place for {left}")


def mean_loss(model: Translation, shape: Shape, source: Tensor, target: Tensor) -> Tensor:
    """Label-smoothed cross entropy, mean over real target tokens."""
    logits = model(source, target[:, :-1]).flatten(0, 1)
    labels, smoothing = target[:, 1:].flatten(), shape.label_smoothing
    return F.cross_entropy(logits, labels, ignore_index=shape.pad, label_smoothing=smoothing)


def training(
    work: Work,
    model: nn.Module,
    mean_loss: Callable[[Any, Shape, Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    precision: str,
    comparable: str = protocol.SAME_FUNCTION,
) -> Task:
    """Forward, loss, backward and optimizer step over all batches, with PyTorch's autocast."""
    shape, batches = work.shape, work.batches()
    tokens = protocol.real_tokens(batches, shape.pad)
    mixed = precision == "bf16-mixed"
    torch.manual_seed(1)

    @torch.no_grad()
    def check() -> dict[str, Any]:
        model.eval()
        return {"loss": float(mean_loss(model, shape, *batches[0]))}

    def repeat() -> None:
        model.train()
        for source, target in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = mean_loss(model, shape, source, target)
            loss.backward()
            optimizer.step()

    settings = {
        "precision": precision,
        "optimizer": type(optimizer).__name__,
        "fused": bool(optimizer.defaults.get("fused")),
        "threads": torch.get_num_threads(),
    }
    return Task(check, each_time(repeat), tokens, settings, comparable)


def train(work: Work) -> Task:
    """Adam with PyTorch's defaults but rate and betas."""
    shape = work.shape
    model = Translation(shape)
    load(model, converted(work.weights()))
    optimizer = torch.optim.Adam(model.parameters(), lr=shape.learning_rate, betas=shape.betas)
    return training(work, model, mean_loss, optimizer, shape.precision)
