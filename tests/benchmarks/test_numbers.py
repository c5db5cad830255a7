"""Quantiles, ratios, goals, checks, and what is written of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import checks, figures, machine, pages, run
from benchmarks.case import KINDS, OURS, Goal
from benchmarks.cases import CASES, find
from benchmarks.peers.environments import PEERS
from benchmarks.quantiles import ratios, speeds, spread
from benchmarks.tables import scaled, table


def repeats(*seconds: float, items: int = 100) -> list[dict[str, Any]]:
    return [
        {"round": n, "seconds": s, "items": items, "peak_bytes": 5 << 20}
        for n, s in enumerate(seconds)
    ]


def test_quantiles() -> None:
    # Catches quantiles of other shares, and a mean for the median.
    assert spread([0, 10, 20, 30, 90]) == (4.0, 20.0, 66.0)
    assert speeds(repeats(1, 2, 4)).middle == 50
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratios_are_taken_round_by_round() -> None:
    # Catches a ratio of medians, which a machine that slows down for a while would blur.
    first, other = repeats(1, 10, 2), repeats(3, 30, 6, items=200)
    assert ratios(first, other) == pytest.approx((1.5, 1.5, 1.5))
    assert ratios(other, first).middle == pytest.approx(2 / 3)
    assert ratios(first[1:], other[:2]).middle == pytest.approx(1.5)


def test_goals() -> None:
    # Catches a bound taken from the wrong side, and a verdict where the noise allows none.
    assert Goal(1.5).verdict(1.6, 1.7, 1.8) == "yes"
    assert Goal(1.5).verdict(1.2, 1.3, 1.4) == "no"
    assert Goal(1.5).verdict(1.4, 1.6, 1.8) == "open"
    assert Goal(1.15, at_most=True).verdict(1.0, 1.1, 1.12) == "yes"
    assert Goal(1.15, at_most=True).verdict(1.2, 1.3, 1.4) == "no"


def test_checks() -> None:
    # Catches a gate that lets pass what is off, not a number, or of another kind.
    ready = {"comparable": "same function"}
    assert checks.loss({"loss": 5.0001}, ready, 5.0, 1e-4).passed
    assert not checks.loss({"loss": 5.001}, ready, 5.0, 1e-4).passed
    assert not checks.loss({"loss": float("nan")}, ready, 5.0, 1e-4).passed
    other = {"comparable": "same shape, other function: norms"}
    assert checks.loss({"loss": 9.0}, other, 5.0, 1e-4).passed
    assert not checks.loss({"loss": float("inf")}, other, 5.0, 1e-4).passed
    assert not checks.learned({"loss": 5.0}, {"loss": 5.0}).passed
    assert checks.learned({"loss": 4.9}, {"loss": 5.0}).passed
    expected = [[100.0, 200.0], [0.01]]
    assert checks.values({"values": [[100.0, 200.1], [0.01]]}, ready, expected, 1e-3).passed
    assert not checks.values({"values": [[100.0, 200.0], [0.02]]}, ready, expected, 1e-3).passed
    assert not checks.values({"values": [[float("nan")] * 2, [0.01]]}, ready, expected, 1).passed
    assert not checks.values({"values": [100.0]}, ready, expected, 1.0).passed


def test_translations_are_judged_by_their_score() -> None:
    # Catches lines left out, and a score of other lines.
    def bleu(lines: Any) -> float:
        return float(sum(line[0] for line in lines))

    verdict = checks.lines({"lines": [[1], [2]]}, {}, [[1], [3]], bleu, 2.0)
    assert verdict.passed
    assert verdict.facts == {"bleu": 3.0, "expected": 4.0, "same": 0.5}
    assert not checks.lines({"lines": [[1], [2]]}, {}, [[1], [5]], bleu, 2.0).passed
    assert not checks.lines({"lines": [[4]]}, {}, [[1], [3]], bleu, 2.0).passed


def test_cases_have_names_of_their_own_and_programs_that_exist() -> None:
    # Catches two cases that overwrite one another's results, and a misspelt peer.
    assert len({run.file_of(case) for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.kind in KINDS
        assert case.group in pages.TITLES
        assert len({entry.name for entry in case.programs}) == len(case.programs)
        assert not case.programs[0].goal
        assert {entry.runner for entry in case.programs} <= {OURS, *PEERS}
    assert {case.group for case in find(["training", "loader"])} == {"training", "loader"}
    with pytest.raises(KeyError):
        find(["trainning"])


def test_a_machine_is_named_without_marks() -> None:
    # Catches trade marks in folder names, and paths or users in what is published.
    assert machine.slug("Intel(R) Xeon(R) Platinum 8480C CPU @ 2.0GHz").startswith("intel-xeon-p")
    told = machine.without_paths({"a": [f'File "{run.ROOT}/x/y.py" and /home/somebody/lib/z.py']})
    assert told == {"a": ['File "x/y.py" and z.py']}
    assert machine.without_paths("1/2 and ours/theirs") == "1/2 and ours/theirs"


def raw(name: str, length: int) -> dict[str, Any]:
    """A result of two mechanisms and a rate."""

    def outcome(seconds: float, **settings: Any) -> dict[str, Any]:
        ready = {"versions": {"torch": "2"}, "settings": settings}
        status = {"status": "measured", "reason": "", "check": {"error": 1e-7}}
        return {**status, "ready": ready, "repeats": repeats(seconds, seconds)}

    entries = [
        {"name": "qkv", "measures": "", "goal": None, "within": None},
        {"name": "qv", "measures": "", "within": None, "goal": {"bound": 1.0, "at_most": True}},
        {"name": "copy", "measures": "B", "goal": None, "within": None},
    ]
    return {
        "case": {
            "name": name,
            "kind": "step",
            "unit": "tokens",
            "device": "cpu",
            "shape": {"length": length},
            "programs": entries,
        },
        "about": {
            **machine.about(2, "python -m benchmarks"),
            "load_average_before": 0.5,
        },
        "programs": {
            "qkv": outcome(2.0, bytes_per_item=1),
            "qv": outcome(1.0, bytes_per_item=1),
            "copy": outcome(0.5),
        },
    }


def test_a_table_holds_ratios_goals_and_shares() -> None:
    # Catches a ratio upside down, a rate among the compared, a share of another rate.
    head, _, qkv, qv, copy = table([raw("decoding/batch 1, 512", 512)]).splitlines()
    columns = [cell.strip() for cell in head.split("|")]
    cells = dict(zip(columns[7:], [cell.strip() for cell in qv.split("|")][7:], strict=True))
    assert "| 0.50 | 0.50 to 0.50 | ≤ 1 | yes |" in qv
    assert cells["of the machine's rate"] == "50 %"
    assert cells["peak memory, MiB"] == "5.00"
    assert "| 50.0 tokens/s |" in qkv
    assert "| 25 % |" in qkv
    assert "| 200 B/s |" in copy
    assert scaled(1.31e12, "FLOP") == "1.31 TFLOP"


def test_a_start_is_told_in_seconds() -> None:
    # Catches starts a second, and a limit that is held to the speed.
    result = raw("start/fit", 1)
    result["case"] |= {"kind": "start", "unit": "starts"}
    result["case"]["programs"] = [{"name": "qkv", "measures": "", "goal": None, "within": 0.5}]
    result["programs"]["qkv"]["repeats"] = repeats(0.4, 0.4, items=1)
    assert "| 0.40 s | 0.40 to 0.40 | ≤ 0.5 s | yes |" in table([result])


def test_pages_are_made_from_raw_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches a page that cannot be made anew, a host's name or a path in it, a missing figure.
    (tmp_path / "raw").mkdir()
    for length in (512, 2048):
        result = raw(f"decoding/batch 1, {length}", length)
        (tmp_path / "raw" / f"{length}.json").write_text(json.dumps(result))
    pages.write(tmp_path)
    page = (tmp_path / "README.md").read_text()
    for file in ("decoding.md", "decoding.png", "decoding.svg"):
        assert (tmp_path / file).stat().st_size
    assert "![One decoding step" in page
    assert "Not run: " in page
    assert str(run.ROOT) not in page
    (tmp_path / "page.md").write_text(
        "a\n<!-- generated: decoding.md -->\nold\n<!-- end -->\nb\n"
        "<!-- generated: none.md -->\nkept\n<!-- end -->\n"
    )
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    pages.fill(tmp_path / "page.md")
    pages.fill(tmp_path / "page.md")
    filled = (tmp_path / "page.md").read_text()
    assert filled == (
        f"a\n<!-- generated: decoding.md -->\n{(tmp_path / 'decoding.md').read_text()}"
        "<!-- end -->\nb\n<!-- generated: none.md -->\nkept\n<!-- end -->\n"
    )
    assert figures.panels_of([]) == {}
