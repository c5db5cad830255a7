"""From raw results to rows: speeds only of programs that computed what they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.case import Goal
from benchmarks.measure import MEASURED
from benchmarks.quantiles import Spread, ratios, speeds, spread

Raw = Mapping[str, Any]
NOTHING = "-"
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1.0, ""))
COLUMNS = (
    ("case", "---"),
    ("program", "---"),
    ("speed", "---:"),
    ("10 % to 90 %", "---:"),
    ("time over the first's", "---:"),
    ("10 % to 90 %", "---:"),
    ("predicted", "---:"),
    ("goal", "---"),
    ("reached", "---"),
    ("of the machine's rate", "---:"),
    ("peak memory, MiB", "---:"),
    ("check", "---"),
)


def table(results: Sequence[Raw]) -> str:
    """The cases of a group in Markdown, one row a program; columns that say nothing are left out.

    Args:
        results: raw results of a group, in the order of their rows.
    """
    rows = [row for raw in results for row in rows_of(raw)]
    kept = [i for i in range(len(COLUMNS)) if any(row[i] not in ("", NOTHING) for row in rows)]
    lines = [
        [COLUMNS[i][0] for i in kept],
        [COLUMNS[i][1] for i in kept],
        *([row[i] for i in kept] for row in rows),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def rows_of(raw: Raw) -> list[list[str]]:
    """The rows of a case."""
    return [row(raw, entry) for entry in raw["case"]["programs"]]


def row(raw: Raw, entry: Mapping[str, Any]) -> list[str]:
    """The cells of a program."""
    case, name = raw["case"], entry["name"]
    outcome = raw["programs"][name]
    head = [case["name"].partition("/")[2], name]
    if outcome["status"] != MEASURED or not outcome["repeats"]:
        return [*head, *[NOTHING] * 9, cell(f"{outcome['status']}: {first_and_last(outcome)}")]
    return [
        *head,
        *speed_cells(case, entry, outcome),
        *ratio_cells(raw, entry)[:2],
        f"{entry['predicted']:.2f}" if entry.get("predicted") else NOTHING,
        *ratio_cells(raw, entry)[2:],
        share_of_rate(raw, outcome),
        memory(outcome, case["kind"]),
        cell(check_words(outcome["check"])),
    ]


def speed_cells(
    case: Mapping[str, Any], entry: Mapping[str, Any], outcome: Mapping[str, Any]
) -> list[str]:
    """Items a second and their quantiles; of starts, the seconds that one takes."""
    speed = speeds(outcome["repeats"])
    if case["kind"] == "start":
        seconds = seconds_of(outcome)
        return [f"{seconds.middle:.2f} s", f"{seconds.low:.2f} to {seconds.high:.2f}"]
    if entry["measures"]:
        low, middle, high = (scaled(value, entry["measures"]) for value in speed)
        return [f"{middle}/s", f"{low} to {high}"]
    return [
        f"{number(speed.middle)} {case['unit']}/s",
        f"{number(speed.low)} to {number(speed.high)}",
    ]


def seconds_of(outcome: Mapping[str, Any]) -> Spread:
    """That an item takes."""
    return spread([repeat["seconds"] / repeat["items"] for repeat in outcome["repeats"]])


def ratio_cells(raw: Raw, entry: Mapping[str, Any]) -> list[str]:
    """Ratio, its quantiles, goal and verdict."""
    if entry["within"]:
        within = Goal(entry["within"], at_most=True)
        verdict = within.verdict(*seconds_of(raw["programs"][entry["name"]]))
        return [NOTHING, NOTHING, f"{within} s", verdict]
    found = ratio_to_first(raw, entry)
    goal = Goal(**entry["goal"]) if entry["goal"] else None
    if found is None:
        return [NOTHING, NOTHING, str(goal or ""), ""]
    verdict = goal.verdict(*found) if goal else ""
    return [f"{found.middle:.2f}", f"{found.low:.2f} to {found.high:.2f}", str(goal or ""), verdict]


def ratio_to_first(raw: Raw, entry: Mapping[str, Any]) -> Spread | None:
    """Time of a program over the first one's; nothing for the first, for rates, or without it."""
    first = raw["case"]["programs"][0]
    base = raw["programs"][first["name"]]
    if entry["name"] == first["name"] or entry["measures"] or not base["repeats"]:
        return None
    return ratios(base["repeats"], raw["programs"][entry["name"]]["repeats"])


def share_of_rate(raw: Raw, outcome: Mapping[str, Any]) -> str:
    """What a program did a second, over the most that the machine did in the same run."""
    settings = outcome["ready"].get("settings", {})
    for key, kind in (("flops_per_item", "FLOP"), ("bytes_per_item", "B")):
        rate = best_rate(raw, kind)
        if key in settings and rate:
            return f"{100 * settings[key] * speeds(outcome['repeats']).middle / rate:.0f} %"
    return ""


def best_rate(raw: Raw, kind: str) -> float | None:
    """The highest median of a case's rates of a kind."""
    found = [
        speeds(raw["programs"][entry["name"]]["repeats"]).middle
        for entry in raw["case"]["programs"]
        if entry["measures"] == kind and raw["programs"][entry["name"]]["repeats"]
    ]
    return max(found, default=None)


def memory(outcome: Mapping[str, Any], kind: str) -> str:
    """The most that a process, or its tensors on a GPU, had in any repeat."""
    if kind in ("start", "rates"):
        return ""
    return number(max(repeat["peak_bytes"] for repeat in outcome["repeats"]) / 2**20)


def check_words(check: Mapping[str, Any]) -> str:
    """What a passed check found."""
    if "comparable" in check:
        return str(check["comparable"])
    if "bleu" in check:
        return f"BLEU {check['bleu']:.2f} of {check['expected']:.2f}"
    if "loss" in check:
        return f"loss {check['loss']:.5f} of {check['expected']:.5f}"
    return f"off by {check['error']:.0e}" if check.get("error") else "exact"


def first_and_last(outcome: Mapping[str, Any]) -> str:
    """The first line of a reason, and its last if there are more."""
    lines = str(outcome["reason"]).splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"


def cell(text: str) -> str:
    """Text that does not end its cell."""
    return text.replace("|", "/").replace("\n", " ")


def number(value: float) -> str:
    """Three digits at least."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scaled(value: float, unit: str) -> str:
    """``1.31 TFLOP``."""
    factor, letter = next((f, name) for f, name in SCALES if value >= f or f == 1.0)
    return f"{number(value / factor)} {letter}{unit}".strip()
