"""Variants over their seeds: one row each, and what is shown of it against the baseline."""

from __future__ import annotations

from pathlib import Path

import pytest

from qvbench.errors import UserError
from qvbench.report.provenance import changes
from qvbench.report.runs import Run, load
from qvbench.report.variants import labels_of
from qvbench.runs.identity import counted
from tests.report.helpers import compared, report, rows_of, write_run, write_variant

pytestmark = pytest.mark.usefixtures("no_figures")
LOSS = {"name": "val/loss", "label": "validation loss", "unit": "nats", "higher_is_better": False}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    cache = {"cache_per_token": {"self": 64, "cross": 32}}
    return [
        *write_variant(tmp_path, "qv", [91.0, 92.0, 93.3], 1, **cache),
        *write_variant(tmp_path, "qkv", [92.0, 93.2, 94.2]),
    ]


def test_a_row_is_a_variant(runs: list[Path], tmp_path: Path) -> None:
    """Catches runs mixed up, the unpaired difference, a cell under another heading."""
    report(tmp_path / "out", *runs)
    rows = rows_of(tmp_path / "out")
    assert list(rows) == ["qkv", "qv"], "the order of the suite"
    row = rows["qv"]
    assert (row["variant"], row["seeds"], row["validation accuracy (%)"]) == ("qv", "3", "92.10")
    assert row["range over seeds"] == "91.00 to 93.30"
    # Deviations 1.1533 and 1.1015: error 0.9207, 3.99 degrees of freedom of which 3 count
    interval = "95 % interval, simultaneous"
    assert (row["minus baseline"], row[interval]) == ("-1.03", "-3.96 to +1.90")
    assert (row["verdict"], rows["qkv"]["verdict"]) == ("inconclusive", "baseline")
    assert row["shown to lie within ±"] == "3.20", "t 2.3534 of one side"
    assert (row["cache, self"], row["cache, cross"], row["minutes"]) == ("64", "32", "2.0")
    assert (row["parameters"], row["in attention"]) == ("1234567", "4321")
    assert row["BLEU, tokenized"] == "41.02"
    assert "BLEU" not in row


def test_another_baseline_turns_the_difference(runs: list[Path], tmp_path: Path) -> None:
    """Catches a difference that is always to the suite's baseline."""
    assert "--baseline qv" in report(tmp_path / "out", *runs, "--baseline", "qv")
    row = rows_of(tmp_path / "out")["qkv"]
    assert (row["minus baseline"], row["95 % interval, simultaneous"]) == (
        "+1.03",
        "-1.90 to +3.96",
    )
    with pytest.raises(UserError, match="--baseline gqa: no such variant; known: qkv, qv"):
        compared(runs, baseline="gqa")


def test_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    """Catches accuracy hard-wired: a lower loss called worse, per cent and points of it."""
    runs = []
    for name, ends in (("qkv", [3.0, 3.2, 3.1]), ("qv", [2.0, 2.21, 2.1])):
        for seed, end in enumerate(ends, 1):
            record = {"metrics": {"val/loss": end, "val/accuracy": 10.0}, "primary_metric": LOSS}
            runs.append(write_run(tmp_path, name, "agf", [9.0, end], seed, **record))
    page = report(tmp_path / "out", *runs, "--baseline", "qkv")
    row = rows_of(tmp_path / "out")["qv"]
    assert (row["validation loss (nats)"], row["minus baseline"]) == ("2.103", "-0.997")
    assert (row["verdict"], row["token accuracy (%)"]) == ("better", "10.00")
    assert "±0.1 nats" in page
    assert "Beside the paper" not in page, "its numbers are accuracies"
    mixed = write_run(tmp_path, "gqa", "agf", [50.0])
    with pytest.raises(UserError, match=r"different metrics \(val/accuracy, val/loss\)"):
        compared([*runs, mixed])


def test_one_seed_is_a_page_without_verdicts(tmp_path: Path) -> None:
    """Catches one run sold as a result, and a difference that nobody sees before five seeds."""
    runs = [
        write_run(tmp_path, "qkv-a", "agf", [51.123, 60.0]),
        write_run(tmp_path, "qv-b", "agf", [50.0, 62.5, 61.25]),
    ]
    page = report(tmp_path / "out", *runs, "--title", "Trial", "--baseline", "qkv-a")
    row = rows_of(tmp_path / "out")["qv-b"]
    assert (row["validation accuracy (%)"], row["minus baseline"]) == ("61.25", "+1.25")
    assert "95 % interval" not in row
    assert "no verdict" in page
    assert "2 variants, one seed each" in page
    assert "qvbench fit --config qv-b.yaml --seed_everything 1\n" in page
    assert "No baseline is given" in report(tmp_path / "none", *runs)


def test_a_baseline_that_has_not_ended_is_named(tmp_path: Path) -> None:
    """Catches "no baseline is given" where the suite names one that is still being trained."""
    runs = write_variant(tmp_path, "qkv", [92.0, 93.0], status="running")
    for place, name in enumerate(("qv", "gqa"), 1):
        runs += write_variant(tmp_path, name, [91.0, 92.0], place)
    page = report(tmp_path / "out", *runs)
    assert "baseline, `qkv`, has no run here that has ended" in page
    assert "No baseline is given" not in page


def test_seeds_that_have_something_in_common_are_told(runs: list[Path], tmp_path: Path) -> None:
    """Catches a page that takes seeds for independent and keeps to itself that they are not."""
    assert "on one seed correlate by 0.99" in report(tmp_path / "out", *runs)
    assert "correlate" not in report(tmp_path / "few", *runs[:2], *runs[3:])
    flat = write_variant(tmp_path, "gqa", [90.0, 90.0, 90.0], 2)
    assert "on one seed correlate by 0.99" in report(tmp_path / "flat", *runs, *flat)


def test_a_seed_too_few_is_no_verdict(tmp_path: Path) -> None:
    """Catches an interval of one seed, and a difference of fewer seeds than both have."""
    runs = write_variant(tmp_path, "qkv", [92.0, 93.0]) + write_variant(tmp_path, "qv", [50.0])
    page = report(tmp_path / "out", *runs)
    row = rows_of(tmp_path / "out")["qv"]
    assert (row["minus baseline"], row["verdict"]) == ("-42.50", "")
    assert "no verdict" in page


def test_runs_that_were_not_run_to_their_end_are_left_out_and_named(
    runs: list[Path], tmp_path: Path
) -> None:
    """Catches a run in its middle averaged with whole ones, or called a failure."""
    half = write_run(tmp_path, "trial-qv", "agf", [3.0], 4, status="running", suite="trial")
    page = report(tmp_path / "out", *runs, half)
    row = rows_of(tmp_path / "out")["qv"]
    assert (row["validation accuracy (%)"], row["seeds"]) == ("92.10", "3")
    assert "left out:** trial-qv/seed-4" in page
    assert "Runs that failed" not in page
    with pytest.raises(UserError, match="no finished run with a value of val/accuracy"):
        compared([half])


def test_commands_make_the_failures_too(tmp_path: Path) -> None:
    """Catches a page whose own commands make one without the runs that failed."""
    one = write_run(tmp_path, "qkv-a", "agf", [60.0])
    two = write_run(tmp_path, "qkv-a", "agf", [60.0], 2, status="diverged")
    page = report(tmp_path / "out", one, two)
    assert "qvbench fit --config qkv-a.yaml --seed_everything 2\n" in page
    assert "qvbench report runs/qkv-a/seed-1 runs/qkv-a/seed-2 --output" in page


@pytest.mark.parametrize(
    ("failing", "mean", "verdict"),
    [
        ("", 93.0, "better"),
        ("qv", 93.0, "inconclusive"),
        ("qv", 91.0, "worse"),
        ("qkv", 93.0, "better"),
        ("qkv", 91.0, "inconclusive"),
    ],
)
def test_a_failure_is_an_outcome(failing: str, mean: float, verdict: str, tmp_path: Path) -> None:
    """Catches survivors' means: a variant that diverges on two seeds of five called better."""
    runs = write_variant(tmp_path, "qkv", [92.0, 92.1, 92.2])
    runs += write_variant(tmp_path, "qv", [mean - 0.1, mean, mean + 0.1], 1)
    if failing:
        name, labels = f"trial-{failing}", {"suite": "trial", "variant": failing}
        labels |= {"identity": failing}
        runs.append(write_run(tmp_path, name, "agf", [3.0], 4, status="diverged", **labels))
        runs.append(write_run(tmp_path, name, "agf", [float("nan")], 5, **labels))
    page = report(tmp_path / "out", *runs)
    rows = rows_of(tmp_path / "out")
    assert rows["qv"]["verdict"] == verdict
    assert rows["qv"]["validation accuracy (%)"] == f"{mean:.2f}", "of those that have a value"
    for name, row in rows.items():
        failed = "3 of 5; 1 diverged; 1 without a value"
        assert row["seeds"] == (failed if name == failing else "3")
        assert (f"**Runs that failed:** {name} ({failed})." in page) == (name == failing)
    report(tmp_path / "again", tmp_path / "out")
    assert rows_of(tmp_path / "again") == rows, "a results folder keeps them"


def test_a_variant_that_always_fails_has_a_row(runs: list[Path], tmp_path: Path) -> None:
    """Catches the least stable variant missing from the table, or a page that fails with it."""
    labels = {"suite": "trial", "variant": "gqa", "identity": "gqa", "status": "failed"}
    runs += [write_run(tmp_path, "trial-gqa", "agf", [9.0], seed, **labels) for seed in (1, 2)]
    page = report(tmp_path / "out", *runs)
    row = rows_of(tmp_path / "out")["gqa"]
    assert (row["seeds"], row["validation accuracy (%)"]) == ("0 of 2; 2 failed", "")
    assert (row["minus baseline"], row["verdict"]) == ("", "")
    assert "**Runs that failed:** gqa (0 of 2; 2 failed)." in page


def test_a_run_that_fell_is_named(tmp_path: Path) -> None:
    """Catches a collapsed run listed without a word, or one that never began named so."""
    run = write_run(tmp_path, "qvka", "sinusoidal", [10.0, 45.52, 40.88])
    page = report(tmp_path / "out", run)
    assert "qvka/seed-1 (best 45.52, last 40.88)" in page
    fine = write_run(tmp_path, "qkv", "sinusoidal", [10.0, 63.27, 63.17])
    assert "far from their best" not in report(tmp_path / "fine", fine)
    never_began = write_run(tmp_path, "qv", "sinusoidal", [10.0, 10.3, 10.2])
    assert "far from their best" not in report(tmp_path / "flat", fine, never_began)


def test_runs_that_do_not_belong_together_are_refused(runs: list[Path], tmp_path: Path) -> None:
    """Catches two experiments, or one seed twice, in one mean."""
    labels = {"suite": "trial", "variant": "qv"}
    other = write_run(tmp_path, "x", "agf", [9.0], 4, **labels, identity="old")
    with pytest.raises(UserError, match=r"not seeds of one experiment.*the version of the code"):
        compared([*runs, other])
    (runs[0] / "config.yaml").write_text("model: {label_smoothing: 0.1}")
    (other / "config.yaml").write_text("model: {label_smoothing: 0.0}")
    with pytest.raises(UserError, match=r"they differ in model\.label_smoothing"):
        compared([*runs, other])
    again = write_run(tmp_path, "y", "agf", [9.0], 3, **labels, identity="qv")
    with pytest.raises(UserError, match="y/seed-3: two runs of one seed"):
        compared([*runs, again])


def test_settings_that_only_one_has() -> None:
    """Catches the seed or a place shown as a difference, a difference left out."""
    network = {"class_path": "N", "init_args": {"d_model": 8}}
    a = {"model": {"network": network}, "data": {"seed": 1}, "trainer": {"default_root_dir": "x"}}
    deeper = {"class_path": "N", "init_args": {"d_model": 8, "depth": 2}}
    b = {"model": {"network": deeper}, "data": {"seed": 2}}
    assert changes(counted(b), counted(a)) == "`model.network.depth` = `2`"
    assert changes(counted(a), counted(b)) == "`model.network.depth` `2` \u2192 `None`"
    other = {"model": {"network": {"class_path": "qvbench.M", "init_args": {"width": 3}}}}
    words = "`model.network.class_path` `N` \u2192 `M`; `model.network.width` = `3`"
    assert changes(counted(other), counted(a)) == words, "what M has no word for is off"
    assert counted({}) == {}


def test_variants_have_names_for_people() -> None:
    """Catches ids of configs in tables and figures, and two rows of one name."""

    def made(mechanism: str, position: str = "AGF") -> Run:
        return Run({"label": {"mechanism": mechanism, "position": position}}, {})

    qkv = made("QKV")
    assert labels_of({"a": qkv, "b": made("QV")}) == {"a": "QKV", "b": "QV"}
    assert labels_of({"a": qkv, "r": made("QKV", "RoPE")}) == {"a": "AGF", "r": "RoPE"}
    assert labels_of({"x": qkv, "y": qkv}) == {"x": "x", "y": "y"}
    third = labels_of({"x": qkv, "y": qkv, "d": made("MQA")})
    assert third == {"x": "QKV (x)", "y": "QKV (y)", "d": "MQA"}
    assert labels_of({"a": qkv}) == {"a": "QKV, AGF"}


def test_runs_that_no_suite_made_are_gathered_by_config(tmp_path: Path) -> None:
    """Catches seeds run by hand that stay a row each, or get a baseline that nobody named."""
    for name in ("qkv-a", "qv-b"):
        for seed in (1, 2, 3):
            write_run(tmp_path, name, "agf", [90.0 + seed], seed)
    page = report(tmp_path / "out", *sorted((tmp_path / "runs").iterdir()))
    assert list(rows_of(tmp_path / "out")) == ["qkv-a", "qv-b"]
    assert "No baseline is given" in page
    assert "qvbench fit --config qkv-a.yaml --seed_everything 3" in page


def test_runs_of_several_suites_keep_their_folders_names(tmp_path: Path) -> None:
    """Catches two suites' variants of one name in one mean."""
    runs = write_variant(tmp_path, "qkv", [92.0, 93.0])
    runs.append(write_run(tmp_path, "else-qkv", "agf", [50.0], suite="else", variant="qkv"))
    assert [v.name for v in compared(runs).variants] == ["else-qkv", "trial-qkv"]
    assert load(runs)
