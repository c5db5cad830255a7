"""``qvbench report RUNS... --output FOLDER``."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveFloat

from qvbench.cli import ArgumentParser, part_overrides
from qvbench.errors import UserError
from qvbench.report.comparison import Comparison, Options, compare
from qvbench.report.html import html_page
from qvbench.report.page import markdown_page
from qvbench.report.runs import Run, gather, load, readable, runs_of_suite, text_of
from qvbench.report.search import is_search_alone, search_alone_page
from qvbench.report.statistics import MARGIN
from qvbench.report.tables import (
    COSTS,
    RESULT,
    csv_table,
    latex_table,
    part_of_table,
    signs,
    table_of,
)
from qvbench.runs.folder import RUNS
from qvbench.sweep.suite import Settings, find_suite, read_suite

PAGE = "README.md"
OPTIONS = "report.json"
BLEU_TESTS = "bleu_tests.json"
"""p-values that a results folder keeps: a minute of resampling each, always with one outcome."""


def main(args: list[str]) -> int:
    own, overrides = part_overrides(args)
    arguments = _parser().parse_args(own)
    runs, options = _runs(arguments, overrides), _options(arguments)
    if is_search_alone(runs):
        page = search_alone_page(runs, options.title)
        with _writing(arguments.output):
            gather(runs, arguments.output)
            _write(arguments.output, {PAGE: page, OPTIONS: _json(options.given)})
        print(f"wrote {arguments.output / PAGE}: a search alone, nothing is compared yet")
        return 0
    known: dict[str, list[float]] = {}
    for file in (place / BLEU_TESTS for place in (*arguments.runs, arguments.output)):
        with readable(file, "p-values"):
            content = json.loads(text_of(file) or "{}")
            known |= {key: [float(p) for p in values] for key, values in content.items()}
    comparison = compare(runs, arguments.output, options, known)
    with _writing(arguments.output):
        gather(runs, arguments.output)
        write(comparison)
    print(f"wrote {arguments.output / PAGE}")
    if arguments.wandb is not None:
        from qvbench.report.wandb import publish

        publish(arguments.wandb, comparison)
    return 0


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench report",
        description="Gather runs into a results folder: records, curves, table, figures, page.",
    )
    add = parser.add_argument
    runs = "folder of a run, its seeds, or results; with --suite, where its runs are, else runs/"
    add("runs", nargs="*", type=Path, metavar="RUN", help=runs)
    suite = "suite file or shipped suite; with the options of `qvbench fit` that its sweep had"
    add("--suite", help=suite)
    add("--seeds", nargs="+", type=NonNegativeInt, metavar="N", help="instead of the suite's")
    add("--output", required=True, type=Path, help="results folder to write")
    add("--title", help="heading of the page; the suite's or the folder's name")
    add("--baseline", metavar="VARIANT", help="instead of the suite's")
    margin = f"within which variants count as equivalent; the suite's, or {MARGIN}"
    add("--margin", type=PositiveFloat, metavar="POINTS", help=margin)
    add("--wandb", metavar="PROJECT", help="W&B project or ENTITY/PROJECT for runs and a report")
    return parser


def _runs(arguments: Namespace, overrides: Settings) -> list[Run]:
    if arguments.suite is not None:
        suite = read_suite(find_suite(arguments.suite))
        places = arguments.runs or [Path(RUNS)]
        from qvbench.cli.experiment import resolve  # imports torch, so not without --suite

        return runs_of_suite(suite, places, resolve, overrides, arguments.seeds or ())
    if overrides or arguments.seeds:
        raise UserError("--seeds and options of `qvbench fit` belong to a suite; give --suite too")
    if not arguments.runs:
        raise UserError("nothing to report: give folders of runs, or --suite")
    return load(arguments.runs)


def _options(arguments: Namespace) -> Options:
    """Those given, over those that a results folder kept when it is reported on again."""
    kept = Options()
    if len(arguments.runs) == 1 and arguments.suite is None:
        file = arguments.runs[0] / OPTIONS
        with readable(file, "a report's options"):
            kept = Options(**json.loads(text_of(file) or "{}"))
    given = Options(*(getattr(arguments, name) for name in Options._fields)).given
    return kept._replace(**given)


def write(comparison: Comparison) -> None:
    """Write tables, figures and page, and what they are made again from."""
    folder, text = comparison.folder, markdown_page(comparison)
    files = {
        PAGE: text,
        "report.html": html_page(text, folder),
        "table.md": signs("\n\n".join(part_of_table(RESULT, comparison)) + "\n"),
        "table.csv": csv_table(table_of(comparison)),
        "table.tex": latex_table(table_of(comparison, RESULT)),
        "costs.tex": latex_table(table_of(comparison, COSTS)),
        OPTIONS: _json(comparison.options.given),
    }
    (folder / BLEU_TESTS).unlink(missing_ok=True)
    if comparison.bleu_tests:
        files[BLEU_TESTS] = json.dumps(comparison.bleu_tests, indent=0, sort_keys=True) + "\n"
    _write(folder, files)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
