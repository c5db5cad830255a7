"""The section of a report on what was measured inside its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from qvbench.report.inside import (
    affinity_figure,
    diffusion_figure,
    distance_figure,
    over_seeds,
    values_figure,
)
from tests.report.helpers import compared, contents, report, write_variant

MINUS = "\N{MINUS SIGN}"


def measured(root: Path, name: str, gains: Sequence[float], place: int = 0) -> list[Path]:
    """A variant's runs, each with a summary; one value differs from seed to seed."""
    folders = write_variant(
        root, name, [90.0 + n for n in range(len(gains))], place, mechanism=name
    )
    for folder, gain in zip(folders, gains, strict=True):
        measures = {"queries over values": gain, "head, found": 0.5 + gain, "exponent": 1.0}
        measures["learned exponent"] = 1.876  # of old summaries, with what no gradient reaches
        summary: dict[str, Any] = {
            "text": "grammar",
            "options": "--sentences 40",
            "sentences": 40,
            "measures": measures,
            "relations": {"DET of NOUN": [0.5 + gain, 0.4, 20], "all": [0.3, 0.2, 90]},
            "exponents": [0.5, 1.5],
            "attention by distance": [0.4, 0.2, 0.1],
        }
        (folder / "inside.json").write_text(json.dumps({"summary": summary}), encoding="utf-8")
    return folders


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    own = measured(tmp_path, "qkv", [0.1, 0.2, 0.3]), measured(tmp_path, "qv", [0.2, 0.2, 0.2], 1)
    return [folder for folders in own for folder in folders]


@pytest.mark.usefixtures("no_figures")
def test_the_section_has_means_over_seeds_and_the_claim(runs: list[Path], tmp_path: Path) -> None:
    """Catches an interval of one seed's sentences, a claim on another mechanism's variant, one
    whose interval holds the border and that is called decided all the same, and a number that old
    summaries have by another definition."""
    page = report(tmp_path / "out", *runs)
    assert "`qvbench measure --sentences 40 --checkpoint" in page
    assert "read 40 sentences of grammar with each of 6 runs" in page
    assert f"| QKV | 0.200 ({MINUS}0.048 to 0.448) |" in page, "Student's, two degrees of freedom"
    assert "| QV | 0.200 |" in page, "an interval without width"
    assert "| QV diffuses the query | queries less values: above 0 | QV: +0.200 | - | - |" in page
    assert "| QKV diffuses the value | queries less values: below 0 | - | - | QKV: +0.200 |" in page
    assert "near 2" not in page.split("## Inside")[1], "a column that no variant fills"
    assert "1.88" not in page


@pytest.mark.usefixtures("no_figures")
def test_a_results_folder_keeps_what_was_measured(runs: list[Path], tmp_path: Path) -> None:
    """Catches numbers that a page loses when it is made again from its own folder, and those of an
    earlier report that stay where no run was measured."""
    out = tmp_path / "out"
    report(out, *runs)
    first = contents(out)
    report(out, out)
    assert contents(out) == first
    for folder in runs:
        (folder / "inside.json").unlink()
    assert "## Inside" not in report(out, *runs)
    assert not (out / "runs" / "inside.json").exists()


@pytest.mark.usefixtures("no_figures")
def test_a_damaged_file_is_named(runs: list[Path], tmp_path: Path, capsys: Any) -> None:
    """Catches a traceback for a file that was cut off."""
    (runs[0] / "inside.json").write_text('{"summary": {', encoding="utf-8")
    from qvbench.cli.main import main

    assert main(["report", *map(str, runs), "--output", str(tmp_path / "out")]) == 2
    assert f"{runs[0] / 'inside.json'}: cannot be read as what" in capsys.readouterr().err


def test_figures_show_what_was_measured(runs: list[Path]) -> None:
    """Catches a seed's value for the mean, a run that was not measured, a relation left out, and a
    traceback where one run was measured on longer sentences."""
    (runs[0] / "inside.json").unlink()
    longer = runs[-1] / "inside.json"
    longer.write_text(longer.read_text().replace("0.4, 0.2, 0.1]", "0.4, 0.2, 0.1, 0.05]"))
    comparison = compared(runs)
    assert over_seeds(comparison.variants[0], "queries over values").mean == pytest.approx(0.25)
    drawn = [draw(comparison) for draw in (affinity_figure, diffusion_figure, distance_figure)]
    affinity = drawn[0].axes[0]
    assert [tick.get_text() for tick in affinity.get_yticklabels()] == ["DET of NOUN", "all"]
    assert 0.75 in [line.get_xdata()[0] for line in affinity.lines if len(line.get_xdata())]
    assert len(drawn[1].axes) == 3
    curve = next(line for line in drawn[2].axes[0].lines if line.get_label() == "QV")
    assert curve.get_ydata() == pytest.approx([0.4, 0.2, 0.1])


def test_the_line_of_the_minimal_model(tmp_path: Path) -> None:
    """Catches a line of another count of layers, relations or guesses, shared values drawn at as
    many as there are heads, and the figure on another corpus's page."""
    corpus = {"class_path": "Modifiers", "init_args": {"directions": 4, "contents": 16}}
    network = {"class_path": "DecoderOnly", "init_args": {"num_heads": 8, "layers": 2}}
    shared = {"class_path": "VShared", "init_args": {"num_value_heads": 2}}
    folders = []
    for place, attention in enumerate(({"class_path": "QKV"}, shared)):
        config = {"model": {"attention": attention, "network": network}, "data": {"corpus": corpus}}
        for folder in write_variant(tmp_path, attention["class_path"], [90.0, 91.0], place):
            (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
            folders.append(folder)
    figure = values_figure(compared(folders))
    assert figure is not None
    line, *points = figure.axes[0].lines
    at = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert [at[1], at[2], at[4], at[8]] == pytest.approx([17.97, 29.69, 53.125, 100], abs=0.01)
    assert {round(point.get_xdata()[0]) for point in points} == {8, 2}
    assert values_figure(compared(measured(tmp_path / "other", "qv", [0.1]))) is None
