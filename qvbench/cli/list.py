"""``qvbench list``: everything that a config or the command line can name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qvbench import config_files
from qvbench.cli.arguments import ArgumentParser

PARTS = ("mechanisms", "positions", "corpora", "configs", "fragments", "suites")


def main(argv: list[str]) -> int:
    """Run the command with the arguments after ``list``."""
    parser = ArgumentParser(
        prog="qvbench list",
        description="List what a config or the command line can name, a line each: "
        "mechanisms, position schemes, corpora, configs, their fragments, and suites.",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="a page in Markdown instead: every mechanism with every position scheme",
    )
    arguments = parser.parse_args(argv)
    if arguments.pairs:
        from qvbench.cli.pairs import pairs_page

        print(pairs_page(), end="")
        return 0
    parts = collect()
    if arguments.format == "json":
        print(json.dumps(parts, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(_section(kind, parts[kind]) for kind in PARTS))
    return 0


def collect() -> dict[str, list[dict[str, str]]]:
    """Every part by kind: its name, its class (what YAML calls it; files have none), a line."""
    from qvbench.attention import ATTENTION
    from qvbench.data.corpora import CORPORA
    from qvbench.positions import POSITIONS

    return {
        "mechanisms": _registered(ATTENTION),
        "positions": _registered(POSITIONS),
        "corpora": _registered(CORPORA),
        "configs": [_file(name) for name in config_files.shipped_configs()],
        "fragments": [_file(name) for name in config_files.shipped_configs(whole=False)],
        "suites": [
            _file(f"suites/{name}.yaml") | {"name": name} for name in config_files.shipped_suites()
        ],
    }


def _file(name: str) -> dict[str, str]:
    return {"name": name, "summary": config_files.summary(name)}


def _registered(registry: Mapping[str, type[Any]]) -> list[dict[str, str]]:
    return [
        {"name": name, "class": cls.__name__, "summary": _first_line(cls)}
        for name, cls in registry.items()
    ]


def _first_line(cls: type[Any]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0].replace("`", "")


def _section(kind: str, rows: list[dict[str, str]]) -> str:
    columns = ["name", "class"] if any("class" in row for row in rows) else ["name"]
    widths = {column: max((len(row[column]) for row in rows), default=0) for column in columns}
    lines = [
        "  ".join(["", *(f"{row[c]:{widths[c]}}" for c in columns), row["summary"]]).rstrip()
        for row in rows
    ]
    return "\n".join([f"{kind}:", *lines])
