"""Profiles side by side: as plain tables, as JSON, as LaTeX."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Record = dict[str, Any]

MEGA = 1e6
NOTHING = "-"
WIDTH = 100
"""Columns of a terminal that the tables and notes stay within."""


class Column(NamedTuple):
    """A column: the group over it, its head, and what it shows of a profile."""

    group: str
    head: str
    cell: Callable[[Record], str]


def _text(key: str) -> Callable[[Record], str]:
    return lambda record: str(record[key])


def _number(group: str, key: str, scale: float = 1.0, digits: int = 0) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        values = record[group]
        return NOTHING if values is None else f"{values[key] / scale:,.{digits}f}"

    return cell


def _mega(group: str, key: str) -> Callable[[Record], str]:
    return _number(group, key, MEGA, 2)


NAMES = (
    Column("", "config", lambda record: str(record["config"]).removesuffix(".yaml")),
    Column("", "mechanism", _text("mechanism")),
    Column("", "position", _text("position")),
)
COUNTED = (
    Column("parameters, M", "attention", _mega("parameters", "attention")),
    Column("parameters, M", "total", _mega("parameters", "total")),
    Column("MFLOPs / target token", "train", _mega("flops_per_target_token", "train")),
    Column("MFLOPs / target token", "prefill", _mega("flops_per_target_token", "prefill")),
    Column("MFLOPs / target token", "decode", _mega("flops_per_target_token", "decode")),
)
KEPT = (
    Column("elements / token, layer", "self", _number("cache_per_token", "self")),
    Column("elements / token, layer", "cross", _number("cache_per_token", "cross")),
    Column("bytes / token", "self", _number("cache_per_token", "self_bytes")),
    Column("bytes / token", "cross", _number("cache_per_token", "cross_bytes")),
    Column("bytes / token", "both", _number("cache_per_token", "bytes")),
)
MEASURED = (
    Column("ms / step", "train", _number("measured", "train_step_seconds", 1e-3, 1)),
    Column("ms / step", "decode", _number("measured", "decode_step_seconds", 1e-3, 2)),
    Column("MiB", "peak", _number("measured", "peak_memory_bytes", 2**20)),
)
LEFT = {column.head for column in NAMES}


def as_json(records: list[Record]) -> str:
    """A list, one object a config."""
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)


def as_table(records: list[Record]) -> str:
    """Two plain tables, and under them what they are counts of."""
    tables = [(*NAMES, *COUNTED), (NAMES[0], *KEPT, *MEASURED)]
    return "\n\n".join([*(_plain(columns, records) for columns in tables), _notes(records)])


def as_latex(records: list[Record]) -> str:
    """Two ``booktabs`` tables, the notes as comments."""
    tables = [(*NAMES, *COUNTED), (NAMES[0], *KEPT, *MEASURED)]
    notes = ["% \\usepackage{booktabs}", *(f"% {line}" for line in _notes(records).splitlines())]
    return "\n".join([*notes, *(_tabular(columns, records) for columns in tables)])


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^_%&#${}]", lambda sign: special.get(sign[0], "\\" + sign[0]), text)


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[int]]]:
    """Neighbouring columns of one group: its name, and which columns."""
    groups: list[tuple[str, list[int]]] = []
    for place, column in enumerate(columns):
        if groups and column.group and groups[-1][0] == column.group:
            groups[-1][1].append(place)
        else:
            groups.append((column.group, [place]))
    return groups


def _plain(columns: Sequence[Column], records: list[Record]) -> str:
    rows = [[column.cell(record) for column in columns] for record in records]
    widths = [
        max(len(text) for text in (column.head, *(row[place] for row in rows)))
        for place, column in enumerate(columns)
    ]
    for name, places in _groups(columns):
        missing = len(name) - sum(widths[p] for p in places) - 2 * (len(places) - 1)
        widths[places[-1]] += max(0, missing)
    over = [
        f"{name:>{sum(widths[p] for p in places) + 2 * (len(places) - 1)}}"
        for name, places in _groups(columns)
    ]
    lines = [over, _aligned([c.head for c in columns], columns, widths)]
    lines += [_aligned(row, columns, widths) for row in rows]
    lines.insert(2, ["-" * width for width in widths])
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _aligned(cells: list[str], columns: Sequence[Column], widths: list[int]) -> list[str]:
    return [
        f"{cell:{'<' if column.head in LEFT else '>'}{width}}"
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]


def _tabular(columns: Sequence[Column], records: list[Record]) -> str:
    groups = _groups(columns)
    over = [
        rf"\multicolumn{{{len(places)}}}{{c}}{{{escape(name)}}}" if name else ""
        for name, places in groups
    ]
    rules = [
        rf"\cmidrule(lr){{{places[0] + 1}-{places[-1] + 1}}}" for name, places in groups if name
    ]
    rows = [[column.cell(record) for column in columns] for record in records]
    body = [" & ".join(escape(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join('l' if c.head in LEFT else 'r' for c in columns)}}}",
            r"\toprule",
            " & ".join(over) + r" \\",
            " ".join(rules),
            " & ".join(escape(column.head) for column in columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _notes(records: list[Record]) -> str:
    """What the numbers are of: the batch, the vocabulary, the precision, the machine."""
    size = records[0]["size"]
    notes = [
        f"Batches of {size['batch']} x {size['source']} source and {size['target']} target tokens. "
        "FLOPs by PyTorch's flop counter: matrix products, 2 per multiply-add, attention "
        "over all pairs, masked or not. Cache: self of each target token, cross of each source "
        "token; bytes over all decoder layers."
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
