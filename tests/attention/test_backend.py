"""Which kernel computes attention, why, and what is said of it."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import torch
from torch import nn

from qvbench.attention import Attention, build_attention
from qvbench.attention import triton as backend
from qvbench.attention.triton import fused
from qvbench.models.facts import attention_backend
from qvbench.positions import build_position
from qvbench.positions.agf import AGF
from qvbench.positions.interface import offsets
from tests.triton_kernels import DEVICE, needs_triton

pytestmark = pytest.mark.usefixtures("kernels_here")


def layer(mechanism: str = "qkv", scheme: str = "agf", dropout: float = 0.0) -> Attention:
    more = {"value_scaling": True} if scheme == "agf" else {}
    position = build_position(scheme, num_heads=2, d_model=16, **more)
    torch.manual_seed(2)
    built = build_attention(mechanism, d_model=16, num_heads=2, position=position, dropout=dropout)
    return built.to(DEVICE)


@needs_triton
@pytest.mark.slow
def test_a_layer_takes_the_kernel_and_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A layer that drops the mask, the causal flag or the law on its way to the kernel."""
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    mask = torch.ones(2, 9, dtype=torch.bool, device=DEVICE)
    mask[0, 5:] = False
    results = []
    for name in (backend.FUSED, backend.REFERENCE):
        built = layer("gqa")
        for settings in ({"mask": mask}, {"mask": mask[:, None, None], "causal": True}):
            y = built(x, **settings)
            y.sum().backward()
            assert built.backend is not None
            assert built.backend.name == name, built.backend.reason
            results += [y, *(p.grad.clone() for p in built.parameters() if p.grad is not None)]
        monkeypatch.setenv(backend.SWITCH, "0")
    half = len(results) // 2
    for found, wanted in zip(results[:half], results[half:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(
    ("kernel", "what"),
    [
        ("forward", "the output"),
        ("gradient_to_queries", "the gradient to q"),
        ("gradient_to_keys_and_values", "the gradient to k"),
        ("gradient_to_coefficients", "the gradient to the table"),
    ],
)
def test_a_wrong_kernel_is_noticed_and_not_used(
    kernel: str, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A check that looks at too little; a fallback that says nothing, or says it every step."""
    from qvbench.attention.triton import fused_kernels

    right = getattr(fused_kernels, kernel)

    class Wrong:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *a, **b: right[grid](*a, **{**b, "SCALED": not b["SCALED"]})

    monkeypatch.setattr(fused_kernels, kernel, Wrong())
    built = layer()
    x = torch.randn(1, 5, 16, device=DEVICE)
    with caplog.at_level(logging.WARNING, "qvbench"):
        y = built(x)
        built(x)
    assert built.backend is not None
    assert built.backend.name == backend.REFERENCE
    assert what in built.backend.reason
    (line,) = caplog.records
    assert built.backend.reason in line.getMessage()
    monkeypatch.setenv(backend.SWITCH, "0")
    assert torch.equal(built(x), y)


@needs_triton
def test_a_kernel_that_cannot_be_compiled_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler's error in the middle of the first step of a training."""

    def raise_error(*_: Any) -> None:
        raise RuntimeError("out of resource: shared memory\nand much more")

    monkeypatch.setattr(fused, "plan_of", raise_error)
    built = layer()
    built(torch.randn(1, 5, 16, device=DEVICE))
    reason = "its check ended with RuntimeError: out of resource: shared memory"
    assert built.backend == (backend.REFERENCE, reason)


def test_without_triton_the_reference_computes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An ImportError where Triton has no wheel."""
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "qvbench.attention.triton.fused_kernels", raising=False)
    built = layer()
    with caplog.at_level(logging.WARNING, "qvbench"):
        built(torch.randn(1, 5, 16, device=DEVICE))
    assert built.backend is not None
    assert built.backend.name == backend.REFERENCE
    assert built.backend.reason.startswith("Triton cannot be imported")
    assert len(caplog.records) == 1


def test_an_old_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products without tensor cores, far slower than the reference's, on a V100."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    monkeypatch.setattr(torch.version, "hip", None)
    reason = backend.why_not(torch.device("cuda"), torch.float16, 64, 64, "highest")
    assert reason == "this GPU's compute capability is 7.0, and Triton needs 8.0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask": torch.ones(2, 1, 5, 5, dtype=torch.bool)}, "not by query or head"),
        ({"dtype": torch.float64}, "does not take torch.float64"),
        ({"width": 300}, "up to 256 wide"),
    ],
)
def test_what_the_kernel_does_not_take_is_the_references(
    change: dict[str, Any], reason: str
) -> None:
    """A mask that is ignored, a tile that does not fit."""
    dtype, width = change.get("dtype", torch.float32), change.get("width", 8)
    q = torch.zeros(2, 2, 5, width, dtype=dtype, device=DEVICE)
    chosen = backend.choose(layer().position, q, q, q, change.get("mask"), 0.0)
    assert chosen.name == backend.REFERENCE
    assert reason in chosen.reason


def test_other_schemes_need_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of compiling at the start of every run with sinusoidal positions."""
    monkeypatch.setattr(backend, "why_not", lambda *_: pytest.fail("checked"))
    for scheme in ("none", "t5", "alibi", "rope"):
        built = layer(scheme=scheme)
        built(torch.randn(1, 5, 16, device=DEVICE))
        assert built.backend is not None
        assert built.backend.name == backend.SDPA


def test_dropout_on_a_cpu_is_the_references() -> None:
    """Catches a record that names PyTorch's kernel, which has no dropout on a CPU."""
    plain = build_attention("qkv", d_model=16, num_heads=2, dropout=0.1)
    plain(torch.randn(1, 5, 16))
    assert attention_backend(plain) == {
        "name": "reference",
        "reason": "PyTorch has no kernel for dropout on a CPU",
    }


def test_the_record_names_the_kernel_of_self_attention() -> None:
    """A record that tells of cross-attention, or leaves out that one layer fell back."""
    plain, agf_layer = layer(scheme="none"), layer()
    network = nn.ModuleList([plain, agf_layer])
    assert attention_backend(network) is None
    plain.backend = backend.Backend(backend.SDPA, "a")
    assert attention_backend(network) == {"name": "sdpa", "reason": "a"}
    agf_layer.backend = backend.Backend(backend.FUSED, "b")
    assert attention_backend(network) == {"name": "triton", "reason": "b"}
    network.append(layer())
    network[2].backend = backend.Backend(backend.REFERENCE, "c")  # type: ignore[assignment]
    assert attention_backend(network) == {"name": "reference", "reason": "c"}


def test_a_scheme_that_multiplies_and_adds_goes_to_the_reference() -> None:
    """Catches a bias that is lost on a GPU, where the fused kernel takes the coefficient alone."""

    class Both(AGF):
        def bias(self, q_len: int, k_len: int, first: int | None = None) -> torch.Tensor:
            return -offsets(q_len, k_len, first, DEVICE).abs()[None].float()

    both = build_attention("qkv", d_model=16, num_heads=2, position=Both(2)).to(DEVICE)
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    y = both(x)
    assert both.backend is not None
    assert both.backend.name == backend.REFERENCE
    torch.testing.assert_close(y, both.attend_cached(x, both.cache_entries(x)))
    q, k, v = both.project(x)
    logits = q @ k.mT / 8**0.5 * both.position.coefficient(9, 9) + both.position.bias(9, 9)
    torch.testing.assert_close(y, both.merge(logits.softmax(-1) @ v))
