"""Several seeds of several variants: one row each, against the baseline on the same seeds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report.bands import band, lowest_usual
from qvbench.report.load import load
from qvbench.report.variant_figure import TOGETHER
from qvbench.report.variants import compare
from tests.report.test_report import contents, write_run

SEEDS = (1, 2, 3)


def write_variant(
    root: Path, name: str, ends: Sequence[float], place: int = 0, **changes: Any
) -> list[Path]:
    """A variant's runs of a suite: seed n ends at the nth accuracy."""
    sweep = {
        "file": "suites/trial.yaml",
        "title": "A trial",
        "baseline": "qkv",
        "place": place,
        "variants": 2,
        "overrides": [["trainer.max_steps", "5"]],
    }
    position = changes.pop("position", "agf")
    labels = {"suite": "trial", "variant": name, "identity": name, "sweep": sweep} | changes
    return [
        write_run(root, f"trial-{name}", position, [end - 20, end - 5, end], seed, **labels)
        for seed, end in enumerate(ends, 1)
    ]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    cache = {"cache_per_token": {"self": 64, "cross": 32}}
    return [
        *write_variant(tmp_path, "qv", [91.0, 92.0, 93.3], 1, **cache),
        *write_variant(tmp_path, "qkv", [92.0, 93.2, 94.2]),
    ]


def report(tmp_path: Path, *words: str | Path) -> Path:
    output = tmp_path / "out"
    assert main([*map(str, words), "--output", str(output)]) == 0
    return output


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    with (output / "table.csv").open(encoding="utf-8", newline="") as file:
        return {row["variant"]: row for row in csv.DictReader(file)}


def test_a_row_is_a_variant(runs: list[Path], tmp_path: Path) -> None:
    """Runs mixed up, the unpaired difference, a cell under another heading, empty columns."""
    rows = rows_of(report(tmp_path, *runs))
    assert list(rows) == ["qkv", "qv"], "the order of the suite"
    row = rows["qv"]
    assert (row["seeds"], row["val accuracy"]) == ("3", "92.10")
    assert row["worst to best seed"] == "91.00 to 93.30"
    # -1.0, -1.2, -0.9: deviation 0.1528, t 4.3027 over sqrt(3)
    assert (row["minus baseline"], row["95 % interval, paired"]) == ("-1.03", "-1.41 to -0.65")
    assert (row["verdict"], rows["qkv"]["verdict"]) == ("worse", "baseline")
    assert (row["cache, self"], row["cache, cross"], row["minutes"]) == ("64", "32", "2.0")
    assert (row["parameters"], row["in attention"]) == ("1234567", "4321")
    assert row["BLEU, tokenised"] == "41.02"
    assert "BLEU" not in row


def test_the_table_to_quote_is_the_first_of_the_page(runs: list[Path], tmp_path: Path) -> None:
    """A page that quotes verdicts other than the report's, or twenty columns of costs with them."""
    output = report(tmp_path, *runs)
    table = (output / "table.md").read_text(encoding="utf-8")
    page = (output / "README.md").read_text(encoding="utf-8")
    assert page[page.index("| variant |") :].startswith(table)
    assert "| worse |" in table
    assert "parameters" not in table


def test_the_page_says_what_made_it_and_what_it_bears(runs: list[Path], tmp_path: Path) -> None:
    output = report(tmp_path, *runs)
    page = (output / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# A trial")
    assert "`suites/trial.yaml`" in page
    assert "qvbench sweep --suite trial --seeds 1 2 3 --trainer.max_steps 5\n" in page
    again = "qvbench report --suite trial --seeds 1 2 3 --trainer.max_steps 5"
    assert f"{again} --output {output}\n" in page
    assert "Worse than the baseline" in page
    assert "- qv: -1.03 points, -1.41 to -0.65" in page
    assert "Better than the baseline" not in page
    assert "p 0.007, of equivalence 0.996" in page
    # deviation 0.1528: the paper's 0.0386 points need (1.96 + 0.84)^2 (0.1528 / 0.0386)^2, and 2
    gap = "- 0.0386 points (QV-Ka with two heads' widths behind QKV): 125 seeds"
    assert f"{gap} (deviation 0.153, pooled over the rows of this table)" in page


def test_the_commands_hold_the_tests(tmp_path: Path) -> None:
    """A page with BLEU whose commands never translate."""
    tested = {"tested_checkpoint": "averaged.ckpt"}
    runs = write_variant(tmp_path, "qkv", [92.0, 93.2], **tested)
    runs += write_variant(tmp_path, "qv", [91.0, 92.0], 1, **tested)
    page = (report(tmp_path, *runs) / "README.md").read_text(encoding="utf-8")
    loop = "for run in runs/trial-qkv/seed-* runs/trial-qv/seed-*; do\n"
    assert f'{loop}  qvbench test --ckpt_path "$run/checkpoints/averaged.ckpt"\ndone\n' in page


def test_another_baseline_turns_the_difference(runs: list[Path], tmp_path: Path) -> None:
    output = report(tmp_path, *runs, "--baseline", "qv")
    assert rows_of(output)["qkv"]["95 % interval, paired"] == "+0.65 to +1.41"
    assert rows_of(output)["qkv"]["verdict"] == "better"
    assert "--baseline qv" in (output / "README.md").read_text(encoding="utf-8")


def test_a_seed_too_few_is_no_verdict(tmp_path: Path) -> None:
    """Differences over seeds that only one side has."""
    runs = write_variant(tmp_path, "qkv", [92.0, 93.0]) + write_variant(tmp_path, "qv", [50.0])
    output = report(tmp_path, *runs)
    row = rows_of(output)["qv"]
    assert (row["minus baseline"], row["verdict"]) == ("-42.00", "")
    assert "there is no verdict" in (output / "README.md").read_text(encoding="utf-8")


def test_a_run_that_was_not_finished_is_left_out_and_named(
    runs: list[Path], tmp_path: Path
) -> None:
    """The accuracy of a run in its middle averaged with those of whole ones."""
    half = write_run(tmp_path, "trial-qv", "agf", [3.0], 4, status="running", suite="trial")
    output = report(tmp_path, *runs, half)
    assert rows_of(output)["qv"]["val accuracy"] == "92.10"
    assert "left out:** trial-qv/seed-4" in (output / "README.md").read_text(encoding="utf-8")


def test_runs_that_do_not_belong_together_are_refused(runs: list[Path], tmp_path: Path) -> None:
    """Catches two experiments, or one seed twice, in one mean."""
    labels = {"suite": "trial", "variant": "qv"}
    other = write_run(tmp_path, "x", "agf", [9.0], 4, **labels, identity="old")
    with pytest.raises(UserError, match=r"not seeds of one experiment.*the version of the code"):
        compare(load([*runs, other]))
    (runs[0] / "config.yaml").write_text("model: {label_smoothing: 0.1}")
    (other / "config.yaml").write_text("model: {label_smoothing: 0.0}")
    with pytest.raises(UserError, match=r"they differ in model\.label_smoothing"):
        compare(load([*runs, other]))
    again = write_run(tmp_path, "y", "agf", [9.0], 3, **labels, identity="qv")
    with pytest.raises(UserError, match="y/seed-3: two runs of one seed"):
        compare(load([*runs, again]))
    with pytest.raises(UserError, match="--baseline gqa: no such variant; known: qkv, qv"):
        compare(load(runs), "gqa")


def test_single_runs_are_no_comparison(runs: list[Path]) -> None:
    """A row a variant with empty intervals, in the place of the table of runs."""
    assert compare(load([runs[0], runs[3]])) is None
    with pytest.raises(UserError, match="nothing is compared"):
        compare(load([runs[0]]), "qkv")


def test_runs_that_no_suite_made_are_gathered_by_config(tmp_path: Path) -> None:
    """Seeds run by hand that stay a row each, or get a baseline that nobody named."""
    runs = [write_run(tmp_path, n, "agf", [90.0 + s], s) for n in ("a", "b") for s in SEEDS]
    output = report(tmp_path, *runs)
    assert list(rows_of(output)) == ["a", "b"]
    page = (output / "README.md").read_text(encoding="utf-8")
    assert "No baseline is given" in page
    assert "qvbench fit --config a.yaml --seed_everything 3" in page
    assert not (output / "differences.png").exists()


def test_a_folder_of_seeds_is_its_runs(runs: list[Path], tmp_path: Path) -> None:
    folders = sorted({run.parent for run in runs})
    assert [run.id for run in load(folders)] == [run.id for run in load(runs)]


def test_results_made_again_from_results_are_the_same(runs: list[Path], tmp_path: Path) -> None:
    """A comparison that needs the runs' folders, which are not published."""
    first = report(tmp_path, *runs)
    again = tmp_path / "again"
    main([str(first), "--output", str(again)])
    a, b = contents(first), contents(again)
    assert a.keys() == b.keys() >= {"accuracy.png", "differences.svg", "curves.csv"}
    assert [name for name in a if a[name] != b[name]] == []


def test_many_variants_have_a_panel_each(tmp_path: Path) -> None:
    """More lines in one picture than there are colours to tell them apart."""
    names = ["qkv", *(f"m{n}" for n in range(TOGETHER))]
    for place, name in enumerate(names):
        low = 60 if name == "m3" else 90 + place / 10
        write_variant(tmp_path, name, [low, low + 0.1, low + 0.3], place)
    output = report(tmp_path, *sorted((tmp_path / "runs").iterdir()))
    svg = (output / "accuracy.svg").read_text(encoding="utf-8")
    for name in names:
        assert f">{name}<" in svg
    assert svg.count(">below the frame:<") == 1
    assert "off the scale" in (output / "differences.svg").read_text(encoding="utf-8")


def test_the_band_is_that_of_the_seeds(runs: list[Path]) -> None:
    """A mean over seeds of which some had ended, a band from other points than its line."""
    comparison = compare(load(runs))
    assert comparison is not None
    longer = runs[0] / "curves.csv"
    longer.write_text(longer.read_text() + "9,,9000,9,val/accuracy,99\n")
    comparison = compare(load(runs))
    assert comparison is not None
    curve = band(comparison.variants[1])
    assert curve.tokens == [0.001, 0.002, 0.003]
    assert (curve.low[-1], curve.high[-1]) == (91.0, 93.3)
    assert curve.mean[-1] == pytest.approx(92.1)


def test_what_lies_far_below_does_not_set_the_frame() -> None:
    assert lowest_usual([94.0, 93.5, 93.0, 94.2, 92.8, 60.0]) == 92.8
    assert lowest_usual([94.0, 93.0, 90.0, 92.0]) == 90.0
    assert lowest_usual([94.0, 60.0]) == 60.0
