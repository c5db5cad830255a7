"""``qvbench list``: everything that a config or the command line can name."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch

from qvbench.attention import ATTENTION, build_attention
from qvbench.cli import ArgumentParser
from qvbench.config_files import shipped_configs, shipped_folder, shipped_suites
from qvbench.data.corpora import CORPORA
from qvbench.errors import UserError
from qvbench.positions import POSITIONS, build_position
from qvbench.registry import Registry

D_MODEL, NUM_HEADS = 1024, 16


def main(args: list[str]) -> int:
    parser = ArgumentParser(
        prog="qvbench list",
        description="List mechanisms, position schemes, corpora, configs, fragments, and suites.",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    shown = "instead, a table of what each mechanism caches under each position scheme"
    parser.add_argument("--pairs", action="store_true", help=shown)
    options = parser.parse_args(args)
    if options.pairs:
        print(pairs())
    elif options.format == "json":
        print(json.dumps(collect(), indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(f"{kind}:\n{_lines(rows)}" for kind, rows in collect().items()))
    return 0


def collect() -> dict[str, list[dict[str, str]]]:
    """Every part by kind: its name, its class (what YAML calls it; files have none), a line."""
    kinds = {}
    registries: list[Registry[Any]] = [ATTENTION, POSITIONS, CORPORA]
    for kind, registry in zip(("mechanisms", "positions", "corpora"), registries, strict=True):
        kinds[kind] = [
            {"name": name, "class": cls.__name__, "summary": _first_line(inspect.getdoc(cls) or "")}
            for name, cls in registry.items()
        ]
    files = {"configs": shipped_configs(), "fragments": shipped_configs(whole=False)}
    for kind, names in (files | {"suites": shipped_suites()}).items():
        path = "suites/{}.yaml" if kind == "suites" else "{}"
        texts = {name: (shipped_folder() / path.format(name)).read_text("utf-8") for name in names}
        kinds[kind] = [
            {"name": name, "summary": _first_line(text).lstrip("# ") if text[:1] == "#" else ""}
            for name, text in texts.items()
        ]
    return kinds


def _first_line(text: str) -> str:
    return text.partition("\n")[0].replace("`", "")


def _lines(rows: list[dict[str, str]]) -> str:
    widths = {column: max(len(row[column]) for row in rows) for column in rows[0]}
    lines = ("  ".join(f"{row[column]:{widths[column]}}" for column in row) for row in rows)
    return "\n".join(f"  {line}".rstrip() for line in lines)


def pairs() -> str:
    """Every mechanism with every position scheme, as a table in Markdown.

    Its numbers are the elements that self-attention at the paper's size caches per token and
    layer; below it are the pairs that are refused, and why.
    """
    from qvbench.report.tables import markdown  # scipy, which a list need not load

    schemes: dict[str, tuple[str, dict[str, Any]]] = {}
    for position, cls in POSITIONS.items():
        schemes[f"`{position}`"] = position, {}
        if "directional" in inspect.signature(cls).parameters:
            schemes[f"`{position}`, symmetric"] = position, {"directional": False}
    rows, reasons = [["mechanism", *schemes]], [""]
    for mechanism in ATTENTION:
        rows.append([f"`{mechanism}`"])
        for title, (position, settings) in schemes.items():
            try:
                rows[-1].append(str(cache_size(mechanism, position, settings)))
            except UserError as error:
                rows[-1].append("refused")
                reasons.append(f"- `{mechanism}` with {title}: {str(error).partition(': ')[2]}")
    return "\n".join([markdown(rows), *reasons])


def cache_size(mechanism: str, position: str, settings: dict[str, Any]) -> int:
    """Elements per token in the cache of one layer of self-attention; refused pairs raise."""
    with torch.device("meta"):
        scheme = build_position(position, num_heads=NUM_HEADS, d_model=D_MODEL, **settings)
        inside = None if scheme.absolute else scheme
        layer = build_attention(mechanism, d_model=D_MODEL, num_heads=NUM_HEADS, position=inside)
    return layer.cache_size
