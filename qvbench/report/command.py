"""``qvbench report RUNS... --output FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

from qvbench.errors import UserError
from qvbench.report import load
from qvbench.report.figure import draw
from qvbench.report.page import page
from qvbench.report.table import table


def main(argv: list[str]) -> int:
    """Run the verb with the words after ``report``."""
    parser = argparse.ArgumentParser(
        prog="qvbench report",
        description="Gather runs into a results folder: records, curves, table, figure, page.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run or results folder")
    parser.add_argument("--output", required=True, type=Path, help="results folder to write")
    parser.add_argument("--title", help="heading of the page; the folder's name if not given")
    arguments = parser.parse_args(argv)
    write(load.load(arguments.runs), arguments.output, arguments.title or arguments.output.name)
    print(f"wrote {arguments.output / 'README.md'}")
    return 0


def write(runs: list[load.Run], folder: Path, title: str) -> None:
    """Write a results folder from runs.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        load.gather(runs, folder)
        figure = bool(draw(runs, folder))
        (folder / "table.md").write_text(table(runs), encoding="utf-8")
        text = page(title, runs, folder.as_posix(), figure)
        (folder / "README.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
