"""The output layer, softmax and loss in one, without ever holding all logits.

On small models the vocabulary's projection is most of a step. Rows are taken in chunks, whose
logits, probabilities and gradients come and go while they are in the processor's cache.

Shape letters: N target tokens, V vocabulary, d model width, C rows of a chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qvbench.models.layers import float32_logits

# Tokens by which a micro-batch's loss is divided before its backward pass: a power of two, which
# keeps fp16 gradients in range until the tokens of the whole step are known.
LOSS_UNIT = 4096.0
CHUNK_ROWS = 1024
SAMPLED_ROWS = 256  # of a batch, for training's accuracy: all would take a tenth of a small step


class TokenTotals(NamedTuple):
    """Sums over N target tokens, as tensors without a synchronization; losses in nats."""

    smoothed: Tensor  # label-smoothed cross entropy; the only one with a gradient
    nll: Tensor  # negative log-likelihood
    tokens: Tensor  # how many there were
    correct: Tensor  # whose arg-max is right, among the first ``SAMPLED_ROWS``
    sampled: Tensor  # how many those were


def training_totals(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
) -> TokenTotals:
    """Loss of hidden states (N, d) against target ids (N,), with gradients. Smoothed targets are
    PyTorch's: ``1 - smoothing`` on the target plus ``smoothing / V`` everywhere."""
    smoothed, nll, correct = _ProjectedCrossEntropy.apply(hidden, weight, bias, targets, smoothing)
    counts = len(targets), min(len(targets), SAMPLED_ROWS)
    tokens, sampled = (torch.tensor(count, device=targets.device) for count in counts)
    return TokenTotals(smoothed, nll, tokens, correct, sampled)


class TokenScores(NamedTuple):
    """Of N target tokens, float64; ``correct`` is 1 or 0."""

    smoothed: Tensor
    nll: Tensor
    correct: Tensor


@torch.no_grad()
def validation_scores(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
) -> TokenScores:
    """The same measures token by token, the logits in float32 and no token left out."""
    chunks = [torch.zeros(3, 0, dtype=torch.float64, device=hidden.device)]
    for rows, ids in zip(hidden.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True):
        logits = float32_logits(rows, weight, bias)
        log_p = logits.log_softmax(-1)
        nll = F.nll_loss(log_p, ids, reduction="none")
        smoothed = (1 - smoothing) * nll - smoothing * log_p.mean(-1)
        right = logits.argmax(-1) == ids
        chunks.append(torch.stack((smoothed.double(), nll.double(), right.double())))
    return TokenScores(*torch.cat(chunks, 1).unbind())


class _ProjectedCrossEntropy(torch.autograd.Function):
    """Linear layer and smoothed cross entropy whose gradients are made in the forward pass.

    With ``p`` the softmax, ``y`` the target and ``e`` the smoothing, the gradient at a logit is
    ``p - (1 - e) [v = y] - e / V``. The last term's part of the products is added in closed form.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = hidden, weight, bias
        device = hidden.device.type
        enabled = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if enabled else hidden.dtype
        with torch.autocast(device, enabled=False):
            rows, matrix, offset = (x.to(dtype) for x in inputs)
            grads, totals = _gradients(rows, matrix, offset, targets, smoothing)
        ctx.save_for_backward(*(g.to(x.dtype) for g, x in zip(grads, inputs, strict=True)))
        ctx.mark_non_differentiable(*totals[1:])
        return totals

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (hidden, weight, bias), scale = ctx.saved_tensors, grads[0]
        return hidden * scale.to(hidden.dtype), weight * scale, bias * scale, None, None


def _gradients(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Gradients of the summed loss (N, d), (V, d), (V,), the sums, and the correct tokens of the
    sample, all from one pass."""
    # Sums are float32 at least, products the inputs' type.
    total = torch.promote_types(hidden.dtype, torch.float32)
    vocabulary = weight.shape[0]
    grad_hidden = torch.empty_like(hidden)
    if smoothing:
        # A row's mean logit is its product with the mean column: no pass over the logits.
        mean_row = weight.mean(0, dtype=total)
        mean_bias = bias.mean(dtype=total)
    sums = torch.zeros(2, dtype=total, device=hidden.device)
    correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
    for start in range(0, max(len(hidden), 1), CHUNK_ROWS):
        rows = hidden[start : start + CHUNK_ROWS]
        ids = targets[start : start + CHUNK_ROWS, None]
        logits = F.linear(rows, weight, bias)
        if start < SAMPLED_ROWS:
            sample = slice(SAMPLED_ROWS - start)
            correct += (logits[sample].max(-1).indices == ids[sample, 0]).sum()
        # float16 would lose probabilities below 6e-8; the kernel computes in float32 in any case.
        p = logits.softmax(-1, dtype=total if logits.dtype == torch.float16 else None)
        # Log of the softmax's denominator: any token's logit minus its log-probability. The
        # targets' cost no further pass, but may underflow; the likeliest token's cannot. (A GPU
        # would have to be waited for to know whether one underflows.)
        at, of_targets = ids, p.gather(1, ids)
        if p.device.type != "cpu" or (of_targets < torch.finfo(p.dtype).tiny).any():
            at = p.argmax(-1, keepdim=True)
        log_normalizer = logits.gather(1, at).to(total) - p.gather(1, at).to(total).log()
        nll = log_normalizer - logits.gather(1, ids).to(total)
        smoothed = nll_sum = nll.sum()
        if smoothing:
            # Cross entropy with the uniform distribution: log Z minus the mean logit.
            mean_logit = rows.to(total) @ mean_row + mean_bias
            uniform = (log_normalizer[:, 0] - mean_logit).sum()
            smoothed = (1 - smoothing) * nll_sum + smoothing * uniform
        sums += torch.stack((smoothed, nll_sum))
        # From here on p is the gradient at the logits, but for the uniform part, e / V.
        # (PyTorch's scatter in bfloat16 would copy all of p.)
        places = torch.arange(len(ids), device=ids.device), ids[:, 0]
        if p.dtype == total:
            p[places] = of_targets[:, 0] + (smoothing - 1.0)
        else:  # p - 1 would cancel in bfloat16: minus the sum of the others
            p[places] = 0.0
            p[places] = (smoothing - p.sum(-1, dtype=total)).to(p.dtype)
        p = p.to(rows.dtype)
        grad_hidden[start : start + CHUNK_ROWS] = p @ weight
        of_weight = p.t() @ rows
        of_bias = (p.new_ones(1, len(p)) @ p)[0]  # a product: sums over rows are slow in bf16
        if start == 0:
            grad_weight, grad_bias = of_weight.to(total), of_bias.to(total)
        else:
            grad_weight += of_weight
            grad_bias += of_bias
    if smoothing:
        # The uniform part: e / V times the sum of the columns, of the rows, and of ones.
        grad_hidden -= (smoothing * mean_row).to(grad_hidden.dtype)
        grad_weight -= smoothing / vocabulary * hidden.sum(0, dtype=total)
        grad_bias -= smoothing / vocabulary * len(hidden)
    smoothed, nll_sum = sums.unbind()
    return (grad_hidden, grad_weight, grad_bias), (smoothed, nll_sum, correct)
