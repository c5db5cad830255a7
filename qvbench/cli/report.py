"""``qvbench report RUNS... --output FOLDER``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from qvbench.cli.arguments import ArgumentParser
from qvbench.errors import UserError
from qvbench.report import load
from qvbench.report.cost_figure import read_profile
from qvbench.report.figure import draw
from qvbench.report.figures import draw_figures
from qvbench.report.formats import Columns, csv_table, html_page, latex_table
from qvbench.report.page import page
from qvbench.report.significance import MARGIN
from qvbench.report.suite_runs import runs_of_suite
from qvbench.report.table import COLUMNS, table
from qvbench.report.table import LEFT as WORDS
from qvbench.report.variant_page import variant_page
from qvbench.report.variant_table import COSTS, LEFT, RESULT, filled, part_of_table
from qvbench.report.variants import Comparison, compare
from qvbench.sweep.plan import part_overrides
from qvbench.sweep.suite import Settings, find_suite, read_suite


def main(argv: list[str]) -> int:
    """Run the verb with the words after ``report``."""
    parser = ArgumentParser(
        prog="qvbench report",
        description="Gather runs into a results folder: records, curves, table, figure, page.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="folder of a run, its seeds, or results; with --suite, where to look for its runs "
        "(runs/ if not given)",
    )
    parser.add_argument(
        "--suite",
        help="gather the runs of a suite file or shipped suite, whichever suite had them made; "
        "with the options of `qvbench fit` that its sweep was given: --trainer.max_steps 100",
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="instead of the suite's")
    parser.add_argument("--output", required=True, type=Path, help="results folder to write")
    parser.add_argument("--title", help="heading of the page; the suite's or the folder's name")
    parser.add_argument("--baseline", metavar="VARIANT", help="instead of the suite's")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help=f"of accuracy within which variants count as equivalent; the suite's, or {MARGIN}",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="what `qvbench profile --format json` printed of the variants' configs: the FLOPs of "
        "runs whose records have none",
    )
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="send the runs to this W&B project, or ENTITY/PROJECT, and make a report there; "
        "offline the runs are kept for later",
    )
    words, overrides = part_overrides(argv)
    arguments = parser.parse_args(words)
    if arguments.margin is not None and not arguments.margin > 0:
        raise UserError(f"--margin must be above 0, got {arguments.margin:g}")
    profile = read_profile(arguments.profile) if arguments.profile else []
    runs = _runs(arguments, overrides)
    comparison = compare(runs, arguments.baseline, arguments.margin)
    try:
        load.gather(runs, arguments.output)
        if comparison is None:
            write(runs, arguments.output, arguments.title)
        else:
            write_comparison(comparison, arguments.output, arguments.title, profile)
    except OSError as error:
        raise UserError(f"{arguments.output}: cannot be written: {error.strerror}") from error
    print(f"wrote {arguments.output / 'README.md'}")
    if arguments.wandb is not None:
        from qvbench.report.wandb_publish import publish

        publish(arguments.wandb, runs, comparison, arguments.output)
    return 0


def _runs(arguments: Namespace, overrides: Settings) -> list[load.Run]:
    """Those of the suite, or all that were named.

    Raises:
        UserError: neither was named, or options come without the suite that they belong to.
    """
    if arguments.suite is not None:
        suite = read_suite(find_suite(arguments.suite))
        places = arguments.runs or [Path("runs")]
        from qvbench.cli.experiment import resolve  # imports torch, so not without --suite

        return runs_of_suite(suite, places, resolve, overrides, arguments.seeds or ())
    if overrides or arguments.seeds:
        option = f"--{overrides[0][0]}" if overrides else "--seeds"
        raise UserError(f"{option}: belongs to a suite's runs; give --suite too")
    if not arguments.runs:
        raise UserError("nothing to report: give folders of runs, or --suite")
    return load.load(arguments.runs)


def write(runs: list[load.Run], folder: Path, title: str | None) -> None:
    """Write table, figure and page of runs that stand for themselves."""
    figure = bool(draw(runs, folder))
    (folder / "table.md").write_text(table(runs), encoding="utf-8")
    text = page(title or folder.name, runs, folder.as_posix(), figure)
    columns = [(name, [cell(run) for run in runs]) for name, cell in COLUMNS]
    write_formats(text, columns, folder)
    (folder / "table.tex").write_text(latex_table(columns, WORDS), encoding="utf-8")


def write_comparison(
    comparison: Comparison, folder: Path, title: str | None, profile: list[dict[str, Any]]
) -> None:
    """Write table, figures and page of variants over their seeds."""
    figures = draw_figures(comparison, folder, profile)
    verdicts = "\n\n".join(part_of_table(comparison, RESULT)) + "\n"
    (folder / "table.md").write_text(verdicts, encoding="utf-8")
    title = title or comparison.sweep.get("title") or folder.name
    text = variant_page(title, comparison, folder.as_posix(), figures)
    columns = filled(comparison)
    write_formats(text, columns, folder)
    for name, kept in (("table", RESULT), ("costs", COSTS)):
        part = [column for column in columns if column[0] in ("variant", *kept)]
        (folder / f"{name}.tex").write_text(latex_table(part, LEFT), encoding="utf-8")


def write_formats(text: str, columns: Columns, folder: Path) -> None:
    """Write the page as Markdown and HTML, its whole table as CSV."""
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(html_page(text, folder), encoding="utf-8")
    (folder / "table.csv").write_text(csv_table(columns), encoding="utf-8")
