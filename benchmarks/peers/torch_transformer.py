"""``torch.nn.Transformer`` as a peer: the module from PyTorch, the rest as its tutorial has it.

It can train only. PyTorch has no search and no cache for decoding; one written here would be ours.
The training loop is what users of plain PyTorch write themselves; ``marian`` trains with it too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

if not __package__:  # run by its path: the repository's root in place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.protocol import (
    SAME_FUNCTION,
    Shape,
    Weights,
    Work,
    real_tokens,
    serve,
    sinusoids,
)

NORM_EPS = 1e-6  # ours
POSITIONS = 1024

Loss = Callable[[Tensor, Tensor], Tensor]  # source (B, S) and target (B, T) to the mean loss


class Translation(nn.Module):
    """Embeddings with positions, ``nn.Transformer``, and an output layer tied to the embeddings.

    The biases of attention and feed-forward network, which ours has not, are zero at the start:
    ``bias=False`` would take the layer norms' biases away too.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.pad = shape.pad
        self.scale = math.sqrt(shape.d_model)
        self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
        self.positions: Tensor
        self.register_buffer("positions", torch.from_numpy(sinusoids(POSITIONS, shape.d_model)))
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
        self._set_inner_dropouts(shape)

    def _set_inner_dropouts(self, shape: Shape) -> None:
        """``nn.Transformer`` has one probability for all places; give these two their own."""
        for layer in (*self.transformer.encoder.layers, *self.transformer.decoder.layers):
            layer.dropout.p = shape.ffn_dropout
        for module in self.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = shape.attention_dropout

    def embed(self, ids: Tensor) -> Tensor:
        """Ids (B, L) to (B, L, d)."""
        x = self.embedding(ids) * self.scale + self.positions[: ids.shape[1]]
        y: Tensor = self.dropout(x)
        return y

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source (B, S) and target without its last (B, T) to logits (B, T, V)."""
        hidden_source = source == self.pad
        causal = self.transformer.generate_square_subsequent_mask(
            target.shape[1], device=target.device, dtype=torch.bool
        )
        hidden = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=causal,
            src_key_padding_mask=hidden_source,
            memory_key_padding_mask=hidden_source,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight, self.output_bias)


def converted(weights: Weights, shape: Shape) -> dict[str, Tensor]:
    """Our state dict under the names of :class:`Translation`."""
    ours = {name: torch.from_numpy(array) for name, array in weights.items()}
    theirs = {
        "embedding.weight": ours["source_embeddings.tokens.weight"],
        "output_bias": ours["output_bias"],
        "positions": torch.from_numpy(sinusoids(POSITIONS, shape.d_model)),
    }
    sides = (("encoder", shape.encoder_layers), ("decoder", shape.decoder_layers))
    for side, layers in sides:
        for i in range(layers):
            theirs |= _layer(ours, f"{side}.{i}.", f"transformer.{side}.layers.{i}.")
        for kind in ("weight", "bias"):
            theirs[f"transformer.{side}.norm.{kind}"] = ours[f"{side}_norm.{kind}"]
    dtype = theirs["embedding.weight"].dtype
    return {name: tensor.to(dtype) for name, tensor in theirs.items()}


def _layer(ours: dict[str, Tensor], here: str, there: str) -> dict[str, Tensor]:
    """One layer's tensors, biases of zero where ours has none."""
    sublayers = [("attention", "self_attn"), ("cross_attention", "multihead_attn")]
    sublayers = [pair for pair in sublayers if f"{here}{pair[0]}.query.weight" in ours]
    theirs = {}
    for name, attention in sublayers:
        parts = [ours[f"{here}{name}.{part}.weight"] for part in ("query", "key", "value")]
        theirs[f"{there}{attention}.in_proj_weight"] = torch.cat(parts)
        theirs[f"{there}{attention}.in_proj_bias"] = parts[0].new_zeros(3 * len(parts[0]))
        output = ours[f"{here}{name}.output.weight"]
        theirs[f"{there}{attention}.out_proj.weight"] = output
        theirs[f"{there}{attention}.out_proj.bias"] = output.new_zeros(len(output))
    for number, name in ((1, "widen"), (2, "narrow")):
        matrix = ours[f"{here}feed_forward.{name}.weight"]
        theirs[f"{there}linear{number}.weight"] = matrix
        theirs[f"{there}linear{number}.bias"] = matrix.new_zeros(len(matrix))
    norms = [name for name, _ in sublayers] + ["feed_forward"]
    for number, name in enumerate(norms, 1):
        for kind in ("weight", "bias"):
            theirs[f"{there}norm{number}.{kind}"] = ours[f"{here}{name}_residual.norm.{kind}"]
    return theirs


def mean_loss(model: Translation, shape: Shape, source: Tensor, target: Tensor) -> Tensor:
    """Label-smoothed cross entropy, mean over real target tokens."""
    logits = model(source, target[:, :-1])
    return F.cross_entropy(
        logits.flatten(0, 1),
        target[:, 1:].flatten(),
        ignore_index=shape.pad,
        label_smoothing=shape.label_smoothing,
    )


class TorchTraining:
    """Forward, loss, backward and optimizer step over all batches, with PyTorch's autocast.

    Args:
        work: batches and shape.
        model: on the device already.
        loss: the model's label-smoothed mean loss.
        optimizer: over the model's parameters.
        comparable: see :mod:`benchmarks.peers.protocol`.
    """

    def __init__(
        self,
        work: Work,
        model: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        comparable: str,
    ) -> None:
        shape, batches = work.shape, work.batches()
        self.comparable = comparable
        self.settings: dict[str, Any] = {
            "precision": shape.precision,
            "optimizer": type(optimizer).__name__,
            "fused": bool(optimizer.defaults.get("fused")),
            "threads": torch.get_num_threads(),
        }
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._shape = shape
        self._tokens = real_tokens(batches, shape.pad)
        self._batches = [
            (torch.from_numpy(s).to(shape.device), torch.from_numpy(t).to(shape.device))
            for s, t in batches
        ]
        self._scaler = torch.amp.GradScaler(shape.device, enabled=shape.precision == "16-mixed")
        torch.manual_seed(1)

    def check(self) -> dict[str, Any]:
        """The first batch's loss without dropout, in the weights' own precision."""
        self._model.eval()
        with torch.no_grad():
            return {"loss": float(self._loss(*self._batches[0]))}

    def repeat(self) -> int:
        """One step for each batch."""
        self._model.train()
        for source, target in self._batches:
            self._optimizer.zero_grad()
            with autocast(self._shape):
                loss = self._loss(source, target)
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._shape.device == "cuda":
            torch.cuda.synchronize()
        return self._tokens


def autocast(shape: Shape) -> AbstractContextManager[Any]:
    """What ``precision`` means in PyTorch."""
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if shape.precision not in dtypes:
        return nullcontext()
    return torch.autocast(shape.device, dtypes[shape.precision])


def train(work: Work) -> TorchTraining:
    """Adam with PyTorch's defaults but rate and betas."""
    shape = work.shape
    model = Translation(shape)
    model.load_state_dict(converted(work.weights(), shape))
    model.to(shape.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=shape.learning_rate, betas=shape.betas)

    def loss(source: Tensor, target: Tensor) -> Tensor:
        return mean_loss(model, shape, source, target)

    return TorchTraining(work, model, loss, optimizer, SAME_FUNCTION)


if __name__ == "__main__":
    serve({"train": train}, ["torch", "numpy"], torch.set_num_threads)
