"""Where kernels written in Triton run: on a GPU, or tile by tile in Triton's interpreter."""

from __future__ import annotations

import importlib.util

import pytest
import torch

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed; it has wheels for Linux alone",
)
