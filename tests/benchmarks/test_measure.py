"""Programs in turns: who comes when, and what a bad one does to the others."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks import checks
from benchmarks.case import Case, Entry
from benchmarks.measure import DIED, MEASURED, SKIPPED, WRONG, Job, Outcome, measure, order
from benchmarks.process import Program, ProgramDiedError
from benchmarks.run import result_of
from benchmarks.tables import table

STUB = Path(__file__).with_name("stub_program.py")


def job(log: Path, name: str, how: str = "well", skip: str = "") -> Job:
    judge = partial(checks.values, expected=[1.0], tolerance=0.1)
    return Job(name, [sys.executable, str(STUB), str(log), name, how], judge, skip=skip)


def silent(line: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Outcome], list[str]]:
    """Outcomes of good and bad programs, and the order of all their repeats."""
    log = tmp_path_factory.mktemp("stub") / "log"
    jobs = [job(log, "good"), job(log, "bad", "wrong"), job(log, "weak", "dies")]
    jobs += [job(log, "absent", skip="it is not here"), job(log, "last")]
    return measure(jobs, 3, silent), log.read_text().split()


def test_the_order_is_turned_round() -> None:
    # Catches programs of which one always runs on a machine that the other has warmed up.
    assert order(["a", "b", "c"], 0) == ["a", "b", "c"]
    assert order(["a", "b", "c"], 1) == ["c", "b", "a"]
    assert order(["a", "b", "c"], -1) == ["c", "b", "a"]


def test_programs_take_turns(mixed: tuple[dict[str, Outcome], list[str]]) -> None:
    # Catches all repeats of one program before those of the next, and a warm-up that counts.
    outcomes, log = mixed
    assert log == ["last", "weak", "good", "good", "last", "last", "good", "good", "last"]
    assert [r["round"] for r in outcomes["good"].repeats] == [0, 1, 2]


def test_a_bad_program_stops_no_other(mixed: tuple[dict[str, Outcome], list[str]]) -> None:
    # Catches a benchmark that ends with its first failure, or hides why.
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


def test_only_what_is_right_has_a_speed(mixed: tuple[dict[str, Outcome], list[str]]) -> None:
    # Catches a speed of a program whose check failed or that died on the way.
    outcomes, _ = mixed
    case = Case("group/case", "train", tuple(Entry(name) for name in outcomes))
    lines = table([result_of(case, outcomes, {})]).splitlines()[2:]
    cells = {line.split(" | ")[1]: line for line in lines}
    assert "200 target tokens" in cells["good"]
    assert "1.00 to 1.00" in cells["last"]
    for name in ("bad", "weak", "absent"):
        assert "200" not in cells[name]
        assert not outcomes[name].repeats
    assert "off by 1.0e+00" in cells["bad"]
    assert "out of ideas" in cells["weak"]


def test_a_program_that_is_silent_is_given_up(tmp_path: Path) -> None:
    # Catches a benchmark that waits for ever.
    with pytest.raises(ProgramDiedError, match=r"no answer within 0\.2 s"):
        Program([sys.executable, "-c", "import time; time.sleep(60)"], patience=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_memory_is_limited() -> None:
    # Catches a case that takes the memory of everybody else on the machine.
    greedy = "import json; b = bytearray(1 << 30); print(json.dumps({}))"
    with pytest.raises(ProgramDiedError, match="MemoryError"):
        # The limit comes after the start, so the program waits for a moment.
        Program([sys.executable, "-c", f"import time; time.sleep(0.3); {greedy}"], memory=1 << 28)
