"""The record of a run, beside what its callback measures."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from qvbench.runs.record import SWEEP_VARIABLE, now, read_json, sweep_labels, write_record


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "3", "\ud800"])
def test_what_is_no_record_is_none(tmp_path: Path, text: str | None) -> None:
    """Catches a traceback for a file that is missing, truncated or somebody else's."""
    file = tmp_path / "run.json"
    if text is not None:
        file.write_text(text, errors="surrogatepass")
    assert read_json(file) == {}


def test_a_record_is_written_as_it_is_read(tmp_path: Path) -> None:
    """Catches JSON that no other program reads, and letters escaped away."""
    record = {"id": "tiny/seed-1", "label": {"mechanism": "QV-Ka 2ü"}}
    write_record(tmp_path, record)
    assert read_json(tmp_path / "run.json") == record
    assert "ü" in (tmp_path / "run.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path, {"loss": float("nan")})
    assert read_json(tmp_path / "run.json") == record


def test_the_sweep_around_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a run by hand that is labeled as a sweep's."""
    monkeypatch.delenv(SWEEP_VARIABLE, raising=False)
    assert sweep_labels() == {}
    monkeypatch.setenv(SWEEP_VARIABLE, json.dumps({"suite": "table4", "variant": "qv"}))
    assert sweep_labels() == {"suite": "table4", "variant": "qv"}


def test_times_are_utc() -> None:
    """Catches a time that means another moment on another machine."""
    moment = datetime.fromisoformat(now())
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - moment) < timedelta(minutes=1)
