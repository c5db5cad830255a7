"""The page: what it says of the comparison, and its other formats."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qvbench.report.paper import PAPER
from qvbench.report.tables import csv_table, latex_table, p_text, signs
from tests.report.helpers import (
    add_counts,
    add_lines,
    contents,
    report,
    rows_of,
    write_curves,
    write_run,
    write_variant,
)

TABLE = [["variant", "95 % gap", "n"], ["QV_x \u00d7", "-0.25", "1,234"], ["a", "-", "5"]]


def config(mechanism: str, seed: int) -> str:
    attention = {"class_path": f"qvbench.attention.{mechanism}", "init_args": {"bias": False}}
    model = {"attention": attention, "network": {"class_path": "N", "init_args": {"d_model": 8}}}
    return yaml.safe_dump({"seed_everything": seed, "model": model, "data": {"seed": seed}})


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of three seeds, with all that a run can leave."""
    root = tmp_path_factory.mktemp("page")
    tested = {"tested_checkpoint": "averaged.ckpt"}
    ends = {"qkv": [92.0, 93.2, 94.2], "qv": [88.0, 89.0, 90.3]}
    for place, (name, share, wrong) in enumerate((("qkv", 0.7, 0.1), ("qv", 0.5, 0.3))):
        cache = {"cache_per_token": {"self": 64 - place, "cross": 32}, "mechanism": name}
        for seed, folder in enumerate(
            write_variant(root, name, ends[name], place, **cache, **tested), 1
        ):
            (folder / "config.yaml").write_text(config(name.upper(), seed))
            write_curves(folder, place)
            add_counts(folder, seed, share)
            add_lines(folder, seed, wrong)
    options = ("--title", "A < B", "--baseline", "qkv", "--margin", "0.25")
    report(root / "out", *sorted((root / "runs").iterdir()), *options)
    return root / "out"


def page_of(output: Path) -> str:
    return (output / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_says_what_was_found(output: Path) -> None:
    """Catches a verdict turned round, a section lost, a pair of seeds not used."""
    page = page_of(output)
    for words in (
        "# A < B\n",
        "Against QKV (93.13): validation accuracy (%) minus the baseline's, in points",
        "- **1 worse**: QV, \u22124.03 (\u22126.96 to \u22121.10)\n",
        "- **1 supported**: QV is behind QKV with AGF and PCM-V (1), \u22124.03 (",
        "| QV | 89.10 | \u22124.03 | \u22126.96 to \u22121.10 | worse | 0.022 | 6.20 |",
        "No setting was searched for each variant: what is found is found at this learning rate",
        "primary family (differences: 1): each has its interval at 95.00 %",
        "- QV (`qv`): `model.attention.class_path` `QKV` \u2192 `QV`\n",
        "![Difference to the baseline, with 95 % intervals](differences.png)",
        "![The metric over the training](accuracy.png)",
        "The metric at each validation. Means over the seeds, and bands from the worst seed to",
        " Below, the difference to the baseline. Its bands are 95 % intervals, at each",
        "within ±0.25 points",
        "`averaged.ckpt` (the mean of the weights",
        "this suite's reading",
        "`test/bleu_tokenised`: `tok:none`",
    ):
        assert words in page
    assert "| 3 of 3 | 3 of 3 |" in page, "bootstrap and randomization"
    cell = rows_of(output)["qv"]["simultaneous, other sentences too"]
    low, high = map(float, cell.split(" to "))
    assert low < -20 < high < 0
    assert not rows_of(output)["qkv"]["simultaneous, other sentences too"]


def test_the_page_holds_its_commands(output: Path) -> None:
    """Catches a page with BLEU whose commands never translate, or that makes another page."""
    page = page_of(output)
    assert "`suites/trial.yaml`" in page
    assert "qvbench sweep --suite trial --seeds 1 2 3 --trainer.max_steps 5\n" in page
    loop = "for run in runs/qkv-*/seed-* runs/qv-*/seed-*; do\n"
    assert f'{loop}  qvbench test --ckpt_path "$run/checkpoints/averaged.ckpt"\ndone\n' in page
    again = "qvbench report --suite trial --seeds 1 2 3 --trainer.max_steps 5"
    options = "--title 'A < B' --baseline qkv --margin 0.25"
    assert f"{again} --output {output} {options}\n" in page


@pytest.mark.slow
def test_results_made_again_from_results_are_the_same(output: Path, tmp_path: Path) -> None:
    """Catches a published folder that nobody can make again, a cut digit, options not kept."""
    report(tmp_path / "again", output)
    first, again = contents(output), contents(tmp_path / "again")
    assert first.keys() == again.keys() >= {"accuracy.png", "differences.svg", "report.json"}
    assert [name for name in first if first[name] != again[name]] == []
    assert (output / "runs" / "test.json.xz").is_file()


def test_the_table_to_quote_is_the_first_of_the_page(output: Path) -> None:
    """Catches a page that quotes other verdicts than the report's, or costs with them."""
    table, page = (output / "table.md").read_text(encoding="utf-8"), page_of(output)
    assert page[page.index("| variant |") :].startswith(table)
    assert "parameters" not in table


@pytest.mark.usefixtures("no_figures")
def test_rows_are_told_by_their_revision(tmp_path: Path) -> None:
    """Catches two revisions on a page that does not say which rows are whose."""
    runs = write_variant(tmp_path, "qkv", [92.0, 93.2], mechanism="qkv")
    assert "- abacus, 2 thread(s)" in (page := report(tmp_path / "one", *runs))
    assert "seeds" not in page[page.index("## Machine") :]
    changed = {"git": "fedcba9876543210+dirty", "mechanism": "qv"}
    runs += write_variant(tmp_path, "qv", [91.0], 1, **changed)
    page = report(tmp_path / "out", *runs)
    assert "revision fedcba987654 with uncommitted changes: QV (seed 1)" in page
    assert "revision 0123456789ab: QKV (seeds 1, 2)" in page


@pytest.mark.usefixtures("no_figures")
def test_runs_of_a_gpu_name_it(tmp_path: Path) -> None:
    """Catches a page that fails on a record with GPUs, which no run of a CPU has."""
    gpus = [{"name": "V100-PCIE-32GB", "memory_gib": 31.7}] * 2
    runs = write_variant(tmp_path, "qkv", [92.0], hardware={"gpus": gpus, "precision": "16-mixed"})
    assert "- V100-PCIE-32GB, V100-PCIE-32GB, ?" in report(tmp_path / "out", *runs)


@pytest.mark.usefixtures("no_figures")
def test_a_run_of_a_suite_is_made_again_by_what_the_suite_made_of_its_config(
    tmp_path: Path,
) -> None:
    """Catches the base config in its place, which is another variant, and one whose options on the
    command line are lost."""
    one = write_run(tmp_path, "qv-b", "agf", [50.0], variant="qv", suite="s")
    two = write_run(tmp_path, "qv-c", "agf", [50.0], tested_checkpoint="last.ckpt")
    three = write_run(tmp_path, "qv-d", "agf", [50.0])
    (three / "config.yaml").write_text(config("QV", 1))
    page = report(tmp_path / "out", one, two, three)
    assert "out/runs/qv-b.yaml --seed_everything 1" in page
    assert "--config qv-c.yaml" in page, "no other is kept"
    assert f"{tmp_path}/out/runs/qv-d.yaml --seed_everything 1" in page
    assert (tmp_path / "out" / "runs" / "qv-d.yaml").is_file()
    assert "--config qv-b.yaml" not in page
    loop = "for run in runs/qv-c/seed-*; do"
    assert f'{loop}\n  qvbench test --ckpt_path "$run/checkpoints/last.ckpt"\ndone' in page


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("own", [0.1, 0.2])
def test_rates_that_differ_are_told(own: float, tmp_path: Path) -> None:
    """Catches "at this learning rate" on a page whose variants have several."""
    for place, (name, peak) in enumerate((("qkv", 0.1), ("qv", own))):
        for folder in write_variant(tmp_path, name, [90.0, 91.0], place):
            schedule = f"{{class_path: Linear, init_args: {{peak: {peak}}}}}"
            (folder / "config.yaml").write_text(f"model: {{schedule: {schedule}}}")
    page = report(tmp_path / "out", *sorted((tmp_path / "runs").iterdir()))
    assert ("found at this learning rate" in page) == (own == 0.1)
    assert ("learning rates differ" in page) == (own == 0.2)


@pytest.mark.usefixtures("no_figures")
def test_checkpoints_of_several_rules_are_named(tmp_path: Path) -> None:
    """Catches scores of the best and of averaged weights in one column, and nobody told."""
    a = write_run(tmp_path, "qv-d", "agf", [50.0], tested_checkpoint="averaged.ckpt")
    b = write_run(tmp_path, "qv-e", "agf", [50.0], tested_checkpoint="last.ckpt")
    assert "**The runs differ in it.**" in report(tmp_path / "two", a, b)
    assert "differ in it" not in report(tmp_path / "one", a)


def test_a_run_without_curves_has_a_row_and_no_figure(tmp_path: Path) -> None:
    """Catches a crash over the one run that lost its curves."""
    run = write_run(tmp_path, "qv-d", "agf", [50.0])
    (run / "curves.csv").unlink()
    assert "accuracy.png" not in report(tmp_path / "out", run)
    assert not (tmp_path / "out" / "accuracy.png").exists()


def test_a_page_speaks_of_what_it_shows(tmp_path: Path) -> None:
    """Catches a panel, a strip, a band or a column that is explained and not there."""
    run = write_run(tmp_path, "qkv-e", "sinusoidal", [30.0, 50.0])
    page = report(tmp_path / "out", run)
    assert "](accuracy.png)\n\nThe metric at each validation.\n" in page
    notes = page[page.index("## How it was measured") :]
    assert "Minutes are wall time" in notes
    assert not re.search("Early in training|Cache is|FLOPs are|interval", notes)


@pytest.mark.usefixtures("no_figures")
def test_a_loss_has_the_digits_that_its_differences_need(tmp_path: Path) -> None:
    """Catches a difference of nats that is rounded to 0.00, or an interval that ends there."""
    loss = {"name": "val/loss", "label": "loss", "unit": "nats", "higher_is_better": False}
    for place, name in enumerate(("qkv", "qv")):
        for folder in write_variant(tmp_path, name, [0.0] * 3, place, primary_metric=loss):
            record = json.loads((folder / "run.json").read_text())
            record["metrics"] = {"val/loss": 1.9 + 0.004 * place + 0.001 * record["seed"]}
            (folder / "run.json").write_text(json.dumps(record))
    page = report(tmp_path / "out", *sorted((tmp_path / "runs").iterdir()))
    assert "Against qkv (1.902): loss (nats) minus" in page
    assert "| +0.004 | +0.002 to +0.006 | worse | 0.008 | 0.006 |" in page


@pytest.mark.usefixtures("no_figures")
def test_early_is_unknown_without_the_config(tmp_path: Path) -> None:
    """Catches a height within the warm-up, taken for one after it where no config was kept."""
    run = write_run(tmp_path, "qkv-f", "agf", [30.0, 50.0])
    write_curves(run, 0)
    assert "early in training" not in report(tmp_path / "out", run)
    (run / "config.yaml").write_text("model: {schedule: {warmup_steps: 1}}")
    assert "| early in training |" in report(tmp_path / "known", run)


@pytest.mark.usefixtures("no_figures")
def test_a_published_number_stands_beside_the_run_that_repeats_it(tmp_path: Path) -> None:
    """Catches a page of the published baseline without what was published."""
    for entry in PAPER["published"]:
        assert (Path(__file__).parents[2] / "configs" / entry["config"]).is_file()
    scores = {"val/accuracy": 60.0, "test/bleu_tokenised": 40.5}
    same = {"config": "multi30k/tiny_qkv.yaml", "metrics": scores}
    page = report(tmp_path / "out", write_run(tmp_path, "a", "sinusoidal", [60.0], **same))
    assert "Wu et al." in page
    assert "**BLEU, tokenized: 41.02 published, 40.50 ours** (A, sinusoidal)." in page
    changed = write_run(tmp_path, "b", "sinusoidal", [60.0], variant="b", **same)
    assert "Wu et al." not in report(tmp_path / "other", changed)


def test_a_csv_is_for_programs() -> None:
    """Catches separators of thousands, which make text of numbers, and dashes for None."""
    rows = list(csv.reader(csv_table(TABLE).splitlines()))
    assert rows[1:] == [["QV_x \u00d7", "-0.25", "1234"], ["a", "", "5"]]


def test_latex_compiles(output: Path) -> None:
    """Catches an underscore or a per cent sign, which stop LaTeX, and hyphens for minus signs."""
    lines = latex_table(TABLE).splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[2] == r"variant & 95 \% gap & n \\"
    assert lines[4:6] == [r"QV\_x $\times$ & $-$0.25 & 1,234 \\", r"a & - & 5 \\"]
    result, costs = ((output / f"{n}.tex").read_text().splitlines() for n in ("table", "costs"))
    assert result[2].startswith(r"variant & seeds & validation accuracy (\%) & minus baseline &")
    assert costs[2].startswith("variant & parameters & in attention & cache, self & cache, cross &")
    assert len(result[4].split("&")) == len(result[2].split("&")) == 8


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0123, "0.012"), (0.0004, "< 0.001"), (0.0503, "0.0503"), (0.05003, "0.05003")],
)
def test_a_p_value_shows_its_side_of_the_level(p: float, text: str) -> None:
    """Catches 0.0503 printed as 0.050 beside "inconclusive"."""
    assert p_text(p) == text


def test_the_html_page_stands_alone(output: Path) -> None:
    """Catches a picture or a style that must be fetched, a title that is taken for a tag."""
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<title>A &lt; B</title>" in page
    assert page.count("<svg ") == 3
    assert not re.search(r"<(img|link|script )|url\(http|src=", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "a drawing that refers to another's marks"
    assert page.index("4.03 (\u22126.96") < page.index("<table") < page.index("<svg")
    assert page.rindex("<svg") < page.index("<details"), "closed: all but answer, table, figures"
    assert "<title>seed 3: 90.30 (\u22122.83)</title>" in page
    assert 'id="tooltip' not in page


def test_a_minus_sign_is_no_hyphen() -> None:
    """Catches hyphens before numbers, and commands and names that nobody can copy."""
    text = "-0.5 to -0.25 (-1), QV-2, 2026-11, `lr -1`\n```sh\nqvbench fit --x -5\n```"
    assert signs(text) == text.replace("-0", "\u22120").replace("(-1", "(\u22121")


def test_no_torch_is_needed() -> None:
    """Catches tables that can only be made where models can be trained."""
    code = (
        "import sys, qvbench.cli.report, qvbench.report.figures, qvbench.report.wandb;"
        "import qvbench.sweep.launch, qvbench.runs.curves, qvbench.runs.slurm;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
