"""Profiles side by side: as plain tables, as JSON, as LaTeX."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

Record = dict[str, Any]

WIDTH = 100
"""Columns of a terminal that the tables and notes stay within."""


def _tables(records: list[Record]) -> list[list[list[str]]]:
    """Rows of cells of each table: units (empty over text), names, then one per profile."""

    def table(columns: list[tuple[str, str, Callable[[Record], str]]]) -> list[list[str]]:
        units, heads, cells = zip(*columns, strict=True)
        return [[*units], [*heads], *([cell(record) for cell in cells] for record in records)]

    def number(group: str, key: str, scale: float = 1, digits: int = 0) -> Callable[[Record], str]:
        def cell(record: Record) -> str:
            values = record[group]
            return "-" if values is None else f"{values[key] / scale:,.{digits}f}"

        return cell

    phases = ("train", "prefill", "decode")
    names: list[tuple[str, str, Callable[[Record], str]]] = [
        ("", "config", lambda record: str(record["config"]).removesuffix(".yaml")),
        ("", "mechanism", lambda record: str(record["mechanism"])),
        ("", "position", lambda record: str(record["position"])),
    ]
    counted = [
        *(("params", key, number("parameters", key, 1e6, 2)) for key in ("attention", "total")),
        *(("MFLOPs", phase, number("flops_per_target_token", phase, 1e6, 2)) for phase in phases),
    ]
    kept = [
        *(("elements", key, number("cache_per_token", key)) for key in ("self", "cross")),
        *(("bytes", key, number("cache_per_token", f"{key}_bytes")) for key in ("self", "cross")),
        ("bytes", "both", number("cache_per_token", "bytes")),
        ("ms", "train", number("measured", "train_step_seconds", 1e-3, 1)),
        ("ms", "decode", number("measured", "decode_step_seconds", 1e-3, 2)),
        ("MiB", "peak", number("measured", "peak_memory_bytes", 2**20)),
    ]
    parts = ("weights", "gradients", "optimizer", "activations")
    needed = [("MiB", key, number("memory_per_device", key, 2**20)) for key in parts]
    needed.append(("", "devices", number("memory_per_device", "devices")))
    return [table(names + counted), table(names[:1] + kept), table(names[:1] + needed)]


def as_json(records: list[Record]) -> str:
    """A list, one object per config."""
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)


def as_table(records: list[Record]) -> str:
    """Plain tables, and under them what they are counts of."""
    parts = []
    for rows in _tables(records):
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rows.insert(2, ["-" * width for width in widths])
        for row in rows:
            cells = [
                cell.rjust(width) if unit else cell.ljust(width)
                for unit, cell, width in zip(rows[0], row, widths, strict=True)
            ]
            parts.append("  ".join(cells).rstrip())
        parts.append("")
    return "\n".join([*parts, _notes(records)])


def as_latex(records: list[Record]) -> str:
    """``booktabs`` tables, the notes as comments."""
    lines = ["% \\usepackage{booktabs}", *(f"% {line}" for line in _notes(records).splitlines())]
    for units, *rows in _tables(records):
        cells = [[*map(escape, row)] for row in (units, *rows)]
        lines.append(booktabs(cells, "".join("r" if unit else "l" for unit in units), 2))
    return "\n".join(lines)


def booktabs(rows: Sequence[Sequence[str]], columns: str, heads: int = 1) -> str:
    """A ``tabular`` of cells in LaTeX, its ``columns`` l and r, a rule below its heads."""
    body = [" & ".join(row) + r" \\" for row in rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body[:heads], r"\midrule"]
    return "\n".join([*lines, *body[heads:], r"\bottomrule", r"\end{tabular}"])


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^_%&#${}]", lambda sign: special.get(sign[0], "\\" + sign[0]), text)


def _notes(records: list[Record]) -> str:
    """What the numbers are of: the batch, the vocabulary, the precision, the machine."""
    size = records[0]["size"]
    notes = [
        f"Batches of {size['batch']} x {size['source']} source and {size['target']} target tokens. "
        "Parameters in millions. MFLOPs per target token by PyTorch's flop counter: matrix "
        "products, 2 per multiply-add, attention over all pairs, masked or not. Cache: self of "
        "each target token, cross of each source token; elements per layer, bytes over all decoder "
        "layers. Time per step. The last table: what training on such a batch needs on a device."
    ]
    for record in records:
        vocabulary, measured = record["vocabulary"], record["measured"]
        words = f"{record['config']}: vocabulary {vocabulary['size']:,} ({vocabulary['source']})"
        words += f", cache in {record['precision']}"
        if measured:
            words += f", measured in {measured['precision']} on {measured['device']}"
        notes.append(words)
    wrapper = textwrap.TextWrapper(WIDTH - len("% "), subsequent_indent="  ")
    return "\n".join(line for note in notes for line in wrapper.wrap(note))


FORMATS: dict[str, Callable[[list[Record]], str]] = {
    "table": as_table,
    "json": as_json,
    "latex": as_latex,
}
