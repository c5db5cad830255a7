"""Tables and the page of a machine's folder, made from its raw results alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, GROUPS, Goal
from benchmarks.protocol import ROOT
from benchmarks.runner import MEASURED, Quantiles, quantiles, ratios, speeds

Raw = Mapping[str, Any]
COLUMNS = {
    "case": "---",
    "program": "---",
    "speed": "---:",
    "speed, 20 to 80 %": "---:",
    "relative time": "---:",
    "relative time, 20 to 80 %": "---:",
    "expected": "---:",
    "goal": "---",
    "reached": "---",
    "FLOP/byte": "---:",
    "share of peak": "---:",
    "peak memory, MiB": "---:",
    "check": "---",
}
"""All columns of a table, in order, with their alignment; those without an entry are left out."""


def table(results: Sequence[Raw]) -> str:
    """Raw results of a group in Markdown, one row per program, and what they are from."""
    rows = [row(raw, entry) for raw in results for entry in raw["case"]["programs"]]
    kept = [name for name in COLUMNS if any(each.get(name) for each in rows)]
    lines = [kept, [COLUMNS[name] for name in kept]]
    lines += [[each.get(name) or "-" for name in kept] for each in rows]
    abouts = [raw["about"] for raw in results]
    rounds = {len(p["repeats"]) for raw in results for p in raw["programs"].values()} - {0}
    return (
        f"{markdown(lines)}\nMeasured at {distinct(commit(a) for a in abouts)} on "
        f"{distinct(a['date'] for a in abouts)}, {distinct(map(str, sorted(rounds)))} rounds.\n"
    )


def markdown(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def commit(about: Raw) -> str:
    """Short, with a word on changes that are not in it."""
    revision, _, changed = str(about["commit"] or "an unknown commit").partition("+")
    return f"`{revision[:8]}`{' with uncommitted changes' if changed else ''}"


def distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def row(raw: Raw, entry: Raw) -> dict[str, str]:
    case, outcome = raw["case"], raw["programs"][entry["name"]]
    cells = {"case": case["name"].partition("/")[2], "program": entry["name"]}
    if outcome["status"] != MEASURED or not outcome["repeats"]:
        first, *more = str(outcome["reason"]).splitlines() or [""]
        return cells | {"check": plain(": ".join([outcome["status"], first, *more[-1:]]))}
    cells |= speed_cells(case, entry, outcome) | ratio_cells(raw, entry)
    if entry.get("predicted"):
        cells["expected"] = f"{entry['predicted']:.2f}"
    if case["kind"] not in ("start", "rates"):
        memory = max(repeat["peak_bytes"] for repeat in outcome["repeats"])
        cells["peak memory, MiB"] = number(memory / 2**20)
    cells |= {"FLOP/byte": intensity(raw, entry, outcome)}
    return cells | {"share of peak": share_of_peak(raw, outcome), "check": found(outcome["check"])}


def speed_cells(case: Raw, entry: Raw, outcome: Raw) -> dict[str, str]:
    """Items per second, or the seconds that a start takes, with quantiles."""
    if case["kind"] == "start":
        low, median, high = (f"{value:.2f}" for value in seconds_of(outcome))
        median += " s"
    elif entry["measures"]:
        low, median, high = (scaled(v, entry["measures"]) for v in speeds(outcome["repeats"]))
        median += "/s"
    else:
        low, median, high = map(number, speeds(outcome["repeats"]))
        median += f" {case['unit']}/s"
    return {"speed": median, "speed, 20 to 80 %": f"{low} to {high}"}


def ratio_cells(raw: Raw, entry: Raw) -> dict[str, str]:
    """Time relative to the first program's, goal and whether it is reached."""
    if entry["within"]:
        within = Goal(entry["within"], at_most=True)
        verdict = within.verdict(*seconds_of(raw["programs"][entry["name"]]))
        return {"goal": f"{within} s", "reached": verdict}
    goal = Goal(**entry["goal"]) if entry["goal"] else None
    cells = {"goal": str(goal or "")}
    first = raw["case"]["programs"][0]["name"]
    base = raw["programs"][first]["repeats"]
    if entry["name"] == first or entry["measures"] or not base:
        return cells
    ratio = ratios(base, raw["programs"][entry["name"]]["repeats"])
    cells["relative time"] = f"{ratio.median:.2f}"
    cells["relative time, 20 to 80 %"] = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return cells | ({"reached": goal.verdict(*ratio)} if goal else {})


def seconds_of(outcome: Raw) -> Quantiles:
    return quantiles([repeat["seconds"] / repeat["items"] for repeat in outcome["repeats"]])


def peak(raw: Raw, kind: str) -> float:
    """The most FLOP or bytes per second that the machine did in the same run; 0 if not measured."""
    names = [entry["name"] for entry in raw["case"]["programs"] if entry["measures"] == kind]
    repeats = [raw["programs"][name]["repeats"] for name in names]
    return max((speeds(each).median for each in repeats if each), default=0.0)


def share_of_peak(raw: Raw, outcome: Raw) -> str:
    """What a program did per second, over the most that the machine did: of FLOP or of bytes, of
    which it is nearer to the most."""
    settings = outcome["ready"].get("settings", {})
    shares = [
        settings[key] * speeds(outcome["repeats"]).median / peak(raw, kind)
        for key, kind in (("flops_per_item", "FLOP"), ("bytes_per_item", "B"))
        if key in settings and peak(raw, kind)
    ]
    return f"{100 * max(shares):.0f} %" if shares else ""


def intensity(raw: Raw, entry: Raw, outcome: Raw) -> str:
    """A program's FLOP per byte that it has to read, and the machine's where products and memory
    were measured: with less, a program waits for memory."""
    settings = outcome["ready"].get("settings", {})
    if entry["measures"] == "FLOP" and peak(raw, "B"):
        return number(speeds(outcome["repeats"]).median / peak(raw, "B"))
    if {"flops_per_item", "bytes_per_item"} <= settings.keys():
        return number(settings["flops_per_item"] / settings["bytes_per_item"])
    return ""


def found(check: Raw) -> str:
    if "comparable" in check:
        return plain(str(check["comparable"]))
    if "bleu" in check:
        return f"BLEU {check['bleu']:.2f}, expected {check['expected']:.2f}"
    if "loss" in check:
        return f"loss {check['loss']:.5f}, expected {check['expected']:.5f}"
    return f"off by {check['error']:.0e}" if check.get("error") else "exact"


def plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scaled(value: float, unit: str) -> str:
    scales = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1.0, ""))
    factor, letter = next((f, name) for f, name in scales if value >= f or f == 1.0)
    return f"{number(value / factor)} {letter}{unit}"


def comparison(results: Iterable[Raw]) -> str:
    """For ``--against``: time, and processor time, relative to the other checkout's."""
    head = ["case", "time, after / before", "20 to 80 %", "processor time", "20 to 80 %", "check"]
    lines = [head, ["---", "---:", "---:", "---:", "---:", "---"]]
    for raw in results:
        before, after = (raw["programs"][name] for name in ("before", "after"))
        cells = [raw["case"]["name"]]
        for key in ("seconds", "cpu_seconds"):
            if before["repeats"] and after["repeats"]:
                ratio = ratios(before["repeats"], after["repeats"], key)
                cells += [f"{ratio.median:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}"]
            else:
                cells += ["-", "-"]
        failed = [f"{p['status']}: {p['reason']}" for p in (before, after) if p["reason"]]
        lines.append([*cells, plain("; ".join(failed)) or "passed"])
    return markdown(lines)


def load(folder: Path) -> dict[str, list[Raw]]:
    """The raw results of a machine by group, both in the order of the cases."""
    results: list[Raw] = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted((folder / "raw").glob("*"))
    ]
    places = {case.name: place for place, case in enumerate(CASES)}
    results.sort(key=lambda raw: places.get(raw["case"]["name"], len(places)))
    groups: dict[str, list[Raw]] = {}
    for raw in results:
        groups.setdefault(raw["case"]["name"].partition("/")[0], []).append(raw)
    return groups


def write(folder: Path) -> None:
    groups = load(folder)
    if not groups:
        return
    results = [raw for each in groups.values() for raw in each]
    how = "Generated by `python -m benchmarks`. [How to read it](../../../docs/performance.md)."
    parts = [f"# Speed on {folder.name}", how, facts(results)]
    for group, raws in groups.items():
        title = GROUPS[group][0] if group in GROUPS else group.capitalize()
        text = table(raws)
        (folder / f"{group}.md").write_text(text, encoding="utf-8")
        parts += [f"## {title}", text.rstrip("\n")]
    there = {raw["case"]["name"] for raw in results}
    if left := [case.name for case in CASES if case.name not in there]:
        parts.append(f"Not run: {'; '.join(left)}.")
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def facts(results: Sequence[Raw]) -> str:
    abouts = [raw["about"] for raw in results]
    about, hardware = abouts[-1], abouts[-1]["hardware"]
    outcomes = [outcome for raw in results for outcome in raw["programs"].values()]
    packages = {f"{k} {v}" for o in outcomes for k, v in o["ready"].get("versions", {}).items()}
    loads = [each["load_average_before"] for each in abouts]
    return f"""\
- machine: {distinct([hardware["cpu"], *(gpu["name"] for gpu in hardware["gpus"])])}, \
{hardware["cores"]} cores, {hardware["memory_gib"]} GiB; kernel {about["kernel"]}
- threads of every program: {hardware["threads"]}
- commands: {distinct(f"`{each['command']}`" for each in abouts)}
- allocator: {about["allocator"]}
- versions: {", ".join(sorted(packages))}
- load average before the cases: {min(loads):.1f} to {max(loads):.1f}, the benchmarks' own \
included"""


def fill(page: Path) -> None:
    """Put tables between the markers of a page: ``<!-- generated: FILE -->``, ``<!-- end -->``."""

    def filled(match: re.Match[str]) -> str:
        file = ROOT / match[2]
        return match[0] if not file.exists() else f"{match[1]}{file.read_text('utf-8')}{match[3]}"

    pattern = r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)"
    text = re.sub(pattern, filled, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
