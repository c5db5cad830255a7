"""FLOPs in a run's record: those that PyTorch counts, and none rather than a crash."""

from __future__ import annotations

import pytest

from qvbench.attention.qvka import QVKa
from qvbench.models.formula import REFERENCE
from qvbench.profile.counting import count
from qvbench.training.run_record import flops
from tests.profile.conftest import build


def test_a_record_has_what_profile_counts() -> None:
    """FLOPs of a batch for those of a token, or of another length than profile's."""
    network = build(("qvka", {}), ("agf", {}))
    recorded = flops(network)["flops_per_target_token"]
    work = count(network, REFERENCE).work
    assert recorded == {phase: found.total / 32 for phase, found in work.items()}


def test_a_mechanism_without_a_cost_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own mechanism that is refused for what only a report would show."""
    network = build(("qvka", {}), ("agf", {}))

    def undeclared(layer: QVKa) -> None:
        raise NotImplementedError

    monkeypatch.setattr(QVKa, "cost", property(undeclared))
    assert flops(network) == {}
