"""Programs in turns: who comes when, what a bad one does to the others, and ratios."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import checks, page
from benchmarks.cases import Case, Entry
from benchmarks.runner import (
    DIED,
    MEASURED,
    SKIPPED,
    WRONG,
    Program,
    measure,
    quantiles,
    ratios,
    speeds,
)

STUB = Path(__file__).with_name("stub_program.py")


def program(log: Path, name: str, how: str = "well") -> Program:
    """A stub as a program of a case."""
    command = [sys.executable, str(STUB), str(log), name, how]
    return Program(name, command, checks.values([[1.0]], 0.1))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """Outcomes of good and bad programs, and the order of all their repeats."""
    log = tmp_path_factory.mktemp("stub") / "log"
    programs = [program(log, "good"), program(log, "bad", "wrong"), program(log, "weak", "dies")]
    programs += [program(log, "absent"), program(log, "last")]
    programs[3].fail(SKIPPED, "it is not here")
    measure(programs, 3, lambda line: None)
    return {each.name: each.outcome for each in programs}, log.read_text().split()


def test_programs_take_turns(mixed: tuple[dict[str, Any], list[str]]) -> None:
    """Catches all repeats of one program before the next one's, an order that is not reversed
    (somebody always runs on a machine that another has warmed up), and a warm-up that counts."""
    outcomes, log = mixed
    assert log == ["last", "weak", "good", "good", "last", "last", "good", "good", "last"]
    assert [r["round"] for r in outcomes["good"]["repeats"]] == [0, 1, 2]


def test_a_bad_program_stops_no_other(mixed: tuple[dict[str, Any], list[str]]) -> None:
    """Catches a benchmark that ends with its first failure, or hides why."""
    outcomes, _ = mixed
    assert {name: o["status"] for name, o in outcomes.items()} == {
        "good": MEASURED,
        "bad": WRONG,
        "weak": DIED,
        "absent": SKIPPED,
        "last": MEASURED,
    }
    assert "status 3" in outcomes["weak"]["reason"]
    assert outcomes["weak"]["reason"].endswith("out of ideas")
    assert outcomes["absent"]["reason"] == "it is not here"


def test_only_a_right_program_has_a_speed(mixed: tuple[dict[str, Any], list[str]]) -> None:
    """Catches a speed of a program whose check failed or that died on the way."""
    outcomes, _ = mixed
    case = Case("group/case", "train", tuple(Entry(name) for name in outcomes))
    about = {"commit": "", "date": ""}
    raw = {"case": case.to_json(), "about": about, "programs": outcomes}
    lines = page.table([raw]).splitlines()[2:7]
    cells = {line.split(" | ")[1]: line for line in lines}
    assert "200 target tokens" in cells["good"]
    assert "1.00 to 1.00" in cells["last"]
    for name in ("bad", "weak", "absent"):
        assert "200" not in cells[name]
        assert not outcomes[name]["repeats"]
    assert "error 1.0" in cells["bad"]
    assert "out of ideas" in cells["weak"]


def test_a_silent_program_is_given_up() -> None:
    """Catches a benchmark that waits for ever."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    silent = Program("silent", command, checks.loss(0, 0), timeout=0.2)
    measure([silent], 1, lambda line: None)
    assert silent.outcome["status"] == DIED
    assert "no answer within 0.2 s" in silent.outcome["reason"]


def test_training_that_learns_nothing_has_no_speed(tmp_path: Path) -> None:
    """Catches a training program whose steps change nothing, which is fast."""
    answers = "{}", *['{"loss": 5}', *['{"seconds": 1, "items": 1}'] * 2, '{"loss": 5}']
    talk = "; ".join(f"print({answer!r}, flush=True); input()" for answer in answers)
    command = [sys.executable, "-c", talk]
    idle = Program("idle", command, lambda answer, ready: checks.Verdict(True, dict(answer)))
    measure([idle], 1, lambda line: None)
    assert (idle.outcome["status"], idle.outcome["repeats"]) == (WRONG, [])


def repeats(*seconds: float, items: int = 100) -> list[dict[str, Any]]:
    """Rounds of these seconds."""
    return [{"round": n, "seconds": s, "items": items} for n, s in enumerate(seconds)]


def test_quantiles_and_ratios() -> None:
    """Catches quantiles of other shares, a mean for the median, and a ratio of medians, which a
    machine that slows down for a while would blur."""
    assert quantiles([0, 10, 20, 30, 90]) == pytest.approx((8.0, 20.0, 42.0))
    assert speeds(repeats(1, 2, 4)).median == 50
    first, other = repeats(1, 10, 2), repeats(3, 30, 6, items=200)
    assert ratios(first, other) == pytest.approx((1.5, 1.5, 1.5))
    assert ratios(first[1:], other[:2]).median == pytest.approx(1.5)
