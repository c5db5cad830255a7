"""Goals, checks, cases, and the pages that are made from raw results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import checks, page
from benchmarks.cases import BEFORE, CASES, CHANGES, OURS, UNITS, Goal, before_and_after, find
from benchmarks.protocol import ROOT
from tests.benchmarks.test_runner import repeats

READY = {"comparable": "same function"}


def test_goals() -> None:
    """Catches a bound taken from the wrong side, and a verdict where the noise allows none."""
    assert Goal(1.5).verdict(1.6, 1.7, 1.8) == "yes"
    assert Goal(1.5).verdict(1.2, 1.3, 1.4) == "no"
    assert Goal(1.5).verdict(1.4, 1.6, 1.8) == "open"
    assert Goal(1.15, at_most=True).verdict(1.0, 1.1, 1.12) == "yes"
    assert Goal(1.15, at_most=True).verdict(1.2, 1.3, 1.4) == "no"


def test_checks() -> None:
    """Catches a gate that lets pass what is off, not a number, of another form, or unchanged."""
    judge = checks.loss(5.0, 1e-4)
    assert judge({"loss": 5.0001}, READY).passed
    assert not judge({"loss": 5.001}, READY).passed
    assert not judge({"loss": float("nan")}, READY).passed
    other = {"comparable": "same shape, other function: norms"}
    assert judge({"loss": 9.0}, other).passed
    assert not judge({"loss": float("inf")}, other).passed
    values = checks.values([[100.0, 200.0], [0.01]], 1e-3)
    assert values({"values": [[100.0, 200.1], [0.01]]}, READY).passed
    assert not values({"values": [[100.0, 200.0], [0.02]]}, READY).passed
    assert not values({"values": [[float("nan")] * 2, [0.01]]}, READY).passed
    assert not values({"values": [[100.0]]}, READY).passed


def test_translations_are_judged_by_their_score() -> None:
    """Catches missing lines, and a score of other lines."""

    def bleu(lines: Any) -> float:
        return float(sum(line[0] for line in lines))

    judge = checks.translations([[1], [3]], bleu, 2.0)
    verdict = judge({"lines": [[1], [2]]}, {})
    assert verdict.passed
    assert verdict.facts == {"bleu": 3.0, "expected": 4.0, "same": 0.5}
    assert not judge({"lines": [[4], [5]]}, {}).passed
    assert not judge({"lines": [[4]]}, {}).passed


def test_cases_are_distinct_and_their_programs_exist() -> None:
    """Catches two cases that overwrite one another's results, a misspelled peer, a missing file."""
    assert len({command.slug(case.name) for case in CASES}) == len(CASES)
    for case in (*CASES, *CHANGES):
        assert case.kind in UNITS
        assert len({entry.name for entry in case.programs}) == len(case.programs)
        assert not case.programs[0].goal
        assert {entry.runner for entry in case.programs} <= {OURS, *command.PEERS}
        for entry in case.programs:
            args = {**case.shape, **entry.shape}.get("overrides", [])
            assert all((ROOT / arg).is_file() for arg in args if arg.endswith(".yaml")), case.name
    found = {case.name.split("/")[0] for case in find(["training", "start"], CASES)}
    assert found == {"training", "start"}
    assert command.main(["--only", "trainning"]) == 2


def test_another_checkout_takes_turns_with_this_one() -> None:
    """Catches a comparison of two checkouts that starts both from the same place, or whose ratio is
    upside down."""
    case = before_and_after(CHANGES[0])
    before, after = case.programs
    assert (before.runner, after.runner) == (BEFORE, OURS)
    assert before.shape == after.shape
    raw = result(case.name, 1)
    raw["programs"] = {
        "before": outcome(2.0) | {"repeats": [r | {"cpu_seconds": 1} for r in repeats(2, 2)]},
        "after": outcome(1.0) | {"repeats": [r | {"cpu_seconds": 2} for r in repeats(1, 1)]},
    }
    line = page.comparison([raw]).splitlines()[2]
    assert "| 0.500 | 0.500 to 0.500 | 2.000 | 2.000 to 2.000 | passed |" in line
    raw["programs"]["after"] = {"status": "died", "reason": "of it", "repeats": []}
    assert "| - | - | - | - | died: of it |" in page.comparison([raw])


def test_a_machine_is_named_without_marks() -> None:
    """Catches trade marks in folder names, and paths or users in what is published."""
    assert command.slug("Intel(R) Xeon(R) Platinum 8480C CPU @ 2.0GHz").startswith("intel-xeon-p")
    shown = command.published({"a": [f'File "{ROOT}/x/y.py" and /home/somebody/lib/z.py']})
    assert shown == {"a": ['File "x/y.py" and z.py']}
    kept = {"a": "1/2 and ours/theirs"}
    assert command.published(kept) == kept


def outcome(seconds: float, **settings: Any) -> dict[str, Any]:
    """A measured program."""
    ready = {"versions": {"torch": "2"}, "settings": settings}
    status = {"status": "measured", "reason": "", "check": {"error": 1e-7}}
    rounds = [repeat | {"peak_bytes": 5 << 20} for repeat in repeats(seconds, seconds)]
    return {**status, "ready": ready, "repeats": rounds}


def result(name: str, length: int) -> dict[str, Any]:
    """A raw result of two mechanisms and a rate."""
    plain = {"measures": "", "goal": None, "within": None}
    programs = [
        {"name": "qkv", **plain},
        {"name": "qv", **plain, "goal": {"bound": 1.0, "at_most": True}},
        {"name": "copy", **plain, "measures": "B"},
    ]
    given = command.parser().parse_args(["--threads", "2"])
    given.command = "python -m benchmarks"
    about = {**command.about(given), "commit": "0123456789abcdef+dirty"}
    case = {"name": name, "kind": "step", "unit": "tokens", "device": "cpu"}
    return {
        "case": {**case, "shape": {"length": length}, "programs": programs},
        "about": about,
        "programs": {
            "qkv": outcome(2.0, bytes_per_item=1),
            "qv": outcome(1.0, bytes_per_item=1),
            "copy": outcome(0.5),
        },
    }


def test_a_table_holds_ratios_goals_and_shares() -> None:
    """Catches a ratio upside down, a machine's rate among the compared, a share of another rate."""
    head, _, *lines = page.table([result("decoding/batch 1, 512", 512)]).splitlines()[:5]
    columns = [cell.strip() for cell in head.split("|")]
    qkv, qv, copy = (
        dict(zip(columns, [cell.strip() for cell in line.split("|")], strict=True))
        for line in lines
    )
    assert (qkv["speed"], qkv["share of peak"]) == ("50.0 tokens/s", "25 %")
    assert (qv["relative time"], qv["relative time, 20 to 80 %"]) == ("0.50", "0.50 to 0.50")
    assert (qv["goal"], qv["reached"], qv["share of peak"]) == ("≤ 1", "yes", "50 %")
    assert qv["peak memory, MiB"] == "5.00"
    assert (copy["speed"], copy["relative time"]) == ("200 B/s", "-")
    assert page.scaled(1.31e12, "FLOP") == "1.31 TFLOP"


def test_a_start_is_given_in_seconds() -> None:
    """Catches starts per second, and a limit that is compared with the speed."""
    raw = result("start/fit", 1)
    raw["case"] |= {"kind": "start", "unit": "starts"}
    raw["case"]["programs"] = [{"name": "qkv", "measures": "", "goal": None, "within": 0.5}]
    raw["programs"]["qkv"]["repeats"] = repeats(0.4, 0.4, items=1)
    assert "| 0.40 s | 0.40 to 0.40 | ≤ 0.5 s | yes |" in page.table([raw])


def test_pages_are_made_from_raw_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a page that cannot be generated again, a host's name or path in it, a table that does
    not say which commit it is from."""
    (tmp_path / "raw").mkdir()
    for length in (512, 2048):
        raw = result(f"decoding/batch 1, {length}", length)
        (tmp_path / "raw" / f"{length}.json").write_text(json.dumps(raw))
    page.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "## One decoding step" in text
    assert "Not run: " in text
    assert str(ROOT) not in text
    assert "Measured at `01234567` with uncommitted changes on 20" in text
    (tmp_path / "page.md").write_text(
        "a\n<!-- generated: decoding.md -->\nold\n<!-- end -->\nb\n"
        "<!-- generated: none.md -->\nkept\n<!-- end -->\n"
    )
    monkeypatch.setattr(page, "ROOT", tmp_path)
    page.fill(tmp_path / "page.md")
    page.fill(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (
        f"a\n<!-- generated: decoding.md -->\n{(tmp_path / 'decoding.md').read_text()}"
        "<!-- end -->\nb\n<!-- generated: none.md -->\nkept\n<!-- end -->\n"
    )


def test_the_published_pages_are_those_of_the_raw_results(tmp_path: Path) -> None:
    """Catches tables that were not written again after a change of their form, here or in the docs,
    and a machine whose page the docs do not name."""
    performance = (ROOT / "docs" / "performance.md").read_text()
    marked = r"<!-- generated: (\S+) -->\n(.*?)<!-- end -->"
    shown = dict(re.findall(marked, performance, re.DOTALL))
    current = {}
    for folder in (ROOT / "results" / "speed").iterdir():
        for group, results in page.load(folder).items():
            text = page.table(results)
            assert (folder / f"{group}.md").read_text() == text
            assert text.rstrip() in (folder / "README.md").read_text(), group
            current[f"results/speed/{folder.name}/{group}.md"] = text
        assert f"(../results/speed/{folder.name}/README.md)" in performance
    assert shown
    assert shown == {file: current[file] for file in shown}
