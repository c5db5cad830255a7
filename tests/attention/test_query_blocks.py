"""Long sequences attended to in blocks: the same numbers, in memory that grows with the length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qvbench.attention import ATTENTION, Attention, core, interface
from qvbench.attention.cache import KV, KVCache
from tests.pairs import D_MODEL, HEADS, Part, build

LENGTH = 13
# Below a mechanism's projections blocks are one path for all: by heads that share, by a layer that
# rotates a part of its queries, and by what a scheme puts on the logits.
MECHANISMS: list[Part] = [("qvka", {"bias": True}), ("gqa", {"num_kv_heads": 2}), ("mla", {})]
SCHEMES: list[Part] = [
    ("agf", {"value_scaling": True}),
    ("agf", {"directional": False}),
    ("alibi", {}),
    ("t5", {}),
]


def masks() -> dict[str, Tensor | None]:
    padded = torch.ones(2, LENGTH, dtype=torch.bool)
    padded[1, 9:] = False
    generator = torch.Generator().manual_seed(1)
    each = torch.rand(2, HEADS, LENGTH, LENGTH, generator=generator) < 0.7
    return {"none": None, "padded": padded, "by query": each}


def run(
    mechanism: Part, scheme: Part, mask: Tensor | None, causal: bool, **settings: float
) -> tuple[Tensor, list[Tensor]]:
    """Output and all gradients of a layer, weights and input from a seed."""
    torch.manual_seed(3)
    layer = build(mechanism, scheme, **settings).double()
    x = torch.randn(2, LENGTH, D_MODEL, dtype=torch.float64, requires_grad=True)
    y = layer(x, mask=mask, causal=causal)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(4), dtype=y.dtype)
    y.backward(cotangent)
    parameters = [p.grad for p in layer.parameters() if p.grad is not None]
    assert len(parameters) > 1
    return y, [x.grad, *parameters]  # type: ignore[list-item]


@pytest.mark.parametrize("limit", ["MAX_LOGITS", "CPU_LOGITS"])
@pytest.mark.parametrize("mask", masks().values(), ids=masks())
@pytest.mark.parametrize(
    ("mechanism", "scheme"),
    [(("qkv", {}), scheme) for scheme in SCHEMES]
    + [(mechanism, SCHEMES[0]) for mechanism in MECHANISMS],
)
def test_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
    mechanism: Part,
    scheme: Part,
    mask: Tensor | None,
    limit: str,
) -> None:
    """Catches a block that starts at the wrong position, sees keys after it, or loses a gradient,
    whether it is kept for the backward pass or computed anew."""
    for causal in (False, True):
        with monkeypatch.context() as patch:
            whole, gradients = run(mechanism, scheme, mask, causal)
            patch.setattr(core, limit, 2 * HEADS * LENGTH * 4)  # 4, 4, 4 and 1
            blocked, blocked_gradients = run(mechanism, scheme, mask, causal)
        torch.testing.assert_close(blocked, whole, rtol=0, atol=1e-12)
        for a, b in zip(blocked_gradients, gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("mask", masks().values(), ids=masks())
@pytest.mark.parametrize("scheme", [SCHEMES[0], ("none", {})])
@pytest.mark.parametrize("mechanism", [("qvka", {}), ("mla", {}), ("mla_qv", {})])
@torch.no_grad()
def test_a_long_prompt_is_read_in_blocks(
    monkeypatch: pytest.MonkeyPatch, mechanism: Part, scheme: Part, mask: Tensor | None
) -> None:
    """Catches absorbed keys whose logits are all held at once, and a block of the wrong keys."""
    layer: Any = build(mechanism, scheme).double()
    x = torch.randn(2, LENGTH, D_MODEL, dtype=torch.float64)
    prompt, kv = x[:, 3:], layer.cache_entries(x)
    if mask is not None and mask.dim() == 4:
        mask = mask[:, :, 3:]
    attend, sizes = layer.attend_latents, []
    monkeypatch.setattr(
        layer, "attend_latents", lambda q, *others: sizes.append(q.shape[2]) or attend(q, *others)
    )
    for causal in (False, True):
        with monkeypatch.context() as patch:
            whole = layer.attend_cached(prompt, kv, mask=mask, causal=causal)
            patch.setattr(core, "MAX_LOGITS", 2 * HEADS * LENGTH * 4)
            blocked = layer.attend_cached(prompt, kv, mask=mask, causal=causal)
        torch.testing.assert_close(blocked, whole, rtol=0, atol=1e-12)
    assert sizes == [10, 2, 4, 4] * 2


class KeyPerHead(Attention):
    """A key for each head from one value that all share."""

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.query = self.linear(d_model, d_model)
        self.value = self.linear(d_model, self.head_dim)
        self.key = self.linear(self.head_dim, d_model)

    def project_kv(self, m: Tensor) -> KV:
        return (self.split(self.value(m), 1),)

    def keys_values(self, kv: KV) -> tuple[Tensor, Tensor]:
        return self.split(self.key(kv[0][:, 0]), self.num_heads), kv[0]


@pytest.mark.parametrize("mechanism", ["qv", "gqa_qv", "key_per_head"])
@torch.no_grad()
def test_a_step_rotates_some_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    """Catches rows that meet the keys of others, where keys are rotated for one step alone."""
    monkeypatch.setitem(ATTENTION, "key_per_head", KeyPerHead)
    settings = {"num_kv_heads": 2} if mechanism == "gqa_qv" else {}
    layer = build((mechanism, settings), ("rope", {})).double()
    x, cache = torch.randn(5, LENGTH, D_MODEL, dtype=torch.float64), KVCache()
    layer.step(x[:, :-1], cache)
    rotated, rotate = [], layer.rotate
    monkeypatch.setattr(
        layer, "rotate", lambda x, *start: rotated.append(len(x)) or rotate(x, *start)
    )
    monkeypatch.setattr(interface, "ROTATED_ELEMENTS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    stepped = layer.step(x[:, -1:], cache)
    of_keys = rotated[1:]  # the first were the queries
    assert sum(of_keys) == 5 * {"qv": HEADS, "gqa_qv": 2, "key_per_head": 1}[mechanism]
    assert len(of_keys) > 1
    assert set(of_keys[:-1]) == {3}
    monkeypatch.undo()
    whole = layer(x, causal=True)[:, -1:]
    torch.testing.assert_close(stepped, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", ["agf", "none"])
def test_the_backward_pass_drops_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Catches logits computed anew with other random numbers: the output is linear in the values,
    so its product with any vector is that of the values with their gradient."""
    monkeypatch.setattr(core, "MAX_LOGITS", 2 * HEADS * LENGTH * 3)
    layer = build(("qkv", {}), (scheme, {}), dropout=0.5).double()
    q, k, v = (
        torch.randn(2, HEADS, LENGTH, D_MODEL // HEADS, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    )
    y = layer.attend(q, k, v, mask=None, causal=True)
    cotangent = torch.randn_like(y)
    y.backward(cotangent)
    assert v.grad is not None
    torch.testing.assert_close((v * v.grad).sum(), (y * cotangent).sum())


def kept_for_backward(length: int, scheme: str, dropout: float) -> int:
    """Bytes that autograd keeps of one layer's pass over a sequence."""
    layer = build(("qkv", {}), (scheme, {}), dropout=dropout)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(torch.randn(1, length, D_MODEL, requires_grad=True), causal=True)
    return sum(kept.values())


@pytest.mark.parametrize(("scheme", "dropout"), [("agf", 0.0), ("none", 0.1), ("rope", 0.1)])
def test_memory_grows_with_the_length_not_its_square(
    monkeypatch: pytest.MonkeyPatch, scheme: str, dropout: float
) -> None:
    """Catches blocks that keep their logits, a coefficient for the whole sequence, and dropout on
    a CPU, which PyTorch's kernel does not compute, around the blocks."""
    whole = [kept_for_backward(length, scheme, dropout) for length in (256, 512)]
    assert whole[1] > 3 * whole[0], "whole: the square"
    monkeypatch.setattr(core, "MAX_LOGITS", HEADS * 512 * 16)
    blocked = [kept_for_backward(length, scheme, dropout) for length in (256, 512)]
    assert blocked[1] < 2.2 * blocked[0]


def test_the_block_that_needs_most_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches blocks that grow one by one, of which an allocator that keeps what is freed keeps
    all: four gigabytes instead of one at 8,192 tokens."""
    monkeypatch.setattr(core, "MAX_LOGITS", 20)
    begun: list[int] = []

    def weighted_sum(start: int, stop: int) -> Tensor:
        begun.append(start)
        return torch.arange(start, stop, dtype=torch.float32)[None, None, :, None]

    y = core.in_query_blocks(weighted_sum, 10, 5, torch.device("cpu"))
    assert begun == [8, 4, 0]
    assert torch.equal(y[0, 0, :, 0], torch.arange(10.0))
