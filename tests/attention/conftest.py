"""What tests of the fused kernels need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from qvbench.attention import triton
from tests.triton_kernels import DEVICE


@pytest.fixture
def kernels_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels run on the device that there is; verdicts of one test are not another's; memory
    that nobody writes to is NaN."""
    monkeypatch.setattr(triton, "DEVICES", (DEVICE.type,))
    monkeypatch.delenv(triton.SWITCH, raising=False)
    verdicts = (triton.why_not, triton.warn)
    for verdict in verdicts:
        verdict.cache_clear()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    for verdict in verdicts:
        verdict.cache_clear()
