"""Programs in turns: who comes when, what a bad one does to the others, and ratios."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import checks, page
from benchmarks.__main__ import result_of
from benchmarks.cases import Case, Entry
from benchmarks.measure import (
    DIED,
    MEASURED,
    SKIPPED,
    WRONG,
    Job,
    Outcome,
    Program,
    ProgramDiedError,
    measure,
    ratios,
    speeds,
    spread,
)

STUB = Path(__file__).with_name("stub_program.py")


def job(log: Path, name: str, how: str = "well", skip: str = "") -> Job:
    """A stub as a program of a case."""
    judge = checks.values([1.0], 0.1).judge
    return Job(name, [sys.executable, str(STUB), str(log), name, how], judge, skip=skip)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Outcome], list[str]]:
    """Outcomes of good and bad programs, and the order of all their repeats."""
    log = tmp_path_factory.mktemp("stub") / "log"
    jobs = [job(log, "good"), job(log, "bad", "wrong"), job(log, "weak", "dies")]
    jobs += [job(log, "absent", skip="it is not here"), job(log, "last")]
    return measure(jobs, 3, lambda line: None), log.read_text().split()


def test_programs_take_turns(mixed: tuple[dict[str, Outcome], list[str]]) -> None:
    """Catches all repeats of one program before the next one's, an order that is not reversed
    (somebody always runs on a machine that another has warmed up), and a warm-up that counts."""
    outcomes, log = mixed
    assert log == ["last", "weak", "good", "good", "last", "last", "good", "good", "last"]
    assert [r["round"] for r in outcomes["good"].repeats] == [0, 1, 2]
    if sys.platform == "linux":
        assert all(0 <= r["cpu_seconds"] < 1 for r in outcomes["good"].repeats)


def test_a_bad_program_stops_no_other(mixed: tuple[dict[str, Outcome], list[str]]) -> None:
    """Catches a benchmark that ends with its first failure, or hides why."""
    outcomes, _ = mixed
    assert {name: o.status for name, o in outcomes.items()} == {
        "good": MEASURED,
        "bad": WRONG,
        "weak": DIED,
        "absent": SKIPPED,
        "last": MEASURED,
    }
    assert "status 3" in outcomes["weak"].reason
    assert outcomes["weak"].reason.endswith("out of ideas")
    assert outcomes["absent"].reason == "it is not here"


def test_only_a_right_program_has_a_speed(mixed: tuple[dict[str, Outcome], list[str]]) -> None:
    """Catches a speed of a program whose check failed or that died on the way."""
    outcomes, _ = mixed
    case = Case("group/case", "train", tuple(Entry(name) for name in outcomes))
    lines = page.table([result_of(case, outcomes, {})]).splitlines()[2:]
    cells = {line.split(" | ")[1]: line for line in lines}
    assert "200 target tokens" in cells["good"]
    assert "1.00 to 1.00" in cells["last"]
    for name in ("bad", "weak", "absent"):
        assert "200" not in cells[name]
        assert not outcomes[name].repeats
    assert "off by 1.0e+00" in cells["bad"]
    assert "out of ideas" in cells["weak"]


def test_a_silent_program_is_given_up() -> None:
    """Catches a benchmark that waits for ever."""
    with pytest.raises(ProgramDiedError, match=r"no answer within 0\.2 s"):
        Program([sys.executable, "-c", "import time; time.sleep(60)"], patience=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_memory_is_limited() -> None:
    """Catches a case that takes the memory of everybody else on the machine."""
    greedy = "import json; b = bytearray(1 << 30); print(json.dumps({}))"
    with pytest.raises(ProgramDiedError, match="MemoryError"):
        # The limit comes after the start, so the program waits for a moment.
        Program([sys.executable, "-c", f"import time; time.sleep(0.3); {greedy}"], memory=1 << 28)


def repeats(*seconds: float, items: int = 100) -> list[dict[str, Any]]:
    """Rounds of these seconds."""
    return [{"round": n, "seconds": s, "items": items} for n, s in enumerate(seconds)]


def test_quantiles_and_ratios() -> None:
    """Catches quantiles of other shares, a mean for the median, and a ratio of medians, which a
    machine that slows down for a while would blur."""
    assert spread([0, 10, 20, 30, 90]) == pytest.approx((8.0, 20.0, 42.0))
    assert speeds(repeats(1, 2, 4)).middle == 50
    with pytest.raises(ValueError, match="no values"):
        spread([])
    first, other = repeats(1, 10, 2), repeats(3, 30, 6, items=200)
    assert ratios(first, other) == pytest.approx((1.5, 1.5, 1.5))
    assert ratios(first[1:], other[:2]).middle == pytest.approx(1.5)
