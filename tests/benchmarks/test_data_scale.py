"""The page of the data path, and the rate of a loader."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import data_scale
from qvbench.data.batching import Batch


def test_a_rate_is_of_target_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches padding counted, and the start token, which nothing predicts."""
    ids = torch.tensor([[2, 7, 3, 0], [2, 7, 8, 3]])
    batch = Batch(ids, ids, torch.arange(2))
    module = SimpleNamespace(setup=lambda: None, train_dataloader=lambda: [batch] * 3)
    monkeypatch.setattr(data_scale, "module_of", lambda *_: module)
    found = data_scale.load(Namespace(), 0)
    assert found["tokens_per_second"] * found["seconds"] == pytest.approx(2 * 5)


def test_the_page_says_what_was_measured() -> None:
    """Catches a number of pairs that was not tokenized, and pairs a second of a run's opening."""
    about = {"pairs": 3000, "seed": 0, "date": "2026-11-21", "commit": None, "cores": 2}
    about |= {"machine": "abacus", "load_average_before": 0.0}
    step = {"seconds": 2.0, "peak_bytes": 1 << 30}
    results = {
        "prepare": step | {"bytes": 1 << 29},
        "tokenize": step | {"pairs": 3000, "pairs_per_second": 1500.0},
        "open": step | {"first_batch_seconds": 0.1, "anonymous_bytes": 1 << 28},
        "load with 0 workers": step | {"tokens_per_second": 5.0},
    }
    page = data_scale.page(about, results)
    assert "measured on 3,000 pairs" in page
    assert "| prepare | 2.00 | 1,500 pairs/s | 1.00 |" in page
    assert "| open | 2.00 |  | 1.00 |" in page
    assert "| load with 0 workers | 2.00 | 5 target tokens/s | 1.00 |" in page
