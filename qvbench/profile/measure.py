"""Time and memory of a training step and time of a decoding step, on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from qvbench.attention import precomputed
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.facts import Size
from qvbench.models.loss import training_totals
from qvbench.profile.count import Model, Precision, precision_of


def measure(model: Model, size: Size, repeats: int, device: torch.device) -> dict[str, Any]:
    """Time steps of a batch of random tokens; the network is left on the device.

    The optimizer works with a rate of zero: all its work, and weights that stay as they are.

    Args:
        model: from a config.
        size: of the batch.
        repeats: training steps that are timed, after one that is not.
        device: to run on.

    Returns:
        ``device`` and the ``precision`` that it ran in: the config's, or 32-true where the device
        has no such; medians of ``train_step_seconds`` (forward with dropout, fused loss, backward,
        optimizer) and ``decode_step_seconds`` (one token per sentence, from caches);
        ``peak_memory_bytes``, the most that tensors held during a training step: weights,
        gradients, optimizer state, activations; ``repeats``.
    """
    name = model.precision
    if device.type == "cpu" and precision_of(name).compute == torch.float16:
        name = "32-true"
    precision = precision_of(name)
    network = model.network.to(device, precision.weights)
    optimizer = model.task.optimizer(network.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    step = _training_step(network, optimizer, size, precision, model.task.label_smoothing)
    step()
    train = [_seconds(step, device) for _ in range(repeats)]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": name,
        "train_step_seconds": statistics.median(train),
        "peak_memory_bytes": peak_memory(step, [network, optimizer], device),
        "decode_step_seconds": _decode_seconds(network, size, precision),
        "repeats": repeats,
    }


def peak_memory(
    step: Callable[[], None], holders: list[nn.Module | torch.optim.Optimizer], device: torch.device
) -> int:
    """Bytes that tensors hold at the worst moment of a step, those before it counted.

    On a CPU there is no such counter: PyTorch's profiler reports every allocation, and what
    ``holders`` held before is added.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    held = sum(tensor.nbytes for tensor in _tensors(holders))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        step()
    assert run.profiler is not None
    events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda e: e.start_ns()))
    return held + max(accumulate(changes), default=0)


def _training_step(
    network: EncoderDecoder,
    optimizer: torch.optim.Optimizer,
    size: Size,
    precision: Precision,
    smoothing: float,
) -> Callable[[], None]:
    """A training step as the suite's task does it, on the same tokens each time."""
    source, target = _random_tokens(network, size)

    def step() -> None:
        network.train()
        with _autocast(source.device, precision):
            hidden = network(source, target).flatten(0, 1)
            totals = training_totals(
                hidden, network.output_weight, network.output_bias, target.flatten(), smoothing
            )
        (totals.smoothed / target.numel()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _random_tokens(network: EncoderDecoder, size: Size) -> tuple[Tensor, Tensor]:
    """Source (B, S) and target (B, T) ids without padding, always the same."""
    weight = network.output_weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(
        1, weight.shape[0], (size.batch, size.source + size.target), generator=generator
    )
    source, target = ids.to(weight.device).split([size.source, size.target], 1)
    return source.contiguous(), target.contiguous()


@torch.inference_mode()
def _decode_seconds(network: EncoderDecoder, size: Size, precision: Precision) -> float:
    """Median over the T steps of one decoding, whose past grows from 1 to T tokens."""
    network.eval()
    source, target = _random_tokens(network, size)
    with _autocast(source.device, precision), precomputed(network):
        state = network.start(source)
        return statistics.median(
            _seconds(partial(network.step, tokens, state), source.device)
            for tokens in target.unbind(1)
        )


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    if precision.weights == precision.compute:
        return nullcontext()
    return torch.autocast(device.type, precision.compute)


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    """Wall time of an action, the device's queue emptied before and after."""
    _wait(device)
    start = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _tensors(holders: list[nn.Module | torch.optim.Optimizer]) -> list[Tensor]:
    """Parameters and buffers of modules, the state of optimizers."""
    found: list[Tensor] = []
    for holder in holders:
        if isinstance(holder, nn.Module):
            found += [*holder.parameters(), *holder.buffers()]
        else:
            for state in holder.state.values():
                found += [value for value in state.values() if isinstance(value, Tensor)]
    return found
