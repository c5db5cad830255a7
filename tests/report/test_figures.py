"""What the figures show: their frames, the seeds in them, one look per variant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qvbench.attention import ATTENTION
from qvbench.positions import POSITIONS
from qvbench.report import figures
from qvbench.report.comparison import Comparison
from qvbench.report.figures import HIGHLIGHTED, LOOKS, band, highlighted, looks, lowest_usual
from tests.report.helpers import compared, write_curves, write_variant


def write_many(root: Path, count: int, **changes: object) -> Comparison:
    """Several variants, each a tenth of a point above the one before."""
    for place in range(count):
        name = f"m{place}" if place else "qkv"
        for folder in write_variant(root, name, [90.0 + place, 90.5 + place], place, **changes):
            write_curves(folder, 0.1 * place)
    return compared(sorted((root / "runs").iterdir()))


def axes_of(figure: Figure | None) -> list[Axes]:
    assert figure is not None
    return list(figure.axes)


def test_the_difference_is_framed_after_the_warm_up(tmp_path: Path) -> None:
    """Catches a frame of the steep beginning, one that cuts off the band, another early part."""
    comparison = write_many(tmp_path, 2)
    for folder in (tmp_path / "runs").glob("*/*"):
        (folder / "config.yaml").write_text("model: {schedule: {warmup_steps: 2}}")
        write_curves(folder, 0.1 * ("m1" in folder.parent.name) * int(folder.name[-1]), every=10)
    comparison = compared(sorted((tmp_path / "runs").iterdir()))
    whole, gain = axes_of(figures.accuracy(comparison))
    assert whole.get_ylabel() == "validation accuracy (%)"
    assert len(whole.lines) == 2
    (strip,) = (patch for patch in gain.patches if isinstance(patch, Rectangle))
    assert gain.get_xlim() == (pytest.approx(0.010), pytest.approx(0.102)), "no validation before"
    assert (strip.get_x(), strip.get_width()) == pytest.approx((0.010, 0.015))
    # 0.1 and 0.2 against none: deviation 0.0707 of two, and t 12.7
    assert gain.get_ylim()[0] < 0.15 - 0.635
    assert gain.get_ylim()[1] > 0.15 + 0.635
    assert gain.get_ylabel() == "minus that of qkv\n(points)"


def test_the_validation_that_ends_the_warm_up_is_in_the_frame(tmp_path: Path) -> None:
    """Catches one left out by a rounded digit of its tokens, so that its band is cut off."""
    write_many(tmp_path, 2)
    for folder in (tmp_path / "runs").glob("*/*"):
        (folder / "config.yaml").write_text("model: {schedule: {warmup_steps: 9}}")
    far = tmp_path / "runs" / "trial-m1" / "seed-1" / "curves.csv"
    far.write_text(far.read_text().replace("accuracy,59.1", "accuracy,79.1"))
    _, gain = axes_of(figures.accuracy(compared(sorted((tmp_path / "runs").iterdir()))))
    assert gain.get_ylim()[1] > 10


def test_steps_are_placed_by_the_baselines_tokens(tmp_path: Path) -> None:
    """Catches the warm-up at another place because the others were trained for fewer steps."""
    write_many(tmp_path, 2)
    for folder in (tmp_path / "runs").glob("*/*"):
        (folder / "config.yaml").write_text("model: {schedule: {warmup_steps: 4}}")
        if "m1" in folder.parent.name:
            lines = (folder / "curves.csv").read_text().splitlines(keepends=True)
            (folder / "curves.csv").write_text("".join(lines[:6]))  # five of ten validations
    _, gain = axes_of(figures.accuracy(compared(sorted((tmp_path / "runs").iterdir()))))
    assert gain.get_xlim()[0] == pytest.approx(0.004)


def test_curves_need_no_other_variant(tmp_path: Path) -> None:
    """Catches a page of the baseline alone, or of one that always failed, without its curves."""
    write_variant(tmp_path, "qkv", [90.0, 90.5])
    assert len(axes_of(figures.accuracy(compared([tmp_path / "runs" / "trial-qkv"])))) == 1
    for folder in write_variant(tmp_path, "qv", [90.0, 90.5], 1, status="diverged"):
        write_curves(folder, 1.0)
    both = compared(sorted((tmp_path / "runs").iterdir()))
    assert len(axes_of(figures.accuracy(both))) == 1
    turned = compared(sorted((tmp_path / "runs").iterdir()), baseline="qv")
    assert len(axes_of(figures.accuracy(turned))) == 1


def test_a_band_is_over_the_same_steps(tmp_path: Path) -> None:
    """Catches means of steps that some seeds never reached, and seeds taken in pairs."""
    for place, name in enumerate(("qkv", "qv")):
        for seed, folder in enumerate(write_variant(tmp_path, name, [90.0, 90.5, 91.0], place), 1):
            write_curves(folder, seed * 0.5 * place)
    runs = tmp_path / "runs"
    (runs / "trial-qkv" / "seed-3" / "run.json").unlink()
    longer = runs / "trial-qv" / "seed-1" / "curves.csv"
    longer.write_text(longer.read_text() + "11,,11000,660,val/accuracy,99\n")
    comparison = compared([f for f in runs.glob("*/*") if (f / "run.json").exists()])
    base, other = comparison.variants
    own = band(other)
    assert list(own) == [step / 1000 for step in range(1, 11)]
    assert own[0.01] == (61.0, 60.5, 61.5)
    gains = [*band(other, base).values()]
    assert gains == [pytest.approx((1.0, 1 - 1.2421, 1 + 1.2421), abs=1e-4)] * 10, "t 4.3027"


def test_of_many_variants_the_best_have_a_color(tmp_path: Path) -> None:
    """Catches more lines than colors tell apart, a baseline among the gray, and a caption that
    speaks of one where there is none."""
    comparison = write_many(tmp_path, HIGHLIGHTED + 3)
    whole, _ = axes_of(figures.accuracy(comparison))
    _, names = whole.get_legend_handles_labels()
    assert len(names) == HIGHLIGHTED
    assert "m1" not in names
    assert len(whole.lines) == HIGHLIGHTED + 3
    shown = [v.name for v in highlighted(comparison, comparison.variants)]
    assert shown[:2] == ["qkv", f"m{HIGHLIGHTED + 2}"]
    assert "the baseline and the 6 best" in figures.caption("accuracy", whole.figure, comparison)
    alone = replace(comparison, baseline=None)
    words = figures.caption("accuracy", figures.accuracy(alone), alone)
    assert "the 7 best have a color" in words
    assert "baseline" not in words


def test_every_mechanism_and_scheme_has_a_look_of_its_own() -> None:
    """Catches a new one that takes another's color or line by chance."""
    for known, entries in ((ATTENTION, LOOKS["mechanisms"]), (POSITIONS, LOOKS["styles"])):
        assert known.keys() <= entries.keys()
        assert len({str(look) for look in entries.values()}) == len(entries)


def test_a_mechanism_has_one_color(tmp_path: Path) -> None:
    """Catches colors by place, which change a mechanism's from page to page."""
    runs = write_variant(tmp_path, "a", [90.0, 91.0], mechanism="qv", position="rope")
    runs += write_variant(tmp_path, "b", [90.0, 91.0], 1, mechanism="qv")
    runs += write_variant(tmp_path, "c", [90.0, 91.0], 2, mechanism="new", position="new")
    look = looks(compared(runs).variants)
    alone = looks(compared(runs[4:]).variants)
    assert look["a"].color == look["b"].color
    assert (look["a"].style, look["a"].fillstyle) != (look["b"].style, look["b"].fillstyle)
    assert look["a"].marker == look["b"].marker
    assert look["c"] == alone["c"]


def test_no_two_variants_look_alike(tmp_path: Path) -> None:
    """Catches the seventh variant of one mechanism with the mark of the first."""
    for place in range(13):
        write_variant(tmp_path, f"v{place}", [90.0], place, mechanism="qkv")
    found = looks(compared(sorted((tmp_path / "runs").iterdir())).variants).values()
    assert len({(look.marker, look.fillstyle) for look in found}) == len(found) == 13


def test_every_seed_is_in_the_frame_of_the_differences(tmp_path: Path) -> None:
    """Catches one seed of ten far from its interval, whose tick would lie outside the picture."""
    write_variant(tmp_path, "qkv", [90.0] * 10)
    write_variant(tmp_path, "qv", [89.0 + n / 10 for n in range(9)] + [70.0], 1)
    comparison = compared(sorted((tmp_path / "runs").iterdir()))
    (axes,) = axes_of(figures.differences(comparison))
    left, right = axes.get_xlim()
    assert comparison.findings[comparison.variants[1]].interval.low > -8  # too narrow for the tick
    assert left < -20 < 0 < right
    tooltips = {line.get_gid() for line in axes.lines} - {None}
    assert len(tooltips) == 11
    assert "tooltip seed 10: 70.00 (\u221220.00)" in tooltips


@pytest.mark.parametrize(("behind", "framed"), [(5.0, True), (40.0, False)])
def test_a_row_is_out_of_range_only_where_it_would_squeeze_the_others(
    tmp_path: Path, behind: float, framed: bool
) -> None:
    """Catches a row that stands apart and could be shown, or one that makes others a stroke."""
    write_variant(tmp_path, "qkv", [90.0, 90.0])
    for place in range(5):
        write_variant(tmp_path, f"m{place}", [95.0 + place / 10, 95.1 + place / 10], place + 1)
    write_variant(tmp_path, "last", [90.0 - behind, 90.1 - behind], 6)
    (axes,) = axes_of(figures.differences(compared(sorted((tmp_path / "runs").iterdir()))))
    assert (axes.get_xlim()[0] < -behind) == framed
    assert ("out of range" in "".join(text.get_text() for text in axes.texts)) == (not framed)


def test_what_lies_far_below_does_not_set_the_frame() -> None:
    """Catches one collapsed variant that presses all others flat."""
    assert lowest_usual([94.0, 93.5, 93.0, 94.2, 92.8, 60.0]) == 92.8
    assert lowest_usual([94.0, 93.0, 90.0, 92.0]) == 90.0
    assert lowest_usual([94.0, 60.0]) == 60.0
