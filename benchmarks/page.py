"""Tables, figures and the page of a machine's folder, made from its raw results alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, GROUPS, Goal
from benchmarks.measure import MEASURED, ROOT, Spread, ratios, speeds, spread
from qvbench.report.figures import pyplot, save

Raw = Mapping[str, Any]
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1.0, ""))
MARKERS = "osD"
ALIGNMENT = {
    "case": "---",
    "program": "---",
    "speed": "---:",
    "speed, 20 to 80 %": "---:",
    "relative time": "---:",
    "relative time, 20 to 80 %": "---:",
    "expected": "---:",
    "goal": "---",
    "reached": "---",
    "share of peak": "---:",
    "peak memory, MiB": "---:",
    "check": "---",
}
"""All columns of a table, in order; those without an entry are left out."""

READING = (
    "A row is a program. *Speed* is the median over the rounds. *Relative time* is the time per "
    "item divided by that of the case's first row in the same round, and then the median over the "
    "rounds: the programs of a case take turns in one run, their order reversed every round. It is "
    "therefore not the ratio of the two speeds shown. `20 to 80 %` are quantiles over the rounds. "
    "A goal is a bound on the relative time, `open` where the quantiles enclose it. *Share of "
    "peak* is the operations, or bytes, per second over the rate of plain matrix products, or "
    "copies and reads, in the same run; operations are those of the padded batches' matrix "
    "products, by formula. Peak memory is the process's (on a GPU, the tensors'). A speed is shown "
    "only where the check passed in the same run."
)


def group_of(raw: Raw) -> str:
    """The table of a result."""
    return str(raw["case"]["name"]).partition("/")[0]


def table(results: Sequence[Raw]) -> str:
    """Results in Markdown, one row per program.

    Args:
        results: raw results of a group, in the order of their rows.
    """
    rows = [row(raw, entry) for raw in results for entry in raw["case"]["programs"]]
    kept = [name for name in ALIGNMENT if any(each.get(name) for each in rows)]
    lines = [
        kept,
        [ALIGNMENT[name] for name in kept],
        *([each.get(name) or "-" for name in kept] for each in rows),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def row(raw: Raw, entry: Raw) -> dict[str, str]:
    """The cells of a program, by column."""
    case, outcome = raw["case"], raw["programs"][entry["name"]]
    cells = {"case": case["name"].partition("/")[2], "program": entry["name"]}
    if outcome["status"] != MEASURED or not outcome["repeats"]:
        lines = str(outcome["reason"]).splitlines() or [""]
        return cells | {
            "check": plain(f"{outcome['status']}: {': '.join(lines[:1] + lines[1:][-1:])}")
        }
    cells |= speed_cells(case, entry, outcome) | ratio_cells(raw, entry)
    if entry.get("predicted"):
        cells["expected"] = f"{entry['predicted']:.2f}"
    if case["kind"] not in ("start", "rates"):
        peak = max(repeat["peak_bytes"] for repeat in outcome["repeats"])
        cells["peak memory, MiB"] = number(peak / 2**20)
    return cells | {"share of peak": share_of_peak(raw, outcome), "check": found(outcome["check"])}


def speed_cells(case: Raw, entry: Raw, outcome: Raw) -> dict[str, str]:
    """Items per second, or the seconds that a start takes, with quantiles."""
    if case["kind"] == "start":
        seconds = seconds_of(outcome)
        middle, low, high = (f"{value:.2f}" for value in (seconds[1], seconds[0], seconds[2]))
        return {"speed": f"{middle} s", "speed, 20 to 80 %": f"{low} to {high}"}
    speed = speeds(outcome["repeats"])
    if entry["measures"]:
        low, middle, high = (scaled(value, entry["measures"]) for value in speed)
        middle += "/s"
    else:
        low, middle, high = (number(value) for value in speed)
        middle += f" {case['unit']}/s"
    return {"speed": middle, "speed, 20 to 80 %": f"{low} to {high}"}


def ratio_cells(raw: Raw, entry: Raw) -> dict[str, str]:
    """Relative time, goal and whether it is reached."""
    if entry["within"]:
        within = Goal(entry["within"], at_most=True)
        verdict = within.verdict(*seconds_of(raw["programs"][entry["name"]]))
        return {"goal": f"{within} s", "reached": verdict}
    goal = Goal(**entry["goal"]) if entry["goal"] else None
    cells = {"goal": str(goal)} if goal else {}
    ratio = relative_time(raw, entry)
    if ratio is None:
        return cells
    cells["relative time"] = f"{ratio.middle:.2f}"
    cells["relative time, 20 to 80 %"] = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return cells | ({"reached": goal.verdict(*ratio)} if goal else {})


def relative_time(raw: Raw, entry: Raw) -> Spread | None:
    """Time of a program over the first one's; ``None`` for the first and for machine rates."""
    first = raw["case"]["programs"][0]["name"]
    base = raw["programs"][first]["repeats"]
    if entry["name"] == first or entry["measures"] or not base:
        return None
    return ratios(base, raw["programs"][entry["name"]]["repeats"])


def seconds_of(outcome: Raw) -> Spread:
    """Per item."""
    return spread([repeat["seconds"] / repeat["items"] for repeat in outcome["repeats"]])


def share_of_peak(raw: Raw, outcome: Raw) -> str:
    """What a program did per second, over the most that the machine did in the same run."""
    settings = outcome["ready"].get("settings", {})
    for key, kind in (("flops_per_item", "FLOP"), ("bytes_per_item", "B")):
        peak = peak_rate(raw, kind)
        if key in settings and peak:
            return f"{100 * settings[key] * speeds(outcome['repeats']).middle / peak:.0f} %"
    return ""


def peak_rate(raw: Raw, kind: str) -> float | None:
    """The highest median of a case's machine rates of a kind."""
    measured = [
        speeds(raw["programs"][entry["name"]]["repeats"]).middle
        for entry in raw["case"]["programs"]
        if entry["measures"] == kind and raw["programs"][entry["name"]]["repeats"]
    ]
    return max(measured, default=None)


def found(check: Raw) -> str:
    """What a passed check found."""
    if "comparable" in check:
        return plain(str(check["comparable"]))
    for key, form in (
        ("bleu", "BLEU {:.2f}, expected {:.2f}"),
        ("loss", "loss {:.5f}, expected {:.5f}"),
    ):
        if key in check:
            return form.format(check[key], check["expected"])
    return f"off by {check['error']:.0e}" if check.get("error") else "exact"


def plain(text: str) -> str:
    """Text that does not end its cell."""
    return text.replace("|", "/").replace("\n", " ")


def number(value: float) -> str:
    """At least three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scaled(value: float, unit: str) -> str:
    """``1.31 TFLOP``."""
    factor, letter = next((f, name) for f, name in SCALES if value >= f or f == 1.0)
    return f"{number(value / factor)} {letter}{unit}".strip()


def comparison(results: Sequence[Raw]) -> str:
    """For ``--against``: what every program takes relative to the other checkout's, in Markdown.

    Processor time is given too, since it depends less on what else the machine does.
    """
    lines = ["| case | time, after / before | 20 to 80 % | processor time | 20 to 80 % | check |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | --- |")
    for raw in results:
        before, after = (raw["programs"][name] for name in ("before", "after"))
        cells = [raw["case"]["name"]]
        for key in ("seconds", "cpu_seconds"):
            if all(p["repeats"] and key in p["repeats"][0] for p in (before, after)):
                ratio = ratios(before["repeats"], after["repeats"], key)
                cells += [f"{ratio.middle:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}"]
            else:
                cells += ["-", "-"]
        failed = [f"{p['status']}: {p['reason']}" for p in (before, after) if p["reason"]]
        lines.append(f"| {' | '.join([*cells, plain('; '.join(failed)) or 'passed'])} |")
    return "\n".join(lines) + "\n"


def source_of(results: Sequence[Raw]) -> str:
    """The line under a table: commit, date and rounds of what stands in it."""
    abouts = [raw["about"] for raw in results]
    rounds = {len(p["repeats"]) for raw in results for p in raw["programs"].values()} - {0}
    return (
        f"Measured at {distinct(commit(a) for a in abouts)} on "
        f"{distinct(a['date'] for a in abouts)}, {distinct(map(str, sorted(rounds)))} rounds.\n"
    )


def commit(about: Raw) -> str:
    """Short, with a word on changes that are not in it."""
    revision, _, changed = str(about["commit"] or "an unknown commit").partition("+")
    return f"`{revision[:8]}`{' with uncommitted changes' if changed else ''}"


def distinct(values: Iterable[str]) -> str:
    """Every value once, in order."""
    return ", ".join(dict.fromkeys(values))


def load(folder: Path) -> dict[str, list[Raw]]:
    """The raw results of a machine by group, both in the order of the cases."""
    results: list[Raw] = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted((folder / "raw").glob("*"))
    ]
    places = {case.name: place for place, case in enumerate(CASES)}
    results.sort(key=lambda raw: places.get(raw["case"]["name"], len(places)))
    return {
        group: [raw for raw in results if group_of(raw) == group]
        for group in dict.fromkeys(map(group_of, results))
    }


def write(folder: Path) -> None:
    """Tables, figures and the page of a machine."""
    groups = load(folder)
    if not groups:
        return
    parts = [f"# Speed on {folder.name}", "Generated by `python -m benchmarks`.", facts(groups)]
    parts.append(READING)
    for group, results in groups.items():
        title = GROUPS[group][0] if group in GROUPS else group.capitalize()
        text = f"{table(results)}\n{source_of(results)}"
        (folder / f"{group}.md").write_text(text, encoding="utf-8")
        parts.append(f"## {title}")
        if group in FIGURES:
            draw(group, results, folder)
            parts.append(f"![{title}]({group}.png)")
        parts.append(text.rstrip("\n"))
    page = "\n\n".join([*parts, *absent(groups)]) + "\n"
    (folder / "README.md").write_text(page, encoding="utf-8")


def facts(groups: Mapping[str, Sequence[Raw]]) -> str:
    """Machine, versions and commands, each different one once."""
    results = [raw for each in groups.values() for raw in each]
    abouts = [raw["about"] for raw in results]
    last, hardware = abouts[-1], abouts[-1]["hardware"]
    gpus = "".join(f", {gpu['name']}" for gpu in hardware["gpus"])
    packages = {
        f"{package} {version}"
        for raw in results
        for outcome in raw["programs"].values()
        for package, version in outcome["ready"].get("versions", {}).items()
    }
    lines = [
        f"machine: {hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB"
        f"{gpus}; kernel {last['kernel']}",
        f"threads of every program: {hardware['threads']}",
        f"commands: {distinct('`' + about['command'] + '`' for about in abouts)}",
        f"allocator: {last['allocator']}",
        f"versions: {', '.join(sorted(packages))}",
    ]
    loads = [a["load_average_before"] for a in abouts if a["load_average_before"] is not None]
    if loads:
        lines.append(
            f"load average before the cases: {min(loads):.1f} to {max(loads):.1f}, the benchmarks' "
            "own included"
        )
    return "\n".join(f"- {line}" for line in lines)


def absent(groups: Mapping[str, Sequence[Raw]]) -> list[str]:
    """The cases that have no result here."""
    results = [raw for each in groups.values() for raw in each]
    there, device = {raw["case"]["name"] for raw in results}, results[0]["case"]["device"]
    left = [case.name for case in CASES if case.device == device and case.name not in there]
    others = sum(case.device != device for case in CASES)
    where = "a CUDA GPU" if device == "cpu" else "the processor"
    parts = [f"{others} more cases are for {where} and have a folder of their own where they ran."]
    return ["## Not here", *parts, *([f"Not run: {'; '.join(left)}."] if left else [])]


FIGURES = {"attention": "length, tokens", "decoding": "tokens in the cache"}
"""Groups that are drawn as well, with the label of their horizontal axis."""


def draw(group: str, results: Sequence[Raw], folder: Path) -> None:
    """Speed by length: a panel for the cases that differ in length alone, a line per program."""
    panels: dict[str, list[Raw]] = {}
    for raw in results:
        panels.setdefault(raw["case"]["name"].partition("/")[2].rpartition(",")[0], []).append(raw)
    size = (5.4 * len(panels) + 0.4, 4.4)
    figure, grid = pyplot().subplots(
        1, len(panels), figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    for axes, (title, raws) in zip(grid.flat, panels.items(), strict=True):
        raws.sort(key=lambda raw: raw["case"]["shape"]["length"])
        names = [e["name"] for e in raws[0]["case"]["programs"] if not e["measures"]]
        for place, name in enumerate(names):
            draw_program(axes, raws, name, place)
        lengths = [raw["case"]["shape"]["length"] for raw in raws]
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.set(title=title, xlabel=FIGURES[group], ylabel="tokens per second")
        axes.label_outer()
        axes.grid(alpha=0.3)
    grid.flat[0].legend(frameon=False)
    save(figure, folder, group)


def draw_program(axes: Any, raws: Sequence[Raw], name: str, place: int) -> None:
    """Medians with quantiles; dotted, what the machine's memory alone would allow."""
    measured = [raw for raw in raws if raw["programs"][name]["repeats"]]
    lengths = [raw["case"]["shape"]["length"] for raw in measured]
    speed = [speeds(raw["programs"][name]["repeats"]) for raw in measured]
    errors = [[s.middle - s.low for s in speed], [s.high - s.middle for s in speed]]
    style = {"color": f"C{place % 3}", "marker": MARKERS[place % 3], "markersize": 5}
    line = ("-", "--")[place // 3 % 2]
    axes.errorbar(lengths, [s.middle for s in speed], errors, label=name, linestyle=line, **style)
    bounds = [
        (length, peak / settings["bytes_per_item"])
        for length, raw in zip(lengths, measured, strict=True)
        if "bytes_per_item" in (settings := raw["programs"][name]["ready"]["settings"])
        and (peak := peak_rate(raw, "B"))
    ]
    if bounds:
        label = f"{name}, memory bound"
        axes.plot(*zip(*bounds, strict=True), color=style["color"], linestyle=":", label=label)


def fill(page: Path) -> None:
    """Put tables between the markers of a page: ``<!-- generated: FILE -->``, ``<!-- end -->``."""
    if not page.exists():
        return

    def filled(match: re.Match[str]) -> str:
        file = ROOT / match[2]
        return match[0] if not file.exists() else f"{match[1]}{file.read_text('utf-8')}{match[3]}"

    pattern = r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)"
    text = re.sub(pattern, filled, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
