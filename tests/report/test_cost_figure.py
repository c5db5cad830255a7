"""Quality against cost: the front, and FLOPs from a profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report.cost_figure import Place, front, read_profile
from tests.report.test_comparison import write_variant


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    """A point that costs as much and is worse, or a front turned round."""
    found = [Place("a", 2, 70), Place("b", 1, 69), Place("c", 2, 71), Place("d", 3, 71)]
    assert [place.name for place in front(found)] == ["b", "c"]


def profiled(mechanism: str, flops: float) -> dict[str, object]:
    parameters = {"total": 1234567, "attention": 1}
    return {
        "mechanism": mechanism,
        "position": "agf",
        "parameters": parameters,
        "flops_per_target_token": {"train": flops},
    }


def test_flops_are_those_of_the_profile(tmp_path: Path) -> None:
    """A panel without its variants, or one that is drawn where no profile was given."""
    runs = []
    for name in ("qkv", "qv"):
        cache = {"cache_per_token": {"self": len(name), "cross": 1}, "mechanism": name}
        runs += map(str, write_variant(tmp_path, name, [90.0, 90.5], **cache))
    file = tmp_path / "profile.json"
    file.write_text(json.dumps([profiled("qkv", 2e6), profiled("qv", 1e6)]))
    main([*runs, "--output", str(tmp_path / "a")])
    main([*runs, "--output", str(tmp_path / "b"), "--profile", str(file)])
    without, with_it = ((tmp_path / n / "costs.svg").read_text() for n in "ab")
    assert "FLOPs" not in without
    assert "training FLOPs a target token" in with_it
    assert "cache, numbers" in without


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('[{"mechanism": "qv"}]')
    with pytest.raises(UserError, match=r"profile.json: not what `qvbench profile"):
        read_profile(file)
