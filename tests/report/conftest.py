"""Fixtures of the report's tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take seconds to draw."""
    monkeypatch.setattr("qvbench.report.page.FIGURES", {})
