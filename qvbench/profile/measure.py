"""What a config's model costs: counted from shapes, and measured on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import timer

from qvbench.attention import precomputed
from qvbench.data.batching import Batch, Windows
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.facts import (
    Network,
    Size,
    count_parameters,
    hidden_states,
    stacks,
    without_memory,
)
from qvbench.models.facts import count as count_flops
from qvbench.models.loss import training_totals


class Model(NamedTuple):
    """A config's model, with initial weights."""

    config: str  # its name
    task: Any  # what trains the network, which it has
    precision: str  # ``32-true`` where the config leaves ``trainer.precision`` out
    vocabulary_source: str  # where its size is from
    devices: int = 1  # of a training
    sharded: bool = False  # weights, gradients and optimizer are divided among them


def precision_of(name: str) -> tuple[torch.dtype, torch.dtype]:
    """Types behind a ``trainer.precision`` (``32-true``, ``bf16-mixed``, ``16``...).

    That of the parameters, and that of matrix products and so of what decoding keeps.
    """
    kind, _, how = name.partition("-")
    types = {"64": torch.float64, "32": torch.float32, "16": torch.float16}
    compute = types.get(kind, torch.bfloat16)
    return compute if how == "true" or kind == "64" else torch.float32, compute


def count(model: Model, size: Size) -> dict[str, Any]:
    """Parameters, FLOPs and cache of a config's model, as ``--format json`` prints them."""
    network = model.task.network
    flops, layers = count_flops(network, size), len(stacks(network)[1])
    own, cross = network.cache_per_token["self"], network.cache_per_token["cross"]
    element = layers * precision_of(model.precision)[1].itemsize
    return {
        "config": model.config,
        "mechanism": model.task.mechanism_name,
        "position": model.task.position_name,
        "parameters": count_parameters(network),
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
        "memory_per_device": memory_per_device(model, size),
        "precision": model.precision,
        "size": size._asdict(),
        "vocabulary": {"size": len(network.output_weight), "source": model.vocabulary_source},
    }


def memory_per_device(model: Model, size: Size) -> dict[str, int]:
    """Bytes that a training step on this batch needs on each of its devices, without running it:
    ``weights``, ``gradients``, ``optimizer``, ``activations``; and how many ``devices`` there are.

    Activations are what the forward pass keeps for its gradients, up to the output layer, whose
    logits are never all in memory.
    """
    weights, compute = precision_of(model.precision)
    network = model.task.network.to(weights)
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage._cdata] = storage.nbytes()
        return tensor

    with FakeTensorMode():
        shapes = without_memory(network, "cpu").train()
        source, target = (torch.empty(size.batch, n, dtype=torch.int64) for n in size[1:])
        mixed = torch.autocast("cpu", compute, enabled=weights != compute)
        with mixed, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden = hidden_states(shapes, source, target)
        for parameter in shapes.parameters():
            held.pop(parameter.untyped_storage()._cdata, None)
        activations = sum(held.values())
        del hidden
    probe = torch.nn.Parameter(torch.zeros(64))
    probe.grad = torch.zeros_like(probe)
    optimizer = model.task.optimizer([probe])
    optimizer.step()
    states = sum(value.numel() == probe.numel() for value in optimizer.state[probe].values())
    share = model.devices if model.sharded else 1
    own = [p.numel() * weights.itemsize for p in network.parameters() if p.requires_grad]
    whole = sum(p.numel() * weights.itemsize for p in network.parameters())
    return {
        "devices": model.devices,
        "weights": whole // share,
        "gradients": sum(own) // share,
        "optimizer": states * sum(own) // share,
        "activations": activations,
    }


def measure(model: Model, size: Size, repeats: int, device: torch.device) -> dict[str, Any]:
    """Time steps of a batch of random tokens; the network is left on the device.

    The optimizer works with a rate of zero: all its work, and weights that stay as they are.
    ``repeats`` training steps are timed, after one that is not.

    Returns:
        ``device`` and the ``precision`` that it ran in: the config's, or 32-true where the device
        has no such; medians of ``train_step_seconds`` (forward with dropout, fused loss, backward,
        optimizer) and ``decode_step_seconds`` (one token per sentence, from caches);
        ``peak_memory_bytes``, the most that tensors held during a training step: weights,
        gradients, optimizer state, activations; ``repeats``.
    """
    name = model.precision
    if device.type == "cpu" and precision_of(name)[1] == torch.float16:
        name = "32-true"
    weights, compute = precision_of(name)
    mixed = partial(torch.autocast, device.type, compute, enabled=weights != compute)
    task, network = model.task, model.task.network.to(device, weights)
    optimizer = task.optimizer(task.parameters_to_train())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    source, target = _random_ids(network, size)
    batch = batch_of(network, source, target)

    def step() -> None:
        """A training step as the suite's task does it, on the same tokens each time."""
        network.train()
        with mixed():
            totals = task.score(task(batch), training_totals)
        (totals.smoothed / (size.batch * size.target)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    train = [_seconds(step) for _ in range(repeats)]
    held = [*network.parameters(), *network.buffers()]
    held += [v for state in optimizer.state.values() for v in state.values()]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": name,
        "train_step_seconds": statistics.median(train),
        "peak_memory_bytes": peak_memory(step, held, device),
        "decode_step_seconds": _decode_seconds(network, source, target, mixed),
        "repeats": repeats,
    }


def peak_memory(step: Callable[[], None], held: Iterable[Any], device: torch.device) -> int:
    """Bytes that tensors hold at the worst moment of a step.

    On a CPU there is no such counter: PyTorch's profiler reports every allocation, and the tensors
    among those that were ``held`` before are added.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    before = sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        step()
    assert run.profiler is not None
    events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda e: e.start_ns()))
    return before + max(accumulate(changes), default=0)


def batch_of(network: Network, source: Tensor, target: Tensor) -> Batch | Windows:
    """What a network's task trains on: source ids (B, S), and a target (B, T + 1) whose first token
    is not predicted. Of a decoder-only network the source is left out."""
    index = torch.arange(len(target))
    if isinstance(network, EncoderDecoder):
        return Batch(source, target, index)
    return Windows(target[:, :-1], target[:, 1:].contiguous(), index)


def _random_ids(network: Any, size: Size) -> tuple[Tensor, Tensor]:
    """S source tokens and, after the first, T target tokens, without padding; always the same."""
    weight, generator = network.output_weight, torch.Generator().manual_seed(0)
    shape = (size.batch, size.source + size.target + 1)
    ids = torch.randint(1, len(weight), shape, generator=generator).to(weight.device)
    source, target = ids.split([size.source, size.target + 1], 1)
    return source.contiguous(), target.contiguous()


@torch.inference_mode()
def _decode_seconds(
    network: Any,
    source: Tensor,
    target: Tensor,
    mixed: Callable[[], AbstractContextManager[object]],
) -> float:
    """Median over the T steps of one decoding, whose past grows from 1 to T tokens."""
    network.eval()
    with mixed(), precomputed(network):
        state = network.start(source)
        return statistics.median(
            _seconds(partial(network.step, token, state)) for token in target[:, 1:].unbind(1)
        )


def _seconds(action: Callable[[], object]) -> float:
    """Wall time of an action, the device's queue emptied before and after."""
    start = timer()
    action()
    return timer() - start
