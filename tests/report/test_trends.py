"""Comparisons across sizes of the network, and losses along the context."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from qvbench.errors import UserError
from qvbench.report import page as pages
from qvbench.report.statistics import ALPHA
from qvbench.report.trends import (
    budget_figure,
    by_size,
    context_figure,
    size_figure,
    size_section,
    slope,
)
from tests.report.helpers import compared, report, rows_of, write_run, write_variant

SIZES = {16: 1_000, 32: 10_000, 64: 100_000}
GAPS = {16: -4.0, 32: -3.5, 64: -1.0}
LOSS = {"name": "val/loss", "label": "validation loss", "unit": "nats", "higher_is_better": False}
NOISE = (-0.1, 0.0, 0.2)


def write(
    root: Path, name: str, width: int, ends: Sequence[float], parameters: int = 1, **changes: object
) -> list[Path]:
    """Runs of a mechanism, ``name`` up to ``_``, in a network of a width."""
    mechanism = name.partition("_")[0]
    label = {"mechanism": mechanism.upper(), "position": "RoPE"}
    sweep = {"file": "suites/trial.yaml", "title": "A trial", "baseline": "qkv_16", "place": 0}
    sweep |= {"variants": 2, "overrides": []}
    own = {"label": label, "mechanism": mechanism, "sweep": sweep}
    own["parameters"] = {"total": parameters, "attention": 1}
    folders = write_variant(root, name, ends, **(own | changes))
    for folder in folders:
        network = f"model:\n  network:\n    init_args:\n      d_model: {width}\n"
        (folder / "config.yaml").write_text(network)
    return folders


def rewrite(folder: Path, **changes: object) -> None:
    """Change a run's record."""
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | changes))


def of_sizes(root: Path) -> list[Path]:
    """QKV and QV at three sizes; QV has other parameters than QKV, and does not set the size."""
    folders = []
    for width, parameters in SIZES.items():
        level = 50 + width / 4
        qkv, qv = [level + x for x in NOISE], [level + GAPS[width] - 2 * x for x in NOISE]
        folders += write(root, f"qkv_{width}", width, qkv, parameters)
        folders += write(root, f"qv_{width}", width, qv, parameters - 100)
    return folders


@pytest.mark.usefixtures("no_figures")
def test_a_variant_is_compared_in_its_own_size(tmp_path: Path) -> None:
    """Catches the large network's gain taken for the mechanism's, the smaller QKV called worse."""
    page = report(tmp_path / "out", *of_sizes(tmp_path))
    rows = rows_of(tmp_path / "out")
    shared = np.mean(NOISE)
    for width, gap in GAPS.items():
        assert float(rows[f"qv_{width}"]["minus baseline"]) == pytest.approx(
            gap - 3 * shared, abs=0.005
        )
        assert rows[f"qkv_{width}"]["verdict"] == "baseline"
        assert rows[f"qkv_{width}"]["minus baseline"] == ""
    assert "**Against QKV of its size: " in page
    assert "\n\n**With ten times the parameters the difference moves by:** QV, +1.50 (" in page
    assert "descriptive: 3, rows of every budget" in page


@pytest.mark.usefixtures("no_figures")
def test_single_seeds_stand_in_the_order_of_their_differences(tmp_path: Path) -> None:
    """Catches the order of the scores: "from" and "to" would be a large network and a small one."""
    folders = []
    for width, level, gap in ((16, 50, 1), (32, 80, 10)):
        for behind, name in ((0, "qkv"), (gap, "qv"), (gap + 1, "gqa"), (gap + 2, "mqa")):
            folders += write(tmp_path, f"{name}_{width}", width, [level - behind], width)
    page = report(tmp_path / "out", *folders)
    assert "from QV (qv_16), \u22121.00, to MQA (mqa_32), \u221212.00\n" in page


@pytest.mark.usefixtures("no_figures")
def test_more_steps_of_larger_networks_are_told(tmp_path: Path) -> None:
    """Catches a variant of other steps, or of none on record, taken for a longer training of larger
    networks."""
    folders = of_sizes(tmp_path)
    words = "Larger networks were trained for more steps"
    for folder in folders[3:6]:  # QV, the smallest
        rewrite(folder, steps=None)
    rewrite(folders[-1], steps=7)
    assert words not in size_section(compared(folders))[0]
    for folder in folders[12:15]:  # QKV, the largest
        rewrite(folder, steps=300)
    assert words in size_section(compared(folders))[0]


def test_recall_has_no_slope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a line through differences that are small where none recalls and where all do, and a
    caption that speaks of lines which are not drawn."""
    monkeypatch.setattr("qvbench.report.page.figures.save", lambda *_: None)
    folders = of_sizes(tmp_path)
    assert "traight lines" in pages._figure("sizes", compared(folders))[1]
    for folder in folders:
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(f"task: recall\n{config}")
    assert "traight lines" not in pages._figure("sizes", compared(folders))[1]
    monkeypatch.setattr("qvbench.report.page.FIGURES", {})
    page = report(tmp_path / "out", *folders)
    assert "Against QKV of its size" in page
    assert "ten times the parameters" not in page
    assert "| slope |" not in page


def test_one_that_stands_at_one_size_alone_has_the_baseline(tmp_path: Path) -> None:
    """Catches a deeper network that is compared with nothing, and a choice between two of one."""
    one = [*write(tmp_path, "qkv_16", 16, [1, 2, 3]), *write(tmp_path, "qv_16", 16, [1, 2, 4])]
    wider = compared([*one, *write(tmp_path, "qkv_32", 32, [2, 3, 5])])
    assert wider.sizes == []
    assert {v.name: b.name for v, b in wider.baselines.items()} == {
        "qkv_16": "qkv_16",
        "qkv_32": "qkv_16",
        "qv_16": "qkv_16",
    }
    twice = [*of_sizes(tmp_path / "b"), *write(tmp_path / "b", "qkv_other", 64, [2, 3, 5])]
    found = {v.name: b.name for v, b in compared(twice).baselines.items()}
    assert (found["qv_32"], found["qv_64"], found["qkv_64"]) == ("qkv_32", "qkv_16", "qkv_16")


def test_two_of_one_mechanism_and_size_are_two_rows(tmp_path: Path) -> None:
    """Catches a variant that takes the place of another, which differs in a setting alone."""
    runs = [*of_sizes(tmp_path), *write(tmp_path, "qv_dropout", 16, [1, 2, 3])]
    trends = by_size(compared(runs))
    assert list(trends) == ["QKV", "QV", "QV, qv_dropout"]
    assert len(trends["QV"]) == 3


def test_a_slope_is_that_of_least_squares_with_the_seeds_error(tmp_path: Path) -> None:
    """Catches the mechanism's own parameters on the axis, another logarithm, a weight that is left
    out of the error or not squared, and a line through fewer than three sizes."""
    comparison = compared(of_sizes(tmp_path))
    variants = by_size(comparison)["QV"]
    assert list(variants) == list(SIZES.values())
    found = slope(variants)
    gaps = [gap - 3 * float(np.mean(NOISE)) for gap in GAPS.values()]
    places = np.log10(list(SIZES.values()))
    assert found is not None
    assert found.mean == pytest.approx(np.polyfit(places, gaps, 1)[0])
    # Of each gap's variance (1 + 4) var / 3, with weights (-1, 0, 1) / 2.
    assert found.error == pytest.approx(math.sqrt(2 * 0.5**2 * 5 * np.var(NOISE, ddof=1) / 3))
    assert slope(dict(list(variants.items())[:2])) is None
    (table,) = size_section(comparison)[1:]
    low, high = found.interval(ALPHA)[1:]
    assert f"| +1.50 (+{low:.2f} to +{high:.2f}): in its favor |" in table
    assert table.splitlines()[2].startswith(
        "| QKV | 54.03 (3 seeds) | 58.03 (3 seeds) | 66.03 (3 seeds) | - |"
    )


def test_intervals_of_slopes_hold_the_truth(tmp_path: Path) -> None:
    """Simulated: in 95 of a hundred experiments, give or take what a thousand of them scatter."""
    comparison, random = compared(of_sizes(tmp_path)), np.random.default_rng(0)
    variants = by_size(comparison)["QV"]
    held = 0
    for _ in range(1000):
        for variant in comparison.variants:
            spread = 3.0 if variant.name == "qv_16" else 0.5
            values = random.normal(size=len(NOISE)) * spread
            variant.__dict__["scores"] = dict(enumerate(values.tolist()))
        found = slope(variants)
        assert found is not None
        _, low, high = found.interval()
        held += low <= 0 <= high
    assert 930 <= held <= 980, "three deviations below, and more as freedom is rounded down"


def test_the_figure_of_sizes_has_the_tables_points(tmp_path: Path) -> None:
    """Catches a line fitted to other points, and the mean of one size drawn at another."""
    comparison = compared(of_sizes(tmp_path))
    figure = size_figure(comparison)
    assert figure is not None
    above, below = figure.axes
    means = {tuple(line.get_ydata().round(2)) for line in above.get_lines()}
    assert {(54.03, 58.03, 66.03), (49.93, 54.43, 64.93)} <= means
    seeds = [line.get_ydata() for line in above.get_lines() if line.get_marker() == "_"]
    assert sorted(map(tuple, seeds)) == sorted(
        tuple(v.scores.values()) for v in comparison.variants
    )
    (fitted,) = (
        line
        for line in below.get_lines()
        if len(line.get_xdata()) == 3 and line.get_linestyle() == "-"
    )
    gaps = [gap - 3 * float(np.mean(NOISE)) for gap in GAPS.values()]
    line = np.polyval(np.polyfit(np.log10(list(SIZES.values())), gaps, 1), [3, 4, 5])
    assert fitted.get_ydata() == pytest.approx(line)


# Budgets


def of_budget(
    root: Path, name: str, ends: Sequence[float], budget: int, **changes: object
) -> list[Path]:
    """Runs of a variant under one of two budgets of a suite."""
    sweep = {"file": "suites/trial.yaml", "title": "A trial", "baseline": "qkv", "overrides": []}
    sweep |= {"rows": ["qkv", "qv"], "seeds": [1, 2], "variants": 2, "place": int(name == "qv")}
    sweep |= {"budget": budget, "budgets": [2, 6], "unit": "steps"}
    own = {"variant": name, "identity": f"{name} {budget}", "sweep": sweep}
    label = {"mechanism": name.upper(), "position": "AGF"}
    return write_variant(root, f"{name}-{budget}", ends, **own, label=label, **changes)


def of_budgets(root: Path) -> list[Path]:
    """QKV and QV under two budgets."""
    folders = of_budget(root, "qkv", [90.0, 90.4], 2) + of_budget(root, "qv", [88.0, 88.4], 2)
    return folders + of_budget(root, "qkv", [92.0, 92.4], 6) + of_budget(root, "qv", [91, 91.4], 6)


@pytest.mark.usefixtures("no_figures")
def test_a_budget_without_its_baseline_has_no_differences(tmp_path: Path) -> None:
    """Catches a traceback, or a variant's own mean among the differences to a baseline."""
    folders = of_budgets(tmp_path)[2:]
    page = report(tmp_path / "out", *folders)
    assert "| QKV | - | 92.20 (2 seeds) |" in page
    assert "| QV | - | \u22121.00 (" in page
    assert "| QV | - | +13 (" in page, "(9 * 8.6 / (8 * 7.6)) ** 0.5"
    assert "**Planned and not run:** qkv (2 steps, seeds 1, 2)." in page
    assert "--baseline qkv" in report(tmp_path / "given", *folders, "--baseline", "qkv")
    assert budget_figure(compared(folders)) is not None


@pytest.mark.usefixtures("no_figures")
def test_a_budget_that_has_only_begun_holds_up_no_page(tmp_path: Path) -> None:
    """Catches "no finished run" over a sweep whose lesser budgets are finished."""
    folders = of_budget(tmp_path, "qkv", [90.0, 90.4], 2) + of_budget(tmp_path, "qv", [88, 88.4], 2)
    folders += of_budget(tmp_path, "qkv", [50.0], 6, status="running")
    page = report(tmp_path / "out", *folders)
    assert "| QV | 88.20 | \u22122.00 |" in page
    assert "**Not run to the end and left out:** trial-qkv-6/seed-1." in page
    assert "not run:** qkv (6 steps, seeds 2); qv (6 steps, seeds 1, 2)." in page


@pytest.mark.usefixtures("no_figures")
def test_a_failure_under_a_lesser_budget_is_told(tmp_path: Path) -> None:
    """Catches survivors' means where only the table of the largest budget counts failures, and a
    page that fails because everything did."""
    folders = of_budgets(tmp_path)
    record = json.loads((folders[3] / "run.json").read_text())
    (folders[3] / "run.json").write_text(json.dumps(record | {"status": "diverged"}))
    assert "; 1 of 2; 1 diverged | \u22121.00 (" in report(tmp_path / "out", *folders)
    for folder in folders[4:]:
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"status": "diverged"}))
    page = report(tmp_path / "none", *folders)
    assert "**Runs that failed:** QKV (0 of 2; 2 diverged), QV (0 of 2; 2 diverged)." in page
    assert "| - (0 seeds); 0 of 2; 2 diverged |" in page


@pytest.mark.usefixtures("no_figures")
def test_what_befell_a_lesser_budget_is_told(tmp_path: Path) -> None:
    """Catches a run that fell, and a machine, that nobody hears of below the largest budget."""
    folders = of_budgets(tmp_path)
    for folder in folders[:2]:
        rewrite(folder, git="fedcba9876543210")
    page = report(tmp_path / "out", *folders)
    assert "revision fedcba987654: QKV, 2 steps (seeds 1, 2)\n" in page
    assert "; QKV, 6 steps (seeds 1, 2)" in page
    curve = (folders[0] / "curves.csv").read_text()
    (folders[0] / "curves.csv").write_text(curve.replace("accuracy,85.0", "accuracy,99.0"))
    assert "trial-qkv-2/seed-1 (best 99.00, last 90.00)" in report(tmp_path / "fell", *folders)


def test_a_suite_of_budgets_is_compared_with_no_other_run(tmp_path: Path) -> None:
    """Catches runs of no budget in a column "0 steps", and those of another unit in this one's."""
    folders = of_budgets(tmp_path)
    for other in (
        write_run(tmp_path, "alone", "agf", [50.0]),
        *of_budget(tmp_path, "other", [50.0], 3, suite="else"),
    ):
        with pytest.raises(UserError, match="a suite with several budgets is not compared with"):
            compared([*folders, other])


@pytest.mark.usefixtures("no_figures")
def test_an_interval_wider_than_any_number_is_shown(tmp_path: Path) -> None:
    """Catches an overflow where two seeds are far apart and many questions share the level."""
    folders = of_budget(tmp_path, "qkv", [99.9, 50.0], 2) + of_budget(tmp_path, "qv", [99, 10], 2)
    folders += of_budget(tmp_path, "qkv", [99.9, 50.0], 6) + of_budget(tmp_path, "qv", [99, 10], 6)
    for number in range(40):
        folders += of_budget(tmp_path, f"m{number}", [90.0, 91.0], 6)
    assert "to +inf) |" in report(tmp_path / "out", *folders)


@pytest.mark.usefixtures("no_figures")
def test_models_that_are_tuned_on(tmp_path: Path) -> None:
    """Catches the loss before the first step left out, a control that only loses called a failure
    of training, a published number of models that were trained without keys, and verdicts that
    seem to hold for other models."""
    folders = [folder for budget in (2, 6) for folder in tuned(tmp_path, budget)]
    page = report(tmp_path / "out", *folders)
    assert "| variant | before training | 2 steps | 6 steps |" in page
    assert "| QKV | 1.000 | 1.200 (2 seeds) | 1.200 (2 seeds) |" in page
    assert "| QV | 2.000 | +0.100 (" in page
    assert "a failure of training" not in page
    assert "report 3.1 %" not in page
    assert "All seeds of a variant start from the weights of one checkpoint" in page
    (folders[-1] / "curves.csv").write_text("")
    assert "before training" not in report(tmp_path / "lost", *folders)


def tuned(root: Path, budget: int) -> list[Path]:
    """QKV, which loses by it, and QV, started from trained weights and measured before."""
    folders = []
    for name, start, end in (("qkv", 1.0, 1.2), ("qv", 2.0, 1.3)):
        own = {"primary_metric": LOSS, "metrics": {"val/loss": end}}
        for folder in of_budget(root, name, [end, end], budget, **own):
            config = f"model:\n  init_from: {name}.ckpt\n"
            (folder / "config.yaml").write_text(config)
            rows = [f"{step},0,{step},{step},val/loss,{v}" for step, v in ((0, start), (2, end))]
            head = "step,epoch,target_tokens,seconds,metric,value"
            (folder / "curves.csv").write_text("\n".join([head, *rows, ""]))
            folders.append(folder)
    return folders


# The context


def language_model(root: Path, name: str, ends: Sequence[float]) -> list[Path]:
    """Its runs, scored on windows of four times the context of training."""
    folders = write(root, name, 16, ends, primary_metric=LOSS, cache_per_token={"self": 8})
    for folder, end in zip(folders, ends, strict=True):
        record = json.loads((folder / "run.json").read_text())
        worse = {f"val/loss_at_{start}": end + start for start in (0, 1024, 128, 256)}
        record["metrics"] = {"val/loss": end, "val/bits_per_byte": 2 * end, **worse}
        (folder / "run.json").write_text(json.dumps(record))
    return folders


@pytest.mark.usefixtures("no_figures")
def test_losses_of_other_tokens_are_compared_by_the_byte(tmp_path: Path) -> None:
    """Catches a verdict, or per cent of perplexity, on losses of two tokenizers."""
    runs = [
        *language_model(tmp_path, "qkv_16", [2.0, 2.1]),
        *language_model(tmp_path, "qv", [3, 4]),
    ]
    for folder in runs:
        record = json.loads((folder / "run.json").read_text())
        record["data_fingerprint"] = record["mechanism"]
        (folder / "run.json").write_text(json.dumps(record))
    assert compared(runs).axis == "validation loss (bits per byte)"
    page = report(tmp_path / "out", *runs)
    assert rows_of(tmp_path / "out")["qv"]["validation loss (bits per byte)"] == "7.000"
    assert "perplexity, % more" not in page
    assert report(tmp_path / "out", tmp_path / "out") == page


def test_losses_of_other_tokens_need_bytes_and_a_margin_in_them(tmp_path: Path) -> None:
    """Catches losses per token of two tokenizers compared because one run lacks its bits per byte,
    a suite's margin in nats taken for bits per byte, and the unit changed for a search alone."""
    own, other = (language_model(tmp_path, name, [2.0, 2.1]) for name in ("qkv_16", "qv_16"))
    sweep = json.loads((own[0] / "run.json").read_text())["sweep"] | {"margin": 0.02}
    for folder in own:
        rewrite(folder, sweep=sweep)
    for folder in other:
        rewrite(folder, data_fingerprint="other", sweep=sweep)
    with pytest.raises(UserError, match=r"0\.02, is in nats per token.*give --margin"):
        compared([*own, *other])
    assert compared([*own, *other], margin=0.05).margin == 0.05
    rewrite(own[1], metrics={"val/loss": 2.1})
    with pytest.raises(UserError, match=r"trial-qkv_16/seed-2: no val/bits_per_byte"):
        compared([*own, *other], margin=0.05)
    for folder in other:
        rewrite(folder, sweep=sweep | {"of_search": True, "key": "x", "value": 1})
    assert compared([*own, *other]).axis == "validation loss (nats)"


@pytest.mark.usefixtures("no_figures")
def test_a_difference_in_loss_is_a_ratio_of_perplexities(tmp_path: Path) -> None:
    """Catches per cent of the loss, the ratio upside down, and the interval of another level."""
    qkv = language_model(tmp_path, "qkv_16", [2.0, 2.01, 2.02])
    gap = math.log(1.031)
    qv = language_model(tmp_path, "qv_16", [2.0 + gap, 2.01 + gap, 2.02 + gap])
    longer = report(tmp_path / "longer", *qkv, *qv)
    assert "report 3.1 %" not in longer, "a published number of the context that is trained on"
    for folder in (*qkv, *qv):
        record = json.loads((folder / "run.json").read_text())
        kept = {n: v for n, v in record["metrics"].items() if "_at_" not in n}
        (folder / "run.json").write_text(json.dumps(record | {"metrics": kept}))
    page = report(tmp_path / "out", *qkv, *qv)
    row = rows_of(tmp_path / "out")["qv_16"]
    comparison = compared([*qkv, *qv])
    (contrast,) = comparison.rows.values()
    _, *ends = comparison.interval(contrast)
    more = [f"{100 * math.expm1(end):+.1f}" for end in ends]
    assert row["perplexity, % more"] == f"+3.1 ({more[0]} to {more[1]})"
    assert (row["cached elements"], row["bits per byte"]) == ("8", "4.0811")
    assert "report 3.1 % more perplexity" in page, "the published number beside ours"
    assert "report 3.1 %" not in report(tmp_path / "alone", *qkv)


@pytest.mark.usefixtures("no_figures")
def test_losses_stand_in_the_order_of_their_positions(tmp_path: Path) -> None:
    """Catches an order by letters, which has 1,024 before 128, and spans that end elsewhere."""
    folders = language_model(tmp_path, "qkv_16", [2.0, 2.5])
    page = report(tmp_path / "out", *folders)
    assert "| variant | 0 to 127 | 128 to 255 | 256 to 1,023 | 1,024 and on |" in page
    assert "| QKV, RoPE | 2.250 | 130.250 | 258.250 | 1026.250 |" in page


def test_a_loss_that_explodes_does_not_press_the_others_flat(tmp_path: Path) -> None:
    """Catches an axis that reaches for the one scheme that does not extrapolate."""
    folders = language_model(tmp_path, "qkv_16", [2.0, 2.5])
    for number in range(4):
        folders += language_model(tmp_path, f"m{number}_16", [2.0, 2.5])
    for folder in folders[2:]:
        record = json.loads((folder / "run.json").read_text())
        record["metrics"] |= {f"val/loss_at_{s}": 2.1 + s / 1e4 for s in (0, 128, 256, 1024)}
        (folder / "run.json").write_text(json.dumps(record))
    figure = context_figure(compared(folders))
    assert figure is not None
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < 2.1 < top < 10


def test_each_position_scheme_has_a_panel(tmp_path: Path) -> None:
    """Catches a line in the panel of another scheme, panels of other scales, and empty ones."""
    folders = []
    for place, scheme in enumerate(("RoPE", "ALiBi", "T5", "none", "AGF")):
        for name in ("qkv", "qv"):
            own = language_model(tmp_path, f"{name}_{place}", [2.0 + place, 2.0 + place])
            for folder in own:
                label = {"mechanism": name.upper(), "position": scheme}
                rewrite(folder, label=label)
            folders += own
    figure = context_figure(compared(folders))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["RoPE", "ALiBi", "T5", "none", "AGF"]
    for place, axes in enumerate(figure.axes):
        handles, labels = axes.get_legend_handles_labels()
        assert labels == ["QKV", "QV"]
        assert [handle.get_ydata()[0] for handle in handles] == [2.0 + place] * 2
        assert axes.get_ylim() == figure.axes[0].get_ylim()
