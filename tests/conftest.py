"""What all tests need before the first. Where there is no GPU, kernels written in Triton are
interpreted; it must know when imported."""

from __future__ import annotations

import gc
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests wait for other programs come first: others run meanwhile, in any order."""
    waiting = {item.path for item in items if item.get_closest_marker("integration")}
    items.sort(key=lambda item: item.path not in waiting)


def pytest_collection_finish() -> None:
    """What was imported stays: no collection of garbage has to walk all of it again."""
    gc.collect()
    gc.freeze()
